"""The contract of ``Environment`` and ``World`` as checks that any implementation can run in its own tests.

    from reskill_agents.testing import check_environment, check_world

    def test_contract() -> None:
        check_world(MyWorld())

No test framework is needed: what is broken is raised as :class:`ContractBroken`, an ``AssertionError``. Nothing here
knows a particular world; one that does not list its choices is played with ``free_actions``.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from reskill_agents.environment import Environment, Observation, ScriptedWorld, Split, StepResult, Task, World
from reskill_agents.errors import EnvironmentFault

__all__ = ["NONSENSE", "ContractBroken", "check_environment", "check_scripted", "check_tasks", "check_world"]

NONSENSE = "no such action"
_PLAYS = 5


class ContractBroken(AssertionError):
    """An implementation does not keep the contract; the message says which part and where."""


def check_world(
    world: World,
    *,
    free_actions: Sequence[str] = (),
    tasks_per_split: int = _PLAYS,
    scripted: bool = True,
    nonsense: str = NONSENSE,
) -> None:
    """Everything the docstrings of :mod:`reskill_agents.environment` promise about a world.

    Args:
        world: the world; if it is a :class:`ScriptedWorld`, its vocabulary and actor are checked as well.
        free_actions: actions to play with where observations list no choices.
        tasks_per_split: how many tasks of each split are played.
        scripted: ``False`` for a world that has an actor in another of its settings only.
        nonsense: an action the world refuses (for worlds that take any text: the empty one).

    Raises:
        ContractBroken: saying what is broken.
    """
    check_tasks(world)
    _check_settings(world)
    tasks = [task for split in Split for task in world.tasks(split)[:tasks_per_split]]
    check_environment(world.make, tasks, max_turns=world.max_turns, free_actions=free_actions, nonsense=nonsense)
    if scripted and isinstance(world, ScriptedWorld):
        check_scripted(world, tasks_per_split)


def check_environment(
    make: Callable[[], Environment],
    tasks: Sequence[Task],
    *,
    max_turns: int = 30,
    free_actions: Sequence[str] = (),
    nonsense: str = NONSENSE,
) -> None:
    """What is promised about environments alone, without a :class:`World` around them.

    Args:
        make: gives a new environment.
        tasks: to play, one at least; each is played three times with random actions.
        max_turns: where a play ends that the environment does not end.
        free_actions, nonsense: as for :func:`check_world`.

    Raises:
        ContractBroken: saying what is broken.
    """
    _expect(bool(tasks), "no task to play")
    for seed, task in enumerate(tasks):
        used = make()
        plays = [_play(env, task, seed, max_turns, free_actions, nonsense) for env in (used, make(), used)]
        _expect(plays[0] == plays[1], f"{task.task_id}: the same task, seed and actions gave something else")
        _expect(plays[0] == plays[2], f"{task.task_id}: an environment used before plays differently after reset")
    _check_faults(make, tasks[0], nonsense)
    _check_separate(make, tasks[0], nonsense)


def check_tasks(world: World) -> None:
    """Splits are stable, ids are unique over all splits, every task knows its split, tags are texts."""
    ids: set[str] = set()
    for split in Split:
        tasks = world.tasks(split)
        _expect(list(tasks) == list(world.tasks(split)), f"{split}: the order of tasks changed between calls")
        for task in tasks:
            _expect(task.split is split, f"{split}: task {task.task_id} says it is of {task.split}")
            _expect(bool(task.text), f"{split}: task {task.task_id} has no text")
            texts = all(isinstance(key, str) and isinstance(value, str) for key, value in task.tags.items())
            _expect(texts, f"{split}: task {task.task_id} has a tag that is no text")
        found = {task.task_id for task in tasks}
        _expect(len(found) == len(tasks), f"{split}: two tasks have one id")
        _expect(not found & ids, f"{split} shares tasks with another split")
        ids |= found
    _expect(bool(world.tasks(Split.TRAIN)), "there are no train tasks")


def _check_settings(world: World) -> None:
    """A name, a turn limit, JSON scalars for the run's config, a system prompt."""
    _expect(isinstance(world, World), "a method or attribute of World is missing")
    _expect(bool(world.name), "the world has no name")
    _expect(world.max_turns >= 1, "max_turns must be at least 1")
    _expect(isinstance(world.system_prompt(), str), "the system prompt is no text")
    settings = world.describe()
    for key, value in settings.items():
        scalar = isinstance(key, str) and isinstance(value, str | int | float | bool)
        _expect(scalar, f"describe()[{key!r}] is no JSON scalar")
    _expect(dict(settings) == dict(world.describe()), "describe() changed between calls")
    json.dumps(dict(settings), allow_nan=False)


