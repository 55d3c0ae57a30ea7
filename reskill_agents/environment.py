"""What a world is: tasks, an environment that plays them, and what the agent may do on a turn.

A new world implements :class:`Environment` and :class:`World`; :mod:`reskill_agents.testing` checks any implementation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, runtime_checkable


class Split(StrEnum):
    """Which tasks. Evaluation splits are never shown to creator, reservoir or trial (invariant 5)."""

    TRAIN = "train"
    VALID = "valid"
    SEEN_TEST = "seen_test"
    UNSEEN_TEST = "unseen_test"


@dataclass(frozen=True, slots=True)
class Task:
    """One task. ``tags`` are labels to report by (e.g. ``{"goals": "human"}``); JSON scalars only."""

    task_id: str
    text: str
    split: Split = Split.TRAIN
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Choice:
    """An admissible action.

    Args:
        action: the canonical action string that ``Environment.step`` takes.
        text: how the choice is shown to the agent (default: the action).
        kind: what sort of choice it is, one word (default: the verb before ``[`` or ``(``).
        group: choices of one group are alternatives of each other (a radio button); empty: no group.
    """

    action: str
    text: str = ""
    kind: str = ""
    group: str = ""

    def __post_init__(self) -> None:
        if not self.text:
            object.__setattr__(self, "text", self.action)
        if not self.kind:
            object.__setattr__(self, "kind", action_verb(self.action))


def action_verb(action: str) -> str:
    """``click`` of ``click[buy now]``, ``search_db`` of ``search_db({...})``, else the first word."""
    head = action.split("[", 1)[0].split("(", 1)[0].strip()
    return head.split(None, 1)[0] if head else ""


@dataclass(frozen=True, slots=True)
class Observation:
    """What the environment shows.

    Args:
        text: the raw observation; triggers match it.
        choices: the admissible actions, in the order shown; empty when the world does not list them.
        task: the task in the wording that observations use (default: the task's text); choices share words with it.
    """

    text: str
    choices: tuple[Choice, ...] = ()
    task: str = ""


@dataclass(frozen=True, slots=True)
class StepResult:
    """The answer to one action.

    Args:
        observation: what the agent sees next.
        done: the episode is over.
        score: 0..1, the environment's own measure of the episode so far (final when ``done``).
        valid: the action was admissible; an invalid one leaves the world as it was.
    """

    observation: Observation
    done: bool = False
    score: float = 0.0
    valid: bool = True


@runtime_checkable
class Environment(Protocol):
    """One playable instance; not shared between episodes that run at the same time.

    ``reset`` and ``step`` are synchronous and fast (the agent graph calls them between model calls); the same
    ``(task, seed)`` and actions give the same observations. A fault of the environment itself is raised as
    :class:`~reskill_agents.errors.EnvironmentFault`; a bad action is a ``StepResult`` with ``valid=False``.
    """

    def reset(self, task: Task, *, seed: int) -> Observation:
        """Start ``task``; the first observation."""
        ...

    def step(self, action: str) -> StepResult:
        """Take one canonical action."""
        ...


@runtime_checkable
class World(Protocol):
    """A set of tasks in splits, and environments to play them in."""

    name: str
    max_turns: int

    def tasks(self, split: Split) -> Sequence[Task]:
        """The tasks of a split, always in the same order."""
        ...

    def make(self) -> Environment:
        """A new environment."""
        ...

    def describe(self) -> Mapping[str, str | int | float | bool]:
        """Settings and counts for the run's config (data source, seed, observation mode, tasks per split)."""
        ...

    def system_prompt(self) -> str:
        """What the agent is told about this world before the first observation."""
        ...


@runtime_checkable
class AdaptableWorld(World, Protocol):
    """A world with tasks of its own for test-time adaptation, so that no task is both learned from and reported on."""

    def adaptation_tasks(self) -> Sequence[Task]:
        """The ``adapt`` split: tasks of no other split, always in the same order; may be empty. Labelled as train tasks."""
        ...


def adaptation_tasks(world: World) -> tuple[Sequence[Task], str]:
    """What to adapt on in ``world``, and its name: its ``adapt`` split, or ``train`` where it has none."""
    own = world.adaptation_tasks() if isinstance(world, AdaptableWorld) else ()
    return (own, "adapt") if own else (world.tasks(Split.TRAIN), "train")


class ScriptedActor(Protocol):
    """A careless player of a world, one episode long: what the stand-in policy does when nobody advises it."""

    def act(self, observation: Observation) -> Choice:
        """The choice it would take; always one of ``observation.choices``."""
        ...


@runtime_checkable
class ScriptedWorld(World, Protocol):
    """A world on which a stand-in policy can be cloned: all observations list choices, over a closed vocabulary."""

    def vocabulary(self) -> Sequence[str]:
        """Every word that observations, choices and system prompt can hold, in a fixed order."""
        ...

    def actor(self, seed: int) -> ScriptedActor:
        """A careless actor with its own randomness. Deterministic in ``seed`` and the observations."""
        ...
