"""The contract of ``Environment`` and ``World``: call :func:`check_world` on any implementation.

Nothing here knows a particular world. A world that does not list its choices is played with ``free_actions``.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from reskill_agents.environment import Environment, Observation, ScriptedWorld, Split, Task, World
from reskill_agents.errors import EnvironmentFault

NONSENSE = "no such action"


def check_world(
    world: World, *, free_actions: Sequence[str] = (), tasks_per_split: int = 5, scripted: bool = True
) -> None:
    """Everything the docstrings of ``reskill_agents.environment`` promise.

    Args:
        world: the world; if it is a :class:`ScriptedWorld`, its vocabulary and actor are checked as well.
        free_actions: actions to play with where observations list no choices.
        tasks_per_split: how many tasks of each split are played.
        scripted: ``False`` for a world that has an actor in another of its settings only.
    """
    check_tasks(world)
    check_settings(world)
    for split in Split:
        for number, task in enumerate(world.tasks(split)[:tasks_per_split]):
            check_play(world, task, number, free_actions)
    check_faults(world)
    if scripted and isinstance(world, ScriptedWorld):
        check_scripted(world, tasks_per_split)


def check_tasks(world: World) -> None:
    """Splits are stable, ids are unique over all splits, every task knows its split, tags are texts."""
    ids: set[str] = set()
    for split in Split:
        tasks = world.tasks(split)
        assert list(tasks) == list(world.tasks(split)), f"{split}: the order of tasks changed between calls"
        for task in tasks:
            assert task.split is split
            assert task.text
            assert all(isinstance(key, str) and isinstance(value, str) for key, value in task.tags.items())
        found = {task.task_id for task in tasks}
        assert len(found) == len(tasks)
        assert not found & ids, f"{split} shares tasks with another split"
        ids |= found
    assert world.tasks(Split.TRAIN)


def check_settings(world: World) -> None:
    """A name, a turn limit, JSON scalars for the run's config, a system prompt."""
    assert isinstance(world, World)
    assert world.name
    assert world.max_turns >= 1
    for key, value in world.describe().items():
        assert isinstance(key, str)
        assert isinstance(value, str | int | float | bool)
    assert isinstance(world.system_prompt(), str)


def check_play(world: World, task: Task, seed: int, free_actions: Sequence[str] = ()) -> None:
    """Two random plays with the same seed are equal; listed choices are valid; an invalid action changes nothing."""
    first, second = (list(_play(world.make(), world, task, seed, free_actions)) for _ in range(2))
    assert first == second, f"{task.task_id}: the same task, seed and actions gave something else"


def _play(env: Environment, world: World, task: Task, seed: int, free_actions: Sequence[str]) -> list[object]:
    assert isinstance(env, Environment)
    rng = random.Random(f"{task.task_id}/{seed}")
    observation = env.reset(task, seed=seed)
    log: list[object] = [observation]
    for _ in range(world.max_turns):
        _check_observation(observation)
        refused = env.step(NONSENSE)
        assert not refused.valid
        assert not refused.done
        assert refused.observation == observation, "an invalid action must leave the world as it was"
        actions = [choice.action for choice in observation.choices] or list(free_actions)
        assert actions, "no choices and no free actions to play with"
        result = env.step(rng.choice(actions))
        assert result.valid or not observation.choices, "a listed choice must be valid"
        assert 0 <= result.score <= 1
        log.append(result)
        observation = result.observation
        if result.done:
            break
    return log


def _check_observation(observation: Observation) -> None:
    assert observation.text
    actions = [choice.action for choice in observation.choices]
    assert len(set(actions)) == len(actions), "two choices with one action"
    for choice in observation.choices:
        assert choice.text
        assert choice.kind
        assert len(choice.kind.split()) == 1


def check_faults(world: World) -> None:
    """A foreign task and a step before reset are faults of the environment, never silent; instances are separate."""
    task = world.tasks(Split.TRAIN)[0]
    with pytest.raises(EnvironmentFault):
        world.make().step(NONSENSE)
    with pytest.raises(EnvironmentFault):
        world.make().reset(replace(task, task_id="no such task"), seed=0)
    one, other = world.make(), world.make()
    seen = one.reset(task, seed=1)
    start = other.reset(task, seed=1)
    assert seen == start
    if seen.choices:
        one.step(seen.choices[0].action)
        assert other.step(NONSENSE).observation == start, "two environments share their state"


def check_scripted(world: ScriptedWorld, tasks_per_split: int = 5) -> None:
    """All observations list choices in words of the vocabulary; the actor takes one of them, the same for a seed."""
    vocabulary = world.vocabulary()
    assert list(vocabulary) == list(world.vocabulary())
    words = set(vocabulary)
    assert len(words) == len(vocabulary)
    assert set(world.system_prompt().split()) <= words
    for split in Split:
        for seed, task in enumerate(world.tasks(split)[:tasks_per_split]):
            env, actor, twin = world.make(), world.actor(seed), world.actor(seed)
            observation = env.reset(task, seed=seed)
            for _ in range(world.max_turns):
                _check_words(observation, words)
                choice = actor.act(observation)
                assert choice in observation.choices
                assert twin.act(observation) == choice
                result = env.step(choice.action)
                observation = result.observation
                if result.done:
                    break


def _check_words(observation: Observation, words: set[str]) -> None:
    assert observation.choices
    shown = [observation.text, observation.task]
    shown += [text for choice in observation.choices for text in (choice.text, choice.kind, choice.group)]
    strange = {word for text in shown for word in text.split()} - words
    assert not strange, f"not in the vocabulary: {sorted(strange)}"
