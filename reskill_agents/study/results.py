"""Result files: one finished run each. What is torn or does not belong is named and not counted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from reskill_agents.errors import RunFolderError
from reskill_agents.run_lines import Evaluation, Line
from reskill_agents.study.job import Job, Setting, Stage
from reskill_agents.study.plan import Plan

PLAN_FILE = "plan.toml"  # the registered plan, beside the result files


AFTER, FROZEN = "after", "frozen"  # policies: trained; as it was, in an adaptation


class JobLine(BaseModel):
    """The job of a result file; nothing else may stand there."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    stage: Stage
    method: str
    seed: int
    rate: float
    steps: int
    world: str = ""
    settings: dict[str, Setting] = {}

    def job(self) -> Job:
        """As a job."""
        return Job(self.stage, self.method, self.seed, self.rate, self.steps, self.world, self.settings)


class FateLine(Line):
    """What became of one proposed change of one skill (``run_summary.Fate``)."""

    skill: str
    change: str
    purpose: str
    proposed: int
    outcome: str
    probability: float | None = None
    episodes: int = 0
    ended: int | None = None
    removed: int | None = None


class Played(Line):
    """The evaluations of a run."""

    results: tuple[Evaluation, ...]


class Result(Line):
    """One finished run.

    Args:
        job: what was run.
        commit: that was checked out.
        config: digest of the run's config.
        evaluation: scores by policy, library and split.
        columns, course: a row of numbers a training step.
        fates: of every proposed change.
        skills: names of those in force at the end.
    """

    job: JobLine
    commit: str
    config: str
    evaluation: Played
    columns: tuple[str, ...]
    course: tuple[tuple[float, ...], ...]
    fates: tuple[FateLine, ...]
    skills: tuple[str, ...]

    @model_validator(mode="after")
    def _is_whole(self) -> Result:
        if any(len(row) != len(self.columns) for row in self.course):
            raise ValueError("a row of the course has not the length of the columns")
        if len(self.course) != self.job.steps:
            raise ValueError(f"the course has {len(self.course)} of {self.job.steps} steps")
        if not any(e.policy in (AFTER, FROZEN) for e in self.evaluation.results):
            raise ValueError("the policy was not evaluated at the end")
        return self

    def column(self, name: str) -> list[float]:
        """One number of every step; empty if it was not kept."""
        if name not in self.columns:
            return []
        index = self.columns.index(name)
        return [row[index] for row in self.course]

    @property
    def rollouts(self) -> float:
        """Episodes of training."""
        return sum(self.column("episodes"))

    def after(self, split: str) -> Evaluation | None:
        """The trained policy on ``split`` with the library the method ended with; with none if that is empty.

        For an adaptation the policy as it is, with the adapted library.
        """
        played = {e.library: e for e in self.evaluation.results if (e.policy, e.split) == (AFTER, split)}
        return played.get("skills") or played.get("none") or self.frozen(split, "adapted")

    def frozen(self, split: str, library: str) -> Evaluation | None:
        """The newest evaluation of an adaptation on ``split``; ``library``: none, source or adapted."""
        found = [e for e in self.evaluation.results if (e.policy, e.library, e.split) == (FROZEN, library, split)]
        return max(found, key=lambda e: e.step, default=None)

    def success(self, split: str) -> float | None:
        """Success of ``after``, 0..1; ``None`` if it was not played."""
        played = self.after(split)
        return None if played is None else played.total.success

    def start(self, split: str) -> float | None:
        """Success of the start policy without a library, 0..1."""
        return next(
            (
                e.total.success
                for e in self.evaluation.results
                if (e.policy, e.library, e.split) == ("before", "none", split)
            ),
            None,
        )


@dataclass(frozen=True)
class Results:
    """The result files of a folder.

    Args:
        found: those that count, in order of their names.
        problems: a sentence for each that does not.
    """

    found: tuple[Result, ...] = ()
    problems: tuple[str, ...] = ()

    def of(self, job: Job) -> Result | None:
        """The result of a job."""
        return self._by_name.get(job.name)

    @cached_property
    def _by_name(self) -> Mapping[str, Result]:
        return {result.job.job().name: result for result in self.found}

    def all_of(self, jobs: Sequence[Job]) -> list[Result] | None:
        """The results of jobs, ``None`` unless all are there."""
        found = [self.of(job) for job in jobs]
        there = [result for result in found if result is not None]
        return there if len(there) == len(found) else None


def read_result(path: Path) -> Result:
    """One result file.

    Raises:
        RunFolderError: it is torn, or belongs to another job than its name says.
    """
    try:
        result = Result.model_validate_json(path.read_bytes())
    except OSError as error:
        raise RunFolderError(f"{path.name}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise RunFolderError(f"{path.name}: torn or no result file ({where or 'file'}: {first['msg']})") from error
    if result.job.job().name != path.stem:
        raise RunFolderError(f"{path.name}: foreign, it holds the result of {result.job.job().name}")
    return result


def read_results(folder: Path, plan: Plan | None = None) -> Results:
    """Every result file of ``folder``; with a plan, those that are not in it are named and left out.

    Raises:
        RunFolderError: there is no such folder.
    """
    if not folder.is_dir():
        raise RunFolderError(f"{folder} is no folder of result files")
    found, problems = [], []
    for path in sorted(folder.glob("*.json")):
        try:
            result = read_result(path)
        except RunFolderError as error:
            problems.append(str(error))
            continue
        problem = _foreign(result, plan) if plan else ""
        if problem:
            problems.append(f"{path.name}: foreign, {problem}")
        else:
            found.append(result)
    return Results(tuple(found), tuple(problems))


def _foreign(result: Result, plan: Plan) -> str:
    """Why a result is none of the plan's; empty if it is one."""
    job = result.job.job()
    world = next((name for name in plan.worlds if plan.label(name) == job.world), None)
    if world is None or (world, job.method) not in set(plan.entries()):
        return f"the plan has no arm {job.method!r}" + (f" in world {job.world!r}" if job.world else "")
    seeds = plan.tuning.seeds if job.stage is Stage.TUNE else plan.final_seeds(world, job.method)
    if job.seed not in seeds:
        return f"seed {job.seed} is none of the plan's"
    if job.rate not in plan.rates(world, job.method):
        return f"rate {job.rate:g} is none of the plan's"
    expected = plan.job(job.stage, world, job.method, job.seed, job.rate)
    return "" if expected.line() == job.line() else "steps or settings are not the plan's"


def commits(results: Sequence[Result]) -> Iterator[str]:
    """The commits that results were made with, each once."""
    yield from dict.fromkeys(result.commit for result in results)
