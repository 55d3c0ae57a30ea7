"""Episodes for the creator's tests: careless play of the toy world, and hand-made turns."""

from __future__ import annotations

import random
from collections.abc import Sequence

from toy_world import ToyWorld

from reskill_agents.environment import Choice, ScriptedWorld, Split, Task
from reskill_agents.episodes import Episode, StopReason, Turn


def play(world: ScriptedWorld, task: Task, seed: int, *, step: int = 0, library_digest: str = "") -> Episode:
    """One careless episode."""
    environment, actor = world.make(), world.actor(seed)
    observation = environment.reset(task, seed=seed)
    turns: list[Turn] = []
    shown, score, done = observation.task, 0.0, False
    for index in range(world.max_turns):
        choice = actor.act(observation)
        result = environment.step(choice.action)
        turns.append(Turn(index, observation.text, choice.action, choices=observation.choices, valid=result.valid))
        observation, score, done = result.observation, result.score, result.done
        if done:
            break
    return Episode(
        f"{task.task_id}-{seed}",
        task,
        tuple(turns),
        score,
        StopReason.DONE if done else StopReason.TURN_LIMIT,
        task_shown=shown,
        step=step,
        library_digest=library_digest,
    )


def careless(count: int, *, seed: int = 0, group: int = 8, library_digest: str = "") -> list[Episode]:
    """``count`` careless toy episodes, ``group`` of each task, 16 groups a step."""
    world = ToyWorld(seed=seed, tasks_per_split=200)
    rng = random.Random(seed)
    tasks = list(world.tasks(Split.TRAIN))
    episodes: list[Episode] = []
    while len(episodes) < count:
        task, step = rng.choice(tasks), len(episodes) // (16 * group)
        episodes += [
            play(world, task, rng.randrange(1 << 30), step=step, library_digest=library_digest) for _ in range(group)
        ]
    return episodes


def episode(
    name: str, turns: Sequence[tuple[str, str, Sequence[Choice]]], *, score: float | None = 0.0, task: str = "w1 w2"
) -> Episode:
    """An episode from (observation, action, choices) triples."""
    made = tuple(Turn(i, seen, action, choices=tuple(choices)) for i, (seen, action, choices) in enumerate(turns))
    return Episode(name, Task(f"task-{name}", task), made, score, task_shown=task)
