"""Agents with skills inside an unmodified TRL ``GRPOTrainer``: ``GRPOTrainer(rollout_func=skill_rollout_func(world, ...))``.

What TRL does with it (1.16, experimental there), and what that means:

- With ``use_vllm=False`` the log-probs returned here are **not** the denominator of the ratio: TRL scores the tokens again
  with its own model (or takes the ratio as 1 on the first update of a batch). That is right only while the engine holds
  the trainer's weights and samples at ``args.temperature``, which this function sees to.
- One sequence a prompt. An episode of several (sub-agents, forks) is cut to the one with most sampled tokens; what is left
  out is counted in ``left_out_tokens`` and warned of. Groups have one size, and a fault is a row without a reward.
- One process. Under FSDP or DeepSpeed, and for adapters, pass an engine that gets its weights elsewhere.

``reskill_agents.train`` has none of these limits.
"""

from __future__ import annotations

import itertools
import random
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from datasets import Dataset  # type: ignore[import-untyped]
from transformers import PreTrainedModel

from reskill_agents.engine import PolicyEngine
from reskill_agents.engines.probe import TOLERANCE
from reskill_agents.engines.transformers import TransformersEngine
from reskill_agents.environment import Split, Task, World
from reskill_agents.episodes import Episode, graded_outcome, success_reward
from reskill_agents.errors import ConfigError
from reskill_agents.graphs.agent import Agent, AgentConfig
from reskill_agents.graphs.blocking import run_blocking
from reskill_agents.graphs.chat_model import PolicyChatModel
from reskill_agents.graphs.chat_templates import ChatTokenizer
from reskill_agents.graphs.rollout import Rollout, play_many
from reskill_agents.library import SkillLibrary
from reskill_agents.trainers.graph_episode import GraphEpisode, RewardFunction
from reskill_agents.trainers.graph_rollout import CompiledGraph, GraphInput, GraphPlayer, GraphRun, as_message
from reskill_agents.trainers.probe import check_engine_holds
from reskill_agents.trainers.rows import Row, rows_of
from reskill_agents.trials import Arm, VersionTrial

if TYPE_CHECKING:
    from trl.trainer.grpo_trainer import GRPOTrainer

REWARD = "reskill_reward"  # the column that ``skill_reward`` reads
GraphOver = Callable[[PolicyChatModel, SkillLibrary], CompiledGraph]


@dataclass(frozen=True)
class LibraryTrial:
    """Two libraries compared inside TRL's groups.

    Args:
        trial: of the library in force against ``candidate``; fed here, step by step.
        candidate: takes over when the trial accepts it.
    """

    trial: VersionTrial
    candidate: SkillLibrary


def skill_rollout_func(
    subject: World | GraphOver,
    tasks: Sequence[Task] = (),
    reward_fn: RewardFunction | None = None,
    *,
    library: SkillLibrary | None = None,
    trial: LibraryTrial | None = None,
    config: AgentConfig | None = None,
    inputs: GraphInput = as_message,
    engine: PolicyEngine | None = None,
) -> SkillRollouts:
    """A ``rollout_func`` that plays an agent with skills; see the module for what TRL does with it.

    ::

        rollouts = skill_rollout_func(world, library=library, config=AgentConfig(max_turns=12, max_tokens=64))
        GRPOTrainer(model, reward_funcs=skill_reward, train_dataset=rollouts.dataset(), rollout_func=rollouts, args=args)

    Args:
        subject: a world, played by the agent graph; or a function of a chat model and a library that compiles a graph.
        tasks: to train on; default: the world's train split. A row's prompt is a task's id.
        reward_fn: of a graph's run (a world's: 1 for the full score, else 0).
        library: the skills; ``trial``: another library to compare it with, inside every group.
        config: of the agent graph; its temperature is the trainer's.
        inputs: a graph's input for a task.
        engine: what samples; default: a copy of the trainer's model in this process, renewed after every update.

    Raises:
        ConfigError: a graph without tasks or reward.
    """
    if isinstance(subject, World):
        return SkillRollouts(
            _WorldPlayer(subject, config or AgentConfig(max_turns=subject.max_turns)),
            tasks or subject.tasks(Split.TRAIN),
            library or SkillLibrary(),
            trial,
            engine,
        )
    if not tasks or reward_fn is None:
        raise ConfigError("a graph needs tasks and a reward_fn")
    player = _GraphPlayer(subject, reward_fn, inputs, config or AgentConfig())
    return SkillRollouts(player, tasks, library or SkillLibrary(), trial, engine)


