"""The simulated shop-support app: it learns, and only from the text of skills."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from langchain_core.messages import HumanMessage, SystemMessage

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
import evolve_live
import shop_support

from reskill_agents.graphs.evolution_ledger import Ending
from reskill_agents.rendering import render_skill


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> evolve_live.Day:
    """The first 300 requests, and the report."""
    return evolve_live.simulate(300, 0, out=tmp_path_factory.mktemp("report"))


def test_the_app_gets_better_while_it_serves(day: evolve_live.Day) -> None:
    assert not day.faults
    assert day.endings[Ending.PROMOTED] >= 1
    assert sum(day.app.ratings[-100:]) > 1.2 * sum(day.app.ratings[:100])


def test_the_stale_skill_is_left_out_on_evidence_only(day: evolve_live.Day) -> None:
    history = day.app.store.history()
    assert [skill.name for skill in day.app.store.library(history[0].library)] == ["campaign-coupon"]
    gone = [a for a in history if "campaign-coupon" not in day.app.store.library(a.library).by_name]
    assert all(entry.trial for entry in gone)


def test_the_scripted_model_is_moved_by_skill_text_alone() -> None:
    customer = shop_support.Customer.arriving(3, 0)
    seen = HumanMessage(shop_support.observation(customer, ()))
    model = shop_support.ScriptedSupport(seed=1)
    plain = model.reply([SystemMessage("You are kind."), seen])
    assert plain == model.reply([SystemMessage("You are kind. Use the coupon!"), seen])
    coupon = render_skill(shop_support.stale_skill())
    advised = shop_support.chosen(model.reply([SystemMessage(f"You are kind.\n{coupon}"), seen]))
    assert advised is not None
    assert advised.text == "coupon"


def test_the_customer_alone_says_how_it_went() -> None:
    customer = shop_support.Customer(0, "late", "lamp", "refund", mood=0.5)
    assert customer.satisfied(["order", "refund", "answer"]) == (1.0, True)
    assert customer.satisfied(["refund", "coupon", "answer"]) == (0.6, False)
