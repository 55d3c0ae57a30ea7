"""An immutable, ordered set of skills, and the operations that turn one into the next."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property

from reskill_agents.errors import ProposalError
from reskill_agents.skill import Skill, digest_json
from reskill_agents.trigger import Trigger

RENDERER_VERSION = 2  # part of every library digest: the same skills rendered differently are another library
DEFAULT_CAPACITY = 8  # the paper's limit on active skills


@dataclass(frozen=True)
class SkillLibrary:
    """Skills in the order in which they enter the prompt.

    Digest: the ordered skill digests and the renderer's version, so that a rollback gives the old digest again.
    """

    skills: tuple[Skill, ...] = ()

    def __post_init__(self) -> None:
        names = [skill.name for skill in self.skills]
        doubles = sorted({name for name in names if names.count(name) > 1})
        if doubles:
            raise ProposalError(f"a library holds each name once; twice: {', '.join(doubles)}")

    @cached_property
    def digest(self) -> str:
        """``sha256-<hex>`` over the ordered skill digests and the renderer's version."""
        return self.digest_as(RENDERER_VERSION)

    def digest_as(self, renderer: int) -> str:
        """The digest that this library had under the given version of the renderer."""
        return digest_json({"renderer": renderer, "skills": [skill.digest for skill in self.skills]})

    @cached_property
    def by_name(self) -> dict[str, Skill]:
        """The skills by name."""
        return {skill.name: skill for skill in self.skills}

    def __len__(self) -> int:
        return len(self.skills)

    def __iter__(self) -> Iterator[Skill]:
        return iter(self.skills)

    def without(self, *names: str) -> SkillLibrary:
        """This library less the named skills (unknown names are an error)."""
        missing = [name for name in names if name not in self.by_name]
        if missing:
            raise ProposalError(f"no such skill: {', '.join(missing)}")
        return SkillLibrary(tuple(skill for skill in self.skills if skill.name not in names))


class OperationKind(StrEnum):
    """What an operation does."""

    ADD = "add"
    MODIFY = "modify"
    DELETE = "delete"


@dataclass(frozen=True)
class Operation:
    """One change of a library.

    ``add`` carries ``skill``. ``modify`` names its target and only the fields it changes; what it does not
    name it keeps (``trigger`` included). ``delete`` names its target.
    """

    kind: OperationKind
    name: str
    skill: Skill | None = None
    description: str | None = None
    body: str | None = None
    trigger: Trigger | None = None

    @classmethod
    def add(cls, skill: Skill) -> Operation:
        """Add ``skill`` at the end of the library."""
        return cls(OperationKind.ADD, skill.name, skill=skill)

    @classmethod
    def delete(cls, name: str) -> Operation:
        """Delete the skill called ``name``."""
        return cls(OperationKind.DELETE, name)

    @classmethod
    def modify(
        cls, name: str, *, description: str | None = None, body: str | None = None, trigger: Trigger | None = None
    ) -> Operation:
        """Change the named fields of the skill called ``name``, keep the others."""
        return cls(OperationKind.MODIFY, name, description=description, body=body, trigger=trigger)


@dataclass(frozen=True)
class Proposal:
    """One to three operations with the reason and the evidence for them."""

    operations: tuple[Operation, ...]
    reason: str = ""
    evidence: tuple[str, ...] = field(default=())

    def apply(self, library: SkillLibrary, *, capacity: int = DEFAULT_CAPACITY) -> SkillLibrary:
        """The library after all operations, in order; all or nothing.

        Raises:
            ProposalError: naming the operation that does not apply; ``library`` is untouched, as always.
        """
        if not 1 <= len(self.operations) <= 3:
            raise ProposalError(f"a proposal holds one to three operations, got {len(self.operations)}")
        skills = list(library.skills)
        for number, operation in enumerate(self.operations, 1):
            _apply(operation, skills, number)
        if len(skills) > capacity:
            raise ProposalError(f"the result has {len(skills)} skills, the limit is {capacity}; delete one too")
        return SkillLibrary(tuple(skills))


def _apply(operation: Operation, skills: list[Skill], number: int) -> None:
    positions = {skill.name: index for index, skill in enumerate(skills)}
    label = f"operation {number} ({operation.kind} {operation.name!r})"
    if operation.kind is OperationKind.ADD:
        if operation.skill is None:
            raise ProposalError(f"{label} carries no skill")
        if operation.name in positions:
            raise ProposalError(f"{label}: a skill of that name exists; modify it instead")
        skills.append(operation.skill)
        return
    if operation.name not in positions:
        raise ProposalError(f"{label}: no such skill")
    position = positions[operation.name]
    if operation.kind is OperationKind.DELETE:
        del skills[position]
        return
    old = skills[position]
    skills[position] = replace(
        old,
        description=old.description if operation.description is None else operation.description,
        body=old.body if operation.body is None else operation.body,
        trigger=old.trigger if operation.trigger is None else operation.trigger,
    )
    if skills[position].digest == old.digest:
        raise ProposalError(f"{label} changes nothing")
