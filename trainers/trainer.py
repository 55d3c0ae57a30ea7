"""The loop: groups -> evidence -> advantages -> rows -> one update -> published weights; skills beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch

from reskill_agents.engine import PolicyEngine
from reskill_agents.environment import Task
from reskill_agents.errors import ConfigError, RunFolderError
from reskill_agents.graphs.creator_state import Author
from reskill_agents.library import SkillLibrary
from reskill_agents.packs import Lineage
from reskill_agents.trainers.advantage_names import advantage_named
from reskill_agents.trainers.batches import Batch, chosen, is_silent, training_set
from reskill_agents.trainers.checkpoint import latest_checkpoint, set_newer_aside, write_checkpoint
from reskill_agents.trainers.clock import Clock
from reskill_agents.trainers.config import EngineName, RunConfig
from reskill_agents.trainers.episode_log import log_episodes
from reskill_agents.trainers.group_sizes import SizeRange
from reskill_agents.trainers.groups import PlayedGroup, TaskCursor
from reskill_agents.trainers.journal import Journal
from reskill_agents.trainers.loop_state import LoopState
from reskill_agents.trainers.metrics import step_metrics
from reskill_agents.trainers.overlap import Lookahead
from reskill_agents.trainers.policy import Publisher
from reskill_agents.trainers.progress import EvaluationResult, Phase, ProgressListener
from reskill_agents.trainers.ranks import Ranks
from reskill_agents.trainers.rewards import episode_function, less_invalid
from reskill_agents.trainers.run_folder import Log, RunFolder
from reskill_agents.trainers.shared_update import open_updater
from reskill_agents.trainers.sinks import open_sinks
from reskill_agents.trainers.skills_loop import SkillsLoop
from reskill_agents.trainers.stage import Stage, split_tasks
from reskill_agents.trainers.task_choice import TaskChoice
from reskill_agents.trainers.update import UpdateReport


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
        ranks: Ranks,
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
        cursor = TaskCursor(tasks, config.seed)
        self.held_out = TaskCursor(held_out or tasks, config.seed)
        sizes = config.rollout.group_sizes
        self.choice = TaskChoice(cursor, config.rollout.curriculum, SizeRange(*sizes) if sizes else None)
        self.state = LoopState(cursor, self.held_out, self.choice, self.skills, self.advantage)
        self.updater = open_updater(config, policy_path, folder.path, ranks)
        through = None if config.engine is EngineName.TRANSFORMERS else folder.path.resolve() / "serving"
        adapters = through is not None and self.updater.adapted and config.serving.lora_rank > 0
        self.publisher = Publisher(
            engine, self.updater, through, adapters=adapters, tolerance=config.update.max_logprob_gap
        )
        self.collector, self.examination = stage.collector, stage.examination
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
        if resume:
            self.folder.check_world(self.stage.description)
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
        await self.publisher.publish(self.state.version)
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
        clock.seconds["creator_wait_s"], asked = self.skills.waited_s, self.skills.asked
        rollout, tasks = self.config.rollout, self._tasks(step, self.config.rollout.groups)
        plans = self.skills.plan(step, tasks, self.choice.sizes(tasks, rollout.group_size))
        version = self.state.version
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
            creator=asked,
        )

    async def _learn(self, batch: Batch) -> None:
        """The second half: update, publish, log; then what is due between this step and the next."""
        clock, done = batch.clock, batch.step + 1
        with clock.phase("update"):
            report = await self._update(batch)
        with clock.phase("publish"):
            if report.rows:
                self.state.version += 1
                await self.publisher.publish(self.state.version)
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
        rows, episodes, version = batch.training.rows, batch.training.episodes, self.state.version
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
        state = self.state.to_json(done)
        write_checkpoint(self.folder, done, state, self.updater.save, keep=self.config.checkpoint.keep)

    async def _restore(self) -> int:
        """Go back to the newest valid checkpoint; its step, 0 without one."""
        checkpoint = latest_checkpoint(self.folder.path)
        set_newer_aside(self.folder.path, checkpoint)
        if checkpoint is None:
            return 0
        step = self.state.restore_position(checkpoint)
        if step > self.config.steps:
            raise ConfigError(f"the run has done {step} steps already; steps must be at least that")
        self.folder.cut_logs(checkpoint.manifest.logs)
        self.updater.load(checkpoint.policy)
        self.state.restore_skills(checkpoint)
        await self.publisher.publish(self.state.version)
        return step
