"""Checkable statements about episodes: passed, failed or not applicable, with the turns that show it."""

from reskill_agents.assertions.assertion import Assertion, AssertionStatistics, Grade, GradeResult
from reskill_agents.assertions.checks import Check
from reskill_agents.assertions.codec import (
    assertion_from_json,
    assertion_to_json,
    load_assertions,
    save_assertions,
)
from reskill_agents.assertions.grading import EpisodeGrades, grade

__all__ = [
    "Assertion",
    "AssertionStatistics",
    "Check",
    "EpisodeGrades",
    "Grade",
    "GradeResult",
    "assertion_from_json",
    "assertion_to_json",
    "grade",
    "load_assertions",
    "save_assertions",
]
