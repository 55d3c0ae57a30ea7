"""Methods side by side: same start, same rollouts, each with its own tuned learning rate.

Usage::

    python tests/benchmarks/compare.py                 # everything that is not done yet
    python tests/benchmarks/compare.py --stage tune    # clone | tune | final | report
    python tests/benchmarks/compare.py --methods reskill,grpo --jobs 2

Three stages, each resumable (a finished run is a JSON file and is never repeated):

1. ``clone``: one behaviour-cloned start a seed, shared by all methods; a fixed number of updates, so that it does not depend
   on how busy the machine is.
2. ``tune``: every method at every learning rate on the tuning seeds and the *development* catalogue; the rate with the best
   success on the valid split (mean over the tuning seeds; equal ones: the better mean score) is chosen. Test splits are not
   opened in this stage.
3. ``final``: every method at its rate on the final seeds and the final catalogue; seen and unseen test tasks.

The final seeds and the final catalogue seed are used nowhere else in the repository.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from run_record import record

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "tests" / "benchmarks" / "results" / "compare"
METHODS = ("grpo", "static", "decoupled", "reskill-paper", "reskill")
RATES = (1e-5, 3e-5, 1e-4)
TUNING_SEEDS = (11, 12)
FINAL_SEEDS = (2101, 2102, 2103, 2104, 2105)
FINAL_CATALOGUE = 90210
CLONE_UPDATES = 1700  # what fits into the default 290 s on two idle cores
T_95 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365}  # two-sided Student t, by d.o.f.


@dataclass(frozen=True)
class Job:
    """One training run of the comparison."""

    stage: str
    method: str
    seed: int
    rate: float
    steps: int

    @property
    def name(self) -> str:
        """File stem of the result."""
        return f"{self.stage}-{self.method}-s{self.seed}-lr{self.rate:g}-n{self.steps}"

    @property
    def result(self) -> Path:
        """Where the result goes."""
        return RESULTS / f"{self.name}.json"

    def arguments(self, runs: Path, threads: int) -> list[str]:
        """The command line of ``examples/train_webshop.py``."""
        arguments = [
            sys.executable,
            str(ROOT / "examples" / "train_webshop.py"),
            *("--method", self.method, "--seed", str(self.seed), "--learning-rate", f"{self.rate:g}"),
            *("--steps", str(self.steps), "--threads", str(threads), "--run-dir", str(runs / self.name)),
            *("--clone-updates", str(CLONE_UPDATES), "--quiet", "--resume"),
        ]
        if self.stage == "final":
            return [*arguments, "--catalogue-seed", str(FINAL_CATALOGUE)]
        return [*arguments, "--no-test"]


def run_job(job: Job, runs: Path, threads: int) -> str:
    """Run one job unless its result exists; returns a line for the log."""
    if job.result.exists():
        return f"done before  {job.name}"
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    finished = subprocess.run(
        job.arguments(runs, threads), cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if finished.returncode != 0:
        return f"FAILED       {job.name}: {finished.stderr.strip().splitlines()[-1:] or finished.returncode}"
    content = {"job": job.__dict__, **record(runs / job.name)}
    temporary = job.result.with_suffix(".tmp")
    temporary.write_text(json.dumps(content, sort_keys=True) + "\n")
    temporary.replace(job.result)
    return f"done         {job.name}"


def build_clone(seed: int) -> str:
    """Build the start of a seed unless it is cached; returns a line for the log.

    Raises:
        subprocess.CalledProcessError: cloning failed.
    """
    command = [sys.executable, str(ROOT / "examples" / "train_webshop.py"), "--clone-only", "--seed", str(seed)]
    command += ["--clone-updates", str(CLONE_UPDATES), "--threads", "1", "--quiet"]
    if seed in FINAL_SEEDS:
        command += ["--catalogue-seed", str(FINAL_CATALOGUE)]
    subprocess.run(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True)
    return f"clone of seed {seed} is there"


def run_all(jobs: Sequence[Job], runs: Path, parallel: int, threads: int) -> bool:
    """Run jobs, ``parallel`` at a time; True when all have results."""
    with ThreadPoolExecutor(parallel) as pool:
        for line in pool.map(lambda job: run_job(job, runs, threads), jobs):
            print(line, flush=True)
    return all(job.result.exists() for job in jobs)


def after_training(result: Path, split: str, what: str = "success") -> float:
    """``success`` or ``score`` (0..1) on ``split``, with the library the method ended with (none if it is empty)."""
    played = json.loads(result.read_text())["evaluation"]["results"]
    after = {entry["library"]: entry for entry in played if entry["policy"] == "after" and entry["split"] == split}
    return float(after["skills" if "skills" in after else "none"]["total"][what])


def chosen_rates(methods: Sequence[str], steps: int) -> dict[str, float]:
    """Per method the rate with the best mean success on the valid split of the tuning seeds, then the best mean score."""
    rates: dict[str, float] = {}
    for method in methods:
        means: dict[float, tuple[float, float]] = {}
        for rate in RATES:
            results = [Job("tune", method, seed, rate, steps).result for seed in TUNING_SEEDS]
            if all(result.exists() for result in results):
                success, score = ([after_training(r, "valid", what) for r in results] for what in ("success", "score"))
                means[rate] = float(np.mean(success)), float(np.mean(score))
        if len(means) == len(RATES):
            rates[method] = max(means, key=lambda rate: means[rate])
    return rates


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean and half-width of the two-sided 95 % Student interval (nan below two values)."""
    if len(values) < 2:
        return (float(np.mean(values)) if values else float("nan")), float("nan")
    spread = float(np.std(values, ddof=1)) / len(values) ** 0.5
    return float(np.mean(values)), T_95[len(values) - 1] * spread


