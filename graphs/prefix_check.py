"""Does a chat template render a conversation as a prefix of its continuation?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum

from reskill_agents.graphs.reasoning import join_reasoning

Render = Callable[[Sequence[Mapping[str, object]], bool], str]
_ANSWER = "qzanswerzq"
_THOUGHT = "qzthoughtzq"
_CALL_ID = "abcdef012"


class Continuation(StrEnum):
    """What comes after an answer: a user's message or a tool's result, after an answer with reasoning or without."""

    USER = "user"
    TOOL = "tool"
    USER_AFTER_REASONING = "user after reasoning"
    TOOL_AFTER_REASONING = "tool after reasoning"


class Preservation(StrEnum):
    """``broken``: the template rewrites what was sent or sampled. ``refused``: it does not take or show such a turn."""

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
    answer: dict[str, object] = {
        "role": "assistant",
        "content": join_reasoning(_THOUGHT if reasons else "", "" if tool else _ANSWER),
    }
    new: dict[str, object] = {"role": "user", "content": "v"}
    if tool:
        function = {"name": _ANSWER, "arguments": {}}
        answer["tool_calls"] = [{"id": _CALL_ID, "type": "function", "function": function}]
        new = {"role": "tool", "content": "v", "tool_call_id": _CALL_ID, "name": _ANSWER}
    try:
        prompt, whole = render(start, True), render([*start, answer, new], True)
    except Exception:  # templates refuse by raising whatever Jinja gives them
        return Preservation.REFUSED
    if tool and _ANSWER not in whole:
        return Preservation.REFUSED  # it does not show calls at all
    before_answer = whole.removeprefix(prompt).partition(_ANSWER)[0]
    kept = whole.startswith(prompt) and _ANSWER in whole
    if reasons:
        kept = kept and _THOUGHT in before_answer
    elif not tool:
        kept = kept and not before_answer.strip()  # a leading space is sampled as part of the answer
    return Preservation.KEPT if kept else Preservation.BROKEN
