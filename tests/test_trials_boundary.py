"""The triangular boundary: its error rates by exact recursion of the density, not by simulation."""

from __future__ import annotations

from math import erfc, pi, sqrt

import numpy as np
import pytest

from reskill_agents.trials.boundary import ALPHA, Z_ALPHA, Side, Triangle


def crossing(triangle: Triangle, per_step: float, effect: float) -> tuple[float, float]:
    """P(upper) and the expected number of steps when each step brings ``per_step`` information."""
    sd = sqrt(per_step)
    grid = np.linspace(-4.0 * triangle.intercept, 6.0 * triangle.intercept, 1600)
    width = grid[1] - grid[0]
    drift = effect * per_step

    def normal(distance: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        return np.exp(-0.5 * ((distance - drift) / sd) ** 2) / (sd * sqrt(2.0 * pi)) * width

    step = normal(grid[:, None] - grid[None, :])
    density = normal(grid)
    upper = expected = 0.0
    for number in range(1, triangle.max_steps + 1):
        expected += float(density.sum())
        information = number * per_step
        sides = [triangle.side(float(score), information, per_step, number) for score in grid]
        upper += float(density[[side is Side.UPPER for side in sides]].sum())
        inside = np.array([side is Side.INSIDE for side in sides])
        if not inside.any():
            break
        density = step @ np.where(inside, density, 0.0)
    return upper, expected


@pytest.mark.parametrize("per_step", [3.0, 6.0, 16.7, 40.0, 62.0])
@pytest.mark.parametrize("max_steps", [5, 12])
def test_a_null_effect_is_accepted_with_at_most_the_stated_error(per_step: float, max_steps: int) -> None:
    upper, _ = crossing(Triangle(max_steps=max_steps), per_step, 0.0)
    assert upper <= 0.047
    assert upper >= 0.035  # and it is not wasted either


def test_the_effect_of_interest_is_found_and_a_harmful_one_is_not_accepted() -> None:
    triangle = Triangle(effect=0.3, max_steps=30)
    assert crossing(triangle, 16.7, 0.3)[0] == pytest.approx(1.0 - ALPHA, abs=0.01)
    assert crossing(triangle, 16.7, -0.2)[0] < 1e-3


def test_a_large_effect_ends_the_trial_early() -> None:
    triangle = Triangle(effect=0.3)
    assert crossing(triangle, 16.7, 0.6)[1] < crossing(triangle, 16.7, 0.3)[1] < 0.6 * triangle.max_steps


def test_the_lines_meet_at_the_stated_maximum() -> None:
    triangle = Triangle(effect=0.3)
    top = triangle.max_information
    assert triangle.upper(top, 0.0) == pytest.approx(triangle.lower(top, 0.0))
    assert top == pytest.approx(8.0 / 0.09 * 2.4769, rel=1e-4)
    assert triangle.exhausted(top, 1)
    assert triangle.exhausted(0.0, 12)


def test_the_final_bar_spends_what_is_left() -> None:
    assert erfc(Z_ALPHA / sqrt(2.0)) / 2.0 == pytest.approx(ALPHA)
    triangle = Triangle()
    early = triangle.final(0.1 * triangle.max_information) / sqrt(0.1 * triangle.max_information)
    late = triangle.final(0.8 * triangle.max_information) / sqrt(0.8 * triangle.max_information)
    assert early == pytest.approx(Z_ALPHA)
    assert late > early


@pytest.mark.parametrize("per_step", [300.0, 5000.0])
def test_one_huge_look_is_neither_too_easy_nor_too_hard(per_step: float) -> None:
    triangle = Triangle()
    bar = next(
        score / sqrt(per_step) for score in range(10**4) if triangle.side(score, per_step, per_step, 1) == "upper"
    )
    assert 1.65 < bar < 2.35


def test_no_information_is_never_an_acceptance() -> None:
    assert Triangle().side(0.0, 0.0, 0.0, 12) is Side.LOWER
