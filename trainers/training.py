"""``reskill_agents.train``: one door for worlds and for anybody's graphs."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from reskill_agents.environment import Task, World
from reskill_agents.graphs.chat_model import PolicyChatModel
from reskill_agents.graphs.creator_state import Author
from reskill_agents.library import SkillLibrary
from reskill_agents.store_protocol import SkillStore
from reskill_agents.trainers.config import RunConfig
from reskill_agents.trainers.graph_episode import RewardFunction
from reskill_agents.trainers.graph_rollout import CompiledGraph, GraphInput
from reskill_agents.trainers.graph_training import GraphFactory, train_graph
from reskill_agents.trainers.loop import train as train_world
from reskill_agents.trainers.progress import ProgressListener
from reskill_agents.trainers.trainer import RunResult

if TYPE_CHECKING:
    from trl.trainer.grpo_config import GRPOConfig


@overload
def train(
    world: World, config: RunConfig, /, *, policy: Path, run_dir: Path, resume: bool = ...
) -> Coroutine[Any, Any, RunResult]: ...


@overload
def train(
    graph: CompiledGraph | GraphFactory,
    tasks: Sequence[Task],
    reward_fn: RewardFunction,
    /,
    *,
    policy: PolicyChatModel,
    args: RunConfig | GRPOConfig | None = ...,
    callbacks: Sequence[ProgressListener] = ...,
    library: SkillLibrary | None = ...,
    store: SkillStore | None = ...,
    run_dir: Path | None = ...,
    weights: Path | None = ...,
    inputs: GraphInput = ...,
    author: Author | None = ...,
    concurrency: int | None = ...,
    recursion_limit: int = ...,
    resume: bool = ...,
) -> Coroutine[Any, Any, RunResult]: ...


def train(subject: Any, /, *arguments: Any, **settings: Any) -> Coroutine[Any, Any, RunResult]:
    """Train a policy, and skills with it; await the result.

    ``await train(graph, tasks, reward_fn, policy=chat_model)`` trains the policy inside any compiled LangGraph, or inside
    a function of a skill library that compiles one (then skills evolve too); see
    :func:`~reskill_agents.trainers.graph_training.train_graph` for every argument.

    ``await train(world, config, policy=folder, run_dir=folder)`` trains on a world; see
    :func:`~reskill_agents.trainers.loop.run`.
    """
    door: Any = train_world if isinstance(subject, World) else train_graph
    found: Coroutine[Any, Any, RunResult] = door(subject, *arguments, **settings)
    return found
