"""How choices are shown and answers are read: a bad answer is data, never an exception."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reskill_agents.action_format import (
    SAME_CHOICES,
    ActionFormat,
    ParsedAction,
    instructions,
    parse_action,
    show_observation,
)
from reskill_agents.environment import Choice, Observation, action_verb

DOOR = Choice("open[a]", "oak door", "door")
FINISH = Choice("press[finish]", "finish", "button")
SEEN = Observation("a wall", (DOOR, FINISH))


def test_numbered_lists_the_choices_with_the_number_after_the_text() -> None:
    assert show_observation(SEEN, ActionFormat.NUMBERED) == "a wall\ndoor oak door > 1\nbutton finish > 2"


def test_an_unchanged_list_is_not_repeated() -> None:
    assert show_observation(SEEN, ActionFormat.NUMBERED, SEEN.choices) == f"a wall\n{SAME_CHOICES}"
    assert SAME_CHOICES not in show_observation(SEEN, ActionFormat.NUMBERED, (DOOR,))


def test_tagged_shows_the_observation_as_it_is() -> None:
    assert show_observation(SEEN, ActionFormat.TAGGED) == "a wall"
    assert show_observation(Observation("a wall"), ActionFormat.NUMBERED) == "a wall"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("2", ParsedAction("press[finish]")),
        ("I take 1 because", ParsedAction("open[a]")),
        ("3", ParsedAction("", "3 is not one of the 2 choices")),
        ("0", ParsedAction("", "0 is not one of the 2 choices")),
        ("finish", ParsedAction("", "the answer holds no number")),
        ("9" * 5000, ParsedAction("", "999999999 is not one of the 2 choices")),
    ],
)
def test_numbered_answers(answer: str, expected: ParsedAction) -> None:
    assert parse_action(answer, ActionFormat.NUMBERED, SEEN.choices) == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("<action>open[a]</action>", ParsedAction("open[a]")),
        ("thinking...\n<action> search[red\n lamp] </action>", ParsedAction("search[red lamp]")),
        ("<action>no</action> rather <action>yes</action>", ParsedAction("yes")),
        ("open[a]", ParsedAction("", "the answer holds no <action> tag")),
        ("<action></action>", ParsedAction("", "the <action> tag is empty")),
    ],
)
def test_tagged_answers(answer: str, expected: ParsedAction) -> None:
    assert parse_action(answer, ActionFormat.TAGGED, SEEN.choices) == expected


@given(st.text(), st.sampled_from(ActionFormat))
@settings(max_examples=50, deadline=None)
def test_no_answer_raises_and_an_empty_action_has_a_reason(answer: str, action_format: ActionFormat) -> None:
    parsed = parse_action(answer, action_format, SEEN.choices)
    assert bool(parsed.action) != bool(parsed.problem)


def test_choices_default_to_their_action_and_verb() -> None:
    assert Choice("click[buy]") == Choice("click[buy]", "click[buy]", "click")
    assert [action_verb(action) for action in ("go north", 'query({"a": 1})', "wait", "")] == [
        "go",
        "query",
        "wait",
        "",
    ]


def test_every_format_tells_the_agent_what_to_write() -> None:
    assert all(instructions(action_format) for action_format in ActionFormat)
