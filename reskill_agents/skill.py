"""One skill: a short module of advice with the trigger that brings it into the prompt."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from dataclasses import dataclass, field
from functools import cached_property

from reskill_agents.errors import SkillError
from reskill_agents.trigger import Trigger

NAME_PATTERN = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
MAX_NAME = 64  # Agent Skills specification
MAX_DESCRIPTION = 1024  # Agent Skills specification
_UNFIT = frozenset({"Cc", "Cs"})  # control characters and lone surrogates: no text file holds them
MAX_AUTHORED_CHARACTERS = 500  # the paper's limit on name + when + action + example; checked for authored skills


def canonical_text(text: str) -> str:
    """NFC with LF line ends and no trailing white space: what digests and files are made from."""
    lines = unicodedata.normalize("NFC", text).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return "\n".join(line.rstrip() for line in lines).strip()


@dataclass(frozen=True)
class Skill:
    """An immutable skill.

    Args:
        name: Agent Skills name: lower-case words joined by single hyphens, at most 64 characters.
        description: one line of 1 to 1024 characters without ``<`` or ``>``; what other clients route on.
        body: Markdown: when to use, the action, at most one example.
        trigger: when it enters the prompt.

    Raises:
        SkillError: with every problem found.
    """

    name: str
    description: str
    body: str
    trigger: Trigger = field(default_factory=Trigger)

    def __post_init__(self) -> None:
        object.__setattr__(self, "description", canonical_text(self.description))
        object.__setattr__(self, "body", canonical_text(self.body))
        problems = skill_problems(self.name, self.description, self.body)
        if problems:
            raise SkillError(problems, source=f"skill {self.name!r}")

    @cached_property
    def digest(self) -> str:
        """``sha256-<hex>`` of the canonical JSON of name, description, body and trigger."""
        content = {
            "body": self.body,
            "description": self.description,
            "name": self.name,
            "trigger": {
                "cooldown": self.trigger.cooldown,
                "kind": self.trigger.kind.value,
                "pattern": self.trigger.pattern,
                "repeat": self.trigger.repeat.value if self.trigger.repeat else None,
            },
        }
        return digest_json(content)


def digest_json(content: object) -> str:
    """``sha256-<hex>`` of ``content`` as compact JSON with sorted keys."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return "sha256-" + hashlib.sha256(text.encode()).hexdigest()


def skill_problems(name: str, description: str, body: str) -> list[str]:
    """Every way in which these fields break the Agent Skills specification; empty when they do not."""
    problems: list[str] = []
    if not NAME_PATTERN.fullmatch(name):
        problems.append(f"name {name!r} must be lower-case letters and digits joined by single hyphens")
    if len(name) > MAX_NAME:
        problems.append(f"name has {len(name)} characters, the limit is {MAX_NAME}")
    if not description:
        problems.append("description is empty")
    if len(description) > MAX_DESCRIPTION:
        problems.append(f"description has {len(description)} characters, the limit is {MAX_DESCRIPTION}")
    if "<" in description or ">" in description:
        problems.append("description must not contain '<' or '>'")
    if "\n" in description:
        problems.append("description must be one line")
    if not body:
        problems.append("body is empty")
    for label, text in (("description", description), ("body", body)):
        unfit = sorted({f"U+{ord(c):04X}" for c in text if unicodedata.category(c) in _UNFIT and c not in "\n\t"})
        if unfit:
            problems.append(f"{label} holds control characters: {', '.join(unfit)}")
    return problems
