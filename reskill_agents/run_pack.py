"""The library that a run ended with, as a skill pack with its lineage and trigger cases from the run's own episodes."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from reskill_agents.conformance import record_cases
from reskill_agents.episode_logs import LogError, episode_from_json
from reskill_agents.episodes import Episode
from reskill_agents.errors import RunFolderError
from reskill_agents.packs import export_pack
from reskill_agents.run_view import LibraryVersion, read_run

EPISODES = 400  # training episodes that trigger cases are recorded from: the last ones


def export_run(run: Path, folder: Path, *, version: int | None = None) -> Path:
    """Write a library of the run folder ``run`` as a pack to ``folder``; returns ``folder``.

    Args:
        version: which library; default: the one in force at the end.

    Raises:
        RunFolderError: ``run`` is no run folder, or had no such version.
        SkillError: ``folder`` exists and is no pack.
    """
    view = read_run(run)
    found = view.library if version is None else _version(view.libraries, version, run)
    cases = record_cases(found.library, last_episodes(run / "episodes.jsonl", EPISODES))
    return export_pack(found.library, folder, lineage=found.lineage, cases=cases)


def _version(libraries: tuple[LibraryVersion, ...], version: int, run: Path) -> LibraryVersion:
    by_number = {library.version: library for library in libraries}
    if version not in by_number:
        known = ", ".join(str(number) for number in by_number) or "none"
        raise RunFolderError(f"{run} has no library version {version}; it has {known}")
    return by_number[version]


def last_episodes(path: Path, count: int) -> Iterator[Episode]:
    """The last ``count`` episodes of a log, oldest first; lines that are none are passed over."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        lines = deque(file, maxlen=count)
    for line in lines:
        try:
            entry = json.loads(line)
            if isinstance(entry, dict):
                yield episode_from_json(entry)
        except (ValueError, LogError):
            continue
