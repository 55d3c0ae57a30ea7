"""An assertion with what a log said about it, and the grade it gives an episode."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from reskill_agents.assertions.checks import Check, in_words
from reskill_agents.skill import digest_json


class GradeResult(StrEnum):
    """Three values: a check whose precondition never occurs does not apply."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_APPLICABLE = "not_applicable"


@dataclass(frozen=True, slots=True)
class Grade:
    """What one assertion says about one episode; ``evidence`` are the turn indices that decided it."""

    assertion_id: str
    result: GradeResult
    evidence: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class AssertionStatistics:
    """What the log it was induced from said.

    Args:
        support: tasks that tell passing from failing.
        applies: share of episodes in which it applies.
        passed_good, passed_poor: share passed among applicable episodes with an outcome above the mean, and the rest.
        effect: difference of the mean outcome (0..1) between passing and failing; positive is better.
        low, high: its 95 % interval.
        held_out: the effect on the half of the tasks that speaks less for it; None where there is none.
        within_length, within_model: the effect among episodes of the same length, of the same model; None where no
            length, no model has both.
    """

    support: int
    applies: float
    passed_good: float
    passed_poor: float
    effect: float
    low: float
    high: float
    held_out: float | None = None
    within_length: float | None = None
    within_model: float | None = None


@dataclass(frozen=True)
class Assertion:
    """A checkable statement about an episode.

    Args:
        check: what is checked.
        text: the statement in words (default: the check's own words).
        id: unique and stable (default: from the check's content).
        statistics: what the log said, for induced ones.
    """

    check: Check
    text: str = ""
    id: str = ""
    statistics: AssertionStatistics | None = None

    def __post_init__(self) -> None:
        if not self.text:
            object.__setattr__(self, "text", in_words(self.check))
        if not self.id:
            content = digest_json([self.check.type, repr(self.check)])
            object.__setattr__(self, "id", f"{self.check.type}-{content[7:15]}")
