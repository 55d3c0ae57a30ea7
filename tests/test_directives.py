"""The grammar of advice: following it, and saying it."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reskill_agents.directives import (
    ActionClass,
    Criterion,
    Directive,
    Form,
    Situation,
    body_for,
    content_words,
    obey,
    overlap,
    sentence,
    when_phrase,
)
from reskill_agents.environment import Choice

FINISH = Choice("press[finish]", "finish", "button")
BACK = Choice("press[back]", "back", "button")
RED = Choice("pick[red]", "red", "paint", group="colour")
BLUE = Choice("pick[blue]", "blue", "paint", group="colour")
BIG = Choice("pick[big]", "big extra", "paint", group="size")
DOOR = Choice("open[a]", "oak door cheap", "door")
GATE = Choice("open[b]", "iron gate", "door")
TASK = content_words("paint the red big oak gate")

FINISH_CLASS = ActionClass("button", "finish")
NAMED_PAINT = ActionClass("paint", named=True)
ANY_PAINT = ActionClass("paint")
DOORS = ActionClass("door")


def follow(directives: list[Directive], choices: list[Choice], proposal: Choice, *taken: Choice) -> Choice:
    return obey(directives, Situation(tuple(choices), TASK, taken), proposal)


def test_without_advice_the_proposal_stands() -> None:
    assert follow([], [FINISH, RED], FINISH) is FINISH


def test_before_takes_what_the_task_names_one_a_group_until_all_are_taken() -> None:
    rule = [Directive(Form.BEFORE, FINISH_CLASS, NAMED_PAINT)]
    offered = [BLUE, RED, BIG, FINISH]
    assert follow(rule, offered, FINISH) is RED
    assert follow(rule, offered, FINISH, RED) is BIG
    assert follow(rule, offered, FINISH, RED, BIG) is FINISH
    assert follow(rule, offered, BACK) is BACK


def test_before_with_an_unnamed_class_asks_for_one_only() -> None:
    rule = [Directive(Form.BEFORE, FINISH_CLASS, ANY_PAINT)]
    assert follow(rule, [BLUE, RED, FINISH], FINISH) is BLUE
    assert follow(rule, [BLUE, RED, FINISH], FINISH, RED) is FINISH


def test_after_looks_at_the_last_choice_only() -> None:
    rule = [Directive(Form.AFTER, DOORS, FINISH_CLASS)]
    assert follow(rule, [RED, FINISH], RED, DOOR) is FINISH
    assert follow(rule, [RED, FINISH], RED, DOOR, RED) is RED


@pytest.mark.parametrize(
    ("criterion", "expected"),
    [
        (Criterion.MOST_TASK_WORDS, DOOR),
        (Criterion.FIRST_LISTED, DOOR),
        (Criterion.LAST_LISTED, GATE),
    ],
)
def test_among_chooses_by_its_criterion_and_ties_go_to_the_first(criterion: Criterion, expected: Choice) -> None:
    assert follow([Directive(Form.AMONG, DOORS, criterion=criterion)], [DOOR, GATE, FINISH], GATE) is expected


def test_most_words_goes_by_overlap() -> None:
    plain = Choice("open[c]", "glass pane", "door")
    assert (overlap(DOOR, TASK), overlap(plain, TASK)) == (1, 0)
    assert follow([Directive(Form.AMONG, DOORS, criterion=Criterion.MOST_TASK_WORDS)], [plain, DOOR], plain) is DOOR


def test_among_does_not_touch_other_kinds() -> None:
    assert follow([Directive(Form.AMONG, DOORS, criterion=Criterion.LAST_LISTED)], [DOOR, GATE, RED], RED) is RED


def test_avoid_prefers_another_of_the_kind_then_anything_then_gives_in() -> None:
    rule = [Directive(Form.AVOID, DOORS, mark="cheap")]
    assert follow(rule, [DOOR, GATE, FINISH], DOOR) is GATE
    assert follow(rule, [DOOR, FINISH], DOOR) is FINISH
    assert follow(rule, [DOOR], DOOR) is DOOR
    assert follow(rule, [DOOR, GATE], GATE) is GATE


def test_once_refuses_the_same_action_again() -> None:
    rule = [Directive(Form.ONCE, DOORS)]
    assert follow(rule, [DOOR, GATE], DOOR, DOOR) is GATE
    assert follow(rule, [DOOR, GATE], DOOR) is DOOR


def test_soon_jumps_at_its_target() -> None:
    assert follow([Directive(Form.SOON, FINISH_CLASS)], [RED, FINISH], RED) is FINISH
    assert follow([Directive(Form.SOON, FINISH_CLASS)], [RED, BLUE], RED) is RED


def test_a_due_step_is_not_overruled_by_a_criterion_but_is_by_a_ban() -> None:
    due = Directive(Form.BEFORE, FINISH_CLASS, NAMED_PAINT)
    among = Directive(Form.AMONG, ANY_PAINT, criterion=Criterion.LAST_LISTED)
    assert follow([due, among], [BLUE, RED, BIG, FINISH], FINISH) is RED
    ban = Directive(Form.AVOID, ActionClass("paint", "red"))
    assert follow([due, ban], [BLUE, RED, FINISH], FINISH) is BLUE


@pytest.mark.parametrize(
    ("directive", "text", "when"),
    [
        (
            Directive(Form.BEFORE, FINISH_CLASS, NAMED_PAINT),
            "Before `finish`, take every paint the task names.",
            "`finish` is offered",
        ),
        (Directive(Form.AFTER, DOORS, FINISH_CLASS), "After a door, take `finish`.", "a door is offered"),
        (
            Directive(Form.AMONG, DOORS, criterion=Criterion.MOST_TASK_WORDS),
            "When several door choices are offered, take the one that shares the most words with the task.",
            "several door choices are offered",
        ),
        (Directive(Form.AVOID, ActionClass("item"), mark="cheap"), "Do not take an item marked `cheap`.", "an item is"),
        (Directive(Form.AVOID, FINISH_CLASS), "Do not take `finish`.", "`finish` is offered"),
        (Directive(Form.SOON, FINISH_CLASS), "Take `finish` as soon as it is offered.", "`finish` is offered"),
        (Directive(Form.ONCE, DOORS), "Never take a door twice.", "a door is offered"),
    ],
)
def test_every_form_reads_as_one_sentence(directive: Directive, text: str, when: str) -> None:
    assert sentence(directive) == text
    assert when in when_phrase(directive)
    assert body_for(directive) == f"**When to use:** {when_phrase(directive)}.\n**Action:** {text}"


@pytest.mark.parametrize("form", [Form.BEFORE, Form.AFTER, Form.AMONG])
def test_an_incomplete_directive_cannot_be_said(form: Form) -> None:
    with pytest.raises(ValueError, match="needs"):
        sentence(Directive(form, DOORS))


CLASSES = [FINISH_CLASS, NAMED_PAINT, ANY_PAINT, DOORS, ActionClass("door", named=True)]
_GRAMMAR = (
    [Directive(form, a, b) for form in (Form.BEFORE, Form.AFTER) for a, b in itertools.permutations(CLASSES, 2)]
    + [Directive(Form.AMONG, target, criterion=criterion) for target in CLASSES for criterion in Criterion]
    + [Directive(form, target) for form in (Form.AVOID, Form.SOON, Form.ONCE) for target in CLASSES]
    + [Directive(Form.AVOID, DOORS, mark="cheap")]
)
GRAMMAR = [d for d in _GRAMMAR if not (d.form is Form.AMONG and d.target.text)]


def test_different_directives_have_different_words() -> None:
    said: dict[str, Directive] = {}
    for directive in GRAMMAR:
        if directive.form is Form.AMONG and directive.target.named:
            continue  # among names the kind only
        assert said.setdefault(sentence(directive), directive) == directive


@given(
    st.lists(st.sampled_from(GRAMMAR), max_size=4),
    st.lists(st.sampled_from([FINISH, BACK, RED, BLUE, BIG, DOOR, GATE]), min_size=1, unique=True),
    st.lists(st.sampled_from([RED, BLUE, DOOR, GATE]), max_size=3),
    st.data(),
)
@settings(max_examples=80, deadline=None)
def test_a_follower_always_takes_something_that_is_offered(
    directives: list[Directive], choices: list[Choice], taken: list[Choice], data: st.DataObject
) -> None:
    proposal = data.draw(st.sampled_from(choices))
    situation = Situation(tuple(choices), TASK, tuple(taken))
    chosen = obey(directives, situation, proposal)
    assert chosen in choices
    assert obey(directives, situation, proposal) is chosen
