"""What a run trains on: tasks, who plays them, how episodes are rewarded and examined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from reskill_agents.engine import PolicyEngine
from reskill_agents.environment import Split, Task, World
from reskill_agents.episodes import Episode
from reskill_agents.errors import ConfigError
from reskill_agents.library import SkillLibrary
from reskill_agents.trainers.config import RunConfig
from reskill_agents.trainers.episode_memory import EpisodeMemory
from reskill_agents.trainers.final import Examination
from reskill_agents.trainers.groups import Collector, GroupPlan, PlayedGroup
from reskill_agents.trainers.policy import agent_for, chat_model
from reskill_agents.trainers.progress import EvaluationResult, ProgressListener
from reskill_agents.trainers.rewards import EpisodeFunction, episode_function
from reskill_agents.trainers.run_folder import RunFolder


class Gatherer(Protocol):
    """Plays the groups of a step."""

    async def collect(self, plans: Sequence[GroupPlan], step: int, first: int = 0) -> list[PlayedGroup]:
        """The groups, played, in the order of ``plans``; ``first`` is the number of the first one in its step."""
        ...


class Examiner(Protocol):
    """Evaluates before, during and after training (:class:`~reskill_agents.trainers.final.Examination`)."""

    def remember(self, memory: EpisodeMemory) -> None:
        """Method memory: show episodes of ``memory`` instead of a library."""
        ...

    async def before(self) -> None:
        """The start policy."""
        ...

    async def during(self, step: int, library: SkillLibrary) -> None:
        """The policy after ``step`` steps."""
        ...

    async def after(
        self, step: int, library: SkillLibrary, episodes: Sequence[Episode]
    ) -> tuple[EvaluationResult, ...]:
        """The trained policy; all results of the run."""
        ...


@dataclass(frozen=True)
class Stage:
    """What a run trains on: tasks, who plays them, how episodes are rewarded and examined.

    Args:
        tasks: to train on.
        description: for ``world.json``.
        collector, examination: see their Protocols.
        reward: the train reward.
        library: in force at the start.
    """

    tasks: Sequence[Task]
    description: Mapping[str, str | int | float | bool]
    collector: Gatherer
    examination: Examiner
    reward: EpisodeFunction
    library: SkillLibrary = field(default_factory=SkillLibrary)


def world_stage(
    config: RunConfig,
    world: World,
    policy_path: Path,
    folder: RunFolder,
    engine: PolicyEngine,
    listener: ProgressListener,
) -> Stage:
    """A world played by the agent graph."""
    model = chat_model(config, engine, policy_path)
    system, turns = world.system_prompt(), config.rollout.max_turns or world.max_turns
    agent = agent_for(config, model, system_prompt=system, max_turns=turns, temperature=config.rollout.temperature)
    judge = agent_for(config, model, system_prompt=system, max_turns=turns, temperature=config.evaluation.temperature)
    return Stage(
        tasks=world.tasks(Split.TRAIN),
        description=world.describe(),
        collector=Collector(agent, world, config.seed),
        examination=Examination(config, world, judge, folder, listener, policy_path),
        reward=episode_function(config.train_reward),
    )


def split_tasks(tasks: Sequence[Task], config: RunConfig, held_out: bool) -> tuple[list[Task], list[Task]]:
    """Tasks to train on and tasks set aside for validation rounds (at most a quarter).

    Raises:
        ConfigError: the world has no train tasks.
    """
    if not tasks:
        raise ConfigError("the world has no train tasks")
    count = min(config.creator.holdout_tasks, len(tasks) // 4) if held_out else 0
    return list(tasks[: len(tasks) - count]), list(tasks[len(tasks) - count :])
