"""Does a chat template render a conversation as a prefix of its continuation?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum

Render = Callable[[Sequence[Mapping[str, object]], bool], str]
_ANSWER = "qzanswerzq"
_THOUGHT = "qzthoughtzq"


class Continuation(StrEnum):
    """What comes after an answer: a user's message or a tool's result, after an answer with reasoning or without."""

    USER = "user"
    TOOL = "tool"
    USER_AFTER_REASONING = "user after reasoning"
    TOOL_AFTER_REASONING = "tool after reasoning"


class Preservation(StrEnum):
    """``broken``: the template rewrites what was sent or sampled. ``refused``: it does not take such a turn."""

    KEPT = "kept"
    BROKEN = "broken"
    REFUSED = "refused"


def check_prefix(render: Render, continuation: Continuation, *, system: bool) -> Preservation:
    """Whether the prompt and an answer sampled for it stay as they are when the conversation goes on.

    Args:
        render: (messages, add generation prompt) -> text; raises when the template refuses.
        continuation: what comes next.
        system: with a system message.
    """
    tool = continuation in (Continuation.TOOL, Continuation.TOOL_AFTER_REASONING)
    reasons = continuation in (Continuation.USER_AFTER_REASONING, Continuation.TOOL_AFTER_REASONING)
    start: list[dict[str, object]] = [{"role": "system", "content": "s"}] if system else []
    start.append({"role": "user", "content": "u"})
    answer: dict[str, object] = {"role": "assistant", "content": _ANSWER}
    new: dict[str, object] = {"role": "user", "content": "v"}
    if tool:
        function = {"name": "f", "arguments": {}}
        answer["tool_calls"] = [{"id": "abcdef012", "type": "function", "function": function}]
        new = {"role": "tool", "content": "v", "tool_call_id": "abcdef012", "name": "f"}
    try:
        prompt = render(start, True)
        opened = prompt.rstrip().endswith("<think>")
        sampled = _ANSWER
        if reasons:
            sampled = f"{'' if opened else '<think>'}\n{_THOUGHT}\n</think>\n\n{_ANSWER}"
            sampled = sampled.lstrip("\n") if opened else sampled
            answer["content"] = sampled if not opened else f"<think>\n{sampled}"
        elif opened:
            sampled = f"\n</think>\n\n{_ANSWER}"
            answer["content"] = _ANSWER
        whole = render([*start, answer, new], True)
    except Exception:  # templates refuse by raising whatever Jinja gives them
        return Preservation.REFUSED
    return Preservation.KEPT if whole.startswith(prompt + sampled) else Preservation.BROKEN
