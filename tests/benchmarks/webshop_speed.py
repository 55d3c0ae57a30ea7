"""How fast the shop is on one core, and what a big catalogue costs in memory.

    python tests/benchmarks/webshop_speed.py                  # 1,000 and 100,000 products, about a minute
    python tests/benchmarks/webshop_speed.py --products 1000 --seconds 2

A random visitor searches (a new query on each visit, so that no result comes from the cache), opens results, turns pages,
clicks options and sub-pages, and buys. Counted are ``Environment.step`` calls by the second of CPU time, so that what else the
machine does costs little. Every size runs in a process of its own; its
memory is the peak of that process less what Python and the modules need. Targets: 3,000 steps a second with 1,000 products
in every mode; 100,000 products in at most 2 GiB.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from reskill_agents.environment import Environment, Task
from reskill_agents.envs.webshop import ObservationMode, WebShopEnvironment
from reskill_agents.envs.webshop_catalogue import Catalogue, Product
from reskill_agents.envs.webshop_generate import generate_shop
from reskill_agents.envs.webshop_reward import Grader
from reskill_agents.envs.webshop_search import SearchIndex

SIZES = (1_000, 100_000)
STEPS_A_SECOND = 3_000
MEMORY_MIB = 2_048
_VISITS = 64  # tasks to draw from
_TURNS = 12


@dataclass(frozen=True, slots=True)
class Measured:
    """One size: seconds to build, MiB at most, steps a second by mode."""

    products: int
    build_s: float
    memory_mib: float
    steps_a_second: dict[str, float]


def catalogue_of(count: int) -> Iterator[Product]:
    """``count`` different products: generated shops one after the other, with words of their own in the titles."""
    made = seed = 0
    while made < count:
        for product in generate_shop(seed).products[: count - made]:
            made += 1
            title = f"{product.title} {made % 9973}m{made % 101}"
            yield replace(product, asin=f"B{made:09d}", title=title)
        seed += 1


def play(env: Environment, tasks: list[Task], seconds: float, words: list[str]) -> float:
    """Steps of a random visitor by the second of CPU time."""
    rng, steps, spent = random.Random(0), 0, 0.0
    while spent < seconds:
        task = rng.choice(tasks)
        observation = env.reset(task, seed=rng.getrandbits(30))
        actions = [f"search[{' '.join(rng.sample(words, 6))}]"]
        start = time.process_time()
        for _ in range(_TURNS):
            result = env.step(rng.choice(actions))
            steps += 1
            observation = result.observation
            if result.done:
                break
            actions = [choice.action for choice in observation.choices]
        spent += time.process_time() - start
    return steps / spent


def measure(count: int, seconds: float) -> Measured:
    """Build a shop of ``count`` products and visit it in every mode."""
    before = _peak_mib()
    start = time.perf_counter()
    catalogue = Catalogue(tuple(catalogue_of(count)))
    index = SearchIndex(product.document for product in catalogue.products)
    build_s = time.perf_counter() - start
    known = {product.asin for product in catalogue.products[:count]}
    goals = [
        replace(goal, asin=catalogue.products[number % count].asin)
        for number, goal in enumerate(generate_shop(0).goals[:_VISITS])
    ]
    assert {goal.asin for goal in goals} <= known
    by_id = {f"visit-{number}": goal for number, goal in enumerate(goals)}
    tasks = [Task(task_id, goal.instruction) for task_id, goal in by_id.items()]
    words = sorted({word for product in catalogue.products[:400] for word in product.document.split()})
    rates = {
        mode.value: play(WebShopEnvironment(catalogue, index, by_id, Grader(), mode), tasks, seconds, words)
        for mode in ObservationMode
    }
    return Measured(count, build_s, _peak_mib() - before, rates)


def _peak_mib() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20) if sys.platform == "darwin" else peak / 1024


def table(rows: list[Measured]) -> str:
    """As Markdown."""
    modes = [mode.value for mode in ObservationMode]
    lines = [
        "| products | build, s | memory, MiB | " + " | ".join(f"{mode}, steps/s" for mode in modes) + " |",
        "|---|---|---|" + "---|" * len(modes),
    ]
    for row in rows:
        rates = " | ".join(f"{row.steps_a_second[mode]:,.0f}" for mode in modes)
        lines.append(f"| {row.products:,} | {row.build_s:.1f} | {row.memory_mib:,.0f} | {rates} |")
    return "\n".join(lines)


def missed(rows: list[Measured]) -> list[str]:
    """The targets that these measurements miss."""
    slow = [
        f"{mode} with {row.products:,} products: {rate:,.0f} steps/s, {STEPS_A_SECOND:,} wanted"
        for row in rows
        if row.products <= SIZES[0]
        for mode, rate in row.steps_a_second.items()
        if rate < STEPS_A_SECOND
    ]
    return slow + [
        f"{row.products:,} products: {row.memory_mib:,.0f} MiB, at most {MEMORY_MIB:,} wanted"
        for row in rows
        if row.memory_mib > MEMORY_MIB
    ]


def main() -> int:
    """Measure, print, and say 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", type=int, nargs="+", default=list(SIZES), metavar="N", help="sizes to measure")
    parser.add_argument("--seconds", type=float, default=3.0, help="of stepping in each mode (default: 3)")
    parser.add_argument("--here", action="store_true", help="measure the first size in this process and print JSON")
    parser.add_argument("--out", type=Path, help="also write the table there")
    arguments = parser.parse_args()
    if arguments.here:
        print(json.dumps(asdict(measure(arguments.products[0], arguments.seconds))))
        return 0
    rows = []
    for count in arguments.products:
        command = [sys.executable, __file__, "--here", "--products", str(count), "--seconds", str(arguments.seconds)]
        rows.append(Measured(**json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)))
    text = table(rows)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")
    for problem in missed(rows):
        print(f"missed: {problem}", file=sys.stderr)
    return bool(missed(rows))


if __name__ == "__main__":
    raise SystemExit(main())
