"""Test-time adaptation: the policy stays as it is, its skills evolve in a world it was not trained in.

The loop is the training loop without updates (``update.frozen``): creation, trials inside groups, verdicts, pruning. After
every round of steps the library in force is played on the tasks that are adapted on, beside no skills and the source pack
alone: the same tasks, states and random keys, so that with a frozen policy these two are lines. All is in the run folder
and resumes like a run; ``adaptation.json`` holds the curve.

The curve is about the tasks that are adapted on, which is what test-time adaptation is about; whether the skills carry
over to other tasks of the target is what the test splits say (``evaluation.test``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from reskill_agents.environment import Environment, Split, Task, World, adaptation_tasks
from reskill_agents.episodes import Episode
from reskill_agents.errors import ConfigError
from reskill_agents.graphs.creator_state import Author
from reskill_agents.library import SkillLibrary
from reskill_agents.methods import Method
from reskill_agents.trainers.arithmetic import settle_arithmetic
from reskill_agents.trainers.config import RunConfig
from reskill_agents.trainers.final import Examination
from reskill_agents.trainers.groups import Collector
from reskill_agents.trainers.policy import agent_for, chat_model, open_engine
from reskill_agents.trainers.progress import EvaluationResult, ProgressListener, Score, Silent
from reskill_agents.trainers.ranks import Ranks
from reskill_agents.trainers.rewards import episode_function
from reskill_agents.trainers.run_folder import RunFolder
from reskill_agents.trainers.stage import Stage
from reskill_agents.trainers.trained import TrainedPolicy
from reskill_agents.trainers.trainer import Trainer

if TYPE_CHECKING:
    from rich.table import Table

FILE = "adaptation.json"
POLICY = "frozen"


@dataclass(frozen=True)
class Round:
    """The library in force after ``step`` steps, on the tasks adapted on."""

    round: int
    step: int
    digest: str
    result: Score


@dataclass(frozen=True)
class Adaptation:
    """What came out.

    Args:
        policy, world: which.
        split: ``adapt``, or ``train`` for a world without tasks of its own for it; ``tasks``: how many there are.
        source: digest of the pack at the start; ``library``: of the one at the end.
        without: no skills; ``source_alone``: the source pack, ``None`` without one.
        rounds: the curve.
        tests: test splits with none, source and adapted skills, where asked for.
    """

    policy: str
    world: Mapping[str, str | int | float | bool]
    split: str
    tasks: int
    source: str
    library: str
    without: Score
    source_alone: Score | None
    rounds: tuple[Round, ...]
    tests: tuple[EvaluationResult, ...] = ()


def adaptation_config(
    trained: TrainedPolicy,
    *,
    rounds: int = 8,
    round_steps: int = 3,
    seed: int = 0,
    tasks: int = 100,
    creator: str = "offline",
    test: bool = False,
    **rollout: object,
) -> RunConfig:
    """The settings of an adaptation: those of the policy's run, frozen, method ``reskill``.

    Args:
        rounds: points of the curve; ``round_steps``: steps between them (a trial takes two to twelve).
        tasks: played for each point.
        rollout: changes of the rollout settings (``groups``, ``group_size``, ...).
    """
    settings = trained.config.model_dump(mode="json")
    settings |= {"method": Method.RESKILL.value, "steps": rounds * round_steps, "seed": seed, "aa": False}
    settings["update"] |= {"frozen": True}
    settings["rollout"] |= rollout
    settings["creator"] |= {"author": creator}
    settings["evaluation"] |= {"every": round_steps, "tasks": tasks, "test": test, "placebo": False}
    settings["checkpoint"] |= {"every": round_steps}
    return RunConfig.build(**settings)


async def adapt(
    config: RunConfig,
    world: World,
    source: SkillLibrary,
    *,
    policy: Path,
    run_dir: Path,
    resume: bool = False,
    listener: ProgressListener | None = None,
    author: Author | None = None,
) -> Adaptation:
    """Adapt ``source`` to ``world`` under a frozen policy.

    Raises:
        ConfigError: the settings are not frozen, or another source pack or world was begun with.
        RunFolderError: see :func:`~reskill_agents.trainers.loop.run`.
    """
    if not config.update.frozen:
        raise ConfigError("an adaptation needs update.frozen")
    tasks, split = adaptation_tasks(world)
    target = _Target(world, tasks, split)
    listener = listener or Silent()
    settle_arithmetic(config)
    with RunFolder(run_dir, config, resume=resume) as folder:
        description = {**world.describe(), "adapt": split, "adapt_tasks": len(tasks), "source": source.digest}
        engine = await open_engine(config, policy)
        try:
            model = chat_model(config, engine, policy)
            agents = [
                agent_for(
                    config, model, system_prompt=world.system_prompt(), max_turns=world.max_turns, temperature=heat
                )
                for heat in (config.rollout.temperature, config.evaluation.temperature)
            ]
            examination = AdaptationExamination(config, target, agents[1], folder, listener, policy, source=source)
            stage = Stage(
                tasks, description, Collector(agents[0], target, config.seed), examination,
                episode_function(config.train_reward), source,
            )  # fmt: skip
            alone = Ranks.alone(config)
            result = await Trainer(config, stage, policy, folder, engine, listener, author, alone).run(resume)
        finally:
            await engine.aclose()
        done = _adaptation(config, target, examination, source, result.library, policy)
        folder.write_json(FILE, done)
    return done


class _Target:
    """The target world, with the tasks to adapt on in the place of its train tasks."""

    def __init__(self, world: World, adapt: Sequence[Task], split: str) -> None:
        self.world, self.adapt, self.split = world, adapt, split
        self.name, self.max_turns = world.name, world.max_turns

    def tasks(self, split: Split) -> Sequence[Task]:
        return self.adapt if split is Split.TRAIN else self.world.tasks(split)

    def make(self) -> Environment:
        return self.world.make()

    def describe(self) -> Mapping[str, str | int | float | bool]:
        return self.world.describe()

    def system_prompt(self) -> str:
        return self.world.system_prompt()


@dataclass
class AdaptationExamination(Examination):
    """The points of the curve, and the test splits at the end."""

    source: SkillLibrary = field(default_factory=SkillLibrary)

    async def before(self) -> None:
        """No skills, and the source pack."""
        self.results = []
        await self._play(POLICY, "none", Split.TRAIN, [SkillLibrary()], 0)
        if self.source.skills:
            await self._play(POLICY, "source", Split.TRAIN, [self.source], 0)

    async def during(self, step: int, library: SkillLibrary) -> None:
        """The library in force."""
        await self._play(POLICY, "adapted", Split.TRAIN, [library], step)

    async def after(
        self, step: int, library: SkillLibrary, episodes: Sequence[Episode]
    ) -> tuple[EvaluationResult, ...]:
        """The library that the last verdict left, and all three on the test splits."""
        self.results = [  # a verdict may have fallen since the last point
            one for one in self.results if (one.library, one.step) != ("adapted", step) or one.digest == library.digest
        ]
        await self._play(POLICY, "adapted", Split.TRAIN, [library], step)
        for split in self.tests:
            for label, one in (("none", SkillLibrary()), ("source", self.source), ("adapted", library)):
                if label != "source" or one.skills:
                    await self._play(POLICY, label, split, [one], 0 if label != "adapted" else step)
        return tuple(self.results)


def _adaptation(
    config: RunConfig,
    target: _Target,
    examination: AdaptationExamination,
    source: SkillLibrary,
    library: SkillLibrary,
    policy: Path,
) -> Adaptation:
    on_target = [one for one in examination.results if one.split == Split.TRAIN.value]
    points = sorted((one for one in on_target if one.library == "adapted"), key=lambda one: one.step)
    alone = {one.library: one.total for one in on_target if one.library != "adapted"}
    every = config.evaluation.every
    return Adaptation(
        policy=str(policy),
        world=target.describe(),
        split=target.split,
        tasks=len(target.adapt),
        source=source.digest,
        library=library.digest,
        without=alone["none"],
        source_alone=alone.get("source"),
        rounds=tuple(Round(one.step // every, one.step, one.digest, one.total) for one in points),
        tests=tuple(one for one in examination.results if one.split != Split.TRAIN.value),
    )


def adaptation_table(adaptation: Adaptation) -> Table:
    """The curve for people."""
    from rich.table import Table

    table = Table(title=f"{adaptation.world.get('world', '')}: {adaptation.split} tasks, policy frozen")
    for name in ("skills", "success", "score"):
        table.add_column(name, justify="left" if name == "skills" else "right")
    rows = [("none", adaptation.without)]
    if adaptation.source_alone is not None:
        rows.append(("source pack", adaptation.source_alone))
    rows += [(f"round {one.round} (step {one.step})", one.result) for one in adaptation.rounds]
    rows += [(f"{one.split}: {one.library}", one.total) for one in adaptation.tests]
    for name, score in rows:
        table.add_row(
            name, f"{score.success:.1%} ± {score.success_se:.1%}", f"{score.score:.3f} ± {score.score_se:.3f}"
        )
    return table
