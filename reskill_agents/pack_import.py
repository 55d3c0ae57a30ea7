"""Packs from anywhere: folders, archives, plugins, a project's skill folders, and skills that others wrote.

What comes in is verified (limits, names, links, the specification, the lock where there is one), linted, and listed.
Scripts and references are kept as files; nothing of them is run, and nothing but SKILL.md ever enters a prompt.
"""

from __future__ import annotations

import re
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from reskill_agents.errors import SkillError
from reskill_agents.frontmatter import parse_front_matter, render_front_matter, split_front_matter
from reskill_agents.library import SkillLibrary
from reskill_agents.linter import LONGEST, Finding, Rule, lint_skill, lint_text
from reskill_agents.pack_formats import IN_PLACE, MANIFESTS
from reskill_agents.pack_tree import archive_files, folder_files, put_files
from reskill_agents.packs import (
    CASES_NAME,
    LOCK_NAME,
    MAX_FILE_BYTES,
    Fact,
    Lineage,
    Pack,
    read_lock,
    read_pack,
    validate_pack,
)
from reskill_agents.selection import words_as_tokens
from reskill_agents.skill import NAME_PATTERN, Skill
from reskill_agents.skill_md import FILE_NAME
from reskill_agents.trigger import Trigger, TriggerKind

CONTAINERS = ("", "skills", *IN_PLACE.values())
# What a person may let in after reading it: ordinary in text that people write, suspicious only in text from a log.
APPROVABLE = frozenset(
    {
        Rule.URL,
        Rule.MARKUP,
        Rule.TEMPLATE,
        Rule.DANGEROUS_COMMAND,
        Rule.RANDOM_LOOKING,
        Rule.ENCODED,
        Rule.TOO_LONG,
        Rule.TOOL_FORGING,  # any tag in a code sample looks like one
    }
)
_LONG_BODY = 1_000  # tokens; a general skill of this size is in every prompt
_OVERLAP = 500  # characters that two windows of a long text share
_TRIGGER_KEY = "reskill.trigger"
_GENERIC = frozenset(
    "a an and the of for to in on with skill skills guide helper tool tools creator builder work".split()
)
_SHAPES = (("rn", "m"), ("vv", "w"), ("cl", "d"), ("0", "o"), ("1", "l"), ("i", "l"), ("5", "s"), ("-", ""))


class Route(StrEnum):
    """What becomes of a skill that says nothing about triggers.

    ``general``: it is in every prompt from the start. ``description``: it fires once, when the observation names what
    its name and description name (a heuristic: words of the name, file endings and abbreviations of the description).
    """

    GENERAL = "general"
    DESCRIPTION = "description"


@dataclass(frozen=True)
class Imported:
    """What came in.

    Args:
        pack: the library and all that goes with it.
        kind: what the source was: a container's path in it, ``archive`` before it for archives.
        findings: of the linter, let in by approval; by skill name.
        notes: what a person should know.
    """

    pack: Pack
    kind: str
    findings: tuple[tuple[str, Finding], ...] = ()
    notes: tuple[str, ...] = ()


def import_skills(source: Path, *, route: Route = Route.GENERAL, approve: frozenset[Rule] | None = None) -> Imported:
    """Read the skills in ``source``; nothing is written and nothing is run.

    Args:
        source: a pack or skill folder, ``.zip``, ``.skill``, plugin folder, or the root of a project.
        route: for skills without a trigger.
        approve: findings that a person has read and lets in; of :data:`APPROVABLE` only.

    Raises:
        SkillError: with every problem found.
    """
    approved = approve or frozenset()
    if approved - APPROVABLE:
        names = ", ".join(sorted(rule.value for rule in approved - APPROVABLE))
        raise SkillError(f"cannot be approved: {names}", source=str(source))
    opened = open_pack(source, route=route)
    findings = _linted(opened.pack.library, approved, source)
    return replace(opened, pack=_with_evidence(opened.pack, findings), findings=findings)


