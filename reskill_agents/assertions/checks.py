"""The kinds of checks: the paper's nine, and what they miss.

Patterns are RE2, searched in the canonical action or the raw observation, never in reasoning. A pattern that RE2
refuses is refused here; it never counts as a failed check. Turn i holds the observation *before* action i.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, Literal

from pydantic import Field

from reskill_agents.directives import Directive, sentence
from reskill_agents.errors import SkillError
from reskill_agents.trigger import pattern_problems


@dataclass(frozen=True, slots=True)
class _Patterned:
    """Refuses bad patterns and numbers when it is made."""

    def __post_init__(self) -> None:
        problems: list[str] = []
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in PATTERN_FIELDS and isinstance(value, str):
                problems += pattern_problems(value) if value else [f"{field.name} is empty"]
            if isinstance(value, int | float) and not isinstance(value, bool) and value < 0:
                problems.append(f"{field.name} must not be negative, got {value}")
        if problems:
            raise SkillError(problems, source="check")


PATTERN_FIELDS = frozenset({"pattern", "first", "second", "observation", "action", "error"})


@dataclass(frozen=True, slots=True)
class ActionExists(_Patterned):
    """Some action matches."""

    pattern: str
    type: Literal["action_exists"] = "action_exists"


@dataclass(frozen=True, slots=True)
class ActionNotExists(_Patterned):
    """No action matches."""

    pattern: str
    type: Literal["action_not_exists"] = "action_not_exists"


@dataclass(frozen=True, slots=True)
class ActionBefore(_Patterned):
    """An action matching ``first`` comes before the first one matching ``second``; needs a ``second`` to apply."""

    first: str
    second: str
    type: Literal["action_before"] = "action_before"


@dataclass(frozen=True, slots=True)
class NoConsecutiveRepeat(_Patterned):
    """No action is the same as the one before it; needs two actions to apply."""

    type: Literal["no_consecutive_repeat"] = "no_consecutive_repeat"


@dataclass(frozen=True, slots=True)
class FinalAction(_Patterned):
    """The last action matches."""

    pattern: str
    type: Literal["final_action"] = "final_action"


@dataclass(frozen=True, slots=True)
class MinSteps(_Patterned):
    """At least ``steps`` turns."""

    steps: int
    type: Literal["min_steps"] = "min_steps"


@dataclass(frozen=True, slots=True)
class MaxSteps(_Patterned):
    """At most ``steps`` turns."""

    steps: int
    type: Literal["max_steps"] = "max_steps"


@dataclass(frozen=True, slots=True)
class ActionCount(_Patterned):
    """From ``least`` to ``most`` actions match (``most`` None: no upper limit)."""

    pattern: str
    least: int = 0
    most: int | None = None
    type: Literal["action_count"] = "action_count"


@dataclass(frozen=True, slots=True)
class ObservationContains(_Patterned):
    """Some observation matches, the last one included."""

    pattern: str
    type: Literal["observation_contains"] = "observation_contains"


@dataclass(frozen=True, slots=True)
class ObservationNotContains(_Patterned):
    """No observation matches."""

    pattern: str
    type: Literal["observation_not_contains"] = "observation_not_contains"


@dataclass(frozen=True, slots=True)
class ActionAfterObservation(_Patterned):
    """After each observation that matches, an action that matches follows (within ``within`` actions; 0: any time).

    Applies when some observation that an action follows matches.
    """

    observation: str
    action: str
    within: int = 0
    type: Literal["action_after_observation"] = "action_after_observation"


@dataclass(frozen=True, slots=True)
class RepeatAtMost(_Patterned):
    """No action is taken more than ``times`` times, among those matching ``pattern``."""

    times: int
    pattern: str = "."
    type: Literal["repeat_at_most"] = "repeat_at_most"


@dataclass(frozen=True, slots=True)
class ToolErrorFollowedBy(_Patterned):
    """The action right after each observation that matches ``error`` matches ``action`` (or, ``never``: does not)."""

    error: str
    action: str
    never: bool = False
    type: Literal["tool_error_followed_by"] = "tool_error_followed_by"


@dataclass(frozen=True, slots=True)
class NoRetryAfterError(_Patterned):
    """After an observation that matches ``error``, the action before it is not taken again unchanged."""

    error: str
    type: Literal["no_retry_after_error"] = "no_retry_after_error"


@dataclass(frozen=True, slots=True)
class InvalidRatioAtMost(_Patterned):
    """At most this share of turns (0..1) had no valid action."""

    ratio: float
    type: Literal["invalid_ratio_at_most"] = "invalid_ratio_at_most"


@dataclass(frozen=True, slots=True)
class FollowsDirective(_Patterned):
    """Every turn that a sentence of the closed grammar concerns keeps it; needs listed choices.

    ``opening``: kinds whose choice opens something new and so forgets what was picked before.
    """

    directive: Directive
    opening: tuple[str, ...] = ()
    type: Literal["follows_directive"] = "follows_directive"


Check = Annotated[
    ActionExists
    | ActionNotExists
    | ActionBefore
    | NoConsecutiveRepeat
    | FinalAction
    | MinSteps
    | MaxSteps
    | ActionCount
    | ObservationContains
    | ObservationNotContains
    | ActionAfterObservation
    | RepeatAtMost
    | ToolErrorFollowedBy
    | NoRetryAfterError
    | InvalidRatioAtMost
    | FollowsDirective,
    Field(discriminator="type"),
]


def in_words(check: Check) -> str:
    """The check as one sentence about an episode."""
    match check:
        case ActionExists(pattern):
            return f"Some action matches `{pattern}`."
        case ActionNotExists(pattern):
            return f"No action matches `{pattern}`."
        case ActionBefore(first, second):
            return f"An action matching `{first}` comes before the first one matching `{second}`."
        case NoConsecutiveRepeat():
            return "No action is taken twice in a row."
        case FinalAction(pattern):
            return f"The last action matches `{pattern}`."
        case MinSteps(steps):
            return f"There are at least {steps} turns."
        case MaxSteps(steps):
            return f"There are at most {steps} turns."
        case ActionCount(pattern, least, most):
            upper = "" if most is None else f" and at most {most}"
            return f"At least {least}{upper} actions match `{pattern}`."
        case ObservationContains(pattern):
            return f"Some observation matches `{pattern}`."
        case ObservationNotContains(pattern):
            return f"No observation matches `{pattern}`."
        case ActionAfterObservation(observation, action, within):
            limit = f" within {within} actions" if within else ""
            return f"After each observation matching `{observation}` an action matching `{action}` follows{limit}."
        case RepeatAtMost(times, pattern):
            which = "No action" if pattern == "." else f"No action matching `{pattern}`"
            return f"{which} is taken more than {times} times."
        case ToolErrorFollowedBy(error, action, never):
            verb = "does not match" if never else "matches"
            return f"The action right after an observation matching `{error}` {verb} `{action}`."
        case NoRetryAfterError(error):
            return f"After an observation matching `{error}` the same action is not taken again unchanged."
        case InvalidRatioAtMost(ratio):
            return f"At most {ratio:.0%} of turns lack a valid action."
        case FollowsDirective(directive):
            return sentence(directive)
