"""Chat transcripts as episodes: OpenAI-style messages, LangChain messages, LangSmith runs.

A turn is one tool call, or one answer without any; its observation is everything that came since the answer before.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from reskill_agents.environment import Task
from reskill_agents.episodes import Episode, StopReason, Turn
from reskill_agents.errors import ReSkillError

_ROLES = {"human": "user", "ai": "assistant", "function": "tool", "developer": "system"}


class LogError(ReSkillError):
    """A log entry is malformed; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of a tool, arguments as compact JSON with sorted keys."""

    name: str
    arguments: str

    @property
    def action(self) -> str:
        """The canonical action: ``name({...})``."""
        return f"{self.name}({self.arguments})"


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a chat, in any of the notations, reduced to what an episode needs."""

    role: str
    text: str
    calls: tuple[ToolCall, ...] = ()
    name: str = ""


def read_message(entry: object) -> Message:
    """A message from OpenAI-style, LangChain or LangChain-serialised JSON.

    Raises:
        LogError: when it is none of these.
    """
    if not isinstance(entry, Mapping):
        raise LogError("a message must be an object")
    fields = entry
    inner = entry.get("kwargs")
    if isinstance(inner, Mapping):  # LangChain's serialised form: {"id": [..., "AIMessage"], "kwargs": {...}}
        kind = entry.get("id")
        named = str(kind[-1]) if isinstance(kind, Sequence) and kind else ""
        fields = {"type": named.removesuffix("Message").removesuffix("Chunk").lower(), **inner}
    data = fields.get("data")
    if isinstance(data, Mapping) and "content" in data:  # messages_to_dict: {"type": "ai", "data": {...}}
        fields = {"type": fields.get("type"), **{k: v for k, v in data.items() if k != "type"}}
    role = str(fields.get("role") or fields.get("type") or "")
    role = _ROLES.get(role, role)
    if role not in ("system", "user", "assistant", "tool"):
        raise LogError(f"unknown role {role!r} of a message")
    calls = tuple(_read_call(call) for call in _list(fields.get("tool_calls")))
    return Message(role, _text(fields.get("content")), calls, str(fields.get("name") or ""))


def _read_call(entry: object) -> ToolCall:
    if not isinstance(entry, Mapping):
        raise LogError("a tool call must be an object")
    function = entry.get("function")
    fields = function if isinstance(function, Mapping) else entry
    name = fields.get("name")
    if not isinstance(name, str) or not name:
        raise LogError("a tool call needs a name")
    arguments = fields.get("arguments", fields.get("args", {}))
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments or "{}")
        except ValueError:
            return ToolCall(name, " ".join(arguments.split()))
    return ToolCall(name, json.dumps(arguments, sort_keys=True, separators=(",", ":"), ensure_ascii=False))


def _text(content: object) -> str:
    """The text of a message's content, blocks joined."""
    if isinstance(content, str):
        return content
    parts = []
    for block in _list(content):
        if isinstance(block, str):
            parts.append(block)
        elif isinstance(block, Mapping) and isinstance(block.get("text"), str):
            parts.append(str(block["text"]))
    return "\n".join(parts)


def _list(value: object) -> list[object]:
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str | bytes) else []


def turns_of(messages: Sequence[Message]) -> tuple[tuple[Turn, ...], str]:
    """The turns of a chat, and what was seen after the last one."""
    turns: list[Turn] = []
    seen: list[str] = []
    tools: list[str] = []
    pending: list[str] = []
    for message in messages:
        if message.role != "assistant":
            if message.role != "system":
                seen.append(message.text)
            if message.role == "tool":
                tools.append(message.name or (pending.pop(0) if pending else ""))
            continue
        actions = [(call.action, call.name) for call in message.calls] or [(" ".join(message.text.split()), "")]
        pending = [name for _, name in actions if name]
        for number, (action, _) in enumerate(actions):
            observation = "\n".join(seen) if number == 0 else ""
            arrived = tuple(dict.fromkeys(name for name in tools if name)) if number == 0 else ()
            turns.append(Turn(len(turns), observation, action, response=message.text, tools=arrived))
        seen, tools = [], []
    return tuple(turns), "\n".join(seen)


def episode_from_transcript(entry: Mapping[str, object], fallback_id: str) -> Episode:
    """An episode from an object with ``messages`` (or a LangSmith run with them in ``outputs`` or ``inputs``).

    Outcome: ``reward`` or ``score`` (0..1), ``success``, or a run's feedback; without any, ``score`` is None.

    Raises:
        LogError: when there are no messages, or they are malformed.
    """
    messages = [read_message(message) for message in _messages(entry)]
    turns, final = turns_of(messages)
    if not turns:
        raise LogError("there is no answer of an assistant among the messages")
    metadata = entry.get("metadata") or entry.get("extra")
    extra = metadata if isinstance(metadata, Mapping) else {}
    first = next((message.text for message in messages if message.role == "user"), "")
    text = str(entry.get("task") or first)
    score = _score(entry, extra)
    return Episode(
        episode_id=str(entry.get("episode_id") or entry.get("id") or entry.get("trace_id") or fallback_id),
        task=Task(str(entry.get("task_id") or extra.get("task_id") or text), text),
        turns=turns,
        score=score,
        stop=StopReason.DONE,
        task_shown=text,
        model=str(entry.get("model") or extra.get("ls_model_name") or extra.get("model") or ""),
        final_observation=final,
    )


def _messages(entry: Mapping[str, object]) -> list[object]:
    direct = _list(entry.get("messages"))
    if direct:
        return direct
    for side in ("outputs", "inputs"):
        part = entry.get(side)
        if isinstance(part, Mapping):
            found = _list(part.get("messages")) or _list(part.get("output"))
            if found:
                return _list(found[0]) if isinstance(found[0], list) else found
    raise LogError("there are no messages")


def _score(entry: Mapping[str, object], extra: Mapping[str, object]) -> float | None:
    for value in _scores(entry, extra):
        if isinstance(value, bool | int | float) and 0 <= float(value) <= 1:
            return float(value)
    return None


def _scores(entry: Mapping[str, object], extra: Mapping[str, object]) -> Iterator[object]:
    for source in (entry, extra):
        for name in ("reward", "score", "success"):
            yield source.get(name)
    stats = entry.get("feedback_stats")
    if isinstance(stats, Mapping):
        for feedback in stats.values():
            yield feedback.get("avg") if isinstance(feedback, Mapping) else None
    for feedback in _list(entry.get("feedback")):
        yield feedback.get("score") if isinstance(feedback, Mapping) else None