def open_pack(source: Path, *, route: Route = Route.GENERAL) -> Imported:
    """As :func:`import_skills` without the linter: to show, compare or re-export, not to put into prompts.

    Raises:
        SkillError: with every problem found.
    """
    if source.is_dir():
        kind, files, notes = _from_folder(source.resolve())
    elif source.is_file():
        kind, files, notes = _from_archive(source)
    else:
        raise SkillError("does not exist", source=str(source))
    _refuse_look_alikes(files, source)
    untriggered = _prepare(files, notes)
    with tempfile.TemporaryDirectory(prefix="reskill-import-") as temporary:
        put_files(files, Path(temporary))
        try:
            pack = read_pack(Path(temporary))
        except SkillError as error:
            raise SkillError([p.replace(f"{temporary}/", "") for p in error.problems], source=str(source)) from error
    pack, routed = _routed(pack, untriggered, route)
    for name, along in pack.carried.items():
        notes += [f"{name}: {path} is kept as a file, never run" for path in along.files]
    return Imported(pack, kind, (), tuple(notes + routed))


def problems_of(source: Path) -> list[str]:
    """Every problem of the skills in a folder, plugin, project (all its places) or archive; empty when they are sound."""
    if source.is_file():
        try:
            open_pack(source)
        except SkillError as error:
            return list(error.problems)
        return []
    inside = [source / name for name in CONTAINERS if next((source / name).glob(f"*/{FILE_NAME}"), None)]
    places = [source] if (source / FILE_NAME).is_file() or not inside else inside
    return [problem for place in places for problem in validate_pack(place)]


def _from_folder(source: Path) -> tuple[str, dict[str, bytes], list[str]]:
    if (source / FILE_NAME).is_file():
        files = {f"{source.name}/{path}": content for path, content in folder_files(source).items()}
        return "skill folder", files, []
    container = _the_container(
        [name for name in CONTAINERS if next((source / name).glob(f"*/{FILE_NAME}"), None) or _locked(source / name)],
        str(source),
    )
    inside = source / container
    notes = _plugin_notes({name for name in MANIFESTS.values() if (source / name).is_file()})
    if container == "skills":
        beside = sorted(path.parent.name for path in source.glob(f"*/{FILE_NAME}"))
        notes += [f"{name}: stands outside skills/ and is left out" for name in beside]
    files = {}
    ours = set(read_lock(inside)) if container in IN_PLACE.values() else set()
    for path in sorted(inside.glob(f"*/{FILE_NAME}")):
        folder = path.parent
        if ours and folder.name not in ours:
            notes.append(f"{folder.name}: is not in {LOCK_NAME} and is left out; import its folder for itself")
            continue
        if folder.is_symlink():
            raise SkillError(f"{folder.name}: is a link; packs hold plain files only", source=str(source))
        files.update({f"{folder.name}/{name}": content for name, content in folder_files(folder).items()})
    for name in (LOCK_NAME, CASES_NAME):
        path = inside / name
        if path.is_symlink() or path.parent.is_symlink():
            raise SkillError(f"{name}: is a link; packs hold plain files only", source=str(source))
        if path.is_file():
            if path.stat().st_size > 64 * MAX_FILE_BYTES:
                raise SkillError(f"{name}: is too large", source=str(source))
            files[name] = path.read_bytes()
    return container or "folder", files, notes


def _locked(folder: Path) -> bool:
    return (folder / LOCK_NAME).is_file()