def _play(
    env: Environment, task: Task, seed: int, max_turns: int, free_actions: Sequence[str], nonsense: str
) -> list[Observation | StepResult]:
    """One random play: listed choices are valid, an invalid action changes nothing, scores are in 0..1."""
    _expect(isinstance(env, Environment), "a method of Environment is missing")
    rng = random.Random(f"{task.task_id}/{seed}")
    observation = env.reset(task, seed=seed)
    log: list[Observation | StepResult] = [observation]
    for turn in range(max_turns):
        where = f"{task.task_id}, turn {turn}"
        _check_observation(observation, where)
        refused = env.step(nonsense)
        _expect(not refused.valid, f"{where}: {nonsense!r} was valid")
        _expect(not refused.done, f"{where}: an invalid action ended the episode")
        _expect(refused.observation == observation, f"{where}: an invalid action must leave the world as it was")
        actions = [choice.action for choice in observation.choices] or list(free_actions)
        _expect(bool(actions), f"{where}: no choices and no free actions to play with")
        action = rng.choice(actions)
        result = env.step(action)
        _expect(result.valid or not observation.choices, f"{where}: listed choice {action!r} was not valid")
        _expect(0 <= result.score <= 1, f"{where}: score {result.score} is not in 0..1")
        log.append(result)
        observation = result.observation
        if result.done:
            break
    return log


def _check_observation(observation: Observation, where: str) -> None:
    _expect(bool(observation.text), f"{where}: the observation has no text")
    actions = [choice.action for choice in observation.choices]
    _expect(len(set(actions)) == len(actions), f"{where}: two choices with one action")
    for choice in observation.choices:
        _expect(bool(choice.text), f"{where}: choice {choice.action!r} has no text")
        _expect(len(choice.kind.split()) == 1, f"{where}: the kind of choice {choice.action!r} must be one word")


def _check_faults(make: Callable[[], Environment], task: Task, nonsense: str) -> None:
    """A foreign task and a step before reset are faults of the environment, never silent."""
    _expect_fault(lambda: make().step(nonsense), "a step before reset")
    foreign = replace(task, task_id="no such task")
    _expect_fault(lambda: make().reset(foreign, seed=0), "a task that is not of this world")


def _expect_fault(act: Callable[[], object], what: str) -> None:
    try:
        act()
    except EnvironmentFault:
        return
    raise ContractBroken(f"{what} must raise EnvironmentFault")


def _check_separate(make: Callable[[], Environment], task: Task, nonsense: str) -> None:
    one, other = make(), make()
    seen, start = one.reset(task, seed=1), other.reset(task, seed=1)
    _expect(seen == start, f"{task.task_id}: two environments start differently with one seed")
    if seen.choices:
        one.step(seen.choices[0].action)
        _expect(other.step(nonsense).observation == start, "two environments share their state")


def check_scripted(world: ScriptedWorld, tasks_per_split: int = _PLAYS) -> None:
    """All observations list choices in words of the vocabulary; the actor takes one of them, the same for a seed."""
    vocabulary = world.vocabulary()
    _expect(list(vocabulary) == list(world.vocabulary()), "vocabulary() changed between calls")
    words = set(vocabulary)
    _expect(len(words) == len(vocabulary), "the vocabulary holds a word twice")
    _expect_known(world.system_prompt(), words, "the system prompt")
    for split in Split:
        for seed, task in enumerate(world.tasks(split)[:tasks_per_split]):
            for text in _scripted_texts(world, task, seed):
                _expect_known(text, words, task.task_id)


def _scripted_texts(world: ScriptedWorld, task: Task, seed: int) -> Iterator[str]:
    """Play ``task`` as the actor does; every text on the way."""
    env, actor, twin = world.make(), world.actor(seed), world.actor(seed)
    observation = env.reset(task, seed=seed)
    for turn in range(world.max_turns):
        _expect(bool(observation.choices), f"{task.task_id}, turn {turn}: a scripted world must list choices")
        yield from (observation.text, observation.task)
        for choice in observation.choices:
            yield from (choice.text, choice.kind, choice.group)
        taken = actor.act(observation)
        _expect(taken in observation.choices, f"{task.task_id}, turn {turn}: the actor took what is not offered")
        _expect(twin.act(observation) == taken, f"{task.task_id}, turn {turn}: two actors of one seed differ")
        result = env.step(taken.action)
        observation = result.observation
        if result.done:
            break


def _expect_known(text: str, words: set[str], where: str) -> None:
    strange = sorted(set(text.split()) - words)
    _expect(not strange, f"{where}: not in the vocabulary: {strange}")


def _expect(condition: bool, message: str) -> None:
    if not condition:
        raise ContractBroken(message)
