"""Skills, libraries and proposals as JSON, and back, exactly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reskill_agents.errors import RunFolderError
from reskill_agents.library import RENDERER_VERSION, Operation, OperationKind, Proposal, SkillLibrary
from reskill_agents.skill import Skill
from reskill_agents.trigger import Repeat, Trigger, TriggerKind

Json = Mapping[str, object]


def library_to_json(library: SkillLibrary) -> dict[str, object]:
    """Digest, the renderer's version that it is of, and skills in order."""
    return {
        "digest": library.digest,
        "renderer": RENDERER_VERSION,
        "skills": [skill_to_json(skill) for skill in library],
    }


def library_from_json(entry: object) -> SkillLibrary:
    """The inverse; the digest must match. What was written under an older renderer is read, and has another digest now.

    Raises:
        RunFolderError: when it is not the library that was written.
    """
    try:
        fields = _mapping(entry)
        library = SkillLibrary(tuple(skill_from_json(skill) for skill in _list(fields["skills"])))
        digest = library.digest_as(int(str(fields.get("renderer", 1))))
    except (KeyError, TypeError, ValueError) as error:
        raise RunFolderError(f"not a library: {error!r}") from error
    if digest != fields["digest"]:
        raise RunFolderError(f"the library's digest is {digest}, the file says {fields['digest']}")
    return library


def skill_to_json(skill: Skill) -> dict[str, object]:
    """Name, description, body, trigger, digest."""
    return {
        "name": skill.name,
        "description": skill.description,
        "body": skill.body,
        "trigger": _trigger_to_json(skill.trigger),
        "digest": skill.digest,
    }


def skill_from_json(entry: object) -> Skill:
    """The inverse of :func:`skill_to_json`."""
    fields = _mapping(entry)
    return Skill(
        str(fields["name"]), str(fields["description"]), str(fields["body"]), _trigger_from_json(fields["trigger"])
    )


def proposal_to_json(proposal: Proposal) -> dict[str, object]:
    """Reason, evidence and operations with their texts."""
    return {
        "reason": proposal.reason,
        "evidence": list(proposal.evidence),
        "operations": [
            {
                "kind": operation.kind.value,
                "name": operation.name,
                "skill": skill_to_json(operation.skill) if operation.skill else None,
                "description": operation.description,
                "body": operation.body,
                "trigger": _trigger_to_json(operation.trigger) if operation.trigger else None,
            }
            for operation in proposal.operations
        ],
    }


def proposal_from_json(entry: object) -> Proposal:
    """The inverse of :func:`proposal_to_json`.

    Raises:
        RunFolderError: when it is not a proposal.
    """
    try:
        fields = _mapping(entry)
        operations = tuple(_operation_from_json(_mapping(one)) for one in _list(fields["operations"]))
        return Proposal(operations, str(fields["reason"]), tuple(str(line) for line in _list(fields["evidence"])))
    except (KeyError, TypeError, ValueError) as error:
        raise RunFolderError(f"not a proposal: {error!r}") from error


def _operation_from_json(fields: Json) -> Operation:
    return Operation(
        OperationKind(str(fields["kind"])),
        str(fields["name"]),
        skill=skill_from_json(fields["skill"]) if fields["skill"] else None,
        description=_text(fields["description"]),
        body=_text(fields["body"]),
        trigger=_trigger_from_json(fields["trigger"]) if fields["trigger"] else None,
    )


def _trigger_to_json(trigger: Trigger) -> dict[str, object]:
    return {
        "kind": trigger.kind.value,
        "pattern": trigger.pattern,
        "repeat": trigger.repeat.value if trigger.repeat else None,
        "cooldown": trigger.cooldown,
    }


def _trigger_from_json(entry: object) -> Trigger:
    fields = _mapping(entry)
    cooldown = fields["cooldown"]
    if not isinstance(cooldown, int):
        raise TypeError(f"cooldown {cooldown!r}")
    repeat = Repeat(str(fields["repeat"])) if fields["repeat"] else None
    return Trigger(TriggerKind(str(fields["kind"])), str(fields["pattern"]), repeat, cooldown)


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _mapping(value: object) -> Json:
    if not isinstance(value, Mapping):
        raise TypeError(f"an object is needed, got {type(value).__name__}")
    return value


def _list(value: object) -> Sequence[object]:
    if not isinstance(value, list | tuple):
        raise TypeError(f"a list is needed, got {type(value).__name__}")
    return value
