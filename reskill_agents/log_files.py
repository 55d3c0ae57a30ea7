"""Episode logs on disk: JSON lines of our own episodes or of plain logs (``episode_logs`` says which fields)."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path

from reskill_agents.episode_logs import LogError, episode_from_json
from reskill_agents.episodes import Episode


def read_logs(paths: Iterable[Path]) -> tuple[list[Episode], list[str]]:
    """The episodes in some logs, and every line that is none with the reason.

    Raises:
        LogError: a file cannot be read.
    """
    episodes: list[Episode] = []
    problems: list[str] = []
    for path in paths:
        try:
            lines = path.read_bytes().split(b"\n")
        except OSError as error:
            raise LogError(f"{path}: {error.strerror or error}") from error
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    episodes.append(_episode(line))
                except LogError as error:
                    problems.append(f"{path}, line {number}: {error}")
    return episodes, problems


def last_episodes(path: Path, count: int) -> Iterator[Episode]:
    """The last ``count`` episodes of a log, oldest first; none if there is no log; other lines are passed over."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        lines = deque(file, maxlen=count)
    for line in lines:
        try:
            yield _episode(line)
        except LogError:
            continue


def _episode(line: bytes) -> Episode:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise LogError(f"no JSON: {error}") from error
    if not isinstance(entry, dict):
        raise LogError("no object")
    return episode_from_json(entry)