def _from_archive(source: Path) -> tuple[str, dict[str, bytes], list[str]]:
    files = archive_files(source)
    tops = {path.split("/", 1)[0] for path in files}
    top = f"{next(iter(tops))}/" if len(tops) == 1 and all("/" in path for path in files) else ""
    if top + FILE_NAME in files or FILE_NAME in files:
        prefix = top if top + FILE_NAME in files else ""
        inner = {path.removeprefix(prefix): content for path, content in files.items()}
        name = prefix.rstrip("/") or _stated_name(inner[FILE_NAME], source)
        return "archive of a skill", {f"{name}/{path}": content for path, content in inner.items()}, []
    found: dict[str, dict[str, bytes]] = {}
    for prefix in dict.fromkeys(("", top)):
        for container in CONTAINERS:
            start = f"{prefix}{container}/" if container else prefix
            inside = {path.removeprefix(start): data for path, data in files.items() if path.startswith(start)}
            if any(path.count("/") == 1 and path.endswith(f"/{FILE_NAME}") for path in inside) or LOCK_NAME in inside:
                found[start] = inside
    start = _the_container(list(found), str(source))
    inside = found[start]
    skills = {path.split("/", 1)[0] for path in inside if path.count("/") == 1 and path.endswith(f"/{FILE_NAME}")}
    kept = {p: data for p, data in inside.items() if p.split("/", 1)[0] in skills or p in (LOCK_NAME, CASES_NAME)}
    notes = _plugin_notes({path for path in files if path in MANIFESTS.values()})
    left = len(files) - len(kept)
    if left:
        notes.append(f"{left} files belong to no skill and are left out")
    return f"archive {start}".strip(), kept, notes


def _stated_name(content: bytes, source: Path) -> str:
    """The name in a SKILL.md that stands in no folder of its own."""
    try:
        name = parse_front_matter(split_front_matter(content.decode("utf-8"))[0]).get("name")
    except (SkillError, UnicodeDecodeError) as error:
        raise SkillError(f"{FILE_NAME}: {error}", source=str(source)) from error
    if not isinstance(name, str) or not NAME_PATTERN.fullmatch(name):
        raise SkillError(f"{FILE_NAME}: name {name!r} is no skill name", source=str(source))
    return name


def _the_container(found: list[str], source: str) -> str:
    if not found:
        raise SkillError(
            f"holds no skill: no {FILE_NAME} here, in a folder, or in {', '.join(CONTAINERS[1:])}", source=source
        )
    if len(found) == 2 and found[1].rstrip("/") == f"{found[0]}skills":  # a template beside the skills, say
        return found[1]
    if len(found) > 1:
        named = ", ".join(repr(name or ".") for name in found)
        raise SkillError(f"holds skills in several places ({named}); name one of them", source=source)
    return found[0]


def _plugin_notes(manifests: set[str]) -> list[str]:
    return [f"{name}: only skills are taken from a plugin, no commands, hooks or servers" for name in sorted(manifests)]


def _refuse_look_alikes(files: Mapping[str, bytes], source: Path) -> None:
    shapes: dict[str, set[str]] = defaultdict(set)
    for name in {path.split("/", 1)[0] for path in files if "/" in path}:
        shape = name
        for written, read in _SHAPES:
            shape = shape.replace(written, read)
        shapes[shape].add(name)
    problems = [f"skill names {' and '.join(sorted(names))} look alike" for names in shapes.values() if len(names) > 1]
    if problems:
        raise SkillError(sorted(problems), source=str(source))


def _prepare(files: dict[str, bytes], notes: list[str]) -> frozenset[str]:
    """Names of the skills without a trigger; their descriptions of several lines become one line, as we hold them."""
    untriggered = set()
    for path in [path for path in files if path.count("/") == 1 and path.endswith(f"/{FILE_NAME}")]:
        name = path.split("/", 1)[0]
        try:
            front, body = split_front_matter(files[path].decode("utf-8"))
            values = parse_front_matter(front)
        except (SkillError, UnicodeDecodeError):
            continue  # reading it as a pack names the problem
        metadata = values.get("metadata", {})
        if isinstance(metadata, dict) and _TRIGGER_KEY in metadata:
            continue
        untriggered.add(name)
        description = values.get("description")
        plain = all(isinstance(v, str) for v in values.values() if v is not metadata)
        if LOCK_NAME in files or not isinstance(description, str) or "\n" not in description.strip() or not plain:
            continue
        if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
            continue
        flat = {key: value for key, value in values.items() if isinstance(value, str)}
        flat["description"] = " ".join(description.split())
        inner = {key: value for key, value in metadata.items() if isinstance(value, str)}
        files[path] = (render_front_matter({**flat, "metadata": inner}) + body).encode()
        notes.append(f"{name}: its description had several lines and is one line now")
    return frozenset(untriggered)


