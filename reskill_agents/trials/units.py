"""Live traffic: units (threads, users) instead of groups, windows instead of steps.

A unit's arm is a hash of trial and unit against the candidate's share. The share changes only at window borders, so
within a window and stratum the arms are exchangeable and form one group of the paired evidence. A unit brings one
value, the mean of its outcomes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from reskill_agents.errors import TrialError
from reskill_agents.trials.arm import Arm


@dataclass(frozen=True, slots=True)
class UnitAssignment:
    """Which arm a unit was given, and under which conditions; kept with each of its outcomes.

    Args:
        trial: id of the trial.
        unit: id of the unit.
        arm: its arm.
        stratum: units of different strata are never compared (a tenant, a kind of task).
        window: 0-based; how many windows were sealed before.
        share: of the candidate in that window.
    """

    trial: str
    unit: str
    arm: Arm
    stratum: str
    window: int
    share: float


@dataclass(frozen=True, slots=True)
class UnitOutcome:
    """One outcome of a unit: in [0, 1], or ``None`` for a fault outside the agent."""

    assignment: UnitAssignment
    outcome: float | None


def unit_arm(trial: str, unit: str, share: float) -> Arm:
    """Candidate if the hash of trial and unit, uniform on [0, 1), is below ``share``."""
    digest = hashlib.sha256(f"{trial}\x00{unit}".encode()).digest()
    return Arm.CANDIDATE if int.from_bytes(digest[:8], "big") / 2.0**64 < share else Arm.INCUMBENT


def window_groups(outcomes: Iterable[UnitOutcome], trial: str, window: int) -> list[list[tuple[Arm, float | None]]]:
    """One group per stratum, one value per unit: the mean of its outcomes, ``None`` if all are missing.

    Units are ordered by id, so that the result does not depend on the order of arrival.

    Raises:
        TrialError: for an outcome of another trial or window, or a unit under two arms or strata.
    """
    units: dict[str, UnitAssignment] = {}
    values: dict[str, list[float | None]] = {}
    for item in outcomes:
        given = item.assignment
        if given.trial != trial or given.window != window:
            raise TrialError(
                f"the outcome of unit {given.unit!r} belongs to trial {given.trial!r}, window {given.window}; "
                f"trial {trial!r} is sealing window {window}"
            )
        first = units.setdefault(given.unit, given)
        if (first.arm, first.stratum) != (given.arm, given.stratum):
            raise TrialError(f"unit {given.unit!r} appears under two arms or strata in window {window}")
        values.setdefault(given.unit, []).append(item.outcome)
    strata: dict[str, list[tuple[Arm, float | None]]] = {}
    for unit in sorted(units):
        seen = [value for value in values[unit] if value is not None]
        mean = sum(seen) / len(seen) if seen else None
        strata.setdefault(units[unit].stratum, []).append((units[unit].arm, mean))
    return [strata[name] for name in sorted(strata)]
