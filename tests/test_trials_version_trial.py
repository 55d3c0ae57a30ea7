"""A version trial as its users see it: assign, record, verdict, resume."""

from __future__ import annotations

import json
import random
from collections import Counter

import pytest

from reskill_agents.errors import TrialError
from reskill_agents.trials import Arm, TrialHistory, VersionTrial, to_json_line

OLD, NEW = Arm.INCUMBENT, Arm.CANDIDATE


def play(
    trial: VersionTrial, success: dict[Arm, float], rng: random.Random, *, groups: int = 16, size: int = 8
) -> None:
    """Record one step of groups whose rollouts succeed with the arm's probability."""
    trial.record_step(
        [[(arm, float(rng.random() < success[arm])) for arm in trial.assign(size)] for _ in range(groups)]
    )


def finish(trial: VersionTrial, success: dict[Arm, float], seed: int) -> VersionTrial:
    rng = random.Random(seed)
    while trial.verdict() is None:
        play(trial, success, rng)
    return trial


@pytest.mark.parametrize("method", ["paired", "discounted_beta"])
@pytest.mark.parametrize("size", [4, 5, 8, 16])
def test_every_group_has_at_least_two_rollouts_of_each_arm(method: str, size: int) -> None:
    trial = VersionTrial("old", "new", method=method)
    play(trial, {OLD: 0.0, NEW: 1.0}, random.Random(0), groups=4, size=8)
    for _ in range(200):
        counts = Counter(trial.assign(size)) if trial.verdict() is None else Counter({OLD: 2, NEW: 2})
        assert min(counts[OLD], counts[NEW]) >= 2


@pytest.mark.parametrize("method", ["paired", "discounted_beta"])
def test_a_clearly_better_candidate_is_accepted_and_a_worse_one_rejected(method: str) -> None:
    better = finish(VersionTrial("old", "new", method=method), {OLD: 0.2, NEW: 0.6}, 1).verdict()
    worse = finish(VersionTrial("old", "new", method=method), {OLD: 0.6, NEW: 0.2}, 1).verdict()
    assert better is not None
    assert better.outcome == "accepted"
    assert worse is not None
    assert worse.outcome == "rejected"
    assert better.posterior.difference == pytest.approx(0.4, abs=0.15)


@pytest.mark.parametrize("method", ["paired", "discounted_beta"])
def test_a_trial_continues_exactly_from_its_state(method: str) -> None:
    rng = random.Random(5)
    trial = VersionTrial("old", "new", method=method, seed=3)
    play(trial, {OLD: 0.4, NEW: 0.5}, rng)
    trial.assign(8)
    state = json.loads(json.dumps(trial.to_state(), allow_nan=False))
    twin = VersionTrial.from_state(state)
    assert twin.to_state() == trial.to_state()
    outcomes = random.Random(6).getstate()
    for one in (trial, twin):
        source = random.Random()
        source.setstate(outcomes)
        while one.verdict() is None:
            play(one, {OLD: 0.4, NEW: 0.45}, source)
    assert twin.verdict() == trial.verdict()
    assert twin.facts() == trial.facts()
    assert twin.to_state() == trial.to_state()


def test_an_a_a_trial_keeps_its_arms_apart() -> None:
    trial = VersionTrial("same", "same", seed=1)
    trial.record_step([[(NEW, 1.0), (NEW, 1.0), (OLD, 0.0), (OLD, 0.0)]])
    assert trial.is_aa
    assert trial.posterior().probability > 0.5
    assert trial.posterior().difference == 1.0


def test_missing_outcomes_are_counted_per_arm_and_brake_acceptance() -> None:
    def run(lost: float) -> VersionTrial:
        rng = random.Random(2)
        trial = VersionTrial("old", "new", seed=4)
        while trial.verdict() is None:
            step: list[list[tuple[Arm, float | None]]] = []
            for _ in range(16):
                group: list[tuple[Arm, float | None]] = []
                for arm in trial.assign(8):
                    outcome = float(rng.random() < (0.7 if arm is NEW else 0.3))
                    group.append((arm, None if arm is NEW and rng.random() < lost else outcome))
                step.append(group)
            trial.record_step(step)
        return trial

    plain, lossy = run(0.0).verdict(), run(0.2).verdict()
    assert plain is not None
    assert plain.accepted
    assert lossy is not None
    assert lossy.outcome == "rejected"
    assert lossy.rule == "missing"
    assert lossy.missing.candidate > 0 == lossy.missing.incumbent


def test_a_finished_trial_is_sealed() -> None:
    trial = finish(VersionTrial("old", "new"), {OLD: 0.1, NEW: 0.9}, 0)
    with pytest.raises(TrialError, match="over"):
        trial.assign(8)
    with pytest.raises(TrialError, match="sealed"):
        trial.record_step([])


@pytest.mark.parametrize("outcome", [1.5, -0.1, float("nan"), float("inf")])
def test_an_outcome_outside_0_1_is_refused_and_changes_nothing(outcome: float) -> None:
    trial = VersionTrial("old", "new")
    before = trial.to_state()
    with pytest.raises(TrialError, match=r"\[0, 1\]"):
        trial.record_step([[(NEW, 1.0), (OLD, outcome)]])
    assert trial.to_state() == before


def test_facts_are_json_lines() -> None:
    trial = finish(VersionTrial("old", "new"), {OLD: 0.1, NEW: 0.9}, 0)
    kinds = [json.loads(to_json_line(fact))["fact"] for fact in trial.facts()]
    assert kinds[0] == "opened"
    assert kinds[-1] == "verdict"
    assert set(kinds[1:-1]) == {"step"}


def test_history_survives_its_state() -> None:
    history = TrialHistory()
    for seed in range(3):
        trial = VersionTrial("old", "new", seed=seed, history=history)
        history.add(finish(trial, {OLD: 0.4, NEW: 0.5}, seed).finished())
    again = TrialHistory.from_state(json.loads(json.dumps(history.to_state())))
    assert again == history
    assert again.forgetting() == history.forgetting()
    assert again.memory() == history.memory()
