"""What skills cost per request: counted from what models report, priced, and shown for each library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.store.memory import InMemoryStore
from live_stores import run, sqlite_store
from test_middleware import LIBRARY, LOOK, Scripted, agent, calls, say, thread
from test_skill_surfaces import Reads
from typer.testing import CliRunner

from reskill_agents.cli import app as cli
from reskill_agents.errors import ConfigError
from reskill_agents.graphs.live_skills import LiveSkills
from reskill_agents.graphs.middleware import ReSkillMiddleware
from reskill_agents.graphs.prompt_nodes import SkillState, skill_node
from reskill_agents.live_records import Run
from reskill_agents.skill_account import Expense, Prices, skill_account
from reskill_agents.store import LiveStore, StoreSettings


def metered(answer: AIMessage, read: int, written: int, cached: int = 0) -> AIMessage:
    details = {"input_token_details": {"cache_read": cached}} if cached else {}
    usage = {"input_tokens": read, "output_tokens": written, "total_tokens": read + written, **details}
    return answer.model_copy(update={"usage_metadata": usage})


class Metered(Reads):
    """The same, and its model reports 50 tokens read and 5 written."""

    def __call__(self, state: SkillState) -> dict[str, Any]:
        super().__call__(state)
        return {"messages": [metered(AIMessage("ok"), 50, 5)]}


def opened() -> LiveStore:
    store = LiveStore.over(InMemoryStore(), settings=StoreSettings(redact=None))
    store.activate(LIBRARY, by="me")
    return store


def test_every_model_call_of_a_request_is_in_its_account() -> None:
    store = opened()
    answers = [metered(calls(LOOK), 100, 10), metered(AIMessage("wet"), 150, 20, cached=90)]
    skills = ReSkillMiddleware(LiveSkills(store), count_tokens=lambda text: 10)
    agent(Scripted(answers=answers), skills, checkpointer=InMemorySaver()).invoke(say("go"), thread("t"))
    [kept] = store.runs()
    assert (kept.calls, kept.prompt_tokens, kept.answer_tokens, kept.cached_tokens) == (2, 250, 30, 90)
    assert kept.skill_tokens == 20 + 40
    total = skill_account(store).total
    assert total.tokens_per_request == 280
    assert total.share_of_prompts == 60 / 250
    prices = Prices(prompt=2.0, answer=10.0, cached=0.2)
    assert total.money(prices) == pytest.approx((160 * 2.0 + 90 * 0.2 + 30 * 10.0) / 1e6)
    assert total.skill_money(prices) == pytest.approx(60 * 2.0 / 1e6)


def test_a_graph_of_the_users_own_counts_each_answer_once_when_it_is_known() -> None:
    store = opened()
    model = Metered()
    graph = StateGraph(MessagesState)
    graph.add_node("advise", skill_node(LiveSkills(store)))
    graph.add_node("model", model)
    graph.add_edge(START, "advise")
    graph.add_edge("advise", "model")
    app = graph.compile(checkpointer=InMemorySaver())
    for text in ("rain", "go on", "bye"):
        app.invoke(say(text), thread("t"))
    assert [(one.calls, one.prompt_tokens) for one in store.runs()] == [(1, 50), (1, 50), (0, 0)]


def test_requests_without_skills_are_in_the_mean_and_models_that_say_nothing_are_not() -> None:
    expense = Expense(requests=4, with_skills=1, skill_tokens=40)
    assert expense.skill_tokens_per_request == 10
    assert expense.tokens_per_request is expense.share_of_prompts is expense.money(Prices(1.0)) is None
    with pytest.raises(ConfigError, match="negative"):
        Prices(prompt=-1.0)


def test_the_command_prices_each_library_and_lists_the_latest_requests(tmp_path: Path) -> None:
    with sqlite_store(tmp_path) as store:
        store.record_run(run("plain"))
        for number in range(3):
            store.record_run(
                Run(
                    f"r{number}",
                    "t",
                    "sha256-1",
                    2_000_000.0 + number,
                    skills=("on-rain",),
                    skill_tokens=100,
                    calls=1,
                    prompt_tokens=400,
                    answer_tokens=50,
                )
            )
    database = str(tmp_path / "live.db")
    base = ["account", "--store", database, "--price-prompt", "2", "--price-answer", "8", "--latest", "1"]
    shown = CliRunner().invoke(cli, base)
    assert shown.exit_code == 0, shown.output
    assert "all: 4 requests, 75.0 skill tokens each, of 450 tokens in all, 25.0% of the prompts" in shown.output
    assert "(on-rain): 3 requests, 100.0 skill tokens each" in shown.output
    assert "at most 0.000200 each, 0.001200 in all" in shown.output
    assert "r2: 100 skill tokens (on-rain), 400 read, 50 written" in shown.output
    value = json.loads(CliRunner().invoke(cli, [*base, "--json"]).output)
    assert value["total"]["requests"] == 4
    assert [one["run"] for one in value["latest"]] == ["r2"]
    assert value["latest"][0]["money"] == pytest.approx(0.0012)
