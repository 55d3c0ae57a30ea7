"""Episodes as JSON, and back; logs of other agents as episodes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reskill_agents.environment import Choice, Split, Task
from reskill_agents.episodes import Episode, Firing, StopReason, Suppression, Turn
from reskill_agents.transcripts import LogError, episode_from_transcript
from reskill_agents.trials.arm import Arm

__all__ = ["LogError", "LogProblem", "LogReading", "episode_from_json", "episode_to_json", "read_logs"]


@dataclass(frozen=True, slots=True)
class LogProblem:
    """An entry that was skipped, and why. ``line`` is 1-based."""

    file: str
    line: int
    problem: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.problem}"


@dataclass(frozen=True, slots=True)
class LogReading:
    """Everything that could be read, and everything that could not."""

    episodes: tuple[Episode, ...]
    problems: tuple[LogProblem, ...] = ()


def read_logs(files: Sequence[Path], *, need_outcome: bool = True) -> LogReading:
    """Episodes from files of JSON lines, or of one JSON list.

    Each entry may be one of our episodes, a plain log (see the data's README), an OpenAI-style or LangChain transcript with
    ``messages``, or a LangSmith run. What is malformed is reported with its line and skipped; nothing else is lost.
    ``need_outcome``: an episode without one is skipped as well.

    Raises:
        LogError: when a file cannot be read at all.
    """
    episodes: list[Episode] = []
    problems: list[LogProblem] = []
    for path in files:
        for number, entry in _entries(path):
            try:
                if isinstance(entry, ValueError):
                    raise LogError(f"not JSON: {entry}")
                episodes.append(_episode(entry, f"{path.stem}-{number}", need_outcome))
            except LogError as error:
                problems.append(LogProblem(path.name, number, str(error)))
            except RecursionError:
                problems.append(LogProblem(path.name, number, "nested too deeply"))
    return LogReading(tuple(episodes), tuple(problems))


def _entries(path: Path) -> Iterator[tuple[int, object]]:
    """(line, value) pairs; a line that is no JSON gives its error as the value."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise LogError(f"{path}: {error.strerror or error}") from error
    if text.lstrip()[:1] == "[":
        try:
            listed = json.loads(text)
        except (ValueError, RecursionError):
            listed = None
        if isinstance(listed, list):
            yield from enumerate(listed, 1)
            return
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError) as error:
                yield number, ValueError(str(error))


def _episode(entry: object, fallback_id: str, need_outcome: bool) -> Episode:
    if not isinstance(entry, Mapping):
        raise LogError("an entry must be an object")
    if "turns" in entry:
        episode = episode_from_json(entry)
    else:
        episode = episode_from_transcript(entry, fallback_id)
    if need_outcome and episode.score is None and episode.stop is not StopReason.FAULT:
        raise LogError("there is no outcome: neither reward nor score, success or feedback")
    return episode


def episode_to_json(episode: Episode) -> dict[str, object]:
    """``episode`` as JSON values, without token ids (they live in the trainer, not in logs)."""
    return {
        "episode_id": episode.episode_id,
        "task_id": episode.task.task_id,
        "task": episode.task.text,
        "split": episode.task.split.value,
        "tags": dict(episode.task.tags),
        "task_shown": episode.task_shown,
        "model": episode.model,
        "turns": [_turn_to_json(turn) for turn in episode.turns],
        "final_observation": episode.final_observation,
        "reward": episode.score,
        "success": episode.success,
        "stop": episode.stop.value,
        "arm": episode.arm.value if episode.arm else None,
        "library_digest": episode.library_digest,
        "step": episode.step,
        "error": episode.error,
    }


def _turn_to_json(turn: Turn) -> dict[str, object]:
    entry: dict[str, object] = {"observation": turn.observation, "action": turn.action}
    if turn.response:
        entry["raw_response"] = turn.response
    if not turn.valid:
        entry["valid"] = False
    if turn.choices:
        entry["choices"] = [[c.action, c.text, c.kind, c.group] for c in turn.choices]
    if turn.firings:
        entry["firings"] = [[f.skill, f.digest, f.turn, f.suppressed] for f in turn.firings]
    if turn.tools:
        entry["tools"] = list(turn.tools)
    return entry


