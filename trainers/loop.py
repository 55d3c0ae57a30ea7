"""The training loop: groups -> evidence -> advantages -> rows -> one update -> published weights; skills beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch

from reskill_agents.engine import PolicyEngine
from reskill_agents.environment import Split, Task, World
from reskill_agents.episodes import Episode
from reskill_agents.errors import ConfigError, RunFolderError
from reskill_agents.graphs.creator_state import Author
from reskill_agents.library import SkillLibrary
from reskill_agents.packs import Lineage
from reskill_agents.trainers.advantage_names import advantage_named
from reskill_agents.trainers.batches import Batch, chosen, is_silent, training_set
from reskill_agents.trainers.checkpoint import latest_checkpoint, write_checkpoint
from reskill_agents.trainers.clock import Clock
from reskill_agents.trainers.config import EngineName, RunConfig
from reskill_agents.trainers.effect_adjusted import EffectAdjusted
from reskill_agents.trainers.episode_log import log_episodes
from reskill_agents.trainers.episode_memory import EpisodeMemory
from reskill_agents.trainers.final import Examination
from reskill_agents.trainers.groups import Collector, GroupPlan, PlayedGroup, TaskCursor
from reskill_agents.trainers.journal import Journal
from reskill_agents.trainers.metrics import step_metrics
from reskill_agents.trainers.overlap import Lookahead
from reskill_agents.trainers.policy import Publisher, agent_for, chat_model, open_engine
from reskill_agents.trainers.progress import EvaluationResult, Phase, ProgressListener, Silent
from reskill_agents.trainers.rewards import EpisodeFunction, episode_function, less_invalid
from reskill_agents.trainers.run_folder import Log, RunFolder
from reskill_agents.trainers.sinks import open_sinks
from reskill_agents.trainers.skills_loop import SkillsLoop
from reskill_agents.trainers.skills_state import restore_skills, skills_to_state
from reskill_agents.trainers.task_choice import TaskChoice
from reskill_agents.trainers.update import PolicyUpdater, UpdateReport

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class RunResult:
    """What a run ends with.

    Args:
        library: in force at the end, with ``lineage`` by skill name.
        evaluations: everything in ``evaluation.json``.
        steps: training steps done.
        policy: the trained policy in Hugging Face layout.
        run_dir: the run folder.
    """

    library: SkillLibrary
    lineage: Mapping[str, Lineage]
    evaluations: tuple[EvaluationResult, ...]
    steps: int
    policy: Path
    run_dir: Path


async def run(
    config: RunConfig,
    world: World,
    *,
    policy_path: Path,
    run_dir: Path,
    resume: bool = False,
    listener: ProgressListener | None = None,
    author: Author | None = None,
) -> RunResult:
    """Train ``policy_path`` on ``world`` and evaluate it, writing everything to ``run_dir``.

    Args:
        config: all settings.
        world: tasks and environments.
        policy_path: the start policy in Hugging Face layout.
        run_dir: the run folder (see ``run_folder``).
        resume: go on with the run in ``run_dir``.
        listener: told what happens.
        author: who writes skills; default: the offline author.

    Raises:
        ConfigError: settings that do not fit the world or the run that is resumed.
        RunFolderError: the run folder is in use, torn, or holds a run and ``resume`` is false.
        EngineMismatch: engine and trainer disagree about the weights.
    """
    torch.set_num_threads(config.threads)
    with RunFolder(run_dir, config, resume=resume) as folder:
        listener = listener or Silent()
        listener.phase(Phase.LOADING, str(policy_path))
        engine = await open_engine(config, policy_path)
        try:
            stage = world_stage(config, world, policy_path, folder, engine, listener)
            return await Trainer(config, stage, policy_path, folder, engine, listener, author).run(resume)
        finally:
            await engine.aclose()


async def train(world: World, config: RunConfig, *, policy: Path, run_dir: Path, resume: bool = False) -> RunResult:
    """Train a policy and its skills on a world: :func:`run` under its public name."""
    return await run(config, world, policy_path=policy, run_dir=run_dir, resume=resume)


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


class Trainer:
    """The loop over a stage. See the module; :func:`run` and ``train_graph`` are its entries."""

    def __init__(
        self,
        config: RunConfig,
        stage: Stage,
        policy_path: Path,
        folder: RunFolder,
        engine: PolicyEngine,
        listener: ProgressListener,
        author: Author | None,
    ) -> None:
        self.config, self.stage, self.folder = config, stage, folder
        self.sinks = open_sinks(config, folder.path)
        self.listener = listener = self.sinks.beside(listener)
        self.reward = less_invalid(stage.reward, config.rollout.invalid_penalty)
        self.outcome = episode_function(config.trial_outcome)
        self.skills = SkillsLoop(config, Journal(folder, listener), self.outcome, author, active=stage.library)
        if self.skills.memory is not None:
            stage.examination.remember(self.skills.memory)
        named = config.update.advantage
        self.advantage = advantage_named(named) if named is not None else self.skills.traits.advantage
        tasks, held_out = split_tasks(stage.tasks, config, self.skills.traits.validation_rounds)
        self.cursor, self.held_out = TaskCursor(tasks, config.seed), TaskCursor(held_out or tasks, config.seed)
        self.choice = TaskChoice(self.cursor, config.rollout.curriculum)
        self.updater = PolicyUpdater(
            policy_path,
            config.update,
            temperature=config.rollout.temperature,
            steps=config.steps,
            work_dir=folder.path,
            seed=config.seed,
            use_cpu=config.device == "cpu",
            max_logprob_gap=config.update.max_logprob_gap,
            corrected=config.corrected,
        )
        through = None if config.engine is EngineName.TRANSFORMERS else folder.path.resolve() / "serving"
        adapters = self.updater.adapted and config.serving.lora_rank > 0 and config.engine is EngineName.VLLM_COLOCATED
        self.publisher = Publisher(
            engine, self.updater, through, adapters=adapters, tolerance=config.update.max_logprob_gap
        )
        self.collector, self.examination = stage.collector, stage.examination
        self.version = 0
        self._update_thread: ThreadPoolExecutor | None = None
        if config.rollout.max_staleness:
            self._update_thread = ThreadPoolExecutor(1, "update", torch.set_num_threads, (config.threads,))

    async def run(self, resume: bool) -> RunResult:
        try:
            return await self._run(resume)
        finally:
            self.sinks.close()
            if self._update_thread is not None:
                self._update_thread.shutdown()

    async def _run(self, resume: bool) -> RunResult:
        self.folder.write_json("world.json", self.stage.description)
        start = await self._restore() if resume else 0
        if start == 0:
            await self.publisher.publish(0)
            self.folder.cut_logs({})
            self.skills.journal.library(0, 0, self.skills.active, {})
            await self.examination.before()
        elif self._evaluation_due(start):  # it stands behind the checkpoint: a kill may have come between them
            await self.examination.during(start, self.skills.active)
        self.listener.phase(Phase.TRAINING, f"{self.config.steps} steps")
        steps, lag = self.config.steps, self.config.rollout.max_staleness
        if lag:
            await Lookahead(self._gather, self._learn, lag).run(start, steps)
        else:
            for step in range(start, steps):
                await self._learn(await self._gather(step))
        self.skills.finish(max(start, steps))
        self.folder.flush()
        done = max(start, steps)
        results = await self.examination.after(done, self.skills.active, self.skills.reservoir.episodes)
        await self.publisher.publish(self.version)
        self.listener.phase(Phase.FINISHED, str(self.folder.path))
        return RunResult(self.skills.active, self.skills.lineage, results, done, self._whole_policy(), self.folder.path)

    def _whole_policy(self) -> Path:
        """The trained policy: in the last checkpoint, or merged in ``policy/`` where only adapters are trained."""
        checkpoint = latest_checkpoint(self.folder.path)
        if checkpoint is None:
            raise RunFolderError(f"{self.folder.path} holds no valid checkpoint at the end of the run")
        if not self.updater.adapted:
            return checkpoint.policy
        self.updater.save_weights(self.folder.path / "policy")
        return self.folder.path / "policy"

    async def _gather(self, step: int) -> Batch:
        """The first half of a step: skills, rollouts, evidence, rows."""
        clock = Clock()
        with clock.phase("skills"):
            await self.skills.begin_step(step)
        clock.seconds["creator_wait_s"] = self.skills.waited_s
        plans = self.skills.plan(step, self._tasks(step, self.config.rollout.groups))
        version = self.version
        library = self.skills.active
        with clock.phase("rollout"):
            played = await self.collector.collect(plans, step)
            extra = await self._resample(step, played)
        played = [*played, *extra]
        with clock.phase("evidence"):
            self.skills.record(step, played)
            self.choice.record(played)
            kept = chosen(played, self.reward, len(plans) if extra else None)
            training = training_set(kept, self.reward, self.advantage)
        return Batch(
            step=step,
            version=version,
            library=library,
            trial=self.skills.trial_state(),
            reservoir=len(self.skills.reservoir),
            played=played,
            resampled=len(extra),
            training=training,
            clock=clock,
            checkpoint=self._checkpoint_due(step + 1),
            evaluation=self._evaluation_due(step + 1),
        )

    async def _learn(self, batch: Batch) -> None:
        """The second half: update, publish, log; then what is due between this step and the next."""
        clock, done = batch.clock, batch.step + 1
        with clock.phase("update"):
            report = await self._update(batch)
        with clock.phase("publish"):
            if report.rows:
                self.version += 1
                await self.publisher.publish(self.version)
        with clock.phase("log"):
            advantages = {row.episode_id: row.advantage for row in batch.training.rows}
            log_episodes(self.folder, batch.played, advantages=advantages, tokens=self.config.episode_log == "tokens")
        metrics = step_metrics(batch, report, self.reward, self.outcome)
        self.folder.append(Log.METRICS, metrics)
        self.folder.flush()
        self.listener.step(metrics, self.config.steps)
        if batch.checkpoint:
            self._checkpoint(done)
        if batch.evaluation:
            await self.examination.during(done, self.skills.active)

    async def _update(self, batch: Batch) -> UpdateReport:
        rows, episodes, version = batch.training.rows, batch.training.episodes, self.version
        if self._update_thread is None:
            return self.updater.update(rows, episodes=episodes, version=version)
        loop, lag = asyncio.get_running_loop(), self.config.rollout.max_staleness
        return await loop.run_in_executor(
            self._update_thread, lambda: self.updater.update(rows, episodes=episodes, version=version, lag=lag)
        )

    async def _resample(self, step: int, played: Sequence[PlayedGroup]) -> list[PlayedGroup]:
        """Dynamic sampling: groups on new tasks for those without variance, as far as the budget goes."""
        extra: list[PlayedGroup] = []
        budget = self.config.rollout.resample
        missing = sum(one.plan.trained and is_silent(one, self.reward) for one in played) if budget else 0
        while missing and budget:
            count = min(missing, budget)
            plans = self.skills.plan_more(step, self._tasks(step, count))
            if not plans:
                break
            new = await self.collector.collect(plans, step, len(played) + len(extra))
            budget -= count
            missing -= sum(not is_silent(one, self.reward) for one in new)
            extra += new
        return extra

    def _tasks(self, step: int, count: int) -> list[Task]:
        return self.held_out.take(count) if self.skills.is_validation_round(step) else self.choice.take(count)

    def _checkpoint_due(self, done: int) -> bool:
        return self.skills.verdict_due or done % self.config.checkpoint.every == 0 or done == self.config.steps

    def _evaluation_due(self, done: int) -> bool:
        every = self.config.evaluation.every
        return bool(every) and done % every == 0

    def _checkpoint(self, done: int) -> None:
        state: dict[str, object] = {
            "step": done,
            "version": self.version,
            "cursor": self.cursor.position,
            "held_out": self.held_out.position,
            "skills": skills_to_state(self.skills),
            "tasks": self.choice.to_state(),
        }
        if isinstance(self.advantage, EffectAdjusted):
            state["advantage"] = self.advantage.to_state()
        write_checkpoint(self.folder, done, state, self.updater.save, keep=self.config.checkpoint.keep)

    async def _restore(self) -> int:
        """Go back to the newest valid checkpoint; its step, 0 without one."""
        checkpoint = latest_checkpoint(self.folder.path)
        if checkpoint is None:
            return 0
        state = checkpoint.state()
        numbers = [state.get(name) for name in ("step", "version", "cursor", "held_out")]
        skills = state.get("skills")
        if not all(isinstance(number, int) for number in numbers) or not isinstance(skills, Mapping):
            raise RunFolderError(f"{checkpoint.folder} holds no state of a run")
        step, self.version, self.cursor.position, self.held_out.position = (int(str(number)) for number in numbers)
        if step > self.config.steps:
            raise ConfigError(f"the run has done {step} steps already; steps must be at least that")
        self.folder.cut_logs(checkpoint.manifest.logs)
        self.updater.load(checkpoint.policy)
        restore_skills(self.skills, skills)
        try:
            self.choice.restore(state.get("tasks", {}))
            if isinstance(self.advantage, EffectAdjusted):
                self.advantage.restore(state.get("advantage"))
        except (TypeError, ValueError) as error:
            raise RunFolderError(f"{checkpoint.folder} holds no state of a run: {error}") from error
        await self.publisher.publish(self.version)
        return step


def split_tasks(tasks: Sequence[Task], config: RunConfig, held_out: bool) -> tuple[list[Task], list[Task]]:
    """Tasks to train on and tasks set aside for validation rounds (at most a quarter).

    Raises:
        ConfigError: the world has no train tasks.
    """
    if not tasks:
        raise ConfigError("the world has no train tasks")
    count = min(config.creator.holdout_tasks, len(tasks) // 4) if held_out else 0
    return list(tasks[: len(tasks) - count]), list(tasks[len(tasks) - count :])