def skill_reward(
    completions: Sequence[object], reskill_reward: Sequence[float | None], **_: object
) -> list[float | None]:
    """The TRL reward function that goes with :func:`skill_rollout_func`: what the rollout earned."""
    return list(reskill_reward)


@dataclass(frozen=True)
class _Run:
    task: Task
    library: SkillLibrary
    episode_id: str
    rng_key: tuple[int, ...]
    arm: Arm | None


@dataclass
class SkillRollouts:
    """What :func:`skill_rollout_func` gives: callable as TRL's ``rollout_func``.

    Args:
        player: of episodes.
        tasks: by id.
        library: in force now.
        trial: under way, if any.
        engine: what samples.
        left_out_tokens: sampled tokens so far that TRL could not be given.
        episodes: of the last call.
    """

    player: _WorldPlayer | _GraphPlayer
    tasks: Sequence[Task]
    library: SkillLibrary
    trial: LibraryTrial | None = None
    engine: PolicyEngine | None = None
    left_out_tokens: int = 0
    episodes: tuple[Episode, ...] = ()
    _own: bool = field(default=False, repr=False)
    _published: int = field(default=-1, repr=False)
    _calls: int = field(default=0, repr=False)

    def dataset(self) -> Dataset:
        """The rows to train on: one a task, its prompt is the task's id."""
        return Dataset.from_dict({"prompt": [task.task_id for task in self.tasks]})

    def __call__(self, prompts: Sequence[str], trainer: GRPOTrainer) -> dict[str, list[Any]]:
        """Play every prompt once; TRL repeats each ``num_generations`` times.

        Raises:
            ConfigError: a prompt is no task's id.
        """
        model: Any = trainer.model
        training = bool(model.training)
        size = int((trainer.num_generations if training else trainer.num_generations_eval) or 1)
        runs = self._runs(prompts, size, int(trainer.args.seed), training)
        policy = self._policy(trainer)
        self.episodes = tuple(run_blocking(self._play(policy, runs, trainer)))
        self._calls += 1
        if training:
            self._learn(runs)
        rows = [self._row(episode, policy) for episode in self.episodes]
        return {
            "prompt_ids": [list(row.token_ids[: row.first_trained]) for row in rows],
            "completion_ids": [list(row.token_ids[row.first_trained :]) for row in rows],
            "env_mask": [[int(on) for on in row.trained[row.first_trained :]] for row in rows],
            "logprobs": [list(row.logprobs[row.first_trained :]) for row in rows],
            REWARD: [self.player.reward(episode) for episode in self.episodes],
            "reskill_library": [run.library.digest for run in runs],
        }

    def close(self) -> None:
        """Let go of an engine of our own."""
        if self._own and self.engine is not None:
            run_blocking(self.engine.aclose())

    def _runs(self, prompts: Sequence[str], size: int, seed: int, training: bool) -> list[_Run]:
        """Every rollout's library, fixed before sampling; evaluation runs one arm."""
        known = {task.task_id: task for task in self.tasks}
        unknown = sorted({str(prompt) for prompt in prompts if not isinstance(prompt, str) or prompt not in known})
        if unknown:
            raise ConfigError(
                f"a prompt must be the id of a task (use .dataset()); not known: {', '.join(unknown[:3])}"
            )
        runs: list[_Run] = []
        groups = [list(found) for _, found in itertools.groupby(prompts)]
        parts = [found[at : at + size] for found in groups for at in range(0, len(found), size)]
        for number, part in enumerate(parts):
            tried = self.trial.trial if self.trial is not None and training and len(part) == size else None
            arms: Sequence[Arm | None] = tried.assign(len(part)) if tried is not None else [None] * len(part)
            for place, arm in enumerate(arms):
                library = self.trial.candidate if self.trial is not None and arm is Arm.CANDIDATE else self.library
                name = f"s{self._calls}-g{number}-r{place}"
                runs.append(_Run(known[part[place]], library, name, (seed, self._calls, number, place), arm))
        return runs

    def _policy(self, trainer: GRPOTrainer) -> PolicyChatModel:
        if self.engine is None:
            model = trainer.accelerator.unwrap_model(trainer.model)
            if not isinstance(model, PreTrainedModel):
                raise ConfigError(f"{type(model).__name__} can't be copied into an engine; pass engine")
            self.engine, self._own = TransformersEngine(model, device=str(trainer.accelerator.device)), True
            self._published = int(trainer.state.global_step)
        return self.player.policy(self.engine, trainer)

    async def _play(self, policy: PolicyChatModel, runs: Sequence[_Run], trainer: GRPOTrainer) -> list[Episode]:
        step = int(trainer.state.global_step)
        if self._own and step != self._published and self.engine is not None:
            model = trainer.accelerator.unwrap_model(trainer.model)
            await self.engine.publish(model.state_dict(), self.engine.version + 1)
            await check_engine_holds(model, self.engine, self.engine.version, tolerance=TOLERANCE)
            self._published = step
        return await self.player.play(policy, runs)

    def _learn(self, runs: Sequence[_Run]) -> None:
        """The trial's evidence of this call; an accepted candidate is in force from the next one on."""
        if self.trial is None:
            return
        groups: dict[tuple[int, ...], list[tuple[Arm, float | None]]] = {}
        for run, episode in zip(runs, self.episodes, strict=True):
            if run.arm is not None:
                groups.setdefault(run.rng_key[:3], []).append((run.arm, graded_outcome(episode)))
        self.trial.trial.record_step(list(groups.values()))
        verdict = self.trial.trial.verdict()
        if verdict is not None:
            self.library = self.trial.candidate if verdict.accepted else self.library
            self.trial = None

    def _row(self, episode: Episode, policy: PolicyChatModel) -> Row:
        """The episode's one row; one that sampled nothing becomes a masked end token."""
        rows = rows_of(episode)
        if not rows:
            end = policy.tokenizer.end_id
            return _Masked(episode.episode_id, (end, end), (False, False), (0.0, 0.0))
        best = max(rows, key=lambda row: row.trained_tokens)
        left_out = sum(row.trained_tokens for row in rows) - best.trained_tokens
        if left_out and not self.left_out_tokens:
            warnings.warn(
                "an episode has several token sequences and TRL takes one: some sampled tokens are not trained "
                "(left_out_tokens counts them; reskill_agents.train trains them all)",
                stacklevel=2,
            )
        self.left_out_tokens += left_out
        return best


