"""Gymnasium text environments as a world: anything with ``reset(seed=, options=)`` and five-part ``step``.

    import gymnasium
    from reskill_agents.envs.gymnasium import GymTask, GymnasiumWorld

    world = GymnasiumWorld(
        make_env=lambda: gymnasium.make("MyText-v0"),
        gym_tasks=[GymTask("find the key", seed=n) for n in range(100)],
        choices=("go north", "go south", "take key"),
    )

Gymnasium itself is not imported here: what is used of it is :class:`TextEnv`, and any object that has this will do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, SupportsFloat

from reskill_agents.environment import Choice, Environment, Observation, Split, StepResult, Task
from reskill_agents.errors import ConfigError, EnvironmentFault

__all__ = ["GymTask", "GymnasiumEnvironment", "GymnasiumWorld", "TextEnv", "clipped_return", "read_text"]

Info = Mapping[str, object]


class TextEnv(Protocol):
    """What is used of ``gymnasium.Env``."""

    def reset(self, *, seed: int | None = None, options: dict[str, object] | None = None) -> tuple[object, Info]:
        """Observation and info."""
        ...

    def step(self, action: object, /) -> tuple[object, SupportsFloat, bool, bool, Info]:
        """Observation, reward, terminated, truncated, info."""
        ...


@dataclass(frozen=True, slots=True)
class GymTask:
    """One task: what it is called, and what ``reset`` gets for it.

    Args:
        text: the task in words.
        split: which tasks it belongs to.
        seed: for ``reset(seed=)``; ``None``: the seed of the rollout, so that only members of a group start alike.
        options: for ``reset(options=)``.
        tags: labels to report by.
    """

    text: str
    split: Split = Split.TRAIN
    seed: int | None = None
    options: Mapping[str, object] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


def read_text(observation: object, info: Info) -> str:
    """The observation if it is text, else the text under ``text`` or ``observation`` of a dict observation.

    Raises:
        EnvironmentFault: there is no text; give ``GymnasiumWorld`` a ``read`` of your own.
    """
    found = observation
    if isinstance(observation, Mapping):
        found = observation.get("text", observation.get("observation"))
    if isinstance(found, str):
        return found
    raise EnvironmentFault(f"the environment shows {type(observation).__name__}, not text; give `read` to say how")


def clipped_return(total: float, info: Info) -> float:
    """The sum of rewards so far, cut to 0..1."""
    return min(1.0, max(0.0, total))


@dataclass(frozen=True)
class GymnasiumWorld:
    """Tasks played in Gymnasium text environments; see :class:`reskill_agents.environment.World`.

    An action is refused, and the environment not stepped, when it is blank or not among the admissible ones (where these
    are known).

    Args:
        make_env: a new environment.
        gym_tasks: all tasks; their splits say where they belong. At least one for training.
        name, max_turns, prompt: of the world.
        choices: the admissible actions: all of them, or a mapping from what the agent writes to what ``step`` takes (for
            discrete action spaces). Empty: the action is passed as text.
        choices_key: the key of ``info`` that lists the admissible actions of a turn as texts (e.g.
            ``admissible_commands``); goes before ``choices``.
        read: the text of an observation.
        score: 0..1, from the sum of rewards and the last info.
        settings: more for :meth:`describe`, such as the environment's id.

    Raises:
        ConfigError: there are no train tasks or no turns.
    """

    make_env: Callable[[], TextEnv]
    gym_tasks: Sequence[GymTask]
    name: str = "gymnasium"
    max_turns: int = 30
    prompt: str = "You act in a text environment. Write the action as the environment expects it."
    choices: Sequence[str] | Mapping[str, object] = ()
    choices_key: str = ""
    read: Callable[[object, Info], str] = read_text
    score: Callable[[float, Info], float] = clipped_return
    settings: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    _tasks: dict[Split, tuple[Task, ...]] = field(init=False, repr=False)
    _by_id: dict[str, GymTask] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.max_turns < 1:
            raise ConfigError(f"max_turns is {self.max_turns}, at least 1 needed")
        named = {f"{self.name}-{number}": task for number, task in enumerate(self.gym_tasks)}
        tasks = {
            split: tuple(Task(i, t.text, split, dict(t.tags)) for i, t in named.items() if t.split is split)
            for split in Split
        }
        if not tasks[Split.TRAIN]:
            raise ConfigError("gym_tasks holds no task of the train split")
        object.__setattr__(self, "_tasks", tasks)
        object.__setattr__(self, "_by_id", named)

    def tasks(self, split: Split) -> Sequence[Task]:
        """The tasks of a split, in the order given."""
        return self._tasks[split]

    def make(self) -> Environment:
        """A new environment."""
        return GymnasiumEnvironment(self, self._by_id)

    def describe(self) -> Mapping[str, str | int | float | bool]:
        """Settings, and tasks per split."""
        counts = {f"tasks_{split.value}": len(tasks) for split, tasks in self._tasks.items()}
        return {"world": self.name, "max_turns": self.max_turns, **counts, **self.settings}

    def system_prompt(self) -> str:
        """What the agent is told before the first observation."""
        return self.prompt


class GymnasiumEnvironment:
    """One environment of a :class:`GymnasiumWorld`. Whatever it raises is an :class:`EnvironmentFault`."""

    def __init__(self, world: GymnasiumWorld, tasks: Mapping[str, GymTask]) -> None:
        self._world = world
        self._tasks = tasks
        self._env: TextEnv | None = None
        self._observation: Observation | None = None
        self._total, self._score, self._done = 0.0, 0.0, False

    def reset(self, task: Task, *, seed: int) -> Observation:
        """Start ``task``; the Gymnasium environment is made on first use and kept."""
        known = self._tasks.get(task.task_id)
        if known is None:
            raise EnvironmentFault(f"no task {task.task_id!r} in this world")
        self._total, self._score, self._done, self._observation = 0.0, 0.0, False, None
        start = seed if known.seed is None else known.seed
        try:
            self._env = self._env or self._world.make_env()
            shown, info = self._env.reset(seed=start, options=dict(known.options) or None)
            self._observation = self._shown(shown, info)
        except EnvironmentFault:
            raise
        except Exception as error:
            self._env = None
            raise EnvironmentFault(f"reset failed: {error!r}") from error
        return self._observation

    def step(self, action: str) -> StepResult:
        """Take one action; after the end nothing is valid any more."""
        if self._env is None or self._observation is None:
            raise EnvironmentFault("step before reset")
        offered = [choice.action for choice in self._observation.choices]
        if self._done or not action.strip() or (offered and action not in offered):
            return StepResult(self._observation, self._done, self._score, valid=False)
        table = self._world.choices
        sent = table.get(action, action) if isinstance(table, Mapping) else action
        try:
            shown, reward, terminated, truncated, info = self._env.step(sent)
            self._total += float(reward)
            self._done = bool(terminated or truncated)
            self._observation = self._shown(shown, info)
            score = float(self._world.score(self._total, info))
        except EnvironmentFault:
            raise
        except Exception as error:
            self._env = self._observation = None
            raise EnvironmentFault(f"step {action!r} failed: {error!r}") from error
        if not (math.isfinite(score) and 0 <= score <= 1):
            raise EnvironmentFault(f"score must give 0..1, not {score}")
        self._score = score
        return StepResult(self._observation, self._done, score)

    def _shown(self, observation: object, info: Info) -> Observation:
        return Observation(self._world.read(observation, info), tuple(map(Choice, self._actions(info))))

    def _actions(self, info: Info) -> list[str]:
        key = self._world.choices_key
        if not key or self._done:
            return [] if self._done else list(self._world.choices)
        listed = info.get(key)
        if not isinstance(listed, list | tuple) or not all(isinstance(action, str) for action in listed):
            raise EnvironmentFault(f"info[{key!r}] is no list of texts: {listed!r}")
        return list(dict.fromkeys(listed))
