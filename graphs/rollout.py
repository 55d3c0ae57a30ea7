"""Playing episodes: one, or hundreds at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from reskill_agents.environment import Environment, Task
from reskill_agents.episodes import Episode, StopReason
from reskill_agents.errors import EngineError, EngineMismatch, EnvironmentFault
from reskill_agents.graphs.agent import Agent
from reskill_agents.graphs.play import Play
from reskill_agents.graphs.recorder import record_calls
from reskill_agents.selection import SkillSelector
from reskill_agents.trials.arm import Arm

_NODES_A_TURN = 4  # observe, skill, model, act; fused: 1


@dataclass(frozen=True)
class Rollout:
    """One episode to be played.

    Args:
        environment: its own instance.
        task: what to play.
        selector: the compiled triggers of the library that it carries.
        episode_id: unique within a run.
        arm: the arm of the trial it takes part in.
        step: training step, -1 outside training.
        seed: of the environment.
        rng_key: prefix of the random keys of its model calls (seed, step, task, rollout); the turn is added.
    """

    environment: Environment
    task: Task
    selector: SkillSelector
    episode_id: str
    arm: Arm | None = None
    step: int = -1
    seed: int = 0
    rng_key: tuple[int, ...] = ()


async def play_episode(
    agent: Agent,
    environment: Environment,
    task: Task,
    selector: SkillSelector,
    *,
    episode_id: str,
    arm: Arm | None = None,
    step: int = -1,
    seed: int = 0,
    rng_key: tuple[int, ...] = (),
) -> Episode:
    """Play one task once. A fault of environment or engine is an episode without a score, never an exception.

    Raises:
        EngineMismatch: engine and trainer disagree about the weights.
    """
    return await _play(agent, Rollout(environment, task, selector, episode_id, arm, step, seed, rng_key))


async def play_many(agent: Agent, rollouts: Sequence[Rollout], *, concurrency: int | None = None) -> list[Episode]:
    """Play all, up to ``concurrency`` at a time (default: all); results in the order of ``rollouts``.

    All that run at the same time are opened before the first of them calls the policy, so that the engine's rounds of
    batching depend on the episodes alone.
    """
    limit = asyncio.Semaphore(concurrency or max(1, len(rollouts)))

    async def admitted(rollout: Rollout) -> Episode:
        async with limit:
            return await _play(agent, rollout)

    return list(await asyncio.gather(*(admitted(rollout) for rollout in rollouts)))


async def _play(agent: Agent, rollout: Rollout) -> Episode:
    error = ""
    with record_calls(rollout.episode_id, engine=agent.model.engine, rng_key=rollout.rng_key) as recorder:
        play = Play(rollout.environment, rollout.task, rollout.selector, recorder, rollout.seed, agent.system_prompt)
        try:
            await asyncio.sleep(0)  # let every episode of a batch open its session first
            limit = _NODES_A_TURN * agent.config.max_turns + 10
            await agent.graph.ainvoke({}, {"recursion_limit": limit}, context=play)
        except EngineMismatch:
            raise
        except (EnvironmentFault, EngineError) as fault:
            play.stop, error = StopReason.FAULT, f"{type(fault).__name__}: {fault}"
        finally:
            agent.model.forget(rollout.episode_id)
    return _episode(rollout, play, agent.model.name_of_policy, error)


def _episode(rollout: Rollout, play: Play, model: str, error: str) -> Episode:
    stop = play.stop or StopReason.DONE
    return Episode(
        episode_id=rollout.episode_id,
        task=rollout.task,
        turns=tuple(play.turns),
        score=None if stop is StopReason.FAULT else play.score,
        stop=stop,
        arm=rollout.arm,
        library_digest=rollout.selector.library.digest,
        task_shown=play.task_shown,
        model=model,
        step=rollout.step,
        final_observation=play.observation.text if play.turns else "",
        error=error,
    )
