"""The run folder: the truth about a run.

::

    runs/<name>/
      config.json        the RunConfig
      world.json         what the world says about itself
      versions.json      versions of the libraries a run depends on, python, platform
      metrics.jsonl      one StepMetrics a step
      episodes.jsonl     one episode a line (see ``episode_logs``)
      trials.jsonl       one event a line: creation, trial, verdict, library; each has "event" and "step"
      evaluation.json    {"results": [EvaluationResult, ...]}
      libraries/v000/    every library that was in force, as a skill pack
      checkpoints/       see ``checkpoint``
      *.orphan           what a killed run had logged after its last checkpoint

Files are replaced atomically; logs only grow. One process at a time: it holds ``.lock``.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from enum import Enum, StrEnum
from pathlib import Path
from types import TracebackType
from typing import IO, Self, cast

from reskill_agents.errors import ConfigError, RunFolderError
from reskill_agents.folder_lock import lock_folder
from reskill_agents.trainers.config import RunConfig

_LIBRARIES = (
    "reskill-agents", "torch", "transformers", "trl", "accelerate", "peft", "langgraph", "langchain-core", "pydantic",
    "google-re2", "numpy",
)  # fmt: skip
_MAY_CHANGE = frozenset(
    {"steps", "checkpoint", "evaluation", "logging", "ranks"}
)  # settings that a resumed run may change


class Log(StrEnum):
    """The append-only logs."""

    METRICS = "metrics.jsonl"
    EPISODES = "episodes.jsonl"
    TRIALS = "trials.jsonl"


class RunFolder:
    """An open run folder; use it as a context manager, it holds the lock.

    Args:
        path: the folder.
        config: the run's settings.
        resume: go on with the run that is there (one that never began is begun).

    Raises:
        RunFolderError: another process uses the folder, or it holds a run and ``resume`` is false.
        ConfigError: the run that is there has other settings.
    """

    def __init__(self, path: Path, config: RunConfig, *, resume: bool = False) -> None:
        self.path = path
        self.config = config
        self._files: dict[Log, IO[bytes]] = {}
        self._lock = lock_folder(path)
        try:
            self._check(resume)
            self.write_text("config.json", config.model_dump_json(indent=2) + "\n")
            self.write_json("versions.json", library_versions())
        except BaseException:
            self._lock.close()
            raise

    def _check(self, resume: bool) -> None:
        existing = self.path / "config.json"
        if not existing.exists():
            return
        if not resume:
            raise RunFolderError(f"{self.path} holds a run; pass --resume to go on with it, or name another folder")
        old, new = RunConfig.load(existing).model_dump(mode="json"), self.config.model_dump(mode="json")
        changed = sorted(name for name in new if old[name] != new[name] and name not in _MAY_CHANGE)
        if changed:
            changes = "; ".join(f"{name}: {old[name]!r} there, {new[name]!r} asked" for name in changed)
            raise ConfigError(f"{existing} is of a run with other settings ({changes}); resume with the same ones")

    def append(self, log: Log, entry: object) -> None:
        """Add one line. Dataclasses, enums and infinities are made JSON."""
        self._file(log).write(to_json(entry).encode() + b"\n")

    def flush(self) -> None:
        """Hand what was appended to the operating system (it survives the death of this process)."""
        for file in self._files.values():
            file.flush()

    def sync(self) -> dict[str, int]:
        """Put the logs on disk; their lengths in bytes."""
        lengths = {}
        for log in Log:
            file = self._file(log)
            file.flush()
            os.fsync(file.fileno())
            lengths[log.value] = file.tell()
        return lengths

    def cut_logs(self, lengths: Mapping[str, int]) -> None:
        """Move whatever the logs hold beyond ``lengths`` to ``*.orphan``.

        Raises:
            RunFolderError: a log is shorter than that: it was tampered with or the disk lost it.
        """
        for log in Log:
            self._close(log)
            keep, path = lengths.get(log.value, 0), self.path / log.value
            size = path.stat().st_size if path.exists() else 0
            if size < keep:
                raise RunFolderError(f"{path} has {size} bytes, but the checkpoint counts on {keep}")
            if size > keep:
                with path.open("r+b") as file, (self.path / f"{log.value}.orphan").open("ab") as orphan:
                    file.seek(keep)
                    orphan.write(file.read())
                    orphan.flush()
                    os.fsync(orphan.fileno())
                    file.truncate(keep)
                    os.fsync(file.fileno())

    def check_world(self, description: Mapping[str, object]) -> None:
        """See that a run that is resumed is on the world that it began on (``world.json``, if that can be read).

        Raises:
            ConfigError: it is not; names what differs.
        """
        try:
            before = json.loads((self.path / "world.json").read_text("utf-8"))
        except (OSError, ValueError):
            return
        now = cast("dict[str, object]", plain(description))
        changed = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
        if changed:
            raise ConfigError(
                f"{self.path} was begun on a world with another {', '.join(changed)}; name another folder, or the same world"
            )

    def write_json(self, name: str, content: object) -> None:
        """Replace a file atomically."""
        self.write_text(name, json.dumps(plain(content), indent=2, ensure_ascii=False) + "\n")

    def write_text(self, name: str, text: str) -> None:
        """Replace a file atomically."""
        write_atomically(self.path / name, text)

    def close(self) -> None:
        """Close the logs and give the lock back."""
        for log in Log:
            self._close(log)
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _file(self, log: Log) -> IO[bytes]:
        if log not in self._files:
            self._files[log] = (self.path / log.value).open("ab")
        return self._files[log]

    def _close(self, log: Log) -> None:
        if log in self._files:
            self._files.pop(log).close()


def write_atomically(path: Path, text: str) -> None:
    """Write to a neighbour, put it on disk, rename."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def to_json(entry: object) -> str:
    """One line of JSON."""
    return json.dumps(plain(entry), separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def plain(value: object) -> object:
    """``value`` as JSON values: dataclasses become objects, enums their values, infinities and NaN null."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, float) and not -1e300 < value < 1e300:
        return None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def library_versions() -> dict[str, str]:
    """Versions of what a run depends on (``-`` where something is not installed)."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "-"
    return found
