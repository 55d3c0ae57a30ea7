"""Timelines (the lives of skills) and bars of shares (where the time went)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reskill_agents.charts.canvas import CHARACTER, RIGHT, TOP, Canvas, nice_ticks, number, scale

_STEP, _FLOOR, _WIDEST_LABEL = 28.0, 36.0, 270.0


@dataclass(frozen=True)
class Bar:
    """A stretch of a lane from ``x0`` to ``x1``."""

    x0: float
    x1: float
    ink: str
    title: str = ""
    text: str = ""


@dataclass(frozen=True)
class Mark:
    """A point on a lane: a sign of one character."""

    x: float
    sign: str
    ink: str
    title: str = ""


@dataclass(frozen=True)
class Lane:
    """One life on the timeline."""

    label: str
    bars: Sequence[Bar] = ()
    marks: Sequence[Mark] = ()


def timeline(
    lanes: Sequence[Lane], x: tuple[float, float], *, x_label: str = "", width: float = 720.0, label: str = ""
) -> str:
    """Lives one below the other over a shared x, as SVG."""
    left = min(_WIDEST_LABEL, 24 + CHARACTER * max((len(lane.label) for lane in lanes), default=0))
    height = TOP + _STEP * len(lanes) + _FLOOR
    canvas = Canvas(width, height, label)
    to_x = scale(x, (left, width - RIGHT))
    for value in nice_ticks(*x, 8):
        canvas.line("grid", to_x(value), TOP, to_x(value), height - _FLOOR)
        canvas.text("tick", to_x(value), height - _FLOOR + 15, number(value), "middle")
    if x_label:
        canvas.text("axis", (left + width - RIGHT) / 2, height - 4, x_label, "middle")
    room = int((left - 20) / CHARACTER)
    for index, lane in enumerate(lanes):
        y = TOP + _STEP * index
        shown = lane.label if len(lane.label) <= room else lane.label[: room - 1] + "…"
        canvas.text("label", left - 12, y + _STEP / 2 + 4, shown, "end", lane.label)
        for bar in lane.bars:
            wide = max(3.0, to_x(bar.x1) - to_x(bar.x0))
            canvas.rect(f"bar {bar.ink}", to_x(bar.x0), y + 6, wide, _STEP - 12, bar.title, 4)
            if bar.text and wide > CHARACTER * len(bar.text) + 18:
                canvas.text("inbar", to_x(bar.x0) + 13, y + _STEP / 2 + 4, bar.text)
        for mark in lane.marks:
            canvas.text(f"mark {mark.ink}", to_x(mark.x), y + _STEP / 2 + 5, mark.sign, "middle", mark.title)
    return canvas.render()


def stacked_bar(parts: Sequence[tuple[str, float, str]], *, width: float = 720.0, label: str = "") -> str:
    """(name, seconds, ink) as shares of one bar, as SVG."""
    whole = sum(amount for _, amount, _ in parts) or 1.0
    canvas = Canvas(width, 34.0, label)
    at = 0.0
    for name, amount, ink in parts:
        wide = width * amount / whole
        shown = f"{name}: {amount:.0f} s, {100 * amount / whole:.0f} %"
        canvas.rect(f"bar {ink}", at, 2, max(0.5, wide - 1.5), 30, shown, 3)
        if wide > CHARACTER * len(name) + 16:
            canvas.text("inbar", at + 8, 21.5, name)
        at += wide
    return canvas.render()
