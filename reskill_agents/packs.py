"""Skill packs: a library as a folder that any Agent Skills client can load, and back.

::

    pack/
      <skill name>/SKILL.md        one folder a skill, to the specification
      <skill name>/...             files the skill came with (scripts, references): kept, listed, never run
      reskill.lock.json            order, digests, lineage, evidence
      conformance/triggers.jsonl   inputs and what fires on them

The bytes are a fixed function of the library, its lineage and the cases: no clocks, no machine names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, ValidationError, model_serializer

from reskill_agents.conformance import TriggerCase, check_cases, parse_cases, render_cases
from reskill_agents.errors import ReSkillError, SkillError
from reskill_agents.frontmatter import parse_front_matter, render_front_matter, split_front_matter
from reskill_agents.library import RENDERER_VERSION, SkillLibrary
from reskill_agents.pack_tree import folder_files, write_folder
from reskill_agents.skill_md import FILE_NAME, SkillFile, read_skill_folder, render_skill_md

LOCK_NAME = "reskill.lock.json"
CASES_NAME = "conformance/triggers.jsonl"
MAX_FILE_BYTES = 1 << 20  # a SKILL.md is a page of text; a larger one is something else

Fact = str | int | float | bool | None


@dataclass(frozen=True)
class Lineage:
    """Where a skill comes from.

    Args:
        version: 1 for a new skill, one more for each accepted modification.
        parent: digest of the version before.
        evidence: what speaks for it, as flat facts (trial, posterior, episodes, ...).
    """

    version: int = 1
    parent: str | None = None
    evidence: Mapping[str, Fact] = field(default_factory=dict)


@dataclass(frozen=True)
class Carried:
    """What a skill brings along that is not ours: kept and listed, never read for meaning, never run.

    Args:
        extra: keys of its SKILL.md, as in :class:`~reskill_agents.skill_md.SkillFile`.
        files: the other files of its folder, by path in it.
    """

    extra: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Pack:
    """What a pack folder holds. ``carried`` names only skills that bring something along."""

    library: SkillLibrary
    lineage: Mapping[str, Lineage] = field(default_factory=dict)
    cases: tuple[TriggerCase, ...] = ()
    locked: bool = False
    carried: Mapping[str, Carried] = field(default_factory=dict)


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _LockedSkill(_Model):
    name: str
    digest: str
    file_sha256: str
    version: Annotated[int, Field(ge=1)] = 1
    parent: str | None = None
    evidence: dict[str, Fact] = {}
    files: dict[str, str] = {}  # path in the skill's folder -> sha256

    @model_serializer(mode="wrap")
    def _without_empty_files(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = handler(self)
        return content if self.files else {key: value for key, value in content.items() if key != "files"}


class _LockedCases(_Model):
    path: str
    sha256: str
    count: int


class _Lock(_Model):
    format: Literal["reskill-pack/1"] = "reskill-pack/1"
    library: str
    renderer: int = RENDERER_VERSION
    skills: list[_LockedSkill]
    conformance: _LockedCases | None = None


def export_pack(
    library: SkillLibrary,
    folder: Path,
    *,
    lineage: Mapping[str, Lineage] | None = None,
    cases: Sequence[TriggerCase] = (),
    carried: Mapping[str, Carried] | None = None,
) -> Path:
    """Write ``library`` as a pack to ``folder``: wholly or not at all, in place of an older pack there.

    Args:
        lineage: by skill name; a skill without one is a first version.
        cases: see :func:`reskill_agents.conformance.record_cases`.
        carried: by skill name: what goes along with it.

    Raises:
        SkillError: ``folder`` exists and is neither empty nor a pack.
    """
    return write_folder(pack_files(library, lineage or {}, cases, carried or {}), folder, marker=LOCK_NAME)


def pack_files(
    library: SkillLibrary,
    lineage: Mapping[str, Lineage],
    cases: Sequence[TriggerCase] = (),
    carried: Mapping[str, Carried] | None = None,
) -> dict[str, bytes]:
    """The files of a pack by their path in it: a fixed function of the arguments."""
    files: dict[str, bytes] = {}
    locked: list[_LockedSkill] = []
    for skill in library:
        line = lineage.get(skill.name, Lineage())
        along = (carried or {}).get(skill.name, Carried())
        text = _with_extra(render_skill_md(skill, version=line.version, parent=line.parent), along.extra).encode()
        files[f"{skill.name}/{FILE_NAME}"] = text
        files.update({f"{skill.name}/{path}": along.files[path] for path in sorted(along.files)})
        locked.append(
            _LockedSkill(
                name=skill.name,
                digest=skill.digest,
                file_sha256=_sha256(text),
                version=line.version,
                parent=line.parent,
                evidence=dict(sorted(line.evidence.items())),
                files={path: _sha256(along.files[path]) for path in sorted(along.files)},
            )
        )
    conformance = None
    if cases:
        text = render_cases(cases).encode()
        files[CASES_NAME] = text
        conformance = _LockedCases(path=CASES_NAME, sha256=_sha256(text), count=len(cases))
    lock = _Lock(library=library.digest, skills=locked, conformance=conformance)
    files[LOCK_NAME] = (lock.model_dump_json(indent=2) + "\n").encode()
    return files


def _with_extra(text: str, extra: Mapping[str, str]) -> str:
    """A rendered SKILL.md with the keys that other tools wrote."""
    if not extra:
        return text
    front, body = split_front_matter(text)
    values = parse_front_matter(front)
    metadata = values.pop("metadata", {})
    flat = {key: value for key, value in values.items() if isinstance(value, str)}
    inner = {k: v for k, v in metadata.items() if isinstance(v, str)} if isinstance(metadata, dict) else {}
    for key in sorted(extra):
        if key.startswith("metadata."):
            inner[key.removeprefix("metadata.")] = extra[key]
        else:
            flat[key] = extra[key]
    return render_front_matter({**flat, "metadata": inner}) + body


def import_pack(folder: Path) -> SkillLibrary:
    """The library in ``folder``: a pack, a folder of skill folders, or one skill folder.

    Raises:
        SkillError: with every problem found; nothing is imported then.
    """
    return read_pack(folder).library


def read_pack(folder: Path) -> Pack:
    """Everything in a pack; a plain folder of skills is a pack without a lock, in order of names.

    Raises:
        SkillError: with every problem found.
    """
    pack, problems = _inspect(folder)
    if problems or pack is None:
        raise SkillError(problems)
    return pack


def validate_pack(folder: Path) -> list[str]:
    """Every problem of a pack or skill folder, each naming its file; empty when it is sound.

    Sound means: every skill passes the Agent Skills specification and our closed set of metadata keys, the lock's
    digests are those of the files, and every recorded trigger case fires the same.
    """
    return _inspect(folder)[1]


def _inspect(folder: Path) -> tuple[Pack | None, list[str]]:
    try:
        paths = _skill_folders(folder)
        lock = _read_lock(folder)
    except SkillError as error:
        return None, list(error.problems)  # they name the folder or file
    problems: list[str] = []
    found: dict[str, SkillFile] = {}
    carried: dict[str, Carried] = {}
    for path in paths:
        try:
            _refuse_odd_file(path / FILE_NAME)
            found[path.name] = read_skill_folder(path)
            files = {name: content for name, content in folder_files(path).items() if name != FILE_NAME}
            if files or found[path.name].extra:
                carried[path.name] = Carried(found[path.name].extra, files)
        except SkillError as error:
            where = f"{path.name}/{FILE_NAME}" if path != folder else FILE_NAME
            problems.extend(f"{where}: {problem}" for problem in error.problems)
    if problems:
        return None, problems
    order = list(found)
    if lock is not None:
        problems.extend(_lock_problems(folder, lock, found, carried))
        order = [skill.name for skill in lock.skills if skill.name in found]
    if problems:
        return None, problems
    try:
        library = SkillLibrary(tuple(found[name].skill for name in order))
    except ReSkillError as error:
        return None, [str(error)]
    cases: tuple[TriggerCase, ...] = ()
    if lock is not None and lock.library != (digest := library.digest_as(lock.renderer)):
        problems.append(f"{LOCK_NAME}: library {lock.library} is not that of the skills, {digest}")
    if lock is not None and lock.conformance is not None:
        try:
            cases = parse_cases((folder / lock.conformance.path).read_text("utf-8"))
            problems.extend(f"{CASES_NAME}: {problem}" for problem in check_cases(library, cases))
        except SkillError as error:
            problems.extend(f"{CASES_NAME}: {problem}" for problem in error.problems)
    lineage = {s.name: Lineage(s.version, s.parent, s.evidence) for s in lock.skills} if lock else {}
    if lock is None:
        lineage = {name: Lineage(file.version or 1, file.parent) for name, file in found.items() if file.version}
    return Pack(library, lineage, cases, lock is not None, carried), problems


def _skill_folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise SkillError(f"{folder} is not a folder" if folder.exists() else f"{folder} does not exist")
    folder = folder.resolve()
    if (folder / FILE_NAME).is_file():
        return [folder]
    paths = sorted(path.parent for path in folder.glob(f"*/{FILE_NAME}"))
    if not paths and not (folder / LOCK_NAME).is_file():
        raise SkillError(f"{folder} holds no skill: no {FILE_NAME} and no folder with one")
    return paths


def _read_lock(folder: Path) -> _Lock | None:
    path = folder / LOCK_NAME
    if not path.is_file():
        return None
    _refuse_odd_file(path, 64 * MAX_FILE_BYTES)
    try:
        return _Lock.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise SkillError(
            [f"{LOCK_NAME}: {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()], source=str(path)
        ) from error


def read_lock(folder: Path) -> dict[str, str]:
    """The sha256 of each SKILL.md that the lock in ``folder`` names, by skill name; empty where there is no lock.

    Raises:
        SkillError: the lock is broken.
    """
    lock = _read_lock(folder)
    return {skill.name: skill.file_sha256 for skill in lock.skills} if lock else {}


def _lock_problems(
    folder: Path, lock: _Lock, found: Mapping[str, SkillFile], carried: Mapping[str, Carried]
) -> list[str]:
    problems: list[str] = []
    locked = {skill.name: skill for skill in lock.skills}
    problems.extend(
        f"{LOCK_NAME}: {name} is locked, but there is no such skill" for name in locked if name not in found
    )
    problems.extend(f"{name}/{FILE_NAME}: is not in {LOCK_NAME}" for name in found if name not in locked)
    for name in locked.keys() & found.keys():
        if _sha256((folder / name / FILE_NAME).read_bytes()) != locked[name].file_sha256:
            problems.append(f"{name}/{FILE_NAME}: was changed after export (sha256 differs from {LOCK_NAME})")
        elif found[name].skill.digest != locked[name].digest:
            problems.append(f"{LOCK_NAME}: digest of {name} is not that of its file")
        there = {path: _sha256(content) for path, content in carried.get(name, Carried()).files.items()}
        listed = locked[name].files
        problems.extend(f"{name}/{path}: is not in {LOCK_NAME}" for path in there.keys() - listed.keys())
        problems.extend(f"{LOCK_NAME}: {name}/{path} is locked, but missing" for path in listed.keys() - there.keys())
        problems.extend(
            f"{name}/{path}: was changed after export (sha256 differs from {LOCK_NAME})"
            for path in there.keys() & listed.keys()
            if there[path] != listed[path]
        )
    if lock.conformance is not None:
        path = folder / lock.conformance.path
        if lock.conformance.path != CASES_NAME or not path.is_file() or path.is_symlink():
            problems.append(f"{LOCK_NAME}: conformance path {lock.conformance.path!r} is not {CASES_NAME}")
        elif _sha256(path.read_bytes()) != lock.conformance.sha256:
            problems.append(f"{CASES_NAME}: was changed after export (sha256 differs from {LOCK_NAME})")
    return sorted(problems)


def _refuse_odd_file(path: Path, limit: int = MAX_FILE_BYTES) -> None:
    if path.is_symlink() or path.parent.is_symlink():
        raise SkillError("is a link; packs hold plain files only")
    if path.is_file() and path.stat().st_size > limit:
        raise SkillError(f"has {path.stat().st_size} bytes, the limit is {limit}")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


__all__ = [
    "Carried",
    "Lineage",
    "Pack",
    "export_pack",
    "import_pack",
    "pack_files",
    "read_lock",
    "read_pack",
    "validate_pack",
]