def report(methods: Sequence[str], tune_steps: int, steps: int) -> str:
    """The tables, from the committed result files alone."""
    rates = chosen_rates(methods, tune_steps)
    lines = [
        "# Methods side by side",
        "",
        f"{steps} steps of 16 x 8 rollouts; learning rates chosen on the valid split of the development catalogue "
        f"({tune_steps} steps, seeds {', '.join(map(str, TUNING_SEEDS))}); final seeds {', '.join(map(str, FINAL_SEEDS))}, "
        f"catalogue {FINAL_CATALOGUE}. Success in percent, mean +- 95 % interval over seeds; differences are paired over seeds.",
        "",
        "| method | rate | seeds | seen | unseen | seen - grpo | unseen - grpo |",
        "|---|---|---|---|---|---|---|",
    ]
    by_method: dict[str, dict[int, Path]] = {}
    for method in methods:
        jobs = [Job("final", method, seed, rates[method], steps) for seed in FINAL_SEEDS] if method in rates else []
        by_method[method] = {job.seed: job.result for job in jobs if job.result.exists()}
    for method in methods:
        results = by_method[method]
        cells = [method, f"{rates[method]:g}" if method in rates else "-", str(len(results))]
        cells += [
            _cell([after_training(path, split) for path in results.values()]) for split in ("seen_test", "unseen_test")
        ]
        shared = sorted(set(results) & set(by_method.get("grpo", {})))
        for split in ("seen_test", "unseen_test"):
            pairs = [
                after_training(results[seed], split) - after_training(by_method["grpo"][seed], split) for seed in shared
            ]
            cells.append("" if method == "grpo" else _cell(pairs))
        lines.append("| " + " | ".join(cells) + " |")
    lines += [
        "",
        "Success on valid while tuning (mean of the tuning seeds):",
        "",
        "| method | " + " | ".join(f"{rate:g}" for rate in RATES) + " |",
        "|---|" + "---|" * len(RATES),
    ]
    for method in methods:
        cells = [method]
        for rate in RATES:
            found = [r for s in TUNING_SEEDS if (r := Job("tune", method, s, rate, tune_steps).result).exists()]
            cells.append(_cell([after_training(path, "valid") for path in found]))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(values: Sequence[float]) -> str:
    if not values:
        return "-"
    mean, half = interval(values)
    return f"{100 * mean:.1f}" + ("" if np.isnan(half) else f" +- {100 * half:.1f}")


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stage", choices=("clone", "tune", "final", "report", "all"), default="all")
    parser.add_argument("--methods", default=",".join(METHODS), help="comma-separated (default: all five)")
    parser.add_argument("--steps", type=int, default=50, help="training steps of a final run (default 50)")
    parser.add_argument("--tune-steps", type=int, default=20, help="training steps of a tuning run (default 20)")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each (default 2)")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "compare", help="where run folders go")
    options = parser.parse_args()
    methods = [method for method in options.methods.split(",") if method]
    if unknown := [method for method in methods if method not in METHODS]:
        parser.error(f"unknown method {', '.join(unknown)}; choose from {', '.join(METHODS)}")
    RESULTS.mkdir(parents=True, exist_ok=True)
    complete = True
    if options.stage in ("clone", "all"):
        with ThreadPoolExecutor(options.jobs) as pool:
            for line in pool.map(build_clone, TUNING_SEEDS + FINAL_SEEDS):
                print(line, flush=True)
    if options.stage in ("tune", "all"):
        tuning = [
            Job("tune", method, seed, rate, options.tune_steps)
            for seed in TUNING_SEEDS
            for method in methods
            for rate in RATES
        ]
        complete &= run_all(tuning, options.runs, options.jobs, 1)
    rates = chosen_rates(METHODS, options.tune_steps)
    if options.stage in ("final", "all"):
        if untuned := [method for method in methods if method not in rates]:
            print(f"not tuned yet, so no final run: {', '.join(untuned)}")
        final = [
            Job("final", method, seed, rates[method], options.steps)
            for seed in FINAL_SEEDS
            for method in methods
            if method in rates
        ]
        complete &= run_all(final, options.runs, options.jobs, 1)
    text = report(METHODS, options.tune_steps, options.steps)
    (RESULTS / "compare.md").write_text(text)
    print(text)
    return 0 if complete else 1


if __name__ == "__main__":
    raise SystemExit(main())
