"""``reskill ab``: does a skill pack help an agent? Paired runs of a LangGraph agent, an interval, and an honest answer.

:func:`run_ab` runs, :class:`~reskill_agents.ab.answer.AbAnswer` answers, ``write_page`` shows transcripts side by side.
Names load on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reskill_agents.ab.answer import AbAnswer, Finding
    from reskill_agents.ab.budget import Budget
    from reskill_agents.ab.effect import Effect, paired_effect
    from reskill_agents.ab.injection import Injection, current_library
    from reskill_agents.ab.page import write_page
    from reskill_agents.ab.runner import AbPlan, FinishedRun, run_ab
    from reskill_agents.ab.tasks import AbTask, read_tasks

_LAZY = {
    "AbAnswer": "answer",
    "AbPlan": "runner",
    "AbTask": "tasks",
    "Budget": "budget",
    "Effect": "effect",
    "Finding": "answer",
    "FinishedRun": "runner",
    "Injection": "injection",
    "current_library": "injection",
    "paired_effect": "effect",
    "read_tasks": "tasks",
    "run_ab": "runner",
    "write_page": "page",
}
__all__ = [
    "AbAnswer",
    "AbPlan",
    "AbTask",
    "Budget",
    "Effect",
    "Finding",
    "FinishedRun",
    "Injection",
    "current_library",
    "paired_effect",
    "read_tasks",
    "run_ab",
    "write_page",
]


def __getattr__(name: str) -> object:
    """Load a public name from its module (PEP 562)."""
    if name in _LAZY:
        return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
