"""A trigger in words, for clients that route on descriptions and know no triggers."""

from __future__ import annotations

import re

from reskill_agents.skill import canonical_text
from reskill_agents.trigger import Trigger, TriggerKind

_LONGEST_QUOTED = 120  # characters of a pattern worth showing in a description, which listings truncate anyway
_LITERAL = re.compile(r"(\^?)((?:[^\\.^$*+?{}\[\]|()]|\\[^A-Za-z0-9])*)(\$?)")
_UNFIT = re.compile(r"[<>`\n]|---")


def use_when(trigger: Trigger) -> str:
    """One imperative sentence that starts with "Use when"; a fixed function of the trigger.

    Holds no ``<`` or ``>`` and no line break: a pattern that does is described, not quoted.
    """
    return f"Use when {_phrase(trigger)}."


def _phrase(trigger: Trigger) -> str:
    if trigger.kind is TriggerKind.GENERAL:
        return "working on any task of this kind"
    if trigger.kind is TriggerKind.BEGINNING:
        return "a task begins, before the first action"
    if trigger.kind is TriggerKind.TOOL:
        shown = _quotable(trigger.pattern)
        return f"the tool {shown} has just answered" if shown else "the tool named in the metadata has just answered"
    subject = "your last action" if trigger.kind is TriggerKind.ACTION_PATTERN else "what you see"
    literal, whole = literal_of(trigger.pattern)
    shown = _quotable(literal)
    if shown:
        return f"{subject} {'is' if whole else 'contains'} {shown}"
    shown = _quotable(trigger.pattern)
    return f"{subject} matches {shown}" if shown else f"{subject} matches the pattern in the metadata"


def literal_of(pattern: str) -> tuple[str, bool]:
    """The text ``pattern`` stands for (empty: it has operators), and whether it must be the whole text."""
    match = _LITERAL.fullmatch(pattern)
    if match is None:
        return "", False
    return re.sub(r"\\(.)", r"\1", match[2]), bool(match[1] and match[3])


def _quotable(text: str) -> str:
    if not text or len(text) > _LONGEST_QUOTED or _UNFIT.search(text) or not text.isprintable():
        return ""
    return f"`{text}`" if canonical_text(text) == text else ""
