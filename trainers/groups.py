"""Groups: which tasks, which library each rollout carries (fixed before sampling), and playing them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from reskill_agents.environment import Environment, Task, World
from reskill_agents.episodes import Episode, Group
from reskill_agents.graphs.agent import Agent
from reskill_agents.graphs.rollout import Rollout, play_many
from reskill_agents.library import SkillLibrary
from reskill_agents.selection import SkillSelector
from reskill_agents.trials import Arm


class Role(StrEnum):
    """Why a rollout carries its library. ``masked``: the library in force less some skills (pruning steps)."""

    ACTIVE = "active"
    CANDIDATE = "candidate"
    MASKED = "masked"
    VALIDATION = "validation"


@dataclass(frozen=True, slots=True)
class Member:
    """One rollout to be: its role, its library, its arm if a trial runs, the skills it goes without if masked."""

    role: Role
    library: SkillLibrary
    arm: Arm | None = None
    without: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GroupPlan:
    """One task and its rollouts. ``trained``: its episodes train the policy."""

    task: Task
    members: tuple[Member, ...]
    trained: bool = True


@dataclass(frozen=True, slots=True)
class PlayedGroup:
    """A plan and its episodes, member by member."""

    plan: GroupPlan
    group: Group

    @property
    def pairs(self) -> list[tuple[Member, Episode]]:
        """Members with their episodes."""
        return list(zip(self.plan.members, self.group.episodes, strict=True))


@dataclass
class TaskCursor:
    """Walks through tasks in epochs, each in its own seeded order. Its whole state is ``position``."""

    tasks: Sequence[Task]
    seed: int
    position: int = 0
    _order: list[int] = field(default_factory=list, repr=False)
    _epoch: int = field(default=-1, repr=False)

    def take(self, count: int) -> list[Task]:
        """The next ``count`` tasks."""
        return [self._next() for _ in range(count)]

    def _next(self) -> Task:
        epoch, index = divmod(self.position, len(self.tasks))
        if epoch != self._epoch:
            self._order = list(range(len(self.tasks)))
            random.Random(f"{self.seed}/tasks/{epoch}").shuffle(self._order)
            self._epoch = epoch
        self.position += 1
        return self.tasks[self._order[index]]


@dataclass
class Collector:
    """Plays planned groups. Environments are kept and used again.

    Args:
        agent: the compiled agent graph with the policy.
        world: makes the environments.
        seed: of the run; together with step, group and rollout it keys all randomness.
        concurrency: episodes that run at the same time; ``None``: all of a step.
    """

    agent: Agent
    world: World
    seed: int
    concurrency: int | None = None
    _pool: list[Environment] = field(default_factory=list, repr=False)
    _selectors: dict[str, SkillSelector] = field(default_factory=dict, repr=False)

    async def collect(self, plans: Sequence[GroupPlan], step: int, first: int = 0) -> list[PlayedGroup]:
        """Play groups of a step concurrently; members of a group start from the same state. ``first``: its number."""
        rollouts = [
            self._rollout(plan.task, member, step, number, place)
            for number, plan in enumerate(plans, first)
            for place, member in enumerate(plan.members)
        ]
        episodes = iter(await play_many(self.agent, rollouts, concurrency=self.concurrency))
        self._pool += [rollout.environment for rollout in rollouts]
        return [PlayedGroup(plan, Group(plan.task, tuple(next(episodes) for _ in plan.members))) for plan in plans]

    def _rollout(self, task: Task, member: Member, step: int, number: int, place: int) -> Rollout:
        return Rollout(
            environment=self._pool.pop() if self._pool else self.world.make(),
            task=task,
            selector=self.selector(member.library),
            episode_id=f"s{step}-g{number}-r{place}",
            arm=member.arm,
            step=step,
            seed=random.Random(f"{self.seed}/environment/{step}/{number}").getrandbits(31),
            rng_key=(self.seed, step, number, place),
        )

    def selector(self, library: SkillLibrary) -> SkillSelector:
        """The compiled triggers of a library; the last few are kept."""
        if library.digest not in self._selectors:
            while len(self._selectors) >= 32:
                self._selectors.pop(next(iter(self._selectors)))
            self._selectors[library.digest] = self.agent.selector(library)
        return self._selectors[library.digest]
