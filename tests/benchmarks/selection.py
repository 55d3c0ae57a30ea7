"""Does a trial promote what helps? The paired method, the paper's rule and a fixed 50/50 z-test on equal tasks.

    python tests/benchmarks/selection.py                 # 16 named cells x 2,000 trials, at most 10 minutes on 2 cores
    python tests/benchmarks/selection.py --full          # the whole grid, resumable (hours)
    python tests/benchmarks/selection.py --pruning       # the pruning screen on planted libraries
    python tests/benchmarks/selection.py --report        # tables from what was measured, nothing is played

Every figure stands with its standard error. Results go to ``tests/benchmarks/results``: JSON lines, one per cell
and method (a line that is there is not played again; delete the file to start anew), and a page of tables.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from selection_cells import NAMED, grid
from selection_pruning import PruningResult, prune, removal_rates
from selection_run import Contender, play_cell
from selection_tables import report
from selection_worlds import Shape, World

RESULTS = Path(__file__).parent / "results"
MAIN = (Contender.PAIRED, Contender.PAPER, Contender.Z_TEST)
VARIANTS = (Contender.PAIRED_5, Contender.ANYTIME, Contender.PAPER_LITERAL)
VARIED = ("null", "harmful -0.5", "+0.5", "+0.8")  # named cells in which the variants run too


@dataclass(frozen=True)
class Job:
    """One line of the results."""

    cell: str
    world: World
    contender: Contender
    trials: int
    seed: int

    @property
    def key(self) -> tuple[str, str, int]:
        """What a line is about."""
        return self.cell, str(self.contender), self.seed


def named_jobs(trials: int, seed: int) -> list[Job]:
    """Sixteen cells; variants where they say something."""
    jobs = []
    for name, world in NAMED.items():
        contenders = list(MAIN)
        if name in VARIED:
            contenders += VARIANTS
        if world.shape is not Shape.CONSTANT:
            contenders += (Contender.PAIRED_STEADY, Contender.PAPER_STEADY)
        jobs += [Job(name, world, contender, trials, seed) for contender in contenders]
    return jobs


def grid_jobs(trials: int, seed: int) -> list[Job]:
    """The whole grid, null and harmful cells first.

    Harmful cells get half of the trials and helpful ones a twentieth (their tables are averages over many cells).
    """
    jobs = []
    for name, world in grid().items():
        count = trials if not world.effect else trials // (2 if world.effect < 0.0 else 20)
        contenders = list(MAIN)
        if world.shape is not Shape.CONSTANT:
            contenders.append(Contender.PAIRED_STEADY)
        jobs += [Job(name, world, contender, count, seed) for contender in contenders]
    return sorted(jobs, key=lambda job: -job.trials)


def play(job: Job) -> dict[str, object]:
    """One line of the results."""
    summary = play_cell(job.cell, job.world, job.contender, job.trials, job.seed)
    return {"cell": job.cell, "method": str(job.contender), "seed": job.seed, **summary.to_json()}


def run(jobs: Iterable[Job], path: Path, processes: int) -> None:
    """Play what is not there yet with at least as many trials, appending each line as it comes."""
    done: dict[tuple[str, str, int], int] = {}
    for text in path.read_text().splitlines() if path.exists() else ():
        line = json.loads(text)
        done[line["cell"], line["method"], line["seed"]] = line["trials"]
    todo = [job for job in jobs if done.get(job.key, 0) < job.trials]
    start = time.perf_counter()
    with ProcessPoolExecutor(processes) as pool, path.open("a") as out:
        for number, line in enumerate(pool.map(play, todo), 1):
            out.write(json.dumps(line, sort_keys=True) + "\n")
            out.flush()
            print(
                f"[{number}/{len(todo)}, {time.perf_counter() - start:.0f} s] {line['cell']} | {line['method']}: "
                f"accepted {line['accepted']:.3f}",
                flush=True,
            )


def run_pruning(path: Path, seed: int, seeds: int, trials: int, processes: int) -> None:
    """The pruning loop for every seed, and the error rates of confirming trials."""
    with ProcessPoolExecutor(processes) as pool:
        results: list[PruningResult] = list(pool.map(prune, range(seed, seed + seeds)))
    rates = removal_rates(seed, trials)
    content = {
        "seed": seed,
        "runs": [
            {"seed": r.seed, "right": r.right, "removed": r.removed, "trials": r.trials, "screened": r.screened}
            for r in results
        ],
        "removal": rates,
    }
    path.write_text(json.dumps(content, indent=1) + "\n")
    right, lost = sum(r.right for r in results), sum(r.helpful_lost for r in results)
    print(f"right in {right} of {seeds} seeds; helpful skills removed: {lost}")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="the whole grid instead of the named cells")
    parser.add_argument("--pruning", action="store_true", help="the pruning screen instead of the cells")
    parser.add_argument("--report", action="store_true", help="only write and print the tables")
    parser.add_argument("--only", default="", metavar="TEXT", help="only what holds this, as in 'effect +0 | paired'")
    parser.add_argument("--trials", type=int, default=2000, help="trials a cell (default 2000)")
    parser.add_argument("--seed", type=int, default=20261120, help="of everything played (default 20261120)")
    parser.add_argument("--seeds", type=int, default=20, help="seeds of the pruning loop (default 20)")
    parser.add_argument("--processes", type=int, default=2, help="at the same time (default 2)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.pruning:
        run_pruning(
            options.out / "selection-pruning.json", options.seed, options.seeds, options.trials, options.processes
        )
    elif not options.report:
        jobs = (grid_jobs if options.full else named_jobs)(options.trials, options.seed)
        name = "selection-full.jsonl" if options.full else "selection.jsonl"
        chosen = [job for job in jobs if options.only in f"{job.cell} | {job.contender}"]
        run(chosen, options.out / name, options.processes)
    print(report(options.out))


if __name__ == "__main__":
    main()
