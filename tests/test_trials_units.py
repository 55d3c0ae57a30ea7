"""Live traffic: units instead of groups, windows instead of steps."""

from __future__ import annotations

from random import Random

import pytest

from reskill_agents.errors import TrialError
from reskill_agents.trials import Arm, UnitOutcome, VersionTrial


def window(trial: VersionTrial, units: int, rng: Random, lift: float, start: int = 0) -> list[UnitOutcome]:
    outcomes = []
    for number in range(start, start + units):
        given = trial.assign_unit(f"thread-{number}", stratum="easy" if number % 3 else "hard")
        base = 0.7 if given.stratum == "easy" else 0.2
        chance = base + lift * (given.arm is Arm.CANDIDATE)
        outcomes += [UnitOutcome(given, float(rng.random() < chance)) for _ in range(rng.randint(1, 3))]
    return outcomes


def test_a_unit_keeps_its_arm_within_a_window() -> None:
    trial = VersionTrial("old", "new", seed=2)
    first = {f"u{n}": trial.assign_unit(f"u{n}") for n in range(100)}
    assert first == {f"u{n}": trial.assign_unit(f"u{n}") for n in reversed(range(100))}
    assert {given.share for given in first.values()} == {0.5}
    assert 30 <= sum(given.arm is Arm.CANDIDATE for given in first.values()) <= 70


def test_the_share_changes_only_when_a_window_is_sealed() -> None:
    trial = VersionTrial("old", "new", seed=2)
    outcomes = window(trial, 60, Random(0), 0.15)
    assert trial.assign_unit("later").share == 0.5
    trial.seal_window(outcomes)
    assert trial.assign_unit("later").share > 0.5
    assert trial.assign_unit("later").window == 1


def test_a_helpful_candidate_is_promoted_and_the_order_of_outcomes_does_not_matter() -> None:
    trials = [VersionTrial("old", "new", seed=1) for _ in range(2)]
    rng = Random(4)
    number = 0
    while trials[0].verdict() is None:
        outcomes = window(trials[0], 150, rng, 0.2, start=150 * number)
        trials[0].seal_window(outcomes)
        rng.shuffle(outcomes)
        trials[1].seal_window(outcomes)
        number += 1
    verdict = trials[0].verdict()
    assert verdict is not None
    assert verdict.accepted
    assert trials[1].verdict() == verdict


def test_a_unit_brings_one_value_the_mean_of_its_outcomes() -> None:
    trial = VersionTrial("old", "new")
    given = [trial.assign_unit(f"u{n}") for n in range(40)]
    talkative = next(one for one in given if one.arm is Arm.CANDIDATE)
    outcomes = [UnitOutcome(one, 0.5) for one in given if one != talkative]
    outcomes += [UnitOutcome(talkative, value) for value in (0.0, 1.0, 1.0, None)]
    trial.seal_window(outcomes)
    assert sum(trial.episodes()) == 40
    assert sum(trial.missing()) == 0
    assert trial.posterior().difference > 0.0


def test_strata_are_never_compared_with_each_other() -> None:
    trial = VersionTrial("old", "new")
    outcomes = []
    for number in range(100):
        arm = trial.assign_unit(f"u{number}").arm
        given = trial.assign_unit(f"u{number}", stratum="a" if arm is Arm.CANDIDATE else "b")
        outcomes.append(UnitOutcome(given, float(arm is Arm.CANDIDATE)))
    trial.seal_window(outcomes)
    assert trial.posterior().information == 0.0


def test_late_and_foreign_outcomes_are_refused() -> None:
    trial, other = VersionTrial("old", "new", seed=1), VersionTrial("old", "new", seed=2)
    late = UnitOutcome(trial.assign_unit("u"), 1.0)
    trial.seal_window([])
    with pytest.raises(TrialError, match="window 0"):
        trial.seal_window([late])
    with pytest.raises(TrialError, match="belongs to trial"):
        trial.seal_window([UnitOutcome(other.assign_unit("u"), 1.0)])
