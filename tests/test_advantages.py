"""Advantages: hand-computed numbers, and the defects of the official code that must not come back."""

from __future__ import annotations

import math
import random

import pytest

from reskill_agents.trainers.advantages import (
    Advantage,
    GroupRewards,
    group_normalised,
    group_normalised_whitened,
    leave_one_out,
)


def test_leave_one_out_subtracts_the_mean_of_the_others() -> None:
    assert leave_one_out([GroupRewards((1.0, 0.0, 0.0, 1.0))]) == [
        [pytest.approx(2 / 3), pytest.approx(-2 / 3), pytest.approx(-2 / 3), pytest.approx(2 / 3)]
    ]


def test_leave_one_out_sums_to_zero_in_a_group() -> None:
    rewards = tuple(random.Random(1).random() for _ in range(8))
    assert math.fsum(a for a in leave_one_out([GroupRewards(rewards)])[0] if a is not None) == pytest.approx(0.0)


@pytest.mark.parametrize("rule", [leave_one_out, group_normalised])
def test_a_group_without_variance_carries_no_gradient(rule: Advantage) -> None:
    assert rule([GroupRewards((0.0, 0.0, 0.0)), GroupRewards((0.1, 0.1, 0.1))]) == [[0.0] * 3, [0.0] * 3]


@pytest.mark.parametrize("rule", [leave_one_out, group_normalised, group_normalised_whitened])
def test_a_singleton_group_carries_no_gradient(rule: Advantage) -> None:
    assert rule([GroupRewards((1.0,))]) == [[0.0]]


def test_a_fault_is_neither_a_failure_nor_in_a_baseline() -> None:
    with_fault = leave_one_out([GroupRewards((1.0, None, 0.0, 0.0))])[0]
    without = leave_one_out([GroupRewards((1.0, 0.0, 0.0))])[0]
    assert with_fault[1] is None
    assert [a for a in with_fault if a is not None] == without


def test_group_normalised_divides_by_the_sample_deviation() -> None:
    # mean 0.5, sample standard deviation sqrt(4 * 0.25 / 3)
    deviation = math.sqrt(1 / 3)
    advantages = group_normalised([GroupRewards((1.0, 0.0, 0.0, 1.0))], epsilon=0.0)[0]
    assert advantages == [pytest.approx(sign * 0.5 / deviation) for sign in (1, -1, -1, 1)]


def test_whitening_centres_and_scales_over_tokens() -> None:
    groups = [GroupRewards((1.0, 0.0), (10, 30)), GroupRewards((0.0, 0.0), (20, 20))]
    advantages = group_normalised_whitened(groups)
    pairs = [
        (a, length)
        for group, row in zip(groups, advantages, strict=True)
        for a, length in zip(row, group.lengths, strict=True)
    ]
    tokens = [a for a, length in pairs for _ in range(length) if a is not None]
    assert math.fsum(tokens) / len(tokens) == pytest.approx(0.0)
    assert math.fsum(a * a for a in tokens) / (len(tokens) - 1) == pytest.approx(1.0)


def test_the_papers_whitening_rewards_failing_groups_when_failures_are_longer_and_ours_does_not() -> None:
    """The defect that method.md names: kept in the paper's variant, absent from the default."""
    groups = [GroupRewards((1.0, 1.0, 0.0, 0.0), (20, 20, 60, 60)), GroupRewards((0.0,) * 4, (60,) * 4)]
    whitened = group_normalised_whitened(groups)[1]
    assert all(a is not None and 0.1 < a < 0.6 for a in whitened)
    assert leave_one_out(groups)[1] == [0.0] * 4


def test_leave_one_out_is_unbiased_when_the_arms_differ() -> None:
    """The mean of A_i d log p over a fixed assignment is the true gradient: no baseline sees its own reward."""
    rng = random.Random(0)
    chances = [0.7] * 3 + [0.2] * 5  # two arms, fixed before sampling
    total = [0.0, 0.0]
    draws = 40_000
    for _ in range(draws):
        rewards = tuple(float(rng.random() < chance) for chance in chances)
        advantages = leave_one_out([GroupRewards(rewards)])[0]
        for index, (reward, advantage) in enumerate(zip(rewards, advantages, strict=True)):
            assert advantage is not None
            total[index >= 3] += advantage * (reward - chances[index])  # score function of a Bernoulli logit
    assert total[0] / draws / 3 == pytest.approx(0.7 * 0.3, abs=0.01)
    assert total[1] / draws / 5 == pytest.approx(0.2 * 0.8, abs=0.01)
