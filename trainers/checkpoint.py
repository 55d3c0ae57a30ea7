"""Checkpoints: a folder with the policy, the optimizer and the loop's state, under one manifest, whole or not there.

A checkpoint is written to a temporary folder, put on disk and renamed. The manifest holds size and sha256 of every file
and the length of each log at that moment.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from reskill_agents.errors import RunFolderError
from reskill_agents.trainers.run_folder import RunFolder

FOLDER = "checkpoints"
MANIFEST = "manifest.json"
STATE = "state.json"
POLICY = "policy"

_log = logging.getLogger(__name__)


class _FileEntry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    bytes: int
    sha256: str


class Manifest(BaseModel):
    """What a checkpoint holds. ``step``: training steps done; ``logs``: bytes of each log that belong to it."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    format: int = 1
    step: int
    files: dict[str, _FileEntry]
    logs: dict[str, int]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A valid checkpoint on disk."""

    folder: Path
    manifest: Manifest

    @property
    def policy(self) -> Path:
        """The policy in Hugging Face layout, with the optimizer's state."""
        return self.folder / POLICY

    def state(self) -> Mapping[str, object]:
        """The loop's state."""
        content = json.loads((self.folder / STATE).read_text("utf-8"))
        if not isinstance(content, dict):
            raise RunFolderError(f"{self.folder / STATE} holds no object")
        return content


def write_checkpoint(
    run: RunFolder, step: int, state: Mapping[str, object], save_policy: Callable[[Path], None], *, keep: int
) -> Path:
    """Write the checkpoint after ``step`` training steps and drop all but the ``keep`` newest.

    Args:
        state: JSON values; floats survive exactly.
        save_policy: writes policy and optimizer into the folder it is given.
    """
    parent = run.path / FOLDER
    parent.mkdir(exist_ok=True)
    final = parent / f"step-{step:06d}"
    temporary = parent / f".step-{step:06d}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    (temporary / POLICY).mkdir(parents=True)
    save_policy(temporary / POLICY)
    (temporary / STATE).write_text(json.dumps(state, separators=(",", ":"), ensure_ascii=False), "utf-8")
    logs = run.sync()
    files = {path.relative_to(temporary).as_posix(): _entry(path) for path in _files(temporary)}
    manifest = Manifest(step=step, files=files, logs=logs)
    (temporary / MANIFEST).write_text(manifest.model_dump_json(indent=1), "utf-8")
    for path in _files(temporary):
        _fsync(path)
    if final.exists():  # written by a run that was killed before its logs caught up
        shutil.rmtree(final)
    temporary.replace(final)
    _fsync(parent)
    for old in sorted(parent.glob("step-*"))[:-keep]:
        shutil.rmtree(old)
    return final


def latest_checkpoint(run_dir: Path) -> Checkpoint | None:
    """The newest valid checkpoint; torn ones are skipped with a warning. ``None`` when there is none."""
    for folder in sorted((run_dir / FOLDER).glob("step-*"), reverse=True):
        try:
            return read_checkpoint(folder)
        except RunFolderError as error:
            _log.warning("skipping a checkpoint: %s", error)
    return None


def set_newer_aside(run_dir: Path, checkpoint: Checkpoint | None) -> None:
    """Rename checkpoints newer than the one that a run goes on from: torn, they must not count among those that are kept."""
    for folder in sorted((run_dir / FOLDER).glob("step-*")):
        if checkpoint is None or folder.name > checkpoint.folder.name:
            aside = folder.with_name(f"torn-{folder.name}")
            shutil.rmtree(aside, ignore_errors=True)
            folder.replace(aside)


def read_checkpoint(folder: Path) -> Checkpoint:
    """A checkpoint whose every file is as the manifest says.

    Raises:
        RunFolderError: naming the file that is missing or differs.
    """
    try:
        manifest = Manifest.model_validate_json((folder / MANIFEST).read_text("utf-8"))
    except (OSError, ValidationError) as error:
        raise RunFolderError(f"{folder / MANIFEST} cannot be read: {error}") from error
    for name, entry in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise RunFolderError(f"{path} is missing")
        if path.stat().st_size != entry.bytes or _entry(path).sha256 != entry.sha256:
            raise RunFolderError(f"{path} is torn: its content is not what the manifest says")
    return Checkpoint(folder, manifest)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _entry(path: Path) -> _FileEntry:
    with path.open("rb") as file:
        return _FileEntry(bytes=path.stat().st_size, sha256=hashlib.file_digest(file, "sha256").hexdigest())


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