class _Masked(Row):
    """A row that trains nothing."""

    @property
    def first_trained(self) -> int:
        """One token of prompt."""
        return 1


@dataclass
class _WorldPlayer:
    world: World
    config: AgentConfig
    _agent: Agent | None = field(default=None, repr=False)

    def policy(self, engine: PolicyEngine, trainer: GRPOTrainer) -> PolicyChatModel:
        if self._agent is None:
            config = replace(self.config, temperature=trainer.temperature)
            self._agent = Agent(_chat_model(engine, trainer, config), config, self.world.system_prompt())
        return self._agent.model

    async def play(self, policy: PolicyChatModel, runs: Sequence[_Run]) -> list[Episode]:
        assert self._agent is not None
        agent = self._agent
        selectors = {run.library.digest: agent.selector(run.library) for run in runs}
        rollouts = [
            Rollout(
                environment=self.world.make(),
                task=run.task,
                selector=selectors[run.library.digest],
                episode_id=run.episode_id,
                arm=run.arm,
                step=run.rng_key[1],
                seed=random.Random(f"{run.rng_key[:3]}/environment").getrandbits(31),
                rng_key=run.rng_key,
            )
            for run in runs
        ]
        return await play_many(agent, rollouts)

    def reward(self, episode: Episode) -> float | None:
        return success_reward(episode)


@dataclass
class _GraphPlayer:
    graph_over: GraphOver
    reward_fn: RewardFunction
    inputs: GraphInput
    config: AgentConfig
    _player: GraphPlayer | None = field(default=None, repr=False)

    def policy(self, engine: PolicyEngine, trainer: GRPOTrainer) -> PolicyChatModel:
        if self._player is None:
            model = _chat_model(engine, trainer, replace(self.config, temperature=trainer.temperature))
            self._player = GraphPlayer(
                lambda library: self.graph_over(model, library), model, self.reward_fn, self.inputs
            )
        return self._player.policy

    async def play(self, policy: PolicyChatModel, runs: Sequence[_Run]) -> list[Episode]:
        assert self._player is not None
        wanted = [GraphRun(run.task, run.library, run.episode_id, run.rng_key, run.arm, run.rng_key[1]) for run in runs]
        return list(await self._player.play(wanted))

    def reward(self, episode: Episode) -> float | None:
        return episode.reward if isinstance(episode, GraphEpisode) else episode.score


def _chat_model(engine: PolicyEngine, trainer: GRPOTrainer, config: AgentConfig) -> PolicyChatModel:
    """The trainer's own tokenizer and template over ``engine``."""
    tokenizer: Any = trainer.processing_class
    return PolicyChatModel(
        engine=engine,
        tokenizer=ChatTokenizer(getattr(tokenizer, "tokenizer", tokenizer)),
        temperature=config.temperature,
        max_tokens=config.max_tokens,
        name_of_policy="trl",
    )
