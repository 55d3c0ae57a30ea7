"""Plays trials of one cell with one method and sums up what happened, with standard errors over chains of trials."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from math import sqrt

import numpy as np
from selection_worlds import Policy, World, generator
from selection_ztest import FixedZTest

from reskill_agents.trials import TrialHistory, VersionTrial
from reskill_agents.trials.boundary import Triangle
from reskill_agents.trials.discounted_beta import DiscountedBetaMethod
from reskill_agents.trials.paired import PairedMethod

CHAIN = 10  # trials that share a history, as the trials of one training run do


class Contender(StrEnum):
    """What is compared."""

    PAIRED = "paired"
    PAIRED_STEADY = "paired, no discounting"
    PAIRED_5 = "paired, at most 5 steps"
    ANYTIME = "paired, anytime"
    PAPER = "discounted_beta"
    PAPER_LITERAL = "discounted_beta, unblocked"
    PAPER_STEADY = "discounted_beta, M infinite"
    Z_TEST = "fixed 50/50 z-test"


@dataclass(frozen=True, slots=True)
class Summary:
    """Means over trials; each ``*_se`` is the standard error over chains.

    Args:
        trials: how many.
        accepted: acceptance rate.
        rollouts: to the verdict.
        steps: to the verdict.
        lost: successes lost while testing, against giving every rollout the better arm.
        wrong_accept: accepted, though the mean true effect over the five steps after the verdict is negative.
        wrong_reject: rejected, though it is positive.
        braked: rejected because the candidate lost significantly more outcomes.
    """

    trials: int
    accepted: float
    accepted_se: float
    rollouts: float
    rollouts_se: float
    steps: float
    steps_se: float
    lost: float
    lost_se: float
    wrong_accept: float
    wrong_accept_se: float
    wrong_reject: float
    wrong_reject_se: float
    braked: float
    braked_se: float

    def to_json(self) -> dict[str, float]:
        """Rounded to six digits."""
        return {name: round(value, 6) for name, value in asdict(self).items()}


_FIELDS = ("accepted", "rollouts", "steps", "lost", "wrong_accept", "wrong_reject", "braked")


def play_cell(name: str, world: World, contender: Contender, trials: int, seed: int) -> Summary:
    """Play ``trials`` trials (whole chains) of a cell. The same seed gives every contender the same tasks."""
    chains = max(trials // CHAIN, 2)
    rows = np.array([_chain(name, world, contender, chain, seed) for chain in range(chains)])
    means, errors = rows.mean(0), rows.std(0, ddof=1) / sqrt(chains)
    values: dict[str, float] = {}
    for index, field in enumerate(_FIELDS):
        values[field], values[f"{field}_se"] = float(means[index]), float(errors[index])
    return Summary(trials=chains * CHAIN, **values)


def _chain(name: str, world: World, contender: Contender, chain: int, seed: int) -> list[float]:
    """Mean of every field over one chain."""
    rng = generator(seed, name, chain)
    policy = Policy(world, rng)
    history = TrialHistory()
    totals = [0.0] * len(_FIELDS)
    for number in range(CHAIN):
        policy.start_trial()
        played = (
            _ztest(policy, rng)
            if contender is Contender.Z_TEST
            else _trial(policy, contender, history, f"{seed}/{name}/{chain}/{number}")
        )
        totals = [total + value for total, value in zip(totals, played, strict=True)]
    return [total / CHAIN for total in totals]


def _trial(policy: Policy, contender: Contender, history: TrialHistory, trial_id: str) -> list[float]:
    world = policy.world
    trial = _MAKE[contender](history, trial_id)
    lost = 0.0
    while (verdict := trial.verdict()) is None:
        played = policy.play([trial.assign(world.group_size) for _ in range(world.groups)])
        trial.record_step(played.groups)
        lost += played.regret
    history.add(trial.finished())
    return _row(world, verdict.accepted, verdict.steps, lost, braked=verdict.rule == "missing")


def _ztest(policy: Policy, rng: np.random.Generator) -> list[float]:
    world = policy.world
    test = FixedZTest(np.random.default_rng(rng.integers(2**63)))
    lost = 0.0
    while (accepted := test.accepted()) is None:
        played = policy.play([test.assign(world.group_size) for _ in range(world.groups)])
        test.record_step(played.groups)
        lost += played.regret
    return _row(world, accepted, test.steps, lost, braked=False)


def _row(world: World, accepted: bool, steps: int, lost: float, *, braked: bool) -> list[float]:
    truth = world.truth(steps)
    return [
        float(accepted),
        float(steps * world.groups * world.group_size),
        float(steps),
        lost,
        float(accepted and truth < -1e-9),
        float(not accepted and truth > 1e-9),
        float(braked),
    ]


def _make(method: str, **options: str) -> Callable[[TrialHistory, str], VersionTrial]:
    def make(history: TrialHistory, trial_id: str) -> VersionTrial:
        return VersionTrial("old", "new", method=method, history=history, trial_id=trial_id, **options)  # type: ignore[arg-type]

    return make


_MAKE: dict[Contender, Callable[[TrialHistory, str], VersionTrial]] = {
    Contender.PAIRED: _make("paired"),
    Contender.PAPER: _make("discounted_beta"),
    Contender.ANYTIME: _make("paired", guarantee="anytime"),
    Contender.PAIRED_STEADY: lambda _, name: VersionTrial("old", "new", method=PairedMethod(), trial_id=name),
    Contender.PAIRED_5: lambda _, name: VersionTrial(
        "old", "new", method=PairedMethod(Triangle(max_steps=5)), trial_id=name
    ),
    Contender.PAPER_STEADY: lambda _, name: VersionTrial("old", "new", method=DiscountedBetaMethod(), trial_id=name),
    Contender.PAPER_LITERAL: lambda history, name: VersionTrial(
        "old", "new", method=DiscountedBetaMethod(history.memory(), blocked=False), trial_id=name
    ),
}
