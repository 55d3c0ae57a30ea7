"""The paired method: posterior by hand, shares, error rates, what finished trials change."""

from __future__ import annotations

from math import erfc, sqrt
from random import Random

import pytest

from reskill_agents.trials import Arm, TrialHistory, VersionTrial
from reskill_agents.trials.course import Course
from reskill_agents.trials.evidence import StepEvidence
from reskill_agents.trials.history import FinishedTrial
from reskill_agents.trials.paired import PairedMethod, paired_posterior
from reskill_agents.trials.verdict import TrialMethodName


def test_posterior_is_normal_with_prior_precision_four() -> None:
    steps = [StepEvidence(score=3.0, information=12.0, raw_score=1.0, raw_variance=4.0, comparisons=10.0)]
    belief = paired_posterior(steps)
    assert belief.effect == pytest.approx(3.0 / 16.0)
    assert belief.probability == pytest.approx(1.0 - erfc(3.0 / 4.0 / sqrt(2.0)) / 2.0)
    assert belief.high - belief.low == pytest.approx(2 * 1.96 / 4.0, rel=1e-3)
    assert belief.difference == pytest.approx(0.1)
    assert belief.difference_se == pytest.approx(0.2)


def test_forgetting_discounts_earlier_steps_in_the_belief() -> None:
    steps = [StepEvidence(score=4.0, information=8.0), StepEvidence(score=-1.0, information=8.0)]
    belief = paired_posterior(steps, Course(forgetting=0.5))
    assert belief.information == 12.0
    assert belief.effect == pytest.approx(1.0 / 16.0)


def test_a_turning_course_turns_the_prediction() -> None:
    steps = [StepEvidence(score=6.0, information=16.0)] * 4
    assert paired_posterior(steps).probability > 0.99
    assert paired_posterior(steps, Course(turns_after=4.0)).probability < 0.1


def test_shares_follow_the_belief_within_a_third_and_two_thirds() -> None:
    method = PairedMethod()
    assert method.share() == 0.5
    method.record(StepEvidence(score=9.0, information=16.0))
    assert method.share() == pytest.approx(2 / 3)
    counts = [method.candidates(8, Random(seed)) for seed in range(300)]
    assert set(counts) == {5, 6}
    assert sum(counts) / len(counts) == pytest.approx(16 / 3, abs=0.1)


def crossed(turns_after: float | None) -> PairedMethod:
    method = PairedMethod(turns_after=turns_after)
    for _ in range(4):
        method.record(StepEvidence(score=7.0, information=16.0))
    return method


def test_an_effect_predicted_to_turn_is_not_accepted() -> None:
    decision = crossed(None).decide()
    assert decision is not None
    assert decision.outcome == "accepted"
    assert crossed(4.0).decide() is None  # waits: the course may be wrong
    waiting = crossed(4.0)
    for _ in range(8):
        waiting.record(StepEvidence(score=3.0, information=8.0))
    ended = waiting.decide()
    assert ended is not None
    assert ended.rule == "fading"


def trials_with(course: list[float], count: int, seed: int) -> TrialHistory:
    """Finished trials whose effect (in standard deviations) runs as ``course``; 16 units of information a step."""
    rng = Random(seed)
    history = TrialHistory()
    for number in range(count):
        steps = tuple(StepEvidence(score=rng.gauss(16.0 * d, 4.0), information=16.0) for d in course)
        history.add(FinishedTrial(str(number), TrialMethodName.PAIRED, True, steps))
    return history


def test_nothing_is_learned_from_fewer_than_two_trials() -> None:
    history = trials_with([0.6, 0.3, 0.0, -0.3, -0.6], 1, 0)
    assert history.forgetting() == 1.0
    assert history.turns_after() is None


def test_finished_trials_tell_turning_from_steady_effects() -> None:
    turning = trials_with([0.5 * (1 - k / 5) for k in range(9)], 10, 1)
    steady = trials_with([0.5] * 9, 10, 1)
    fading = trials_with([0.5 * 0.5 ** (k / 4) for k in range(9)], 10, 1)
    assert turning.turns_after() in (4.0, 5.0, 6.0)
    assert turning.forgetting() < 1.0
    assert steady.turns_after() is None
    assert steady.forgetting() == 1.0
    assert fading.turns_after() is None


@pytest.mark.parametrize("graded", [False, True])
def test_useless_candidates_are_rejected(graded: bool) -> None:
    rng = Random(11)
    accepted = 0
    for seed in range(300):
        trial = VersionTrial("old", "new", seed=seed)
        while (verdict := trial.verdict()) is None:
            step: list[list[tuple[Arm, float | None]]] = []
            for _ in range(16):
                p = rng.choice((0.05, 0.3, 0.6, 0.95))
                met = 4 if graded else 1
                step.append([(arm, sum(rng.random() < p for _ in range(met)) / met) for arm in trial.assign(8)])
            trial.record_step(step)
        accepted += verdict.accepted
    assert accepted <= 24  # P(more | 4.5 %) < 0.2 %
