"""Echoes of a cause do not enter; special cases are told from them."""

from __future__ import annotations

import numpy as np
import pytest

from reskill_agents.induction_joint import JointEffects, Race

ROWS = 400


def table() -> JointEffects:
    """A cause worth 0.5, an echo that agrees with it in three of four rows, and half of the cause's breaches."""
    rng = np.random.default_rng(0)
    cause = rng.integers(0, 2, ROWS).astype(float)
    echo = np.where(rng.random(ROWS) < 0.75, cause, 1 - cause)
    special = np.where((cause == 0) & (rng.random(ROWS) < 0.5), 0.0, 1.0)
    outcome = 0.5 * cause + 0.1 * rng.standard_normal(ROWS)
    return JointEffects.of(
        np.stack([cause, echo, special], axis=1), outcome, np.arange(ROWS) % 4, np.arange(ROWS, dtype=np.int64)
    )


def test_an_echo_has_an_effect_alone_and_none_beside_its_cause() -> None:
    joint = table()
    assert joint.partial([1], []).slope[0] > 0.15
    assert joint.partial([1], []).p[0] < 1e-6
    assert joint.partial([1], [0]).slope[0] == pytest.approx(0, abs=0.03)
    assert joint.partial([0], [1]).slope[0] == pytest.approx(0.5, abs=0.05)


def test_rows_on_which_a_check_does_not_apply_count_for_nothing() -> None:
    joint = table()
    doses = joint.doses.copy()
    doses[:100, 0] = np.nan
    some = JointEffects(doses, joint.outcomes, joint.strata, joint.tasks)
    rest = JointEffects(joint.doses[100:], joint.outcomes[100:], joint.strata[100:], joint.tasks[100:])
    assert some.partial([0], []).slope[0] == pytest.approx(rest.partial([0], []).slope[0])


def test_a_special_case_breaks_nothing_else() -> None:
    joint = table()
    assert joint.special_case(2, 0)
    assert not joint.special_case(1, 0)


def test_only_the_cause_enters() -> None:
    joint = table()
    race = Race(joint, [0, 1, 2], joint.partial([0, 1, 2], []).slope, rate=0.05)
    standing = race.standing()
    assert set(standing.ready) == {0, 1, 2}
    surest = max(standing.ready, key=lambda position: standing.effects.z[position])
    race.enter(standing, surest)
    assert race.standing().ready == ()
    assert [entry.column for entry in race.entered] == [0]
