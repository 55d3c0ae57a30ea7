"""The contract of ``TrialMethod``: call :func:`check_trial_method` on any implementation."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random

from reskill_agents.trials import Arm, VersionTrial
from reskill_agents.trials.method import TrialMethod

MAX_STEPS = 60
Make = Callable[[], TrialMethod]


def check_trial_method(make: Make, *, ends: bool = True) -> None:
    """Everything the docstring of ``TrialMethod`` promises.

    Args:
        make: gives a fresh method, the same each time.
        ends: the method states a maximum: every trial ends within ``MAX_STEPS`` steps.
    """
    check_assignment(make)
    check_purity(make)
    check_state(make)
    check_direction(make)
    if ends:
        for seed in range(5):
            assert play(VersionTrial("old", "new", method=make(), seed=seed), 0.0, seed).verdict() is not None


def play(trial: VersionTrial, lift: float, seed: int, steps: int = MAX_STEPS) -> VersionTrial:
    """Up to ``steps`` steps of 16 groups of 8; the candidate's success is ``lift`` more likely, one outcome in fifty
    is missing."""
    rng = Random(seed)
    for _ in range(steps):
        if trial.verdict() is not None:
            break
        groups: list[list[tuple[Arm, float | None]]] = []
        for _ in range(16):
            level = rng.uniform(0.2, 0.6)
            group: list[tuple[Arm, float | None]] = []
            for arm in trial.assign(8):
                outcome = float(rng.random() < level + lift * (arm is Arm.CANDIDATE))
                group.append((arm, outcome if rng.random() > 0.02 else None))
            groups.append(group)
        trial.record_step(groups)
    return trial


def check_assignment(make: Make) -> None:
    """Counts are possible, depend on the generator only, and live up to invariant 3; the share is a probability."""
    method = make()
    for size in (1, 2, 3, 4, 8, 16, 33):
        for seed in range(20):
            count = method.candidates(size, Random(seed))
            assert count == method.candidates(size, Random(seed))
            assert 0 <= count <= size
            if size >= 4:
                assert 2 <= count <= size - 2
    assert 0.0 < method.share() < 1.0


def check_purity(make: Make) -> None:
    """Asking changes nothing."""
    one, other = VersionTrial("old", "new", method=make()), VersionTrial("old", "new", method=make())
    play(one, 0.1, 3, steps=1)
    play(other, 0.1, 3, steps=1)
    for _ in range(3):
        one.posterior()
        one.verdict()
        one.facts()
    assert play(one, 0.1, 4).facts() == play(other, 0.1, 4).facts()


def check_state(make: Make) -> None:
    """Settings are JSON, and settings and steps give the same method again."""
    trial = play(VersionTrial("old", "new", method=make()), 0.05, 5, steps=1)
    state = json.loads(json.dumps(trial.to_state(), allow_nan=False))
    twin = VersionTrial.from_state(state, method=make())
    assert twin.to_state() == trial.to_state()
    assert play(twin, 0.05, 6).facts() == play(trial, 0.05, 6).facts()


def check_direction(make: Make) -> None:
    """Better is accepted, worse is not, and the belief says so."""
    for lift, outcome in ((0.35, "accepted"), (-0.2, "rejected")):
        trial = play(VersionTrial("old", "new", method=make(), seed=1), lift, 7)
        verdict = trial.verdict()
        assert verdict is not None
        assert verdict.outcome == outcome
        assert verdict.reason
        assert (verdict.posterior.difference > 0.0) == (lift > 0.0)
        assert verdict.posterior.low <= verdict.posterior.effect <= verdict.posterior.high
        assert sum(verdict.missing) > 0
