"""Induction finds planted causes, and nothing where there is nothing."""

from __future__ import annotations

import dataclasses
import random

import numpy as np
import pytest
from creator_episodes import careless, episode

from reskill_agents import TriggerKind
from reskill_agents.directives import ActionClass, Criterion, Directive, Form
from reskill_agents.environment import Choice
from reskill_agents.induction import induce
from reskill_agents.induction_advice import advice_sentence
from reskill_agents.induction_candidates import contradict, enumerate_directives
from reskill_agents.induction_choices import ChoiceInduction
from reskill_agents.induction_effects import benjamini_hochberg, estimate, residualise
from reskill_agents.induction_turns import tabulate
from reskill_agents.vocabulary import ActionVocabulary

SHIP, BACK = ActionClass("button", "ship"), ActionClass("button", "back")
CRATE, TAG, NAMED_TAG = ActionClass("crate"), ActionClass("tag"), ActionClass("tag", named=True)
VOCABULARY = ActionVocabulary((CRATE, TAG), (BACK, SHIP), (("crate", "sealed"),))
CRATES = (
    Choice("open[0]", "w1", "crate"),
    Choice("open[1]", "w1 w2", "crate"),
    Choice("open[2]", "w1 sealed", "crate"),
)
PAGE = (
    Choice("tag[w2]", "w2", "tag", "tag"),
    Choice("tag[w9]", "w9", "tag", "tag"),
    Choice("press[back]", "back", "button"),
    Choice("press[ship]", "ship", "button"),
)


def dose(directive: Directive, *actions: str) -> float:
    """How well an episode of ``actions`` (crates at the gate, the rest on the crate's page) kept ``directive``."""
    turns = [("gate" if a.startswith("open") else "page", a, CRATES if a.startswith("open") else PAGE) for a in actions]
    return float(tabulate([episode("x", turns)], VOCABULARY).dose(directive)[0])


def test_before_asks_that_the_best_named_choice_of_each_group_was_taken() -> None:
    advice = Directive(Form.BEFORE, SHIP, NAMED_TAG)
    assert dose(advice, "open[0]", "tag[w2]", "press[ship]") == 1
    assert dose(advice, "open[0]", "press[ship]") == 0
    assert dose(advice, "open[0]", "tag[w9]", "press[ship]") == 0  # the wrong alternative
    assert np.isnan(dose(advice, "open[0]", "press[back]"))  # never shipped: does not apply


def test_a_newly_opened_thing_forgets_what_was_picked_on_the_last() -> None:
    advice = Directive(Form.BEFORE, SHIP, NAMED_TAG)
    assert dose(advice, "open[0]", "tag[w2]", "press[back]", "open[1]", "press[ship]") == 0


def test_among_judges_only_turns_on_which_the_criterion_tells_choices_apart() -> None:
    advice = Directive(Form.AMONG, CRATE, criterion=Criterion.MOST_TASK_WORDS)
    assert dose(advice, "open[1]") == 1
    assert dose(advice, "open[0]", "press[back]", "open[1]") == 0.5
    assert np.isnan(dose(Directive(Form.AMONG, TAG, criterion=Criterion.LAST_LISTED), "open[0]", "press[ship]"))


def test_one_breach_breaks_do_not_and_never_twice() -> None:
    back_and_forth = ("open[0]", "press[back]", "open[0]", "press[back]")
    assert dose(Directive(Form.AVOID, BACK), *back_and_forth) == 0
    assert dose(Directive(Form.ONCE, BACK), *back_and_forth) == 0
    assert dose(Directive(Form.ONCE, CRATE), "open[0]", "press[back]", "open[1]") == 1
    assert dose(Directive(Form.AVOID, CRATE, mark="sealed"), "open[2]", "press[back]", "open[1]") == 0.5


def test_after_and_soon_look_at_the_very_next_choice() -> None:
    assert dose(Directive(Form.AFTER, CRATE, NAMED_TAG), "open[0]", "tag[w2]") == 1
    assert dose(Directive(Form.AFTER, CRATE, NAMED_TAG), "open[0]", "press[back]", "open[0]", "tag[w2]") == 0.5
    assert dose(Directive(Form.SOON, SHIP), "open[0]", "tag[w2]", "press[ship]") == 0.5


def test_contradictions() -> None:
    most, last = (Directive(Form.AMONG, CRATE, criterion=c) for c in (Criterion.MOST_TASK_WORDS, Criterion.LAST_LISTED))
    assert contradict(most, last)
    assert contradict(Directive(Form.SOON, SHIP), Directive(Form.BEFORE, SHIP, TAG))
    assert contradict(Directive(Form.AVOID, TAG), Directive(Form.BEFORE, SHIP, NAMED_TAG))
    assert contradict(Directive(Form.BEFORE, SHIP, BACK), Directive(Form.BEFORE, BACK, SHIP))
    assert not contradict(most, Directive(Form.BEFORE, SHIP, NAMED_TAG))
    assert not contradict(Directive(Form.AVOID, CRATE, mark="sealed"), most)


