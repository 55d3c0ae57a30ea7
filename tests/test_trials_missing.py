"""The brake on missing outcomes."""

from __future__ import annotations

import pytest

from reskill_agents.trials.missing import missing_p_value


def test_fisher_by_hand() -> None:
    # All 2 missing ones on the candidate, 4 of 8 rollouts: C(4,2) / C(8,2) = 6/28
    assert missing_p_value((4, 4), (0, 2)) == pytest.approx(6 / 28)
    # At least 1 of 2: 1 - C(4,2)/C(8,2)
    assert missing_p_value((4, 4), (1, 1)) == pytest.approx(22 / 28)


def test_nothing_missing_is_nothing_to_brake_for() -> None:
    assert missing_p_value((100, 100), (0, 0)) == 1.0
    assert missing_p_value((100, 100), (30, 0)) == 1.0
    assert missing_p_value((0, 0), (0, 0)) == 1.0


def test_unequal_arms_are_allowed_for() -> None:
    assert missing_p_value((100, 300), (10, 30)) > 0.4
    assert missing_p_value((300, 100), (10, 30)) < 1e-6
