"""The runs of a plan: what is called, with which arguments, and what is kept of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from run_record import record
from study_durations import Durations
from study_looks import Code, Looks, refusal
from study_queue import Ended, Report, Task

from reskill_agents.errors import RunFolderError
from reskill_agents.study.choice import chosen_rates
from reskill_agents.study.job import Job, Stage
from reskill_agents.study.plan import Plan
from reskill_agents.study.results import read_result, read_results

PACK = "pack"  # in a run folder when the run has ended


@dataclass(frozen=True)
class Workshop:
    """Where and how the runs of a plan are made.

    Args:
        name: of the plan.
        root: of the repository; scripts are called from there.
        results, runs: folders of result files and of run folders.
        looks: the log of looks at test results.
        code: that is checked out.
        durations: of earlier jobs.
        threads: of each job.
    """

    name: str
    plan: Plan
    root: Path
    results: Path
    runs: Path
    looks: Looks
    code: Code
    durations: Durations
    threads: int = 1
    python: str = field(default=sys.executable)

    def result_of(self, job: Job) -> Path:
        """Where a job's result goes."""
        return self.results / f"{job.name}.json"

    def run_folder(self, job: Job) -> Path:
        """Where a job runs. A registered study never goes on with what other code began."""
        return (self.runs / self.code.version[:10] if self.plan.registered else self.runs) / job.name

    def source_folder(self, job: Job) -> Path:
        """Where an adaptation reads a finished run: its own folder, or that of its repetition where other code made it."""
        own = self.run_folder(job)
        return own if (own / PACK).is_dir() else own.with_name(f"{job.name}-again")

    def arguments(self, world: str, job: Job, *, again: bool = False) -> list[str]:
        """The command line of a job; ``again``: of its repetition, which opens no test split."""
        if self.plan.worlds[world].adapts:
            return self._command(world, job)
        where, arm = self.plan.worlds[world], self.plan.arms[job.method]
        folder = self.source_folder(job) if again else self.run_folder(job)
        arguments = [
            *(self.python, str(self.root / where.script)),
            *("--method", arm.method, "--seed", str(job.seed), "--learning-rate", f"{job.rate:g}"),
            *("--steps", str(job.steps), "--threads", str(self.threads), "--run-dir", str(folder)),
            *("--clone-updates", str(self.plan.budget.clone_updates), "--quiet", "--resume"),
            *self._start(job),
            *where.always,
            *(where.final if job.stage is Stage.FINAL else where.tune),
            *(["--no-test"] if again else []),
        ]
        for name, value in arm.settings.items():
            arguments += ["--set", f"{name}={str(value).lower() if isinstance(value, bool) else value}"]
        return arguments

    def _start(self, job: Job) -> list[str]:
        """The start policy of a job, where it is not that of its own seed."""
        start = self.plan.start(job.stage, job.seed)
        return [] if start == job.seed else ["--start-seed", str(start)]

    def _command(self, world: str, job: Job) -> list[str]:
        """The command line of an adaptation."""
        values = {"{out}": str(self.run_folder(job)), "{seed}": str(job.seed), "{steps}": str(job.steps)}
        values |= {
            f"{{run:{'/'.join(key)}}}": str(self.source_folder(one)) for key, one in self.sources(world, job).items()
        }
        arguments = [self.python]
        for argument in self.plan.worlds[world].command:
            for name, value in values.items():
                argument = argument.replace(name, value)
            arguments.append(argument)
        return arguments

    def sources(self, world: str, job: Job) -> dict[tuple[str, str], Job]:
        """The final runs that an adaptation reads, as far as their learning rates are chosen."""
        rates = chosen_rates(self.plan, read_results(self.results, self.plan))
        return {
            key: self.plan.job(Stage.FINAL, *key, job.seed, rates[key])
            for key in self.plan.worlds[world].sources
            if key in rates
        }

    def clone_arguments(self, world: str, stage: Stage, start: int) -> list[str]:
        """The command line that builds a start policy, or finds it built."""
        where = self.plan.worlds[world]
        catalogue = [one for one in (where.final if stage is Stage.FINAL else where.tune) if one != "--no-test"]
        return [
            *(self.python, str(self.root / where.script), "--clone-only", "--seed", str(start)),
            *("--clone-updates", str(self.plan.budget.clone_updates), "--threads", "1", "--quiet"),
            *where.always,
            *catalogue,
        ]

    def clone_task(self, world: str, stage: Stage, start: int) -> Task:
        """Build a start policy, the same for all arms."""
        name = clone_name(world, stage, start)

        def run(limit: float | None) -> Report:
            before = self.durations.known(name)
            report = self._call(self.clone_arguments(world, stage, start), limit, threads=1)
            return report or Report(Ended.BEFORE if before else Ended.DONE, fresh=not before)

        return Task(name, f"clone@{world}", run, there=self.durations.known(name))

    def job_task(self, world: str, job: Job) -> Task:
        """Run a job and keep its record, unless that is there."""
        there = self.done(job)
        needs: tuple[str, ...] = (clone_name(world, job.stage, self.plan.start(job.stage, job.seed)),)
        if self.plan.worlds[world].adapts:
            known = self.sources(world, job)
            needs = tuple(known[key].name if key in known else "/".join(key) for key in self.plan.worlds[world].sources)
            needs += tuple(again_name(one) for one in known.values() if self.lacks_folder(one))
        return Task(
            job.name,
            f"{job.stage}@{world}",
            lambda limit: self._train(world, job, limit),
            needs=() if there else needs,
            there=there,
        )

    def lacks_folder(self, job: Job) -> bool:
        """Whether a job's result is there but no run folder for an adaptation to read (another commit's, another machine's)."""
        return self.done(job) and not (self.source_folder(job) / PACK).is_dir()

    def again_task(self, world: str, job: Job) -> Task:
        """Repeat a finished job for its run folder alone."""

        def run(limit: float | None) -> Report:
            return self._call(self.arguments(world, job, again=True), limit, threads=self.threads) or Report(Ended.DONE)

        needs = (clone_name(world, job.stage, self.plan.start(job.stage, job.seed)),)
        return Task(again_name(job), f"{job.stage}@{world}", run, needs=needs)

    def done(self, job: Job) -> bool:
        """Whether the result of a job is there and whole."""
        try:
            return read_result(self.result_of(job)).job.job().line() == job.line()
        except RunFolderError:
            return False

    def _train(self, world: str, job: Job, limit: float | None) -> Report:
        if self.done(job):
            return Report(Ended.BEFORE)
        target, folder = self.result_of(job), self.run_folder(job)
        if target.exists() and _is_json(target):
            return Report(Ended.FAILED, f"{target} is no result of this job; move it away")
        played = (folder / "evaluation.json").exists()
        refused = refusal(self.plan, self.name, job, self.code, self.looks, played=played)
        if refused:
            return Report(Ended.FAILED, refused)
        fresh = not folder.exists()
        if job.stage is Stage.FINAL:
            self.looks.begin(self.code, self.name, self.plan, job)
        failed = self._call(self.arguments(world, job), limit, threads=self.threads)
        if failed:
            return failed
        kept = {"job": job.line(), **record(folder)}
        if job.stage is Stage.FINAL:
            self.looks.append(self.code, self.name, self.plan, job, str(kept["config"]))
        temporary = target.with_suffix(".tmp")
        temporary.write_text(json.dumps(kept, sort_keys=True) + "\n", "utf-8")
        temporary.replace(target)
        return Report(Ended.DONE, fresh=fresh)

    def _call(self, arguments: list[str], limit: float | None, *, threads: int) -> Report | None:
        """Call a script; ``None`` if it went well. A script that is killed here goes on where it was with ``--resume``."""
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        try:
            finished = subprocess.run(
                arguments, cwd=self.root, env=environment, capture_output=True, text=True, check=False, timeout=limit
            )
        except subprocess.TimeoutExpired:
            return Report(Ended.STOPPED, "time is up, it goes on from its last checkpoint")
        if finished.returncode == 0:
            return None
        last = finished.stderr.strip().splitlines()[-1:]
        return Report(Ended.FAILED, "".join(last) or f"exit status {finished.returncode}")


def again_name(job: Job) -> str:
    """Of the task that repeats a job."""
    return f"again-{job.name}"


def clone_name(world: str, stage: Stage, start: int) -> str:
    """Tuning and final runs may be in different catalogues, so their clones differ."""
    return f"clone-{stage}-{world}-s{start}"


def _is_json(path: Path) -> bool:
    """Whether a file is whole JSON; a torn one may be replaced."""
    try:
        json.loads(path.read_bytes())
    except ValueError:
        return False
    return True
