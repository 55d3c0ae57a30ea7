"""When a skill enters the prompt: the trigger contract.

Patterns are RE2 (linear time, so no pattern can stall matching) and are searched, not anchored, in the
raw observation or in the canonical action, before any skill text is added.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import re2

from reskill_agents.errors import SkillError

DEFAULT_COOLDOWN = 3  # turns; pattern triggers stay quiet this long after a firing (design: trigger contract)


class TriggerKind(StrEnum):
    """The paper's three kinds, and two that tool-using agents need."""

    GENERAL = "general"
    BEGINNING = "beginning"
    ACTION_PATTERN = "action_pattern"
    OBSERVATION_PATTERN = "observation_pattern"
    TOOL = "tool"


class Repeat(StrEnum):
    """How often a skill may enter the prompt of one episode."""

    ONCE = "once"
    EVERY_FIRING = "every_firing"
    AFTER_N_TURNS = "after_n_turns"


PATTERN_KINDS = frozenset({TriggerKind.ACTION_PATTERN, TriggerKind.OBSERVATION_PATTERN, TriggerKind.TOOL})


@dataclass(frozen=True, slots=True)
class Trigger:
    """When a skill fires.

    Args:
        kind: ``general`` and ``beginning`` fire on turn 0 (``general`` again after a rewrite of history);
            ``action_pattern`` on the turn after a matching canonical action; ``observation_pattern`` on a
            matching raw observation; ``tool`` on the turn after the named tool's result.
        pattern: RE2 pattern, or the exact tool name for ``tool``. Empty for the two kinds without one.
        repeat: defaults to ``once`` for ``general`` and ``beginning``, else ``after_n_turns``.
        cooldown: turns of silence after a firing; only read with ``after_n_turns``.

    Raises:
        SkillError: with every problem found.
    """

    kind: TriggerKind = TriggerKind.GENERAL
    pattern: str = ""
    repeat: Repeat | None = None
    cooldown: int = DEFAULT_COOLDOWN

    def __post_init__(self) -> None:
        problems: list[str] = []
        has_pattern = self.kind in PATTERN_KINDS
        if has_pattern and not self.pattern:
            problems.append(f"trigger {self.kind} needs a pattern")
        if not has_pattern and self.pattern:
            problems.append(f"trigger {self.kind} takes no pattern, got {self.pattern!r}")
        if any("\ud800" <= character <= "\udfff" for character in self.pattern):
            problems.append(f"trigger pattern {self.pattern!r} holds a lone surrogate")
        elif has_pattern and self.kind is not TriggerKind.TOOL and self.pattern:
            problems.extend(pattern_problems(self.pattern))
        if self.cooldown < 1:
            problems.append(f"trigger cooldown must be at least 1 turn, got {self.cooldown}")
        if problems:
            raise SkillError(problems)
        if self.repeat is None:
            object.__setattr__(self, "repeat", Repeat.AFTER_N_TURNS if has_pattern else Repeat.ONCE)


def pattern_problems(pattern: str) -> list[str]:
    """Why RE2 refuses ``pattern``; empty when it is fine.

    Look-around and back-references are refused because they cannot be matched in linear time.
    """
    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(pattern, options)
    except UnicodeEncodeError as error:
        return [f"invalid pattern {pattern!r}: {error.reason}"]
    except re2.error as error:
        reason = error.args[0].decode() if isinstance(error.args[0], bytes) else str(error)
        hint = ""
        if "(?" in pattern and any(look in pattern for look in ("(?=", "(?!", "(?<=", "(?<!")):
            hint = " (RE2 has no look-around: match what is there instead)"
        elif any(f"\\{digit}" in pattern for digit in range(1, 10)):
            hint = " (RE2 has no back-references)"
        return [f"invalid pattern {pattern!r}: {reason}{hint}"]
    return []
