"""The anytime guarantee: exact martingale factors, and looks after every group."""

from __future__ import annotations

from itertools import combinations
from math import exp
from random import Random

import pytest

from reskill_agents.errors import TrialError
from reskill_agents.trials import Arm, VersionTrial
from reskill_agents.trials.wealth import BLOCK, log_wealth


@pytest.mark.parametrize("bet", [0.1, 0.65, 3.0])
def test_the_factor_of_a_group_is_one_on_average_over_all_splits(bet: float) -> None:
    values = [0.0, 0.2, 0.2, 0.9, 1.0, 1.0]
    factors = [exp(log_wealth(values, [i in chosen for i in range(6)], bet)) for chosen in combinations(range(6), 2)]
    assert sum(factors) / len(factors) == pytest.approx(1.0)


def test_large_groups_are_compared_in_blocks() -> None:
    rng = Random(0)
    values = [rng.random() for _ in range(3 * BLOCK)]
    chosen = [rng.random() < 0.5 for _ in values]
    whole = log_wealth(values, chosen, 0.3)
    blocks = sum(
        log_wealth(values[start : start + BLOCK], chosen[start : start + BLOCK], 0.3)
        for start in range(0, 3 * BLOCK, BLOCK)
    )
    assert whole == pytest.approx(blocks)


def play(seed: int, lift: float) -> bool:
    """A trial whose steps are single groups: a look after each, far more looks than a trial by steps has."""
    rng = Random(seed)
    trial = VersionTrial("old", "new", guarantee="anytime", seed=seed)
    for _ in range(150):
        group = [(arm, float(rng.random() < 0.4 + lift * (arm is Arm.CANDIDATE))) for arm in trial.assign(8)]
        trial.record_step([group])
        if (verdict := trial.verdict()) is not None:
            return verdict.accepted
    return False


def test_useless_candidates_stay_out_however_often_one_looks() -> None:
    assert sum(play(seed, 0.0) for seed in range(200)) <= 18  # P(more | 5 %) < 1 %


def test_helpful_candidates_get_in() -> None:
    assert sum(play(seed, 0.3) for seed in range(30)) >= 28


def test_the_guarantee_survives_the_state_and_is_for_paired_only() -> None:
    trial = VersionTrial("old", "new", guarantee="anytime")
    trial.record_step([[(Arm.CANDIDATE, 1.0), (Arm.CANDIDATE, 0.0), (Arm.INCUMBENT, 0.0), (Arm.INCUMBENT, 0.0)]])
    twin = VersionTrial.from_state(trial.to_state())
    assert twin.to_state() == trial.to_state()
    assert twin.facts() == trial.facts()
    with pytest.raises(TrialError, match="anytime"):
        VersionTrial("old", "new", method="discounted_beta", guarantee="anytime")
