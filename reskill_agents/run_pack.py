"""The library that a run ended with, as a skill pack with its lineage and trigger cases from the run's own episodes."""

from __future__ import annotations

from pathlib import Path

from reskill_agents.conformance import record_cases
from reskill_agents.errors import RunFolderError
from reskill_agents.log_files import last_episodes
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
