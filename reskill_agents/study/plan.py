"""A study's plan: written and registered before its first run, in TOML."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from reskill_agents.errors import ConfigError
from reskill_agents.skill import digest_json
from reskill_agents.study.job import Job, Setting, Stage

_RUN = re.compile(r"\{run:([^/}]+)/([^}]+)\}")
Some = Annotated[tuple[str, ...], Field(min_length=1)]
Seeds = Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)]
Starts = Annotated[
    tuple[NonNegativeInt, ...],
    Field(
        description="Seeds of the start policies, taken in turn by the seeds; none: every seed has a start of its own."
    ),
]
Rates = Annotated[tuple[PositiveFloat, ...], Field(min_length=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Budget(_Strict):
    """What every arm gets, the same for all."""

    rollouts: str = Field(description="Episodes of a training step, in words: 16 x 8.")
    clone_updates: PositiveInt = Field(description="Updates of cloning the start policy.")
    tune_steps: PositiveInt = Field(description="Training steps of a tuning run.")
    final_steps: PositiveInt = Field(description="Training steps of a final run.")


class Tuning(_Strict):
    """How settings are chosen: on ``split`` only."""

    seeds: Seeds
    starts: Starts = ()
    rates: Rates = Field(description="Learning rates every arm is tried at.")
    split: str = "valid"


class Final(_Strict):
    """What decides: seeds and splits that nothing was chosen on."""

    seeds: Seeds
    starts: Starts = ()
    splits: Some = ("seen_test", "unseen_test")


class WorldPlan(_Strict):
    """Where the arms are run.

    Args:
        title: for people.
        script: the training script, from the root of the repository.
        always, tune, final: its arguments, in every run and by stage.
        command: instead of a script, the arguments of ``python`` for an adaptation: nothing is cloned, tuned or trained.
            ``{out}``, ``{seed}`` and ``{steps}`` are those of the run, ``{run:WORLD/ARM}`` the run folder of another arm's
            final run with the same seed.
    """

    title: str
    script: str = ""
    always: tuple[str, ...] = ()
    tune: tuple[str, ...] = ()
    final: tuple[str, ...] = ()
    command: tuple[str, ...] = ()

    @property
    def sources(self) -> tuple[tuple[str, str], ...]:
        """(world, arm) of the runs that a command reads, in order."""
        found = [one for part in self.command for one in _RUN.findall(part)]
        return tuple(dict.fromkeys(found))

    @property
    def adapts(self) -> bool:
        """Whether skills are adapted to it under a policy that stays as it is."""
        return bool(self.command)


class Arm(_Strict):
    """A method, or a variant of one.

    Args:
        method: what the script's ``--method`` gets.
        title: for people.
        settings: of the run's config, by dotted name.
        rates: instead of the common grid, where the rate has no meaning; a single one is not tuned.
    """

    method: str
    title: str = ""
    settings: dict[str, Setting] = {}
    rates: Rates | None = None


class Part(_Strict):
    """A table of the study: some arms in one world.

    Args:
        seeds: how many of the final seeds, from the first (default: all).
        references: arms the others are compared with, paired over seeds.
    """

    name: str
    title: str = ""
    world: str
    arms: Some
    seeds: PositiveInt | None = None
    references: tuple[str, ...] = ("grpo",)


class Minutes(_Strict):
    """How long a job takes, before one of its kind was measured on this machine."""

    clone: PositiveFloat = 20.0
    tune: PositiveFloat = 5.0
    final: PositiveFloat = 10.0


class Plan(_Strict):
    """The whole study.

    Args:
        title, note: for people.
        registered: once it has run, the plan may grow but not change; final runs need committed code, and each commit opens a
            final run once.
        worlds, arms, parts: the first world's result files do not name it.
    """

    title: str
    note: str = ""
    registered: bool = False
    budget: Budget
    tuning: Tuning
    final: Final
    worlds: dict[str, WorldPlan]
    arms: dict[str, Arm]
    parts: Annotated[tuple[Part, ...], Field(min_length=1)]
    minutes: Minutes = Minutes()

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        problems = [
            f"part {part.name}: there is no world {part.world!r}"
            for part in self.parts
            if part.world not in self.worlds
        ]
        problems += [
            f"part {part.name}: there is no arm {arm!r}"
            for part in self.parts
            for arm in (*part.arms, *part.references)
            if arm not in self.arms
        ]
        problems += [f"seed {seed} is used for tuning and for the end" for seed in self._shared_seeds()]
        for name, world in self.worlds.items():
            if bool(world.script) == world.adapts:
                problems.append(f"world {name}: needs either a script or a command")
            known = set(self.entries())
            problems += [f"world {name}: no part runs {'/'.join(one)}" for one in world.sources if one not in known]
        problems += [
            f"arm {arm} in world {world}: an adaptation has one learning rate in its rates and no settings"
            for world, arm in self.entries()
            if world in self.worlds and arm in self.arms and self.worlds[world].adapts
            if len(self.rates(world, arm)) != 1 or self.arms[arm].settings
        ]
        if len({part.name for part in self.parts}) < len(self.parts):
            problems.append("two parts have the same name")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _shared_seeds(self) -> list[int]:
        return sorted(set(self.tuning.seeds) & set(self.final.seeds))

    @property
    def digest(self) -> str:
        """Of everything in it."""
        return digest_json(self.model_dump(mode="json"))

    def changed_from(self, before: Plan) -> list[str]:
        """What ``before`` registered and this plan has otherwise; additions change nothing."""
        changed = [name for name in ("budget", "tuning", "final") if getattr(self, name) != getattr(before, name)]
        if next(iter(self.worlds)) != next(iter(before.worlds)):
            changed.append("the first world")
        parts = {part.name: part for part in self.parts}
        changed += [f"world {name}" for name, one in before.worlds.items() if self.worlds.get(name) != one]
        changed += [f"arm {name}" for name, one in before.arms.items() if self.arms.get(name) != one]
        changed += [f"part {one.name}" for one in before.parts if parts.get(one.name) != one]
        return changed

    def label(self, world: str) -> str:
        """How result files name a world."""
        return "" if world == next(iter(self.worlds)) else world

    def rates(self, world: str, arm: str) -> tuple[float, ...]:
        """The learning rates of an arm."""
        return self.arms[arm].rates or self.tuning.rates

    def seeds(self, part: Part) -> tuple[int, ...]:
        """The final seeds of a part."""
        return self.final.seeds[: part.seeds]

    def start(self, stage: Stage, seed: int) -> int:
        """The seed of the start policy that a run of ``seed`` begins with."""
        chosen = self.tuning if stage is Stage.TUNE else self.final
        return chosen.starts[chosen.seeds.index(seed) % len(chosen.starts)] if chosen.starts else seed

    def final_seeds(self, world: str, arm: str) -> tuple[int, ...]:
        """The final seeds of an arm: those of the part that has most."""
        counts = [len(self.seeds(part)) for part in self.parts if part.world == world and arm in part.arms]
        return self.final.seeds[: max(counts, default=0)]

    def entries(self) -> Iterator[tuple[str, str]]:
        """Every (world, arm) once, in the order of the parts."""
        yield from dict.fromkeys((part.world, arm) for part in self.parts for arm in part.arms)

    def job(self, stage: Stage, world: str, arm: str, seed: int, rate: float) -> Job:
        """One run."""
        steps = self.budget.tune_steps if stage is Stage.TUNE else self.budget.final_steps
        return Job(stage, arm, seed, rate, steps, self.label(world), self.arms[arm].settings)

    def tuning_jobs(self, world: str, arm: str) -> list[Job]:
        """Every rate on every tuning seed, seed by seed; none where there is nothing to choose."""
        rates = self.rates(world, arm)
        if len(rates) == 1:
            return []
        return [self.job(Stage.TUNE, world, arm, seed, rate) for seed in self.tuning.seeds for rate in rates]


def load_plan(path: Path) -> Plan:
    """Read a plan.

    Raises:
        ConfigError: naming the file and every problem.
    """
    try:
        return Plan.model_validate(tomllib.loads(path.read_text("utf-8")))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}") from error
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, one['loc'])) or 'plan'}: {one['msg']}" for one in error.errors()]
        raise ConfigError(f"{path}: {'; '.join(problems)}") from error
