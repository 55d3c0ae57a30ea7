"""How an agent sees its choices and writes its action: a setting of the agent graph."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from reskill_agents.environment import Choice, Observation

SAME_CHOICES = "same choices"
_TAG = re.compile(r"<action>(.*?)</action>", re.DOTALL)
_NUMBER = re.compile(r"\d+")


class ActionFormat(StrEnum):
    """``tagged``: free text in ``<action>`` tags (LLMs). ``numbered``: the number of an admissible choice."""

    TAGGED = "tagged"
    NUMBERED = "numbered"


@dataclass(frozen=True, slots=True)
class ParsedAction:
    """The canonical action in an answer; empty with the reason when there is none."""

    action: str
    problem: str = ""


def show_observation(
    observation: Observation, action_format: ActionFormat, previous_choices: Sequence[Choice] = ()
) -> str:
    """The observation as the agent sees it, before any skill text.

    ``numbered`` lists the choices one a line, the label after the text it names (choosing is then copying); a list equal
    to the one of the turn before is not repeated, so the numbers stand.
    """
    if action_format is ActionFormat.TAGGED or not observation.choices:
        return observation.text
    if tuple(previous_choices) == observation.choices:
        return f"{observation.text}\n{SAME_CHOICES}"
    lines = [f"{choice.kind} {choice.text} > {number}" for number, choice in enumerate(observation.choices, 1)]
    return "\n".join([observation.text, *lines])


def parse_action(response: str, action_format: ActionFormat, choices: Sequence[Choice]) -> ParsedAction:
    """The canonical action that ``response`` asks for. Never raises: a bad answer is data."""
    if action_format is ActionFormat.NUMBERED:
        numbers = _NUMBER.findall(response)
        if not numbers:
            return ParsedAction("", "the answer holds no number")
        number = int(numbers[0][:9])
        if not 1 <= number <= len(choices):
            return ParsedAction("", f"{number} is not one of the {len(choices)} choices")
        return ParsedAction(choices[number - 1].action)
    tags = _TAG.findall(response)
    if not tags:
        return ParsedAction("", "the answer holds no <action> tag")
    action = " ".join(tags[-1].split())
    return ParsedAction(action, "" if action else "the <action> tag is empty")


def instructions(action_format: ActionFormat) -> str:
    """What the system prompt says about writing actions."""
    if action_format is ActionFormat.NUMBERED:
        return "answer with the number of one choice"
    return "Think if you need to, then write exactly one action as <action>verb[argument]</action>."
