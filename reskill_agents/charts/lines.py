"""Line charts: learning curves and posteriors over time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from reskill_agents.charts.canvas import RIGHT, TOP, Canvas, Scale, nice_ticks, number, percent, scale

Point = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """One line.

    Args:
        name: for the hover texts.
        points: (x, y), x ascending; a NaN is a gap.
        ink: CSS class of the colour.
        faint: thin and pale (raw values behind a smoothed line).
        dashed: drawn with dashes.
        dots: mark each point.
        band: (x, low, high) drawn as a pale area.
    """

    name: str
    points: Sequence[Point]
    ink: str = "ink-1"
    faint: bool = False
    dashed: bool = False
    dots: bool = False
    band: Sequence[tuple[float, float, float]] = ()


@dataclass(frozen=True)
class Span:
    """A vertical stripe from ``x0`` to ``x1``, e.g. a trial."""

    x0: float
    x1: float
    ink: str
    title: str = ""


@dataclass(frozen=True)
class Axes:
    """The frame. ``y`` limits are fixed, so that charts compare; ``rules`` are (y, label) of horizontal lines."""

    x: tuple[float, float]
    y: tuple[float, float] = (0.0, 1.0)
    x_label: str = ""
    in_percent: bool = True
    width: float = 720.0
    height: float = 260.0
    rules: Sequence[tuple[float, str]] = ()
    ticks: int = 4
    small: bool = False

    @property
    def left(self) -> float:
        """Where the drawing area begins."""
        return 40.0 if self.small else 46.0

    @property
    def floor(self) -> float:
        """Where it ends below."""
        return self.height - (20.0 if self.small else 36.0)

    def show(self, value: float) -> str:
        """A y value in words."""
        return percent(value) if self.in_percent else number(value)


def line_chart(axes: Axes, series: Sequence[Series], spans: Sequence[Span] = (), label: str = "") -> str:
    """Lines over a shared x, as SVG."""
    canvas = Canvas(axes.width, axes.height, label)
    to_x = scale(axes.x, (axes.left, axes.width - RIGHT))
    to_y = scale(axes.y, (axes.floor, TOP))
    for span in spans:
        width = max(1.5, to_x(span.x1) - to_x(span.x0))
        canvas.rect(f"span {span.ink}", to_x(span.x0), TOP, width, axes.floor - TOP, span.title)
    _frame(canvas, axes, to_x, to_y)
    for line in series:
        _draw(canvas, axes, line, to_x, to_y)
    return canvas.render()


def _frame(canvas: Canvas, axes: Axes, to_x: Scale, to_y: Scale) -> None:
    end = axes.width - RIGHT
    for step in range(axes.ticks + 1):
        value = axes.y[0] + (axes.y[1] - axes.y[0]) * step / axes.ticks
        canvas.line("grid", axes.left, to_y(value), end, to_y(value))
        canvas.text("tick", axes.left - 6, to_y(value) + 3.5, axes.show(value), "end")
    for value in nice_ticks(*axes.x, 4 if axes.small else 8):
        canvas.text("tick", to_x(value), axes.floor + 15, number(value), "middle")
    if axes.x_label and not axes.small:
        canvas.text("axis", (axes.left + end) / 2, axes.height - 4, axes.x_label, "middle")
    for value, text in axes.rules:
        canvas.line("rule", axes.left, to_y(value), end, to_y(value))
        if text:
            canvas.text("tick", end, to_y(value) - 4, text, "end")


def _draw(canvas: Canvas, axes: Axes, line: Series, to_x: Scale, to_y: Scale) -> None:
    band = [(x, low, high) for x, low, high in line.band if not math.isnan(low + high)]
    if band:
        outline = [(x, high) for x, _, high in band] + [(x, low) for x, low, _ in reversed(band)]
        canvas.path(f"band {line.ink}", _path(outline, to_x, to_y) + "Z")
    drawn = [point for point in line.points if not math.isnan(point[1])]
    if len(drawn) > 1:
        style = "line" + (" faint" if line.faint else "") + (" dashed" if line.dashed else "")
        canvas.path(f"{style} {line.ink}", _path(line.points, to_x, to_y))
    if line.faint:
        return
    visible = line.dots or len(drawn) == 1
    for x, y in drawn:  # invisible points still answer a hover
        kind, radius = (f"dot {line.ink}", 3.2) if visible else ("hover", 6.0)
        canvas.circle(kind, to_x(x), to_y(y), radius, f"{line.name} · {number(x)}: {axes.show(y)}")


def _path(points: Iterable[Point], to_x: Scale, to_y: Scale) -> str:
    commands: list[str] = []
    pen = "M"
    for x, y in points:
        if math.isnan(y):
            pen = "M"
            continue
        commands.append(f"{pen}{to_x(x):.1f} {to_y(y):.1f}")
        pen = "L"
    return "".join(commands)


def smooth(points: Sequence[Point], window: int) -> list[Point]:
    """Centred moving average over ``window`` points; the ends average what there is, NaNs are left out."""
    half = max(0, window // 2)
    result: list[Point] = []
    for index, (x, _) in enumerate(points):
        near = [y for _, y in points[max(0, index - half) : index + half + 1] if not math.isnan(y)]
        result.append((x, sum(near) / len(near) if near else math.nan))
    return result