def episode_from_json(entry: Mapping[str, object]) -> Episode:
    """The episode that :func:`episode_to_json` (or a plain log, see the data's README) describes.

    Raises:
        LogError: naming the field that is missing or of the wrong type.
    """
    turns = entry.get("turns")
    if not isinstance(turns, Sequence) or isinstance(turns, str):
        raise LogError("'turns' must be a list")
    score = entry.get("reward")
    if isinstance(score, bool) or (score is not None and not isinstance(score, int | float)):
        raise LogError(f"'reward' must be a number from 0 to 1 or null, got {score!r}")
    if score is None and "stop" not in entry and isinstance(entry.get("success"), bool):
        score = float(bool(entry["success"]))
    if score is not None and not 0 <= score <= 1:
        raise LogError(f"'reward' must be from 0 to 1, got {score}")
    tags = entry.get("tags", {})
    if not isinstance(tags, Mapping):
        raise LogError("'tags' must be an object")
    text = _text(entry, "task")
    try:
        task = Task(
            _text(entry, "task_id") or text,
            text,
            Split(_text(entry, "split") or Split.TRAIN),
            {str(k): str(v) for k, v in tags.items()},
        )
        stop = StopReason(_text(entry, "stop") or (StopReason.FAULT if score is None else StopReason.DONE))
        arm = Arm(_text(entry, "arm")) if entry.get("arm") else None
    except ValueError as error:
        raise LogError(str(error)) from error
    step = entry.get("step", -1)
    if not isinstance(step, int):
        raise LogError(f"'step' must be a whole number, got {step!r}")
    return Episode(
        episode_id=_text(entry, "episode_id", required=True),
        task=task,
        turns=tuple(_turn_from_json(index, turn) for index, turn in enumerate(turns)),
        score=None if score is None else float(score),
        stop=stop,
        arm=arm,
        library_digest=_text(entry, "library_digest"),
        task_shown=_text(entry, "task_shown") or text,
        model=_text(entry, "model"),
        step=step,
        final_observation=_text(entry, "final_observation"),
        error=_text(entry, "error"),
    )


def _turn_from_json(index: int, entry: object) -> Turn:
    if not isinstance(entry, Mapping):
        raise LogError(f"turn {index} is not an object")
    choices = tuple(Choice(*(str(part) for part in fields)) for fields in _rows(entry, "choices", 1, 4))
    firings = tuple(
        Firing(str(name), str(digest), _whole(turn), Suppression(str(reason)) if reason else None)
        for name, digest, turn, reason in _rows(entry, "firings", 4, 4)
    )
    if not choices:
        choices = tuple(Choice(str(action)) for action in _list(entry, "admissible_actions"))
    return Turn(
        index=index,
        observation=_text(entry, "observation"),
        action=_text(entry, "action"),
        response=_text(entry, "raw_response"),
        valid=entry.get("valid", True) is not False,
        choices=choices,
        firings=firings,
        tools=tuple(str(name) for name in _list(entry, "tools")),
    )


def _list(entry: Mapping[str, object], name: str) -> list[object]:
    value = entry.get(name) or []
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise LogError(f"{name!r} must be a list")
    return list(value)


def _rows(entry: Mapping[str, object], name: str, least: int, most: int) -> list[list[object]]:
    rows: list[list[object]] = []
    for row in _list(entry, name):
        if not isinstance(row, Sequence) or isinstance(row, str) or not least <= len(row) <= most:
            raise LogError(f"each entry of {name!r} must be a list of {least} to {most} values")
        rows.append(list(row))
    return rows


def _whole(value: object) -> int:
    if isinstance(value, int):
        return value
    raise LogError(f"expected a whole number, got {value!r}")


def _text(entry: Mapping[str, object], name: str, *, required: bool = False) -> str:
    value = entry.get(name)
    if value is None:
        if required:
            raise LogError(f"{name!r} is missing")
        return ""
    if isinstance(value, str | int):
        return str(value)
    raise LogError(f"{name!r} must be text, got {type(value).__name__}")
