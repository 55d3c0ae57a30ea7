"""SKILL.md, read and written exactly as the Agent Skills specification has it.

The specification knows six top-level keys and string metadata. A trigger therefore travels in flat metadata keys
(``reskill.trigger``, ``reskill.trigger-pattern``, ...), and once more in words at the end of the description, for
clients that route on descriptions. Reading takes that sentence off again, so that
``parse_skill_md(render_skill_md(x)) == x``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from reskill_agents.errors import SkillError
from reskill_agents.frontmatter import FrontValue, parse_front_matter, render_front_matter, split_front_matter
from reskill_agents.skill import MAX_DESCRIPTION, Skill, canonical_text, skill_problems
from reskill_agents.trigger import DEFAULT_COOLDOWN, Repeat, Trigger, TriggerKind
from reskill_agents.trigger_phrase import use_when

FILE_NAME = "SKILL.md"
TOP_LEVEL_KEYS = ("name", "description", "license", "compatibility", "metadata", "allowed-tools")
PREFIX = "reskill."
MAX_COMPATIBILITY = 500  # characters, by the specification
_TRIGGER = "reskill.trigger"
_PATTERN = "reskill.trigger-pattern"
_REPEAT = "reskill.trigger-repeat"
_COOLDOWN = "reskill.trigger-cooldown"
_VERSION = "reskill.version"
_PARENT = "reskill.parent"
_USE_WHEN = "reskill.use-when"
_OMITTED = "omitted"
METADATA_KEYS = (_TRIGGER, _PATTERN, _REPEAT, _COOLDOWN, _VERSION, _PARENT, _USE_WHEN)  # closed: others are refused
_DIGEST = re.compile(r"sha256-[0-9a-f]{64}")
_COUNT = re.compile(r"[1-9][0-9]{0,8}")
_E = TypeVar("_E", TriggerKind, Repeat)


@dataclass(frozen=True)
class SkillFile:
    """Everything a SKILL.md says.

    Args:
        skill: the skill.
        version: its version in its lineage, from 1; ``None`` when the file has none.
        parent: digest of the skill it was made from.
        extra: what other tools wrote: top-level keys by name, metadata as ``metadata.<key>``. Kept, never acted on.
    """

    skill: Skill
    version: int | None = None
    parent: str | None = None
    extra: Mapping[str, str] = field(default_factory=dict)


def render_skill_md(skill: Skill, *, version: int | None = None, parent: str | None = None) -> str:
    """``skill`` as the text of its SKILL.md: a fixed function of the arguments, LF line ends, one at the end."""
    trigger = skill.trigger
    metadata = {_TRIGGER: trigger.kind.value}
    if trigger.pattern:
        metadata[_PATTERN] = trigger.pattern
    if trigger.repeat is not None:
        metadata[_REPEAT] = trigger.repeat.value
    if trigger.repeat is Repeat.AFTER_N_TURNS or trigger.cooldown != DEFAULT_COOLDOWN:
        metadata[_COOLDOWN] = str(trigger.cooldown)
    if version is not None:
        metadata[_VERSION] = str(version)
    if parent is not None:
        metadata[_PARENT] = parent
    description = f"{skill.description} {use_when(trigger)}"
    if len(description) > MAX_DESCRIPTION:
        description = skill.description
        metadata[_USE_WHEN] = _OMITTED
    front = render_front_matter({"name": skill.name, "description": description, "metadata": metadata})
    return f"{front}\n{skill.body}\n"


def parse_skill_md(text: str, source: str | None = None) -> Skill:
    """The skill in a SKILL.md.

    Raises:
        SkillError: with every problem found, each naming its field, and ``source``.
    """
    return parse_skill_file(text, source).skill


def parse_skill_file(text: str, source: str | None = None) -> SkillFile:
    """A whole SKILL.md.

    Raises:
        SkillError: with every problem found, each naming its field, and ``source``.
    """
    try:
        front, body = split_front_matter(text)
        values = parse_front_matter(front)
    except SkillError as error:
        raise SkillError(error.problems, source=source) from error
    reader = _Reader(values)
    skill = reader.skill(body)
    result = None if skill is None else SkillFile(skill, reader.version(), reader.parent(), reader.extra())
    if reader.problems or result is None:
        raise SkillError(reader.problems, source=source)
    return result


def read_skill_folder(folder: Path) -> SkillFile:
    """The SKILL.md of one skill folder, whose name must be the skill's.

    Raises:
        SkillError: with every problem found and the file's path.
    """
    path = folder / FILE_NAME
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise SkillError(f"not UTF-8: {error}", source=str(path)) from error
    except OSError as error:
        raise SkillError(f"cannot be read: {error.strerror or error}", source=str(path)) from error
    result = parse_skill_file(text, source=str(path))
    if result.skill.name != folder.name:
        raise SkillError(f"name: {result.skill.name!r} is not its folder's name {folder.name!r}", source=str(path))
    return result


class _Reader:
    """Takes front matter apart and collects problems instead of stopping at the first."""

    def __init__(self, values: Mapping[str, FrontValue]) -> None:
        self.values = values
        self.problems: list[str] = []
        unknown = sorted(set(values) - set(TOP_LEVEL_KEYS))
        if unknown:
            self.problems.append(f"unknown top-level keys {', '.join(unknown)}; allowed: {', '.join(TOP_LEVEL_KEYS)}")
        self.metadata = self._metadata()
        needs = values.get("compatibility")
        if isinstance(needs, str) and len(needs) > MAX_COMPATIBILITY:
            self.problems.append(f"compatibility: has {len(needs)} characters; at most {MAX_COMPATIBILITY}")

    def _metadata(self) -> dict[str, str]:
        found = self.values.get("metadata", {})
        if not isinstance(found, dict):
            self.problems.append("metadata: must map strings to strings")
            return {}
        flat: dict[str, str] = {}
        for key, value in found.items():
            if not isinstance(value, str):
                self.problems.append(f"metadata.{key}: must be a string; nested values do not survive other readers")
            else:
                flat[key] = value
        wrong = sorted(key for key in flat if key.startswith(PREFIX) and key not in METADATA_KEYS)
        self.problems.extend(f"metadata.{key}: unknown; known: {', '.join(METADATA_KEYS)}" for key in wrong)
        return flat

    def _text(self, key: str) -> str:
        value = self.values.get(key)
        if value is None:
            self.problems.append(f"{key}: missing")
            return ""
        if not isinstance(value, str):
            self.problems.append(f"{key}: must be a string")
            return ""
        return value

    def skill(self, body: str) -> Skill | None:
        """The skill, or ``None`` with the reasons among ``problems``."""
        name, description = self._text("name"), self._text("description")
        trigger = self._trigger()
        if _TRIGGER not in self.metadata and description.strip():
            description = " ".join(description.split())  # others write theirs over several lines
        if trigger is not None and self.metadata.get(_USE_WHEN) is None:
            description = description.removesuffix(" " + use_when(trigger))
        stand_in = "x"  # for what is missing or no string and already reported
        self.problems.extend(
            skill_problems(
                name if isinstance(self.values.get("name"), str) else stand_in,
                canonical_text(description) if isinstance(self.values.get("description"), str) else stand_in,
                canonical_text(body),
            )
        )
        if self.problems or trigger is None:
            return None
        return Skill(name, description, body, trigger)

    def _trigger(self) -> Trigger | None:
        before = len(self.problems)
        if self.metadata.get(_USE_WHEN, _OMITTED) != _OMITTED:
            self.problems.append(f"metadata.{_USE_WHEN}: {self.metadata[_USE_WHEN]!r}; the only value is {_OMITTED!r}")
        kind = self._choice(_TRIGGER, TriggerKind, TriggerKind.GENERAL)
        repeat = self._choice(_REPEAT, Repeat, None)
        cooldown = self._count(_COOLDOWN) or DEFAULT_COOLDOWN
        orphans = [key for key in (_PATTERN, _REPEAT, _COOLDOWN) if key in self.metadata]
        if _TRIGGER not in self.metadata and orphans:
            self.problems.append(f"metadata.{orphans[0]}: means nothing without {_TRIGGER}")
        if kind is None or len(self.problems) > before:
            return None
        try:
            return Trigger(kind, self.metadata.get(_PATTERN, ""), repeat, cooldown)
        except SkillError as error:
            self.problems.extend(f"metadata.{_TRIGGER}: {problem}" for problem in error.problems)
            return None

    def _choice(self, key: str, options: type[_E], default: _E | None) -> _E | None:
        if key not in self.metadata:
            return default
        try:
            return options(self.metadata[key])
        except ValueError:
            names = ", ".join(option.value for option in options)
            self.problems.append(f"metadata.{key}: {self.metadata[key]!r} is none of {names}")
            return None

    def _count(self, key: str) -> int | None:
        if key not in self.metadata:
            return None
        if not _COUNT.fullmatch(self.metadata[key]):
            self.problems.append(f"metadata.{key}: {self.metadata[key]!r} is not a whole number from 1")
            return None
        return int(self.metadata[key])

    def version(self) -> int | None:
        """``reskill.version``."""
        return self._count(_VERSION)

    def parent(self) -> str | None:
        """``reskill.parent``."""
        parent = self.metadata.get(_PARENT)
        if parent is not None and not _DIGEST.fullmatch(parent):
            self.problems.append(f"metadata.{_PARENT}: {parent!r} is not sha256- and 64 hex digits")
        return parent

    def extra(self) -> dict[str, str]:
        """What is not ours."""
        found = {
            key: value
            for key, value in self.values.items()
            if key not in ("name", "description", "metadata") and isinstance(value, str)
        }
        found.update({f"metadata.{k}": v for k, v in self.metadata.items() if not k.startswith(PREFIX)})
        return found
