"""The training loop: groups -> evidence -> advantages -> rows -> one update -> published weights; skills beside it."""

from __future__ import annotations

from collections.abc import Mapping
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
from reskill_agents.trainers.advantages import GroupRewards
from reskill_agents.trainers.checkpoint import latest_checkpoint, write_checkpoint
from reskill_agents.trainers.clock import Clock
from reskill_agents.trainers.config import EngineName, RunConfig
from reskill_agents.trainers.episode_log import log_episodes
from reskill_agents.trainers.final import Examination
from reskill_agents.trainers.groups import Collector, GroupPlan, PlayedGroup, TaskCursor
from reskill_agents.trainers.journal import Journal
from reskill_agents.trainers.metrics import arms_of, tokens_of
from reskill_agents.trainers.policy import Publisher, agent_for, chat_model, open_engine
from reskill_agents.trainers.progress import EvaluationResult, Phase, ProgressListener, Silent, StepMetrics
from reskill_agents.trainers.rewards import EpisodeFunction, episode_function
from reskill_agents.trainers.rows import Row, rows_of, sampled_tokens
from reskill_agents.trainers.run_folder import Log, RunFolder
from reskill_agents.trainers.skills_loop import SkillsLoop
from reskill_agents.trainers.skills_state import restore_skills, skills_to_state
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

    async def collect(self, plans: Sequence[GroupPlan], step: int) -> list[PlayedGroup]:
        """The groups, played, in the order of ``plans``."""
        ...


class Examiner(Protocol):
    """Evaluates before, during and after training (:class:`~reskill_agents.trainers.final.Examination`)."""

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
    system, turns = world.system_prompt(), world.max_turns
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
        self.config, self.stage, self.folder, self.listener = config, stage, folder, listener
        self.reward = stage.reward
        self.outcome = episode_function(config.trial_outcome)
        self.skills = SkillsLoop(config, Journal(folder, listener), self.outcome, author, active=stage.library)
        tasks, held_out = split_tasks(stage.tasks, config, self.skills.traits.validation_rounds)
        self.cursor, self.held_out = TaskCursor(tasks, config.seed), TaskCursor(held_out or tasks, config.seed)
        self.updater = PolicyUpdater(
            policy_path,
            config.update,
            temperature=config.rollout.temperature,
            steps=config.steps,
            work_dir=folder.path,
            seed=config.seed,
            use_cpu=config.device == "cpu",
            max_logprob_gap=config.update.max_logprob_gap,
        )
        through = None if config.engine is EngineName.TRANSFORMERS else folder.path.resolve() / "serving"
        self.publisher = Publisher(engine, self.updater, through, config.update.max_logprob_gap)
        self.collector, self.examination = stage.collector, stage.examination
        self.version = 0

    async def run(self, resume: bool) -> RunResult:
        self.folder.write_json("world.json", self.stage.description)
        start = await self._restore() if resume else 0
        if start == 0:
            await self.publisher.publish(0)
            self.folder.cut_logs({})
            self.skills.journal.library(0, 0, self.skills.active, {})
            await self.examination.before()
        self.listener.phase(Phase.TRAINING, f"{self.config.steps} steps")
        done = start
        for step in range(start, self.config.steps):
            await self._step(step)
            done = step + 1
            if self.skills.verdict_due or done % self.config.checkpoint.every == 0 or done == self.config.steps:
                self._checkpoint(done)
            every = self.config.evaluation.every
            if every and done % every == 0:
                await self.examination.during(done, self.skills.active)
        self.skills.finish(done)
        self.folder.flush()
        results = await self.examination.after(done, self.skills.active, self.skills.reservoir.episodes)
        await self.publisher.publish(self.version)
        self.listener.phase(Phase.FINISHED, str(self.folder.path))
        checkpoint = latest_checkpoint(self.folder.path)
        if checkpoint is None:
            raise RunFolderError(f"{self.folder.path} holds no valid checkpoint at the end of the run")
        return RunResult(self.skills.active, self.skills.lineage, results, done, checkpoint.policy, self.folder.path)

    async def _step(self, step: int) -> None:
        clock = Clock()
        with clock.phase("skills"):
            await self.skills.begin_step(step)
        clock.seconds["creator_wait_s"] = self.skills.waited_s
        cursor = self.held_out if self.skills.is_validation_round(step) else self.cursor
        plans = self.skills.plan(step, cursor.take(self.config.rollout.groups))
        version = self.version
        library = self.skills.active
        with clock.phase("rollout"):
            played = await self.collector.collect(plans, step)
        with clock.phase("evidence"):
            self.skills.record(step, played)
            rows, silent, counted = self._rows(played)
        with clock.phase("update"):
            report = self.updater.update(rows, episodes=counted)
        with clock.phase("publish"):
            if report.rows:
                self.version += 1
                await self.publisher.publish(self.version)
        with clock.phase("log"):
            log_episodes(self.folder, played, tokens=self.config.episode_log == "tokens")
        metrics = self._metrics(step, version, library, played, rows, silent, report, clock)
        self.folder.append(Log.METRICS, metrics)
        self.folder.flush()
        self.listener.step(metrics, self.config.steps)

    def _rows(self, played: Sequence[PlayedGroup]) -> tuple[list[Row], int, int]:
        """Rows to train on, groups without a gradient, and episodes that count for the normaliser."""
        trained = [one for one in played if one.plan.trained]
        rewards = [
            GroupRewards(
                tuple(self.reward(episode) for episode in one.group.episodes),
                tuple(sampled_tokens(episode) for episode in one.group.episodes),
            )
            for one in trained
        ]
        advantages = self.skills.traits.advantage(rewards)
        rows = [
            row
            for one, values in zip(trained, advantages, strict=True)
            for episode, value in zip(one.group.episodes, values, strict=True)
            if value is not None
            for row in rows_of(episode, value)
        ]
        silent = sum(not any(values) for values in advantages)
        return rows, silent, sum(value is not None for values in advantages for value in values)

    def _metrics(
        self,
        step: int,
        version: int,
        library: SkillLibrary,
        played: Sequence[PlayedGroup],
        rows: Sequence[Row],
        silent: int,
        report: UpdateReport,
        clock: Clock,
    ) -> StepMetrics:
        episodes = [episode for one in played for episode in one.group.episodes]
        return StepMetrics(
            step=step,
            version=version,
            arms=arms_of(played, self.reward, self.outcome),
            library=library.digest,
            skills=tuple(skill.name for skill in library),
            trial=self.skills.trial_state(),
            groups=len(played),
            silent_groups=silent,
            forks=len(rows) - len({row.episode_id for row in rows}),
            loss=report.loss,
            grad_norm=report.grad_norm,
            clip_rate=report.clip_rate,
            entropy=report.entropy,
            kl=report.kl,
            lr=report.lr,
            rows=report.rows,
            trained_tokens=report.trained_tokens,
            logprob_gap=report.logprob_gap,
            tokens=tokens_of(episodes),
            reservoir=len(self.skills.reservoir),
            seconds=clock.reading(),
        )

    def _checkpoint(self, done: int) -> None:
        state = {
            "step": done,
            "version": self.version,
            "cursor": self.cursor.position,
            "held_out": self.held_out.position,
            "skills": skills_to_state(self.skills),
        }
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
