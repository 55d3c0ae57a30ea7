"""What every chart draws with."""

from __future__ import annotations

import math
from collections.abc import Callable
from html import escape

TOP, RIGHT = 12.0, 14.0
CHARACTER = 6.4  # width of a character at the page's label size, in SVG units

Scale = Callable[[float], float]


class Canvas:
    """An SVG under construction. Sizes are in SVG units; the page scales the drawing to its column."""

    def __init__(self, width: float, height: float, label: str) -> None:
        self.width, self.height = width, height
        self._parts = [f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(label)}">']

    def line(self, kind: str, x1: float, y1: float, x2: float, y2: float) -> None:
        """A straight line."""
        self._parts.append(f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>')

    def text(self, kind: str, x: float, y: float, text: str, anchor: str = "start", title: str = "") -> None:
        """A label; ``anchor`` is start, middle or end."""
        place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
        self._parts.append(f'<text class="{kind}" {place}>{escape(text)}{_title(title)}</text>')

    def rect(
        self, kind: str, x: float, y: float, width: float, height: float, title: str = "", round_: float = 0
    ) -> None:
        """A box."""
        place = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="{round_:g}"'
        self._parts.append(f'<rect class="{kind}" {place}>{_title(title)}</rect>')

    def circle(self, kind: str, x: float, y: float, radius: float, title: str = "") -> None:
        """A dot."""
        self._parts.append(f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}">{_title(title)}</circle>')

    def path(self, kind: str, commands: str) -> None:
        """A path in SVG's commands."""
        self._parts.append(f'<path class="{kind}" d="{commands}"/>')

    def render(self) -> str:
        """The drawing."""
        return "".join([*self._parts, "</svg>"])


def scale(source: tuple[float, float], target: tuple[float, float]) -> Scale:
    """A linear map; what lies outside ``source`` is drawn at its edge."""
    (low, high), (start, end) = source, target
    width = (high - low) or 1.0
    return lambda value: start + min(1.0, max(0.0, (value - low) / width)) * (end - start)


def nice_ticks(low: float, high: float, count: int) -> list[float]:
    """At most ``count`` + 1 round values from ``low`` to ``high``."""
    if high <= low:
        return [low]
    raw = (high - low) / max(1, count)
    size = 10 ** math.floor(math.log10(raw))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= raw * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 10) for number in range(first, last + 1)]


def percent(value: float) -> str:
    """0.125 as ``12 %`` or, below 10, ``1.2 %``."""
    shown = 100 * value
    return f"{shown:.1f} %" if 0 < abs(shown) < 9.95 and abs(shown - round(shown)) > 0.04 else f"{shown:.0f} %"


def number(value: float) -> str:
    """Three digits at most, no needless decimals."""
    return f"{value:.0f}" if abs(value - round(value)) < 1e-9 else f"{value:.3g}"


def _title(text: str) -> str:
    return f"<title>{escape(text)}</title>" if text else ""
