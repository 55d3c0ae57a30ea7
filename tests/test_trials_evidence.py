"""Within-group evidence: hand-computed moments, invariances, what does not count."""

from __future__ import annotations

from itertools import combinations
from math import sqrt

import pytest

from reskill_agents.trials import Arm
from reskill_agents.trials.evidence import StepEvidence, step_evidence

OLD, NEW = Arm.INCUMBENT, Arm.CANDIDATE


def group(new: list[float | None], old: list[float | None]) -> list[tuple[Arm, float | None]]:
    return [(NEW, outcome) for outcome in new] + [(OLD, outcome) for outcome in old]


def test_binary_groups_have_the_hypergeometric_moments() -> None:
    # 3 of 4 candidate successes, 5 of 8 in all: S = 3 - 4 * 5/8; V = n1 n0 Y (G-Y) / (G^2 (G-1)) = 4*4*5*3/(64*7)
    step = step_evidence([group([1, 1, 1, 0], [1, 1, 0, 0])])
    assert step.raw_score == pytest.approx(0.5)
    assert step.raw_variance == pytest.approx(240 / 448)
    assert step.totals == (2.0, 3.0)
    assert step.counts == (4, 4)


def test_score_and_information_are_standardised() -> None:
    # s^2 = 15/56; one group: average = own, so w^2 = 1.25 / (1.25 s^2 + 0.0004)
    variance = 5 * 3 / 8 / 7
    weight = 1.25 / (1.25 * variance + 0.0004)
    step = step_evidence([group([1, 1, 1, 0], [1, 1, 0, 0])])
    assert step.score == pytest.approx(0.5 * sqrt(weight))
    assert step.information == pytest.approx(2.0 * variance * weight)
    assert step.information == pytest.approx(2.0, rel=0.01)


def test_information_is_the_permutation_variance_of_the_score() -> None:
    outcomes = [0.1, 0.35, 0.35, 0.8, 1.0]
    scores = []
    for chosen in combinations(range(5), 2):
        new = [outcomes[i] for i in chosen]
        old = [outcomes[i] for i in range(5) if i not in chosen]
        scores.append(step_evidence([group([*new], [*old])]).score)
    information = step_evidence([group([0.1, 0.35], [0.35, 0.8, 1.0])]).information
    assert sum(scores) == pytest.approx(0.0)
    assert sum(score * score for score in scores) / len(scores) == pytest.approx(information)


def test_groups_without_variance_and_with_one_arm_carry_no_information() -> None:
    step = step_evidence([group([1, 1], [1, 1]), group([0.1 + 0.2, 0.3], [0.3, 0.3]), group([1, 0], []), group([], [])])
    assert step.information == step.score == 0.0
    assert step.groups == 2
    assert step.informative == 0
    assert step.comparisons == 2.0


def test_differences_of_outcomes_do_not_depend_on_their_level() -> None:
    low = step_evidence([group([0.2, 0.3], [0.1, 0.2])])
    high = step_evidence([group([0.8, 0.9], [0.7, 0.8])])
    assert low.score == pytest.approx(high.score)
    assert low.information == pytest.approx(high.information)


def test_many_small_differences_are_heard_beside_one_lucky_success() -> None:
    small = [group([0.15, 0.2, 0.2, 0.25], [0.1, 0.1, 0.15, 0.05]) for _ in range(8)]
    lucky = group([0.1, 0.1, 0.1, 0.1], [1.0, 0.1, 0.1, 0.1])
    step = step_evidence([*small, lucky])
    assert step.score / sqrt(step.information) > 3.0
    assert step.raw_score / sqrt(step.raw_variance) < 2.5  # unweighted, the one success drowns the others


def test_noise_far_below_two_hundredths_counts_for_nothing() -> None:
    step = step_evidence([group([1e-4, 2e-4], [0.0, 0.0]) for _ in range(16)])
    assert step.information < 0.01


def test_missing_outcomes_leave_their_group() -> None:
    with_missing = step_evidence([group([1, 0, None], [0, 0, None, None])])
    without = step_evidence([group([1, 0], [0, 0])])
    assert with_missing.score == without.score
    assert with_missing.missing == (2, 1)


def test_evidence_survives_its_state() -> None:
    step = step_evidence([group([1, 0.3], [0.1, None])], bets=(0.2, 0.4))
    assert StepEvidence.from_state(step.to_state()) == step
