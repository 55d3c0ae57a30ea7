"""Telling a model's reasoning from its answer."""

from __future__ import annotations

OPEN = "<think>"
CLOSE = "</think>"


def split_reasoning(text: str, *, opened: bool = False) -> tuple[str, str]:
    """(reasoning, answer) of a sampled text.

    Args:
        text: what was sampled.
        opened: the prompt ended inside the reasoning block, so that ``text`` starts in it.
    """
    if CLOSE in text:
        before, _, after = text.partition(CLOSE)
        return before.partition(OPEN)[2].strip() if OPEN in before else before.strip(), after.strip()
    if opened or text.lstrip().startswith(OPEN):  # cut off while thinking
        return text.replace(OPEN, "", 1).strip(), ""
    return "", text.strip()


def join_reasoning(reasoning: str, answer: str) -> str:
    """The text as a chat template finds it in history."""
    return f"{OPEN}\n{reasoning}\n{CLOSE}\n\n{answer}" if reasoning else answer
