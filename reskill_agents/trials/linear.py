"""Within-group least squares from running sums, in plain floats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf, sqrt

from reskill_agents.trials.state import items, number

_PIVOT = 1e-9


class Moments:
    """Sums of squares and products of predictors x and outcome y, both less their group's mean.

    Args:
        size: number of predictors.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._xx = [[0.0] * size for _ in range(size)]
        self._xy = [0.0] * size
        self._yy = 0.0
        self._freedom = 0.0

    def add_group(self, rows: Sequence[Sequence[float]], outcomes: Sequence[float]) -> None:
        """Add one group; its level costs one degree of freedom."""
        count = len(outcomes)
        if count < 2:
            return
        middle = sum(outcomes) / count
        means = [sum(column) / count for column in zip(*rows, strict=True)]
        for row, outcome in zip(rows, outcomes, strict=True):
            x = [value - mean for value, mean in zip(row, means, strict=True)]
            y = outcome - middle
            self._yy += y * y
            for i in range(self.size):
                self._xy[i] += x[i] * y
                line = self._xx[i]
                for j in range(self.size):
                    line[j] += x[i] * x[j]
        self._freedom += count - 1

    def forget(self, factor: float) -> None:
        """Count everything so far ``factor`` times."""
        self._xx = [[factor * value for value in line] for line in self._xx]
        self._xy = [factor * value for value in self._xy]
        self._yy *= factor
        self._freedom *= factor

    def select(self, sources: Sequence[int | None]) -> Moments:
        """The sums for another list of predictors: ``sources`` names the old column of each, ``None`` for a new one."""
        chosen = Moments(len(sources))
        for i, a in enumerate(sources):
            if a is None:
                continue
            chosen._xy[i] = self._xy[a]
            for j, b in enumerate(sources):
                if b is not None:
                    chosen._xx[i][j] = self._xx[a][b]
        chosen._yy, chosen._freedom = self._yy, self._freedom
        return chosen

    def solve(self) -> list[tuple[float, float]]:
        """(coefficient, standard error) of each predictor; (0, inf) for those that never varied."""
        varied = [i for i in range(self.size) if self._xx[i][i] > _PIVOT]
        freedom = self._freedom - len(varied)
        found = [(0.0, inf)] * self.size
        if not varied or freedom <= 0.0:
            return found
        inverse = _inverse([[self._xx[i][j] for j in varied] for i in varied])
        if inverse is None:
            return found
        right = [self._xy[i] for i in varied]
        slopes = [sum(a * b for a, b in zip(line, right, strict=True)) for line in inverse]
        rest = self._yy - sum(a * b for a, b in zip(slopes, right, strict=True))
        noise = max(rest, 0.0) / freedom
        for place, index in enumerate(varied):
            found[index] = (slopes[place], sqrt(noise * inverse[place][place]))
        return found

    def to_state(self) -> dict[str, object]:
        """JSON-able and exact."""
        return {"xx": [list(line) for line in self._xx], "xy": list(self._xy), "yy": self._yy, "freedom": self._freedom}

    @classmethod
    def from_state(cls, state: Mapping[str, object]) -> Moments:
        """The inverse of :meth:`to_state`."""
        xy = [number(value) for value in items(state["xy"])]
        moments = cls(len(xy))
        moments._xy = xy
        moments._xx = [[number(value) for value in items(line)] for line in items(state["xx"])]
        moments._yy, moments._freedom = number(state["yy"]), number(state["freedom"])
        return moments


def _inverse(matrix: list[list[float]]) -> list[list[float]] | None:
    """Gauss-Jordan with partial pivoting; ``None`` for a singular matrix."""
    size = len(matrix)
    work = [[*line, *(float(i == j) for j in range(size))] for i, line in enumerate(matrix)]
    for column in range(size):
        pivot = max(range(column, size), key=lambda row: abs(work[row][column]))
        if abs(work[pivot][column]) < _PIVOT:
            return None
        work[column], work[pivot] = work[pivot], work[column]
        head = work[column][column]
        work[column] = [value / head for value in work[column]]
        for row in range(size):
            if row != column and work[row][column]:
                factor = work[row][column]
                work[row] = [a - factor * b for a, b in zip(work[row], work[column], strict=True)]
    return [line[size:] for line in work]