def _routed(pack: Pack, untriggered: frozenset[str], route: Route) -> tuple[Pack, list[str]]:
    notes: list[str] = []
    skills: list[Skill] = []
    for skill in pack.library:
        if skill.name not in untriggered or pack.locked:
            skills.append(skill)
            continue
        pattern = description_pattern(skill) if route is Route.DESCRIPTION else ""
        if pattern:
            skill = replace(skill, trigger=Trigger(TriggerKind.OBSERVATION_PATTERN, pattern))
            notes.append(f"{skill.name}: fires when what is seen matches {pattern}")
        elif route is Route.DESCRIPTION:
            notes.append(f"{skill.name}: name and description name nothing to look for; it is general")
        if not pattern and (tokens := words_as_tokens(skill.body)) > _LONG_BODY:
            notes.append(
                f"{skill.name}: about {tokens} tokens in every prompt; give it a trigger or take route description"
            )
        skills.append(skill)
    return replace(pack, library=SkillLibrary(tuple(skills))), notes


def description_pattern(skill: Skill) -> str:
    """An RE2 pattern for what the skill is about; empty when nothing specific is named."""
    words = [word for word in skill.name.split("-") if len(word) > 2 and word not in _GENERIC]
    words += [ending.lower() for ending in re.findall(r"(?<!\w)\.[A-Za-z]{2,5}\b", skill.description)]
    words += [word.lower() for word in re.findall(r"\b[A-Z]{3,8}\b", skill.description)]
    distinct = list(dict.fromkeys(words))[:12]
    parts = [(r"\." + re.escape(w[1:]) if w.startswith(".") else r"\b" + re.escape(w)) for w in distinct]
    return f"(?i)(?:{'|'.join(parts)})" if parts else ""


def _linted(library: SkillLibrary, approved: frozenset[Rule], source: Path) -> tuple[tuple[str, Finding], ...]:
    found = [(skill.name, finding) for skill in library for finding in _findings(skill)]
    refused = [(name, finding) for name, finding in found if finding.rule not in approved]
    if refused:
        hint = [] if any(f.rule not in APPROVABLE for _, f in refused) else ["read them; what is left can be approved"]
        raise SkillError([*(f"{name}: {finding}" for name, finding in refused), *hint], source=str(source))
    return tuple(found)


def _findings(skill: Skill) -> list[Finding]:
    """The linter's findings; a long body is searched in windows, so that its length alone is no finding."""
    findings = [f for f in lint_skill(skill).findings if not (f.rule is Rule.TOO_LONG and f.field == "body")]
    for start in range(LONGEST - _OVERLAP, len(skill.body), LONGEST - _OVERLAP):
        findings += lint_text(skill.body[start : start + LONGEST], "body").findings
    return list(dict.fromkeys(findings))


def _with_evidence(pack: Pack, findings: tuple[tuple[str, Finding], ...]) -> Pack:
    """Skills without a lock are untested here, and what was let in is on record."""
    lineage = dict(pack.lineage)
    for skill in pack.library:
        line = lineage.get(skill.name, Lineage())
        rules = sorted({finding.rule.value for name, finding in findings if name == skill.name})
        added: dict[str, Fact] = {} if pack.locked else {"imported": True, "tested": False}
        if rules:
            added["approved"] = ", ".join(rules)
        lineage[skill.name] = replace(line, evidence={**line.evidence, **added})
    return replace(pack, lineage=lineage)


__all__ = ["APPROVABLE", "Imported", "Route", "description_pattern", "import_skills", "open_pack"]
