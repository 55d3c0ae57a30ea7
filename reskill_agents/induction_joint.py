"""Which surviving checks of a log of texts matter beside stronger ones: partial effects, entered one by one.

Many checks of one log overlap: whoever does one thing does another less, and "never repeat an action" holds "never repeat
it after an error". Alone, each echo of a cause is as significant as the log is large, so that more data finds more
echoes. Here a check enters only by its partial effect (regression on the ones that entered before, within strata; Frisch,
Waugh and Lovell), at a level that counts how many could have entered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from reskill_agents.induction_effects import Effects, Floats, Ints, slopes

DROPPED_AT = 0.05  # one-sided p of the partial effect from which on a check is out of the race
ADDS_AT = 0.2  # one-sided p beside the broad check from which on a special case adds nothing to it
SPECIAL_SHARE = 0.2  # of a broad check's breaches that a special case must make up
PARTIAL_SHARE = 0.3  # of its effect alone that a check must keep beside the others; an echo keeps none
_INSIDE = 0.98  # of the breaches of a special case that are breaches of the broad check


@dataclass(frozen=True)
class JointEffects:
    """Partial effects of checks on one table of rows.

    Args:
        doses: (R, D) how well each row kept each check, 0..1; NaN: it does not apply.
        outcomes: (R,) graded outcome.
        strata: (R,) rows are compared inside these.
        tasks: (R,) errors are clustered by task.
    """

    doses: Floats = field(repr=False)
    outcomes: Floats = field(repr=False)
    strata: Ints = field(repr=False)
    tasks: Ints = field(repr=False)

    @classmethod
    def of(cls, doses: Floats, outcomes: Floats, strata: Ints, tasks: Ints) -> JointEffects:
        """The rows in the order of their strata."""
        order = np.argsort(strata, kind="stable")
        return cls(doses[order], outcomes[order], strata[order], tasks[order])

    def partial(self, columns: Sequence[int], given: Sequence[int]) -> Effects:
        """Effects of ``columns`` with the doses of ``given`` held fixed, in the order of ``columns``."""
        controls = np.nan_to_num(_centred(self.doses[:, list(given)], self.strata))
        found = [self._partial(column, controls) for column in columns]
        if not found:
            nothing = np.zeros(0)
            return Effects(nothing, nothing, nothing, np.zeros(0, dtype=np.int64))
        return Effects(
            np.concatenate([effects.slope for effects in found]),
            np.concatenate([effects.error for effects in found]),
            np.concatenate([effects.p for effects in found]),
            np.concatenate([effects.support for effects in found]),
        )

    def _partial(self, column: int, controls: Floats) -> Effects:
        dose = self.doses[:, column]
        rows = ~np.isnan(dose)
        table = np.column_stack([dose[rows], self.outcomes[rows], controls[rows]])
        table = _centred(table, self.strata[rows])
        own, held = table[:, :2], table[:, 2:]
        if held.shape[1]:
            moments = held.T @ held
            ridge = 1e-9 * max(float(np.trace(moments)), 1.0) * np.eye(held.shape[1])
            own = own - held @ np.linalg.solve(moments + ridge, held.T @ own)
        return slopes(own[:, :1], own[:, 1:], np.ones((len(own), 1), dtype=bool), self.tasks[rows])

    def special_case(self, narrow: int, broad: int) -> bool:
        """Whether breaching ``narrow`` is one way to breach ``broad``, and a frequent one."""
        inner, outer = self.doses[:, narrow], self.doses[:, broad]
        both = ~np.isnan(inner) & ~np.isnan(outer)
        breached, wider = inner[both] < 1, outer[both] < 1
        inside = int((breached & wider).sum())
        return inside >= max(_INSIDE * int(breached.sum()), SPECIAL_SHARE * int(wider.sum()), 1)


def _centred(values: Floats, strata: Ints) -> Floats:
    """``values`` (R, K) less the mean of their stratum, NaN apart; ``strata`` (R,) in order."""
    if not len(values):
        return values
    starts = np.flatnonzero(np.r_[True, strata[1:] != strata[:-1]])
    applies = ~np.isnan(values)
    sums = np.add.reduceat(np.where(applies, values, 0.0), starts, axis=0)
    counts = np.add.reduceat(applies.astype(float), starts, axis=0)
    means = np.divide(sums, counts, out=np.zeros_like(sums), where=counts > 0)
    sizes = np.diff(np.r_[starts, len(values)])
    centred: Floats = values - np.repeat(means, sizes, axis=0)
    return centred


@dataclass(frozen=True, slots=True)
class Entry:
    """A check that entered, and its partial effect at that moment."""

    column: int
    effect: float
    error: float


@dataclass(frozen=True, slots=True)
class Standing:
    """The checks still in the race, their partial effects, and the positions of those that may enter now."""

    columns: tuple[int, ...]
    effects: Effects
    ready: tuple[int, ...]


class Race:
    """Checks enter one by one, until none may any more.

    The k-th of n survivors enters at level ``rate`` k / n, as in the procedure of Benjamini and Hochberg: the more causes
    there are, the more entries a wrong one hides among.

    Args:
        joint: the rows.
        columns: the checks that survived scrutiny.
        alone: (D,) effect of every check by itself.
        rate: false discovery rate.
    """

    def __init__(self, joint: JointEffects, columns: Sequence[int], alone: Floats, rate: float) -> None:
        self._joint, self._left, self._alone = joint, list(columns), alone
        self._step = rate / max(len(columns), 1)
        self.entered: list[Entry] = []

    @property
    def level(self) -> float:
        """One-sided p below which the next check may enter."""
        return self._step * (len(self.entered) + 1)

    def standing(self) -> Standing:
        """Where it stands; what has no effect beside those that entered is out for good."""
        if not self._left:
            return Standing((), self._joint.partial((), ()), ())
        effects = self._joint.partial(self._left, self._given)
        keeps = np.nan_to_num(effects.slope) >= PARTIAL_SHARE * self._alone[self._left]
        alive = np.flatnonzero((effects.p < DROPPED_AT) & keeps)
        self._left = [self._left[position] for position in alive]
        effects = Effects(effects.slope[alive], effects.error[alive], effects.p[alive], effects.support[alive])
        ready = tuple(int(position) for position in np.flatnonzero(effects.p < self.level))
        return Standing(tuple(self._left), effects, ready)

    def sharper(self, standing: Standing, broad: int, forbids: Sequence[bool]) -> int:
        """The position of a special case of the one at ``broad`` that is said first; ``broad`` itself if there is none.

        "Never repeat an action" holds "never repeat it after an error". The special case goes first if it may enter, adds
        something to the broad one, and leaves it something to add. What to do is not replaced by what not to do:
        ``forbids`` (D,) says which checks are of that kind.
        """
        column = standing.columns[broad]
        best, merit = broad, 0.0
        for position in standing.ready:
            narrow = standing.columns[position]
            negative = forbids[narrow] and not forbids[column]
            if position == broad or negative or not self._joint.special_case(narrow, column):
                continue
            added = self._joint.partial([narrow], [*self._given, column])
            left = self._joint.partial([column], [*self._given, narrow])
            if added.p[0] < ADDS_AT and left.p[0] < self.level and added.z[0] > merit:
                best, merit = position, float(added.z[0])
        return best

    def enter(self, standing: Standing, position: int) -> None:
        """Let one in."""
        column, effects = standing.columns[position], standing.effects
        self.entered.append(Entry(column, float(effects.slope[position]), float(effects.error[position])))
        self._left.remove(column)

    @property
    def _given(self) -> list[int]:
        return [entry.column for entry in self.entered]
