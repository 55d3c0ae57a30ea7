"""What a draft must stand before any rollout is spent on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rapidfuzz import fuzz

from reskill_agents.graphs.creator_memory import ALIKE, VerdictMemory
from reskill_agents.graphs.creator_state import CreationWork, Draft
from reskill_agents.graphs.creator_triggers import precision_problems, rate_problems
from reskill_agents.graphs.offline_author import OfflineAuthor
from reskill_agents.library import Operation, OperationKind, SkillLibrary
from reskill_agents.linter import LintReport, Severity, lint_skill
from reskill_agents.skill import Skill


def verified(work: CreationWork, drafts: Sequence[Draft]) -> tuple[Draft, ...]:
    """``drafts`` with what speaks against each, one another included."""
    found: list[Draft] = []
    for draft in drafts:
        if draft.operation is None:
            continue
        checked = _verified(work, draft, draft.operation)
        rivals = _rival_problems(draft.operation, [d.operation for d in found if d.operation is not None], work.library)
        found.append(replace(checked, problems=(*checked.problems, *rivals)))
    return tuple(found)


def _rival_problems(operation: Operation, earlier: Sequence[Operation], library: SkillLibrary) -> list[str]:
    """Two changes of one skill, or the same advice twice, in one proposal."""
    if any(other.name == operation.name for other in earlier):
        return [f"{operation.name}: another change of this proposal is about the same skill"]
    skill = result_of(operation, library)
    if skill is None or operation.kind is OperationKind.DELETE:
        return []
    others = [result_of(other, library) for other in earlier if other.kind is not OperationKind.DELETE]
    rivals = SkillLibrary(tuple(other for other in others if other is not None))
    return _duplicate_problems(skill, operation, rivals)


def _verified(work: CreationWork, draft: Draft, operation: Operation) -> Draft:
    lint = _lint(work, draft, operation)
    quarantined = tuple(str(f) for f in lint.findings if f.severity is Severity.QUARANTINE)
    refused = tuple(f"{operation.name}: {f}" for f in lint.findings if f.severity is Severity.REFUSE)
    problems = draft_problems(work, operation) or _precision_problems(work, draft, operation)
    return replace(draft, problems=(*problems, *refused), quarantine=quarantined)


def _precision_problems(work: CreationWork, draft: Draft, operation: Operation) -> list[str]:
    """A model's trigger must be precise; the offline author fits its own to the turns that need the confirmed advice."""
    skill = result_of(operation, work.library)
    names_trigger = operation.kind is OperationKind.ADD or operation.trigger is not None
    if skill is None or draft.author == OfflineAuthor.name or not names_trigger:
        return []
    return precision_problems(skill, draft.recommendation, work)


def _lint(work: CreationWork, draft: Draft, operation: Operation) -> LintReport:
    """The linter on what would enter a prompt; text of a model is compared with the logs it read as well."""
    skill = result_of(operation, work.library)
    if skill is None or operation.kind is OperationKind.DELETE:
        return LintReport()
    if draft.author == OfflineAuthor.name:
        return lint_skill(skill)
    return lint_skill(skill, work.log_words, trusted=work.grammar)


def draft_problems(work: CreationWork, operation: Operation) -> list[str]:
    """Everything that speaks against one draft but its wording; empty when it may be tried."""
    if VerdictMemory(work.verdicts).forbidden(operation):
        return [f"{operation.name}: a person rejected this before"]
    if operation.kind is OperationKind.DELETE:
        return [] if operation.name in work.library.by_name else [f"there is no skill {operation.name!r} to delete"]
    skill = result_of(operation, work.library)
    if skill is None:
        return [f"there is no skill {operation.name!r} to modify"]
    problems = _length_problems(skill, work.config.max_characters)
    problems += _duplicate_problems(skill, operation, work.library)
    problems += rate_problems(skill, work)
    return problems


def result_of(operation: Operation, library: SkillLibrary) -> Skill | None:
    """The skill as it would be after ``operation``; a modify keeps what it does not name."""
    if operation.kind is OperationKind.ADD:
        return operation.skill
    old = library.by_name.get(operation.name)
    if old is None or operation.kind is OperationKind.DELETE:
        return old
    return replace(
        old,
        description=operation.description if operation.description is not None else old.description,
        body=operation.body if operation.body is not None else old.body,
        trigger=operation.trigger if operation.trigger is not None else old.trigger,
    )


def _length_problems(skill: Skill, limit: int) -> list[str]:
    length = len(skill.name) + len(skill.description) + len(skill.body)
    return [f"{skill.name}: {length} characters in all, the limit is {limit}; shorten it"] if length > limit else []


def _duplicate_problems(skill: Skill, operation: Operation, library: SkillLibrary) -> list[str]:
    problems = []
    for live in library:
        if live.name == operation.name and operation.kind is OperationKind.MODIFY:
            continue
        if skill.body == live.body or (
            not _same_template(skill.body, live.body) and fuzz.token_sort_ratio(skill.body, live.body) >= ALIKE
        ):
            problems.append(f"{skill.name}: nearly the same advice as the live skill {live.name}; modify that one")
    return problems


def _same_template(a: str, b: str) -> bool:
    """Whether both are closed-grammar bodies: they differ by slots that similarity measures cannot weigh."""
    return all(text.startswith("**When to use:** ") and "\n**Action:** " in text for text in (a, b))
