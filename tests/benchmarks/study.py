"""Run what a plan registered, piece by piece, and write its tables.

    python tests/benchmarks/study.py study.toml                       # everything that is not done yet
    python tests/benchmarks/study.py study.toml --minutes 110         # a piece: starts nothing that would not end in time
    python tests/benchmarks/study.py study.toml --parts A --stage tune    # clone | tune | final | report
    python tests/benchmarks/study.py study.toml --list                # what is done and what is left, nothing is run
    python tests/benchmarks/study.py compare.toml --methods reskill,grpo  # the smaller comparison

Every stage is resumable: a finished run is one JSON file in ``results/PLAN`` and is never repeated.

1. ``clone``: behaviour-cloned starts, one a seed or as many as the plan names, shared by all arms; a fixed number of
   updates, so that they do not depend on how busy the machine is.
2. ``tune``: every arm at every learning rate on the tuning seeds, without a look at the test splits; the rate with the best
   success on the valid split (mean over the tuning seeds; equal ones: the better mean score) is chosen.
3. ``final``: every arm at its rate on the final seeds; the test splits are opened, and ``results/looks.jsonl`` says so.

Parts are done one after the other. A registered plan may grow but not change once it has run, a final run needs committed
code, and each version of the code opens it once.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from study_durations import Durations
from study_jobs import Workshop
from study_looks import Looks, current_code
from study_queue import Queue, Task

from reskill_agents.errors import ConfigError, ReSkillError
from reskill_agents.study.choice import chosen_rates, final_jobs
from reskill_agents.study.job import Job, Stage
from reskill_agents.study.markdown import render_markdown
from reskill_agents.study.plan import Part, Plan, load_plan
from reskill_agents.study.results import PLAN_FILE, read_results
from reskill_agents.study.view import read_study

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
STAGES = ("clone", "tune", "final", "report", "all")


@dataclass(frozen=True)
class Choice:
    """What of the plan is wanted now."""

    stage: str
    parts: tuple[Part, ...]
    methods: tuple[str, ...]

    def wants(self, stage: str) -> bool:
        """Whether a stage is to be done."""
        return self.stage in (stage, "all")

    def arms(self, part: Part) -> list[str]:
        """The arms of a part that are wanted."""
        return [arm for arm in part.arms if arm in self.methods]


def tuning_jobs(plan: Plan, part: Part, arms: Sequence[str]) -> list[Job]:
    """Seed by seed, arm by arm, rate by rate."""
    jobs = [job for arm in arms for job in plan.tuning_jobs(part.world, arm)]
    return sorted(jobs, key=lambda job: plan.tuning.seeds.index(job.seed))


def end_jobs(plan: Plan, part: Part, arms: Sequence[str], results: Path) -> list[Job]:
    """The final runs of a part whose learning rate is chosen."""
    rates = chosen_rates(plan, read_results(results, plan))
    only = plan.model_copy(update={"parts": (part,)})
    return [job for _, job in final_jobs(only, rates) if job.method in arms]


def with_clones(workshop: Workshop, world: str, jobs: Sequence[Job]) -> list[Task]:
    """The jobs, and before them the start policies, or the runs that they read, of those still to be run."""
    tasks = [workshop.job_task(world, job) for job in jobs]
    if workshop.plan.worlds[world].adapts:
        read = {
            one.name: (key[0], one)
            for job, task in zip(jobs, tasks, strict=True)
            for key, one in workshop.sources(world, job).items()
            if workshop.done(one) and not task.there
        }
        again = [(where, one) for where, one in read.values() if workshop.lacks_folder(one)]
        starts = dict.fromkeys((where, one.stage, workshop.plan.start(one.stage, one.seed)) for where, one in again)
        return [
            *(workshop.job_task(where, one) for where, one in read.values()),
            *(workshop.clone_task(*start) for start in starts),
            *(workshop.again_task(where, one) for where, one in again),
            *tasks,
        ]
    open_jobs = [job for job, task in zip(jobs, tasks, strict=True) if not task.there]
    starts = dict.fromkeys((job.stage, workshop.plan.start(job.stage, job.seed)) for job in open_jobs)
    return [*(workshop.clone_task(world, stage, start) for stage, start in starts), *tasks]


def clone_tasks(workshop: Workshop, part: Part) -> list[Task]:
    """The start policy of every seed of a part."""
    plan = workshop.plan
    if plan.worlds[part.world].adapts:
        return []
    runs = [(Stage.TUNE, seed) for seed in plan.tuning.seeds] + [(Stage.FINAL, seed) for seed in plan.seeds(part)]
    starts = dict.fromkeys((stage, plan.start(stage, seed)) for stage, seed in runs)
    return [workshop.clone_task(part.world, stage, start) for stage, start in starts]


def run_part(workshop: Workshop, queue: Queue, part: Part, choice: Choice) -> bool:
    """What is wanted of a part; True when all of it is there."""
    plan, arms, complete = workshop.plan, choice.arms(part), True
    if choice.stage == "clone":
        complete &= queue.run(clone_tasks(workshop, part))
    if choice.wants("tune"):
        complete &= queue.run(with_clones(workshop, part.world, tuning_jobs(plan, part, arms)))
    if choice.wants("final"):
        jobs = end_jobs(plan, part, arms, workshop.results)
        untuned = [arm for arm in arms if arm not in {job.method for job in jobs}]
        if untuned:
            queue.say(f"not tuned yet, so no final run: {', '.join(untuned)}")
        complete &= queue.run(with_clones(workshop, part.world, jobs)) and not untuned
    return complete


def register(plan: Plan, source: Path, results: Path) -> None:
    """Keep the plan beside its results.

    Raises:
        ConfigError: a registered plan changed after it had run.
    """
    results.mkdir(parents=True, exist_ok=True)
    kept = results / PLAN_FILE
    if kept.exists() and plan.registered and any(results.glob("*.json")):
        changed = plan.changed_from(load_plan(kept))
        if changed:
            raise ConfigError(
                f"{source} is registered as {kept} and has results; it may grow, but {changed[0]} changed"
            )
    shutil.copyfile(source, kept)


def listing(workshop: Workshop, choice: Choice) -> list[str]:
    """A line for every run, done or open."""
    lines = []
    for part in choice.parts:
        arms = choice.arms(part)
        jobs = [*tuning_jobs(workshop.plan, part, arms), *end_jobs(workshop.plan, part, arms, workshop.results)]
        tuned = {job.method for job in jobs if job.stage is Stage.FINAL}
        lines += [f"{'done' if workshop.done(job) else 'open'}  {part.name}  {job.name}" for job in jobs]
        seeds = len(workshop.plan.seeds(part))
        lines += [f"open  {part.name}  {arm}: {seeds} final runs, once it is tuned" for arm in arms if arm not in tuned]
    return lines


def commit_results(root: Path, paths: Sequence[Path], message: str) -> None:
    """Commit what changed under ``paths``, and nothing else.

    Raises:
        subprocess.CalledProcessError: git refused.
    """
    names = [str(path) for path in paths if path.exists()]
    subprocess.run(["git", "add", "--", *names], cwd=root, check=True)
    if subprocess.run(["git", "diff", "--cached", "--quiet", "--", *names], cwd=root, check=False).returncode:
        subprocess.run(["git", "commit", "--quiet", "-m", message, "--", *names], cwd=root, check=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; 0 when everything wanted is there, 1 when something is left."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("plan", type=Path, help="the plan, in TOML (a name without a folder: one beside this script)")
    add("--stage", choices=STAGES, default="all")
    add("--parts", default="", help="comma-separated (default: all)")
    add("--methods", default="", help="comma-separated names of arms (default: all)")
    add("--steps", type=int, help="training steps of a final run instead of the plan's (not in a registered plan)")
    add(
        "--minutes",
        type=float,
        metavar="M",
        help="start nothing that would not end within M minutes (default: no limit)",
    )
    add("--jobs", type=int, default=2, help="runs at a time, one thread each (default: 2)")
    add("--runs", type=Path, help="where run folders go (default: runs/PLAN)")
    add("--results", type=Path, help="where result files go (default: results/PLAN beside this script)")
    add("--commit", action="store_true", help="commit the result files at the end of the piece")
    add("--list", action="store_true", help="say what is done and what is left, and run nothing")
    options = parser.parse_args(arguments)
    try:
        return run(options)
    except ReSkillError as error:
        parser.error(str(error))


def run(options: argparse.Namespace) -> int:
    """Carry out a parsed command line.

    Raises:
        ConfigError: the plan, or what is wanted of it.
    """
    source = options.plan if options.plan.exists() else HERE / options.plan
    plan, name = load_plan(source), source.stem
    if options.steps is not None:
        if plan.registered or options.steps < 1:
            raise ConfigError("--steps is a whole number from 1, for plans that are not registered")
        plan = plan.model_copy(update={"budget": plan.budget.model_copy(update={"final_steps": options.steps})})
    choice = Choice(options.stage, *_wanted(plan, options.parts, options.methods))
    results = options.results or HERE / "results" / name
    looks = results.parent / "looks.jsonl"
    runs = options.runs or ROOT / "runs" / name
    if options.list:
        results.mkdir(parents=True, exist_ok=True)
    else:
        register(plan, source, results)
    guesses = {f"{k}@{w}": 60 * m for w in plan.worlds for k, m in plan.minutes.model_dump().items()}
    durations = Durations(runs / "durations.jsonl", guesses)
    workshop = Workshop(name, plan, ROOT, results, runs, Looks(looks), current_code(ROOT), durations)
    if options.list:
        print("\n".join(listing(workshop, choice)))
        return 0
    deadline = None if options.minutes is None else time.monotonic() + 60 * options.minutes
    queue = Queue(durations, options.jobs, deadline, lambda line: print(line, flush=True))
    complete = True
    if options.stage != "report":
        for part in choice.parts:
            complete &= run_part(workshop, queue, part, choice)
    view = read_study(results, plan)
    text = render_markdown(view)
    (results / f"{name}.md").write_text(text, "utf-8")
    print(text)
    if options.commit:
        done = f"{view.done} of {view.expected} final runs"
        commit_results(ROOT, [results, looks], f"test(benchmarks): results of {name}: {done}")
    return 0 if complete else 1


def _wanted(plan: Plan, parts: str, methods: str) -> tuple[tuple[Part, ...], tuple[str, ...]]:
    names = [name for name in parts.split(",") if name]
    arms = [name for name in methods.split(",") if name]
    for kind, given, known in (("part", names, [part.name for part in plan.parts]), ("method", arms, list(plan.arms))):
        unknown = [name for name in given if name not in known]
        if unknown:
            raise ConfigError(f"unknown {kind} {', '.join(unknown)}; choose from {', '.join(known)}")
    chosen = tuple(part for part in plan.parts if not names or part.name in names)
    return chosen, tuple(arms or plan.arms)


if __name__ == "__main__":
    raise SystemExit(main())
