"""The append-only log of a comparison: one JSON line a run, one a look; what is written is never run again."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import IO, Literal, Self

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from reskill_agents.ab.budget import Tokens
from reskill_agents.errors import RunFolderError
from reskill_agents.folder_lock import lock_folder
from reskill_agents.trials.arm import Arm

LOG_NAME = "runs.jsonl"
CONFIG_NAME = "ab.json"
ORPHAN_SUFFIX = ".orphan"


class Said(BaseModel):
    """One message of a transcript: role, text and the tool calls in it, as canonical actions."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    role: str
    text: str
    calls: tuple[str, ...] = ()


class RunRecord(BaseModel):
    """One run of one arm on one task.

    Args:
        task, task_digest, repeat, arm: which run.
        outcome: the reward; ``None``: missing, and ``error`` says why.
        cut_short: the graph's step limit ended it; it was scored as it stood.
        prompt_tokens, answer_tokens, estimated: see :class:`~reskill_agents.ab.budget.Tokens`.
        seconds: wall clock.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    kind: Literal["run"] = "run"
    task: str
    task_digest: str
    repeat: int
    arm: Arm
    seed: int
    outcome: float | None
    error: str = ""
    cut_short: bool = False
    prompt_tokens: int = 0
    answer_tokens: int = 0
    estimated: bool = False
    seconds: float = 0.0
    transcript: tuple[Said, ...] = ()

    @property
    def key(self) -> tuple[str, int, Arm]:
        """Which run this is."""
        return self.task, self.repeat, self.arm

    @property
    def tokens(self) -> Tokens:
        """What it cost."""
        return Tokens(self.prompt_tokens, self.answer_tokens, self.estimated)


class Look(BaseModel):
    """The data were looked at when there were ``runs`` runs."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: Literal["look"] = "look"
    runs: int


_LINE: TypeAdapter[RunRecord | Look] = TypeAdapter(RunRecord | Look)


class RunLog:
    """The folder of one comparison, opened by one process at a time.

    Raises:
        RunFolderError: the folder is in use, is of another comparison (``identity`` differs), or a line is broken. A
            torn last line is moved to ``runs.jsonl.orphan``.
    """

    def __init__(self, folder: Path, identity: dict[str, str]) -> None:
        self.folder = folder
        self.records: dict[tuple[str, int, Arm], RunRecord] = {}
        self.looks: list[Look] = []
        self._lock = lock_folder(folder)
        self._file: IO[bytes] = (folder / LOG_NAME).open("ab")
        try:
            _check_identity(folder, identity)
            self._read()
        except BaseException:
            self._close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        self._file.close()
        self._lock.close()

    def append(self, line: RunRecord | Look) -> None:
        """Write one line; it is on its way to the disk when this returns."""
        self._file.write((line.model_dump_json() + "\n").encode())
        self._file.flush()
        self._keep(line)

    def look(self) -> int:
        """The number of this look, from 1; a look at the same data as the last one is the same look."""
        count = len(self.records)
        if not self.looks or self.looks[-1].runs != count:
            self.append(Look(runs=count))
        return len(self.looks)

    def _keep(self, line: RunRecord | Look) -> None:
        if isinstance(line, Look):
            self.looks.append(line)
        elif line.key in self.records:
            raise RunFolderError(f"{self.folder / LOG_NAME}: run {line.key} comes twice")
        else:
            self.records[line.key] = line

    def _read(self) -> None:
        path = self.folder / LOG_NAME
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            with path.with_name(LOG_NAME + ORPHAN_SUFFIX).open("ab") as orphan:
                orphan.write(content[whole:] + b"\n")
            self._file.truncate(whole)
        for number, line in enumerate(content[:whole].split(b"\n"), 1):
            if line.strip():
                try:
                    self._keep(_LINE.validate_json(line))
                except ValidationError as error:
                    raise RunFolderError(f"{path}: line {number} is broken: {error.errors()[0]['msg']}") from error


def read_records(folder: Path) -> Iterable[RunRecord]:
    """The runs in a comparison's folder, in the order in which they ended; a torn last line is passed over."""
    for line in (folder / LOG_NAME).read_bytes().split(b"\n")[:-1]:
        record = _LINE.validate_json(line)
        if isinstance(record, RunRecord):
            yield record


def _check_identity(folder: Path, identity: dict[str, str]) -> None:
    path = folder / CONFIG_NAME
    text = json.dumps(identity, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    if not path.exists():
        fresh = path.with_suffix(".new")
        fresh.write_text(text, "utf-8")
        fresh.replace(path)
        return
    try:
        known = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise RunFolderError(f"{path} is broken: {error}") from error
    wrong = [key for key in sorted(identity) if not isinstance(known, dict) or known.get(key) != identity[key]]
    if wrong:
        told = "; ".join(
            f"{key} was {known.get(key) if isinstance(known, dict) else known!r}, is {identity[key]}" for key in wrong
        )
        raise RunFolderError(f"{folder} holds another comparison ({told}); take another folder")
