"""A run folder as it can be read at any time: while the run goes on, after it, or on another machine.

Reads what ``trainers.run_folder`` describes and nothing else; needs neither torch nor langchain. Lines that a killed
process left unfinished at the end of a log are passed over.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from reskill_agents.errors import RunFolderError, SkillError
from reskill_agents.library import SkillLibrary
from reskill_agents.packs import Lineage
from reskill_agents.run_lines import (
    Creation,
    Ending,
    Evaluation,
    LibraryEvent,
    Line,
    Posterior,
    Proposed,
    Scalar,
    Step,
    TrialLine,
    VerdictLine,
)

Facts = Mapping[str, Scalar]


@dataclass(frozen=True)
class Trial:
    """One trial from opening to verdict; ``ending`` is ``None`` while it runs or when the run ended first."""

    trial: str
    purpose: str
    method: str
    opened: int
    candidate: SkillLibrary
    proposal: Proposed | None = None
    points: tuple[Posterior, ...] = ()
    ending: Ending | None = None
    ended: int | None = None

    @property
    def title(self) -> str:
        """What was on trial."""
        if self.purpose == "aa":
            return "the same library twice (A/A)"
        return self.proposal.title if self.proposal else "a change"


@dataclass(frozen=True)
class LibraryVersion:
    """A library that was in force from ``step`` on."""

    version: int
    step: int
    library: SkillLibrary
    lineage: Mapping[str, Lineage] = field(default_factory=dict)


@dataclass(frozen=True)
class RunView:
    """Everything a report needs.

    Args:
        path: the run folder.
        config: settings by dotted name.
        world, versions: facts.
        steps, evaluations, creations, trials, libraries: in order.
        damaged: lines that could not be read, by file.
    """

    path: Path
    config: Facts
    world: Facts
    versions: Facts
    steps: tuple[Step, ...] = ()
    evaluations: tuple[Evaluation, ...] = ()
    creations: tuple[Creation, ...] = ()
    trials: tuple[Trial, ...] = ()
    libraries: tuple[LibraryVersion, ...] = ()
    damaged: Mapping[str, int] = field(default_factory=dict)

    @property
    def method(self) -> str:
        """The method's name."""
        return str(self.config.get("method", "?"))

    @property
    def library(self) -> LibraryVersion:
        """In force at the end."""
        return self.libraries[-1] if self.libraries else LibraryVersion(0, 0, SkillLibrary())

    def evaluation(self, policy: str, library: str, split: str) -> Evaluation | None:
        """The newest evaluation of that policy and library on that split."""
        found = [e for e in self.evaluations if (e.policy, e.library, e.split) == (policy, library, split)]
        return found[-1] if found else None


def read_run(path: Path) -> RunView:
    """Read a run folder.

    Raises:
        RunFolderError: it is none (no ``config.json``), or a file is of another version; the message names it.
    """
    if not (path / "config.json").is_file():
        raise RunFolderError(f"{path} is no run folder: it holds no config.json")
    damaged: dict[str, int] = {}
    events = list(_lines(path / "trials.jsonl", damaged))
    return RunView(
        path=path,
        config=_flat(_read_json(path / "config.json")),
        world=_flat(_read_json(path / "world.json")),
        versions=_flat(_read_json(path / "versions.json")),
        steps=tuple(_parse(Step, line, path / "metrics.jsonl") for line in _lines(path / "metrics.jsonl", damaged)),
        evaluations=_evaluations(path / "evaluation.json"),
        creations=tuple(_of(Creation, "creation", events, path)),
        trials=_trials(events, path),
        libraries=_libraries(events, path),
        damaged=damaged,
    )


def _evaluations(path: Path) -> tuple[Evaluation, ...]:
    results = _read_json(path).get("results", [])
    return tuple(_parse(Evaluation, entry, path) for entry in results) if isinstance(results, list) else ()


def _trials(events: Sequence[Mapping[str, object]], path: Path) -> tuple[Trial, ...]:
    proposals = {one.trial: one.proposal for one in _of(Creation, "creation", events, path) if one.trial}
    points: dict[str, list[Posterior]] = {}
    for point in _of(Posterior, "posterior", events, path):
        points.setdefault(point.trial, []).append(point)
    verdicts = {one.trial: one for one in _of(VerdictLine, "verdict", events, path)}
    trials: list[Trial] = []
    for line in _of(TrialLine, "trial", events, path):
        verdict = verdicts.get(line.trial)
        proposal = proposals.get(line.trial) or (verdict.proposal if verdict else None)
        trials.append(
            Trial(
                line.trial,
                line.purpose,
                line.method,
                line.step,
                line.candidate.library(),
                proposal,
                tuple(points.get(line.trial, ())),
                verdict.verdict if verdict else None,
                verdict.step if verdict else None,
            )
        )
    return tuple(trials)


def _libraries(events: Sequence[Mapping[str, object]], path: Path) -> tuple[LibraryVersion, ...]:
    found: list[LibraryVersion] = []
    for line in _of(LibraryEvent, "library", events, path):
        lineage = {name: Lineage(one.version, one.parent, one.evidence) for name, one in line.lineage.items()}
        found.append(LibraryVersion(line.version, line.step, line.library.library(), lineage))
    return tuple(found)


_L = TypeVar("_L", bound=Line)


def _of(kind: type[_L], event: str, events: Sequence[Mapping[str, object]], path: Path) -> Iterator[_L]:
    return (_parse(kind, line, path / "trials.jsonl") for line in events if line.get("event") == event)


def _parse(kind: type[_L], entry: object, path: Path) -> _L:
    try:
        return kind.model_validate(entry)
    except (ValidationError, SkillError) as error:
        raise RunFolderError(f"{path} was written by another version: {error}") from error


def _lines(path: Path, damaged: dict[str, int]) -> Iterator[Mapping[str, object]]:
    if not path.is_file():
        return
    with path.open("rb") as file:
        for line in file:
            try:
                entry = json.loads(line)
            except ValueError:
                entry = None
            if isinstance(entry, dict):
                yield entry
            else:
                damaged[path.name] = damaged.get(path.name, 0) + 1


def _read_json(path: Path) -> Mapping[str, object]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{path} cannot be read: {error}") from error
    return content if isinstance(content, dict) else {}


def _flat(content: Mapping[str, object], prefix: str = "") -> dict[str, Scalar]:
    """Nested objects as dotted names."""
    facts: dict[str, Scalar] = {}
    for key, value in content.items():
        if isinstance(value, dict):
            facts.update(_flat(value, f"{prefix}{key}."))
        elif isinstance(value, str | int | float | bool) or value is None:
            facts[prefix + key] = value
        else:
            facts[prefix + key] = json.dumps(value)
    return facts
