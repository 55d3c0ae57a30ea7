"""The memory of verdicts: which advice was tried, and what must not be tried again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rapidfuzz import fuzz

from reskill_agents.graphs.creator_state import PastVerdict
from reskill_agents.library import Operation, OperationKind, Proposal
from reskill_agents.trigger import Trigger, TriggerKind

ALIKE = 90  # token-sort ratio (0..100) of two bodies from which on they count as the same advice
BARRED_AT = 1.0  # a rejection counts 1 / (operations of the proposal) against each; at 1 it is barred


def trigger_key(trigger: Trigger) -> tuple[TriggerKind, str]:
    """What makes two triggers the same idea."""
    return trigger.kind, trigger.pattern


@dataclass(frozen=True)
class VerdictMemory:
    """What earlier verdicts say about advice, by the body of the skill that gives it."""

    verdicts: tuple[PastVerdict, ...]

    def strikes(self, body: str) -> float:
        """What speaks against ``body``: rejected alone counts 1, in a bundle of n 1/n, adopted and removed later 1."""
        total = 0.0
        bodies = self._bodies_by_name()
        for verdict in self.verdicts:
            operations = verdict.proposal.operations
            if verdict.accepted:
                removed = {bodies.get(o.name) for o in operations if o.kind is OperationKind.DELETE}
                added = {o.skill.body for o in operations if o.skill}
                if body in removed:
                    total += 1
                elif body in added:
                    total = 0.0
            else:
                total += sum(1 / len(operations) for o in operations if _text(o) == body)
        return total

    def barred(self, body: str) -> bool:
        """Whether ``body`` must not be proposed on old evidence."""
        return self.strikes(body) >= BARRED_AT - 1e-9

    def forbidden(self, operation: Operation) -> bool:
        """Whether a person said no to this change: the same text, or the same trigger or deletion of the same skill."""
        wanted = _shape([operation])
        body = _text(operation)
        for verdict in self.verdicts:
            if verdict.by_person and not verdict.accepted:
                for refused in verdict.proposal.operations:
                    alike = body is not None and _alike(body, _text(refused) or "")
                    if alike or _shape([refused]) == wanted:
                        return True
        return False

    def last_step(self, body: str) -> int:
        """Step of the latest verdict that concerned ``body``; -1 when none did."""
        bodies = self._bodies_by_name()
        return max(
            (
                v.step
                for v in self.verdicts
                if any(body in (_text(o), bodies.get(o.name)) for o in v.proposal.operations)
            ),
            default=-1,
        )

    def was_rejected(self, operations: Iterable[Operation]) -> bool:
        """Whether exactly this set of changes was rejected before."""
        wanted = _shape(operations)
        return any(not v.accepted and _shape(v.proposal.operations) == wanted for v in self.verdicts)

    def _bodies_by_name(self) -> dict[str, str]:
        return {o.name: o.skill.body for v in self.verdicts for o in v.proposal.operations if o.skill is not None}


def _alike(one: str, other: str) -> bool:
    """The same words in about the same order; closed templates count only when equal (one slot is another advice)."""
    if one == other:
        return True
    closed = all(text.startswith("**When to use:** ") and "`" in text for text in (one, other))
    return not closed and bool(other) and fuzz.token_sort_ratio(one, other) >= ALIKE


def _text(operation: Operation) -> str | None:
    return operation.skill.body if operation.skill is not None else operation.body


def _shape(operations: Iterable[Operation]) -> Counter[tuple[object, ...]]:
    shape: Counter[tuple[object, ...]] = Counter()
    for operation in operations:
        trigger = operation.skill.trigger if operation.skill else operation.trigger
        name = "" if operation.skill else operation.name
        shape[operation.kind, name, _text(operation), trigger_key(trigger) if trigger else None] += 1
    return shape


def rejected_ideas(verdicts: Sequence[PastVerdict], last: int = 5) -> tuple[str, ...]:
    """The last verdicts in words, newest first (what a model author is shown; the paper shows five)."""
    return tuple(_in_words(verdict.proposal, verdict) for verdict in reversed(verdicts[-last:]))


def _in_words(proposal: Proposal, verdict: PastVerdict) -> str:
    changes = "; ".join(
        f"{o.kind} {o.name}" + (f" ({o.skill.description})" if o.skill else "") for o in proposal.operations
    )
    outcome = "accepted" if verdict.accepted else "rejected"
    return f"{outcome}: {changes}" + (f" because {verdict.reason}" if verdict.reason else "")
