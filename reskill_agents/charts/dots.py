"""Dot plots: shares with their intervals, one line a condition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reskill_agents.charts.canvas import RIGHT, TOP, Canvas, percent, scale

_LEFT, _STEP, _FLOOR = 200.0, 28.0, 24.0


@dataclass(frozen=True)
class Dot:
    """A share (0..1) with its interval; ``hollow``: an outline (before training)."""

    name: str
    value: float
    low: float
    high: float
    ink: str = "ink-1"
    hollow: bool = False


@dataclass(frozen=True)
class DotRow:
    """One line of the plot; a heading when it has no dots."""

    label: str
    dots: Sequence[Dot] = ()


def dot_plot(rows: Sequence[DotRow], *, width: float = 720.0, label: str = "") -> str:
    """The plot as SVG."""
    height = TOP + _STEP * len(rows) + _FLOOR
    canvas = Canvas(width, height, label)
    to_x = scale((0.0, 1.0), (_LEFT, width - RIGHT - 8))
    for fifth in range(6):
        x = to_x(fifth / 5)
        canvas.line("grid", x, TOP, x, height - _FLOOR)
        canvas.text("tick", x, height - 7, f"{fifth * 20} %", "middle")
    for index, row in enumerate(rows):
        y = TOP + _STEP * (index + 0.5)
        if not row.dots:
            canvas.text("heading", 0, y + 6, row.label)
            continue
        canvas.text("label", _LEFT - 14, y + 4, row.label, "end")
        if len(row.dots) == 2:
            canvas.line("way", to_x(row.dots[0].value), y, to_x(row.dots[1].value), y)
        for dot in row.dots:
            shown = f"{row.label} · {dot.name}: {percent(dot.value)} ({percent(dot.low)} to {percent(dot.high)})"
            canvas.line(f"whisker {dot.ink}", to_x(dot.low), y, to_x(dot.high), y)
            canvas.circle(f"{'hollow' if dot.hollow else 'dot'} {dot.ink}", to_x(dot.value), y, 5.5, shown)
    return canvas.render()
