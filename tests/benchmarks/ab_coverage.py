"""Does the interval of ``reskill ab`` hold what it says? Coverage, findings and width over many simulated comparisons.

    python tests/benchmarks/ab_coverage.py                  # the statistic alone, every cell (about a minute)
    python tests/benchmarks/ab_coverage.py --example 20     # the offline example itself, 20 seeds a pack

A cell draws tasks, each with its own chance of success (uniform, or the same everywhere), and pairs of yes/no or graded
rewards with a known effect. ``covers`` is the share of intervals that hold it, the nominal share is in ``says``.
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from reskill_agents.ab.answer import Finding
from reskill_agents.ab.effect import look_confidence, paired_effect

ROOT = Path(__file__).resolve().parent.parent.parent
Pair = tuple[float, float]


@dataclass(frozen=True)
class Cell:
    """A kind of comparison: ``draw`` gives the pairs of one task."""

    name: str
    effect: float
    draw: Callable[[random.Random], list[Pair]]


def yes_no(low: float, high: float, effect: float, repeats: int = 1) -> Callable[[random.Random], list[Pair]]:
    """Success of A with a chance uniform in [low, high], of B with ``effect`` more."""

    def draw(rng: random.Random) -> list[Pair]:
        chance = rng.uniform(low, high)
        return [(float(rng.random() < chance), float(rng.random() < chance + effect)) for _ in range(repeats)]

    return draw


def graded(effect: float) -> Callable[[random.Random], list[Pair]]:
    """Rewards on a fine scale: the task's level and noise of 0.1 on both sides."""

    def draw(rng: random.Random) -> list[Pair]:
        level = rng.uniform(0.3, 0.6)
        return [(level + rng.gauss(0, 0.1), level + effect + rng.gauss(0, 0.1))]

    return draw


def mixed(share: float, jump: float) -> Callable[[random.Random], list[Pair]]:
    """A skill that matters on a ``share`` of the tasks: from always wrong to always right there, ties elsewhere."""

    def draw(rng: random.Random) -> list[Pair]:
        base = float(rng.random() < 0.5)
        return [(0.0, jump)] if rng.random() < share else [(base, base)]

    return draw


CELLS = (
    Cell("yes/no, no effect", 0.0, yes_no(0.1, 0.9, 0.0)),
    Cell("yes/no, +0.3", 0.3, yes_no(0.1, 0.7, 0.3)),
    Cell("yes/no, rare success, +0.05", 0.05, yes_no(0.0, 0.1, 0.05)),
    Cell("yes/no, near the top, no effect", 0.0, yes_no(0.95, 1.0, 0.0)),
    Cell("yes/no, 4 repeats, +0.2", 0.2, yes_no(0.1, 0.8, 0.2, 4)),
    Cell("graded, +0.05", 0.05, graded(0.05)),
    Cell("matters on 1 task in 10", 0.1, mixed(0.1, 1.0)),
    Cell("matters on 1 task in 10, a quarter", 0.025, mixed(0.1, 0.25)),
)


def coverage(cell: Cell, tasks: int, trials: int, rng: random.Random) -> tuple[float, float, float]:
    """(share of intervals that hold the effect, share that leave zero, mean width) at a first look."""
    held = found = width = 0.0
    for _ in range(trials):
        pairs = {str(number): cell.draw(rng) for number in range(tasks)}
        effect = paired_effect(pairs, look_confidence(1))
        assert effect is not None
        held += effect.low <= cell.effect <= effect.high
        found += effect.low > 0 or effect.high < 0
        width += effect.high - effect.low
    return held / trials, found / trials, width / trials


def looking_often(tasks: int, looks: int, trials: int, rng: random.Random) -> float:
    """Share of comparisons without an effect in which some look finds one, ``tasks`` more before every look."""
    wrong = 0
    for _ in range(trials):
        pairs: dict[str, list[Pair]] = {}
        for look in range(1, looks + 1):
            pairs |= {str(len(pairs) + number): yes_no(0.1, 0.9, 0.0)(rng) for number in range(tasks)}
            effect = paired_effect(pairs, look_confidence(look))
            if effect is not None and (effect.low > 0 or effect.high < 0):
                wrong += 1
                break
    return wrong / trials


def load_example() -> ModuleType:
    """``examples/ab_offline.py`` as a module."""
    spec = importlib.util.spec_from_file_location("ab_offline", ROOT / "examples" / "ab_offline.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["ab_offline"] = module
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True)
class ExampleResult:
    """The offline example over seeds: how often the planted skill was found, the placebo cleared, the truth held."""

    seeds: int
    found: int
    held: int
    placebo_helps: int
    placebo_cleared: int
    placebo_held: int


def run_example(seeds: int, tasks: int = 150) -> ExampleResult:
    """The whole way: agent, runner, log, answer."""
    example = load_example()
    found = held = helps = cleared = placebo_held = 0
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(seeds):
            where = Path(folder) / str(seed)
            good = example.compare(where, example.HELPFUL, "helpful", count=tasks, seed=seed)
            found += good.finding is Finding.HELPS
            held += good.effect.low <= example.TRUE_EFFECT <= good.effect.high
            other = example.compare(where, example.PLACEBO, "placebo", count=tasks, seed=seed)
            helps += other.finding in (Finding.HELPS, Finding.HURTS)
            cleared += other.finding is Finding.NO_DIFFERENCE
            placebo_held += other.effect.low <= 0.0 <= other.effect.high
    return ExampleResult(seeds, found, held, helps, cleared, placebo_held)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else "")
    parser.add_argument("--example", type=int, default=0, help="seeds of the offline example instead")
    parser.add_argument("--trials", type=int, default=1000)
    arguments = parser.parse_args()
    if arguments.example:
        print(run_example(arguments.example))
        return
    rng = random.Random(1)
    print("| comparison | tasks | says | covers | leaves zero | mean width |\n|---|---|---|---|---|---|")
    for cell in CELLS:
        for tasks in (10, 30, 100):
            held, found, width = coverage(cell, tasks, arguments.trials, rng)
            print(f"| {cell.name} | {tasks} | {look_confidence(1):.3f} | {held:.3f} | {found:.3f} | {width:.3f} |")
    for looks in (1, 3, 6):
        print(
            f"\n{looks} looks, 20 tasks before each, no effect: {looking_often(20, looks, arguments.trials, rng):.3f} err"
        )


if __name__ == "__main__":
    main()
