"""The tasks of a comparison, one JSON object a line: an id, what the agent is asked, and whatever the reward needs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from reskill_agents.errors import ConfigError
from reskill_agents.skill import digest_json

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"


@dataclass(frozen=True)
class AbTask:
    """One task.

    Args:
        task_id: unique in the file (``id``; default: the digest of the line).
        messages: the conversation the agent starts from, as ``{"role", "content"}`` objects.
        data: every other key of the line, for the reward (``answer``, ``tests``, ...); the agent never sees it.
    """

    task_id: str
    messages: tuple[Mapping[str, JsonValue], ...]
    data: Mapping[str, JsonValue] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Of id, messages and data: a changed task is another task."""
        return digest_json({"id": self.task_id, "messages": [dict(m) for m in self.messages], "data": dict(self.data)})

    @property
    def text(self) -> str:
        """The first message's text, to show."""
        content = self.messages[0].get("content") if self.messages else ""
        return content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)


def read_tasks(path: Path) -> tuple[AbTask, ...]:
    """The tasks in a JSONL file: ``{"id": ..., "input": "text"}`` or ``{"id": ..., "messages": [...]}`` and other keys.

    Raises:
        ConfigError: naming every line that is no task, and every id that comes twice.
    """
    try:
        lines = path.read_text("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"tasks: {path} cannot be read: {error}") from error
    problems: list[str] = []
    tasks: dict[str, AbTask] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            task = _task(json.loads(line))
        except (ValueError, RecursionError) as error:
            problems.append(f"line {number}: {error}")
            continue
        if task.task_id in tasks:
            problems.append(f"line {number}: id {task.task_id!r} comes twice")
        tasks[task.task_id] = task
    if not tasks and not problems:
        problems.append("there is no task")
    if problems:
        more = f" (and {len(problems) - 10} more)" if len(problems) > 10 else ""
        raise ConfigError(f"tasks: {path}: {'; '.join(problems[:10])}{more}")
    return tuple(tasks.values())


def _task(entry: object) -> AbTask:
    if not isinstance(entry, dict):
        raise ValueError("a task must be a JSON object")
    text, given = entry.get("input"), entry.get("messages")
    if isinstance(text, str) == isinstance(given, list):
        raise ValueError('needs either "input" (a string) or "messages" (a list)')
    messages: Sequence[object] = [{"role": "user", "content": text}] if isinstance(text, str) else given or []
    if not messages or not all(isinstance(m, dict) and "content" in m and "role" in m for m in messages):
        raise ValueError('every message needs "role" and "content", and there must be one')
    name = entry.get("id", entry.get("task_id"))
    if name is not None and not isinstance(name, str | int):
        raise ValueError("id must be a string or a whole number")
    data = {key: value for key, value in entry.items() if key not in ("id", "task_id", "input", "messages")}
    identity = digest_json(entry)[7:19] if name is None else str(name)
    return AbTask(identity, tuple(m for m in messages if isinstance(m, dict)), data)
