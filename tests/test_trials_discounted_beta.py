"""The paper's rule, by hand."""

from __future__ import annotations

from math import comb, inf, log
from random import Random

import pytest

from reskill_agents.trials.discounted_beta import DiscountedBetaMethod, beta_binomial, discount, probability_greater
from reskill_agents.trials.evidence import StepEvidence
from reskill_agents.trials.history import FinishedTrial, TrialHistory
from reskill_agents.trials.verdict import TrialMethodName


def step(old: tuple[float, int], new: tuple[float, int]) -> StepEvidence:
    """Successes and rollouts of both arms."""
    return StepEvidence(totals=(old[0], new[0]), counts=(old[1], new[1]))


def test_posteriors_are_discounted_by_m_over_m_plus_n() -> None:
    method = DiscountedBetaMethod(memory=100.0)
    method.record(step((30.0, 60), (40.0, 100)))
    assert discount(100.0, 100) == 0.5
    assert method.alpha == [pytest.approx(100 / 160 + 30), pytest.approx(0.5 + 40)]
    assert method.beta == [pytest.approx(100 / 160 + 30), pytest.approx(0.5 + 60)]


def test_nothing_is_forgotten_with_infinite_memory() -> None:
    method = DiscountedBetaMethod()
    for _ in range(3):
        method.record(step((30.0, 64), (31.0, 64)))
    assert method.alpha == [91.0, 94.0]
    assert method.beta == [103.0, 100.0]


def test_after_five_steps_the_larger_mean_wins() -> None:
    method = DiscountedBetaMethod()
    for number in range(5):
        assert method.decide() is None, number
        method.record(step((30.0, 64), (31.0, 64)))
    decision = method.decide()
    assert decision is not None
    assert decision.outcome == "accepted"


def test_it_waits_for_fifty_episodes() -> None:
    method = DiscountedBetaMethod()
    for _ in range(8):
        method.record(step((1.0, 3), (2.0, 3)))
    assert method.decide() is None
    method.record(step((1.0, 3), (2.0, 3)))
    assert method.decide() is not None


def test_the_share_is_clamped() -> None:
    method = DiscountedBetaMethod()
    method.record(step((0.0, 64), (64.0, 64)))
    assert method.share() == 0.85
    counts = [method.candidates(8, Random(seed)) for seed in range(200)]
    assert min(counts) >= 2
    assert max(counts) <= 6
    literal = DiscountedBetaMethod(blocked=False)
    literal.record(step((0.0, 64), (64.0, 64)))
    alone = sum(literal.candidates(8, Random(seed)) == 8 for seed in range(1000)) / 1000
    assert alone == pytest.approx(0.85**8, abs=0.04)  # the paper's groups with a single arm


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ((1.0, 1.0), (1.0, 1.0), 0.5),
        ((2.0, 1.0), (1.0, 1.0), 2 / 3),
        ((3.0, 1.0), (1.0, 2.0), 0.9),
        ((400.0, 600.0), (400.0, 600.0), 0.5),
    ],
)
def test_probability_of_the_greater_beta(one: tuple[float, float], other: tuple[float, float], expected: float) -> None:
    # E.g. X ~ Beta(3, 1), Y ~ Beta(1, 2): P(X > Y) = int 3 x^2 (1 - (1 - x)^2) dx = 6/4 - 3/5 = 0.9
    assert probability_greater(*one, *other) == pytest.approx(expected, abs=2e-3)


def test_beta_binomial_likelihood_by_hand() -> None:
    # Uniform prior: every count of successes has probability 1 / (n + 1); C(10, 3) and C(7, 2) are left out.
    expected = -log(11 * comb(10, 3)) - log(8 * comb(7, 2))
    assert beta_binomial([step((3.0, 10), (2.0, 7))], 50.0) == pytest.approx(expected)


def history_of(rates: list[list[float]]) -> TrialHistory:
    rng = Random(3)
    history = TrialHistory()
    for number, trial in enumerate(rates):
        steps = []
        for rate in trial:
            wins = [float(sum(rng.random() < rate for _ in range(64))) for _ in range(2)]
            steps.append(step((wins[0], 64), (wins[1], 64)))
        history.add(FinishedTrial(str(number), TrialMethodName.DISCOUNTED_BETA, True, tuple(steps)))
    return history


def test_memory_is_infinite_until_two_trials_are_finished() -> None:
    assert history_of([[0.5] * 5]).memory() == inf


def test_memory_is_long_for_a_steady_policy_and_short_for_a_fast_one() -> None:
    steady = history_of([[0.5] * 8] * 5).memory()
    fast = history_of([[0.1, 0.25, 0.4, 0.55, 0.7, 0.8, 0.9, 0.95]] * 5).memory()
    assert fast < 60.0
    assert steady > 3.0 * fast
