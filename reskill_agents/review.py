"""A person's decision about a proposal: approve, edit or reject, and the folder that remembers it.

A creation folder holds ``review.json`` (what was proposed, on which evidence, what is in quarantine and why, and what was
decided) and ``verdicts.jsonl`` (every decision so far). A rejected change is not proposed again from that folder.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from reskill_agents.errors import ProposalError, ReSkillError, SkillError
from reskill_agents.library import Operation, OperationKind, Proposal, SkillLibrary
from reskill_agents.linter import lint_skill
from reskill_agents.skill import Skill
from reskill_agents.skill_json import (
    library_from_json,
    library_to_json,
    proposal_from_json,
    proposal_to_json,
    skill_from_json,
    skill_to_json,
)
from reskill_agents.skill_md import render_skill_md

REVIEW_NAME = "review.json"
VERDICTS_NAME = "verdicts.jsonl"
_FORMAT = "reskill-review/1"


class ReviewError(ReSkillError):
    """There is nothing to review, or the decision does not fit what is proposed."""


class Ruling(StrEnum):
    """What a person may say."""

    APPROVE = "approve"
    EDIT = "edit"
    REJECT = "reject"


class ReviewStatus(StrEnum):
    """``waiting``: nothing enters a library before a person says so. ``untested``: it is in the written library."""

    WAITING = "waiting"
    UNTESTED = "untested"
    APPROVED = "approved"
    REJECTED = "rejected"


@dataclass(frozen=True)
class Decision:
    """What a person decided.

    Args:
        ruling: approve, edit (approve in other words) or reject.
        reason: why, in words; the next creation reads it.
        edited: skills in the person's wording, by the names proposed.
        admitted: names of quarantined skills that are let in.
    """

    ruling: Ruling
    reason: str = ""
    edited: tuple[Skill, ...] = ()
    admitted: tuple[str, ...] = ()


@dataclass(frozen=True)
class Quarantined:
    """A change that only a person may let in, and what was found in it."""

    operation: Operation
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class EvidenceSide:
    """One episode as shown to a person: who it is, how it ended, its transcript and the turns that matter."""

    episode_id: str
    score: float | None
    transcript: str
    turns: tuple[int, ...] = ()


@dataclass(frozen=True)
class EvidencePair:
    """Two episodes side by side: what a statement is about, one that kept it and one that did not."""

    statement: str
    kept: EvidenceSide
    broken: EvidenceSide


@dataclass(frozen=True)
class Review:
    """What a person looks at.

    Args:
        before: the library in force.
        proposal: what is proposed; None when everything is in quarantine.
        quarantine: what needs to be let in by name.
        evidence: episodes side by side.
        status: whether it is decided.
        thread: name of the paused creation in the folder's checkpoints, if it waits there.
    """

    before: SkillLibrary
    proposal: Proposal | None
    quarantine: tuple[Quarantined, ...] = ()
    evidence: tuple[EvidencePair, ...] = ()
    status: ReviewStatus = ReviewStatus.WAITING
    thread: str = ""

    def diff(self) -> str:
        """The proposal as a unified diff of SKILL.md files."""
        after = self.proposal.apply(self.before) if self.proposal else self.before
        lines: list[str] = []
        for name in dict.fromkeys([*self.before.by_name, *after.by_name]):
            old, new = (_skill_lines(library.by_name.get(name)) for library in (self.before, after))
            source, target = (f"{name}/SKILL.md" if text else "/dev/null" for text in (old, new))
            lines += difflib.unified_diff(old, new, source, target, n=50, lineterm="")
        return "\n".join(lines)


def _skill_lines(skill: Skill | None) -> list[str]:
    return render_skill_md(skill).splitlines() if skill else []


def decided(
    decision: Decision, proposal: Proposal | None, before: SkillLibrary, quarantine: Sequence[Quarantined] = ()
) -> Proposal | None:
    """The proposal as the person wants it; None for a rejection.

    Raises:
        ReviewError: a name that is not proposed, or nothing left to approve.
        SkillError: an edited or admitted skill holds what no approval can let in, with every finding.
        ProposalError: the result does not apply to ``before``.
    """
    if decision.ruling is Ruling.REJECT:
        return None
    if decision.ruling is Ruling.EDIT and not decision.edited:
        raise ReviewError("an edit needs at least one edited skill")
    waiting = {item.operation.name: item.operation for item in quarantine}
    unknown = sorted(set(decision.admitted) - set(waiting))
    if unknown:
        raise ReviewError(f"not in quarantine: {', '.join(unknown)}; there: {', '.join(sorted(waiting)) or 'nothing'}")
    operations = {operation.name: operation for operation in (proposal.operations if proposal else ())}
    operations |= {name: waiting[name] for name in decision.admitted}
    for skill in decision.edited:
        if skill.name not in operations or operations[skill.name].kind is OperationKind.DELETE:
            raise ReviewError(f"{skill.name!r} is not among the skills proposed: {', '.join(sorted(operations))}")
        operations[skill.name] = _edited(operations[skill.name], skill, before)
    if not operations:
        raise ReviewError("everything is in quarantine: let skills in by name, or reject")
    final = Proposal(
        tuple(operations.values()), proposal.reason if proposal else "", proposal.evidence if proposal else ()
    )
    _refuse(final.apply(before), {*decision.admitted, *(skill.name for skill in decision.edited)})
    return final


def _edited(operation: Operation, skill: Skill, before: SkillLibrary) -> Operation:
    if operation.kind is OperationKind.ADD:
        return Operation.add(skill)
    old = before.by_name.get(skill.name)
    if old is None:
        raise ProposalError(f"there is no skill {skill.name!r} to modify")
    return Operation.modify(
        skill.name,
        description=skill.description if skill.description != old.description else None,
        body=skill.body if skill.body != old.body else None,
        trigger=skill.trigger if skill.trigger != old.trigger else None,
    )


def _refuse(library: SkillLibrary, names: set[str]) -> None:
    problems = [
        f"{name}: {finding}"
        for name in sorted(names)
        if (report := lint_skill(library.by_name[name])).refused
        for finding in report.findings
    ]
    if problems:
        raise SkillError(problems, source="no approval can let this in")


# --- files -----------------------------------------------------------------------------------------------------------


def write_review(folder: Path, review: Review, decision: Decision | None = None) -> None:
    """Write ``review.json``."""
    content = {
        "format": _FORMAT,
        "status": review.status.value,
        "thread": review.thread,
        "before": library_to_json(review.before),
        "proposal": proposal_to_json(review.proposal) if review.proposal else None,
        "quarantine": [
            {"change": proposal_to_json(Proposal((item.operation,))), "reasons": list(item.reasons)}
            for item in review.quarantine
        ],
        "evidence": [
            {"statement": pair.statement, "kept": _side_to_json(pair.kept), "broken": _side_to_json(pair.broken)}
            for pair in review.evidence
        ],
        "decision": decision_to_json(decision) if decision else None,
    }
    temporary = folder / f".{REVIEW_NAME}.new"
    temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    temporary.replace(folder / REVIEW_NAME)


def read_review(folder: Path) -> Review:
    """Read ``review.json``.

    Raises:
        ReviewError: there is none, or it is not one of ours.
    """
    path = folder / REVIEW_NAME
    if not path.is_file():
        raise ReviewError(f"{path} does not exist: `reskill create --out {folder}` writes it")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != _FORMAT:
            raise ValueError(f"format {content['format']!r}")
        return Review(
            library_from_json(content["before"]),
            proposal_from_json(content["proposal"]) if content["proposal"] else None,
            tuple(
                Quarantined(proposal_from_json(item["change"]).operations[0], tuple(map(str, item["reasons"])))
                for item in content["quarantine"]
            ),
            tuple(
                EvidencePair(str(pair["statement"]), _side_from_json(pair["kept"]), _side_from_json(pair["broken"]))
                for pair in content["evidence"]
            ),
            ReviewStatus(content["status"]),
            str(content["thread"]),
        )
    except (OSError, ValueError, KeyError, TypeError, IndexError, ReSkillError) as error:
        raise ReviewError(f"{path} is not a review: {error!r}") from error


def _side_to_json(side: EvidenceSide) -> dict[str, object]:
    return {
        "episode_id": side.episode_id,
        "score": side.score,
        "transcript": side.transcript,
        "turns": list(side.turns),
    }


def _side_from_json(entry: Mapping[str, object]) -> EvidenceSide:
    score, turns = entry["score"], entry["turns"]
    if not (score is None or isinstance(score, int | float)) or not isinstance(turns, list):
        raise TypeError("a side of evidence needs a score and turns")
    return EvidenceSide(str(entry["episode_id"]), score, str(entry["transcript"]), tuple(int(turn) for turn in turns))


def decision_to_json(decision: Decision) -> dict[str, object]:
    """What a paused creation is resumed with."""
    return {
        "ruling": decision.ruling.value,
        "reason": decision.reason,
        "edited": [skill_to_json(skill) for skill in decision.edited],
        "admitted": list(decision.admitted),
    }


def decision_from_json(entry: object) -> Decision:
    """The inverse of :func:`decision_to_json`; ``"approve"`` alone will do.

    Raises:
        ReviewError: when it is no decision.
    """
    fields = {"ruling": entry} if isinstance(entry, str) else entry
    try:
        if not isinstance(fields, Mapping):
            raise TypeError("an object is needed")
        return Decision(
            Ruling(fields["ruling"]),
            str(fields.get("reason", "")),
            tuple(skill_from_json(skill) for skill in fields.get("edited", ())),
            tuple(str(name) for name in fields.get("admitted", ())),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ReviewError(f"not a decision: {error!r}; ruling is one of {', '.join(Ruling)}") from error


@dataclass(frozen=True)
class PersonsVerdict:
    """One decision as remembered: what it was about, and whether it was let in."""

    proposal: Proposal
    accepted: bool
    reason: str = ""


@dataclass(frozen=True)
class VerdictFile:
    """``verdicts.jsonl``: appended to, never rewritten."""

    path: Path

    def read(self) -> tuple[PersonsVerdict, ...]:
        """All decisions, oldest first.

        Raises:
            ReviewError: a line that is no decision; a memory with a hole would propose again what was rejected.
        """
        if not self.path.is_file():
            return ()
        found = []
        for number, line in enumerate(self.path.read_text(encoding="utf-8").splitlines(), 1):
            try:
                entry = json.loads(line)
                found.append(
                    PersonsVerdict(proposal_from_json(entry["proposal"]), entry["accepted"] is True, entry["reason"])
                )
            except (ValueError, KeyError, TypeError, ReSkillError) as error:
                raise ReviewError(f"{self.path}:{number}: not a decision: {error!r}") from error
        return tuple(found)

    def append(self, verdict: PersonsVerdict) -> None:
        """Remember one more."""
        entry = {
            "proposal": proposal_to_json(verdict.proposal),
            "accepted": verdict.accepted,
            "reason": verdict.reason,
        }
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry, ensure_ascii=False) + "\n")


__all__ = [
    "REVIEW_NAME",
    "VERDICTS_NAME",
    "Decision",
    "EvidencePair",
    "EvidenceSide",
    "PersonsVerdict",
    "Quarantined",
    "Review",
    "ReviewError",
    "ReviewStatus",
    "Ruling",
    "VerdictFile",
    "decided",
    "decision_from_json",
    "decision_to_json",
    "read_review",
    "write_review",
]
