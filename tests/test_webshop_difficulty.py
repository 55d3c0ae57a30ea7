"""The generated shop needs four right things together: nobody has them by chance, no single one is enough.

The full tables, also on real data, come from ``tests/benchmarks/world_difficulty.py``.
"""

from __future__ import annotations

import pytest
from benchmarks.world_difficulty import HARMFUL, USEFUL, Measured, measure

from reskill_agents.directives import Directive
from reskill_agents.environment import Split
from reskill_agents.envs.webshop import WebShopWorld

EPISODES = 240


@pytest.fixture(scope="module")
def world() -> WebShopWorld:
    return WebShopWorld(catalogue_seed=11)


def result(world: WebShopWorld, *directives: Directive, split: Split = Split.UNSEEN_TEST) -> Measured:
    return measure(world, world.tasks(split)[:EPISODES], directives, seed=5)


@pytest.mark.parametrize("split", list(Split))
def test_careless_shoppers_fail_and_advised_ones_succeed(world: WebShopWorld, split: Split) -> None:
    careless = result(world, split=split)
    advised = result(world, *USEFUL.values(), split=split)
    assert careless.success <= 0.03
    assert 0.15 <= careless.score <= 0.45
    assert advised.success >= 0.89  # 0.94 in the long run
    assert advised.turns < world.max_turns / 2 + 1


def test_no_single_advice_is_enough(world: WebShopWorld) -> None:
    for directive in USEFUL.values():
        assert result(world, directive).success <= 0.12


def test_each_advice_is_missed_beside_the_other_three(world: WebShopWorld) -> None:
    for name in USEFUL:
        others = [directive for other, directive in USEFUL.items() if other != name]
        assert result(world, *others).success <= 0.6, name


def test_the_graded_score_shows_single_right_things(world: WebShopWorld) -> None:
    careless = result(world).score
    for name in ("search", "item", "options"):
        assert result(world, USEFUL[name]).score > careless + 0.03, name


@pytest.mark.parametrize("name", ["avoid option", "soon buy now", "last item", "last search", "soon next"])
def test_harmful_advice_does_not_help(world: WebShopWorld, name: str) -> None:
    assert result(world, HARMFUL[name]).success <= 0.03
    assert result(world, HARMFUL[name], *USEFUL.values()).success <= result(world, *USEFUL.values()).success + 0.08


def test_looping_advice_is_bounded_by_the_turn_limit(world: WebShopWorld) -> None:
    assert result(world, HARMFUL["soon next"]).turns <= world.max_turns
