"""A renamed world is the same world under words that mean nothing."""

from __future__ import annotations

import random

import pytest

from reskill_agents.directives import ActionClass, Criterion, Directive, Form, Situation, content_words, obey
from reskill_agents.environment import Choice, ScriptedWorld, Split
from reskill_agents.envs.renamed import Dictionary, RenamedWorld, invented_words
from reskill_agents.envs.webshop import WebShopWorld


@pytest.fixture(scope="module")
def world() -> WebShopWorld:
    return WebShopWorld()


def test_words_translate_there_and_back() -> None:
    dictionary = Dictionary(("buy", "now", "w1", ".", "7"), seed=1)
    text = "buy w1 now . 7 unknown [buy now]"
    assert dictionary.restore(dictionary.rename(text)) == text
    assert not {"buy", "now", "w1"} & set(dictionary.rename(text).replace("[", " ").replace("]", " ").split())
    assert dictionary.rename("7 . unknown") == "7 . unknown"


def test_invented_words_differ_and_avoid_the_taken_ones() -> None:
    first = invented_words(1, random.Random(0), frozenset())[0]
    words = invented_words(50, random.Random(0), frozenset({first}))
    assert len(set(words)) == 50
    assert first not in words


def test_no_word_of_the_old_vocabulary_is_left(world: WebShopWorld) -> None:
    renamed = RenamedWorld(world, seed=5)
    old = {word for word in world.vocabulary() if word[0].isalpha()}
    assert not old & set(renamed.vocabulary())
    assert len(renamed.vocabulary()) == len(world.vocabulary())
    env = renamed.make()
    observation = env.reset(renamed.tasks(Split.TRAIN)[0], seed=1)
    for index in (0, 0, 0, -1):
        shown = [observation.text, observation.task, *(f"{c.text} {c.kind} {c.group}" for c in observation.choices)]
        assert not old & {word for text in shown for word in text.split()}
        assert not any(choice.action.startswith(("click[", "search[")) for choice in observation.choices)
        observation = env.step(observation.choices[index].action).observation


def test_seeds_give_different_words(world: WebShopWorld) -> None:
    assert set(RenamedWorld(world, 1).vocabulary()) != set(RenamedWorld(world, 2).vocabulary())
    assert RenamedWorld(world, 1).vocabulary() == RenamedWorld(world, 1).vocabulary()


def test_the_same_play_earns_the_same_score(world: WebShopWorld) -> None:
    renamed = RenamedWorld(world, seed=5)
    for number in range(20):
        assert _play(world, task_number=number, seed=number) == _play(renamed, task_number=number, seed=number)


def test_renamed_advice_is_followed(world: WebShopWorld) -> None:
    renamed = RenamedWorld(world, seed=5)
    task = renamed.tasks(Split.TRAIN)[0]
    observation = renamed.make().reset(task, seed=1)
    kind = observation.choices[0].kind
    directive = Directive(Form.AMONG, ActionClass(kind), criterion=Criterion.MOST_TASK_WORDS)
    situation = Situation(observation.choices, content_words(observation.task))
    chosen = obey([directive], situation, observation.choices[0])
    assert content_words(chosen.text) == content_words(observation.task)


def _play(world: ScriptedWorld, *, task_number: int, seed: int) -> tuple[list[int], float]:
    env, actor = world.make(), world.actor(seed)
    observation = env.reset(world.tasks(Split.VALID)[task_number], seed=seed)
    taken: list[int] = []
    for _ in range(world.max_turns):
        choice: Choice = actor.act(observation)
        taken.append(observation.choices.index(choice))
        result = env.step(choice.action)
        observation = result.observation
        if result.done:
            break
    return taken, result.score
