"""Small SVG charts for a report that needs no network and no script.

Colours are CSS classes of the page (``ink-1`` ...), so that light and dark themes serve one drawing. Every text is
escaped; a hover shows the numbers (``<title>``).
"""

from __future__ import annotations

from reskill_agents.charts.dots import Dot, DotRow, dot_plot
from reskill_agents.charts.lanes import Bar, Lane, Mark, stacked_bar, timeline
from reskill_agents.charts.lines import Axes, Series, Span, line_chart, smooth

__all__ = [
    "Axes",
    "Bar",
    "Dot",
    "DotRow",
    "Lane",
    "Mark",
    "Series",
    "Span",
    "dot_plot",
    "line_chart",
    "smooth",
    "stacked_bar",
    "timeline",
]