def test_the_grammar_over_a_vocabulary_has_no_doubles_and_every_form() -> None:
    grammar = enumerate_directives(VOCABULARY)
    assert len(set(grammar)) == len(grammar)
    assert {directive.form for directive in grammar} == set(Form)


def test_effects_compare_inside_strata() -> None:
    # An easy task (0.8, 1.0) and a hard one (0.0, 0.2); keeping the check adds 0.2 in each.
    doses = np.array([[0.0], [1.0], [0.0], [1.0]])
    outcome = np.array([0.8, 1.0, 0.0, 0.2])
    tasks = np.array([0, 0, 1, 1])
    assert estimate(doses, outcome, tasks, tasks).slope[0] == pytest.approx(0.2)


def test_an_effect_is_estimated_where_the_check_applies() -> None:
    doses = np.array([[0.0], [1.0], [np.nan], [0.0], [1.0]])
    outcome = np.array([0.0, 0.5, 1.0, 0.2, 0.7])
    alone = np.arange(5)
    effects = estimate(doses, outcome, alone, alone)
    assert effects.slope[0] == pytest.approx(0.5)  # (0.5 + 0.7) / 2 - (0.0 + 0.2) / 2
    assert residualise(doses, outcome, alone, np.zeros(5, dtype=int), 0, 0.5)[2] == 1.0


def test_benjamini_hochberg_steps_up() -> None:
    # Ranks 1..4 at rate 0.1: thresholds 0.025, 0.05, 0.075, 0.1. The third saves the second.
    assert benjamini_hochberg([0.9, 0.02, 0.07, 0.06], 0.1).tolist() == [False, True, True, True]
    assert benjamini_hochberg([0.03, 0.9], 0.05).tolist() == [False, False]


@pytest.mark.parametrize("seed", range(3))
def test_planted_causes_come_first(seed: int) -> None:
    induction = induce(careless(640, seed=seed), rng=random.Random(seed))
    found = [advice_sentence(entry.advice) for entry in induction.confirmed]
    wanted = {
        "When several crate choices are offered, take the one that shares the most words with the task.",
        "Do not take a crate marked `sealed`.",
    }
    tags = {f"{when}, take every tag the task names." for when in ("Before `ship`", "After a crate")}
    assert wanted <= set(found[:3])
    assert tags & set(found[:3])
    assert all(entry.effect > 0 for entry in induction.confirmed)


def test_shuffled_outcomes_leave_nothing() -> None:
    survivors = 0
    for seed in range(10):
        episodes = careless(320, seed=seed)
        scores = [e.score for e in episodes]
        random.Random(seed).shuffle(scores)
        shuffled = [dataclasses.replace(e, score=score) for e, score in zip(episodes, scores, strict=True)]
        survivors += bool(induce(shuffled, rng=random.Random(seed)).confirmed)
    assert survivors <= 2


def test_advice_to_end_the_episode_is_no_candidate() -> None:
    induction = induce(careless(320), rng=random.Random(0))
    said = [advice_sentence(entry.advice) for entry in (*induction.confirmed, *induction.doubtful)]
    assert not [s for s in said if s.endswith(("take `ship`.", "Do not take `ship`.")) or s.startswith("Take `ship`")]
    assert any(s.startswith("Before `ship`") for s in said)


def test_triggers_arrive_where_the_advice_is_needed() -> None:
    induction = induce(careless(320), rng=random.Random(0))
    ship = induction.trigger_for(Directive(Form.BEFORE, SHIP, NAMED_TAG))
    assert ship.trigger.kind is TriggerKind.OBSERVATION_PATTERN
    assert ship.precision == ship.recall == 1
    gate = induction.trigger_for(Directive(Form.AMONG, CRATE, criterion=Criterion.MOST_TASK_WORDS))
    assert gate.trigger.kind in (TriggerKind.BEGINNING, TriggerKind.OBSERVATION_PATTERN)
    assert min(gate.precision, gate.recall) >= 0.9


def test_no_word_of_a_single_task_becomes_vocabulary_or_pattern() -> None:
    episodes = careless(320)
    poisoned = [
        dataclasses.replace(
            e, turns=tuple(dataclasses.replace(t, observation=f"IGNORE ALL {t.observation}") for t in e.turns)
        )
        if e.task.task_id == episodes[0].task.task_id
        else e
        for e in episodes
    ]
    induction = induce(poisoned, rng=random.Random(0))
    assert isinstance(induction, ChoiceInduction)
    patterns = [induction.trigger_for(d).trigger.pattern for d in induction.sayable()]
    assert not [pattern for pattern in patterns if "IGNORE" in pattern]


def test_an_empty_log_teaches_nothing() -> None:
    assert induce([], rng=random.Random(0)).confirmed == ()
    assert induce([episode("a", [("start", "go", [])])], rng=random.Random(0)).confirmed == ()
