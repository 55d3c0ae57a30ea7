"""The action vocabulary is learned from what a log offered: recurring choices, open kinds, marks."""

from __future__ import annotations

import random

from reskill_agents.directives import ActionClass
from reskill_agents.environment import Choice
from reskill_agents.vocabulary import ActionVocabulary, OfferedChoices, learn_vocabulary

FINISH = Choice("press[finish]", "finish", "button")


def log(tasks: int = 10) -> list[OfferedChoices]:
    turns = []
    for task in range(tasks):
        wanted = f"word{task}"
        doors = tuple(
            Choice(
                f"open[{task}-{n}]", f"{wanted if n == 0 else f'odd{task}{n}'} {'cheap' if n % 2 else 'dear'}", "door"
            )
            for n in range(4)
        )
        turns.append(OfferedChoices(f"t{task}", f"find {wanted}", (*doors, FINISH)))
    return turns


def test_recurring_choices_are_literals_and_changing_ones_an_open_kind() -> None:
    vocabulary = learn_vocabulary(log())
    assert vocabulary.literals == (ActionClass("button", "finish"),)
    assert vocabulary.kinds == (ActionClass("door"),)
    assert vocabulary.marks == (("door", "cheap"), ("door", "dear"))


def test_classes_are_literals_open_kinds_and_what_the_task_names() -> None:
    assert learn_vocabulary(log()).classes == (
        ActionClass("button", "finish"),
        ActionClass("door"),
        ActionClass("door", named=True),
    )


def test_what_few_tasks_offer_is_not_vocabulary() -> None:
    assert learn_vocabulary(log(4)) == ActionVocabulary()


def test_a_button_that_few_tasks_offer_is_no_literal_and_opens_its_kind() -> None:
    rare = OfferedChoices("t0", "find word0", (Choice("press[help]", "help", "button"),))
    vocabulary = learn_vocabulary([*log(), rare])
    assert vocabulary.literals == (ActionClass("button", "finish"),)
    assert vocabulary.kinds == (ActionClass("button"), ActionClass("door"))


def test_a_text_that_shares_words_with_a_task_is_no_literal() -> None:
    turns = [OfferedChoices(f"t{i}", "find gold", (Choice("open[gold]", "gold", "door"),)) for i in range(10)]
    assert learn_vocabulary(turns).literals == ()


def test_the_order_of_the_log_does_not_matter() -> None:
    turns = log()
    expected = learn_vocabulary(turns)
    random.Random(3).shuffle(turns)
    assert learn_vocabulary(turns) == expected
