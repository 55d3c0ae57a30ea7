"""Every world that ships keeps the contract of ``Environment`` and ``World``."""

from __future__ import annotations

from pathlib import Path

import pytest
from contracts.environment import check_world

from reskill_agents.envs.renamed import RenamedWorld
from reskill_agents.envs.search_qa import AnswerScore, SearchQAWorld
from reskill_agents.envs.webshop import ObservationMode, WebShopWorld


@pytest.mark.parametrize("mode", list(ObservationMode))
def test_generated_webshop(mode: ObservationMode) -> None:
    check_world(WebShopWorld(mode=mode), scripted=mode is ObservationMode.COMPACT)


@pytest.mark.parametrize("mode", [ObservationMode.COMPACT, ObservationMode.TEXT_RICH])
def test_webshop_on_real_data(shared_data: Path, mode: ObservationMode) -> None:
    world = WebShopWorld(shared_data / "webshop", mode=mode)
    check_world(world, scripted=mode is ObservationMode.COMPACT)


def test_renamed_webshop() -> None:
    check_world(RenamedWorld(WebShopWorld(), seed=3))


@pytest.mark.parametrize("score", list(AnswerScore))
def test_search_qa(score: AnswerScore) -> None:
    check_world(SearchQAWorld(score=score), free_actions=["search[river town]", "search[zzz]", "answer[nobody]"])
