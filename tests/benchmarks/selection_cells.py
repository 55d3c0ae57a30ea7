"""The cells of the selection benchmark: sixteen named ones, and the full grid."""

from __future__ import annotations

from itertools import product

from selection_worlds import Drift, Shape, World

NAMED: dict[str, World] = {
    "null": World(),
    "null, equal tasks": World(spread=0.0, drift=Drift.NONE),
    "null, groups of 4, fast drift": World(group_size=4, drift=Drift.FAST),
    "null, groups of 16, graded": World(group_size=16, spread=0.7, graded=True),
    "null, graded at the floor": World(graded=True, base=-3.0, spread=0.7),
    "harmful -0.5": World(effect=-0.5),
    "+0.3": World(effect=0.3),
    "+0.5": World(effect=0.5),
    "+0.8": World(effect=0.8),
    "+1.2": World(effect=1.2),
    "+0.5 graded": World(effect=0.5, graded=True),
    "+0.5 graded at the floor": World(effect=0.5, graded=True, base=-3.0, spread=0.7),
    "+0.8 fading": World(effect=0.8, shape=Shape.FADING),
    "+0.8 reversing": World(effect=0.8, shape=Shape.REVERSING),
    "+0.8, 5 % missing in both": World(effect=0.8, missing=(0.05, 0.05)),
    "null, 20 % of the candidate's failures missing": World(lost_failures=0.2),
}

GRID_EFFECTS = (-0.5, 0.0, 0.3, 0.5, 0.8, 1.2)


def grid() -> dict[str, World]:
    """Every combination the issue names; without an effect its shape makes no difference, so it appears once."""
    cells: dict[str, World] = {}
    for spread, drift, size, graded, effect in product((0.0, 0.7, 3.0), Drift, (4, 8, 16), (False, True), GRID_EFFECTS):
        for shape in Shape if effect else (Shape.CONSTANT,):
            kind = "graded" if graded else "binary"
            name = f"spread {spread:g}, drift {drift}, {shape}, groups of {size}, {kind}, effect {effect:+g}"
            cells[name] = World(effect=effect, spread=spread, drift=drift, shape=shape, group_size=size, graded=graded)
    return cells
