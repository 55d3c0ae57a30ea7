"""Proposals that wait for their trial: one trial at a time, first come first served."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from reskill_agents.errors import ProposalError
from reskill_agents.library import DEFAULT_CAPACITY, Proposal, SkillLibrary


@dataclass(frozen=True)
class Challenger:
    """A proposal that waits, and where it came from (``creation-3``, ``pruning``, ``person``)."""

    proposal: Proposal
    origin: str = ""


class ChallengerQueue:
    """First in, first out. A proposal is applied to the library in force when its turn comes, not when it was made.

    Args:
        limit: waiting proposals at most; the oldest gives way (it was written from the oldest failures).
        waiting: proposals that wait already.
        tried: (incumbent digest, candidate digest) of finished trials; the same pair is not tried again.
    """

    def __init__(
        self, *, limit: int = 4, waiting: Iterable[Challenger] = (), tried: Iterable[tuple[str, str]] = ()
    ) -> None:
        self.limit = limit
        self._waiting = list(waiting)
        self._tried = dict.fromkeys(tried)

    @property
    def waiting(self) -> Sequence[Challenger]:
        """Who waits, next first."""
        return tuple(self._waiting)

    @property
    def tried(self) -> Sequence[tuple[str, str]]:
        """Pairs of digests that had their trial, for the state."""
        return tuple(self._tried)

    def offer(self, challenger: Challenger) -> Challenger | None:
        """Join the queue; returns the challenger that had to give way, if any."""
        self._waiting.append(challenger)
        return self._waiting.pop(0) if len(self._waiting) > self.limit else None

    def next(
        self, incumbent: SkillLibrary, *, capacity: int = DEFAULT_CAPACITY
    ) -> tuple[Challenger, SkillLibrary] | None:
        """The first challenger that still applies to ``incumbent`` and was not tried against it, and its library.

        Challengers that do not apply any more are dropped.
        """
        while self._waiting:
            challenger = self._waiting.pop(0)
            try:
                candidate = challenger.proposal.apply(incumbent, capacity=capacity)
            except ProposalError:
                continue
            pair = (incumbent.digest, candidate.digest)
            if pair not in self._tried:
                self._tried[pair] = None
                return challenger, candidate
        return None
