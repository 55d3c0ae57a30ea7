"""What skills cost a training step: reskill against grpo, and our update against TRL's own ``rollout_func`` loop.

Usage::

    python tests/benchmarks/overhead.py                        # everything; ten minutes on two idle cores, with a clone at hand
    python tests/benchmarks/overhead.py --starts pages         # one setting; the others keep their last figures
    python tests/benchmarks/overhead.py --policy FOLDER        # another clone
    python tests/benchmarks/overhead.py --device cuda          # 0.5 B parameters on a GPU, into results/gpu.json

1. ``reskill`` and ``grpo`` from one start, at the same time: each trains a few steps, then the other, and so on, so that
   whatever else the machine does meets both. The first step after each change is left out. Medians over steps. The creator
   runs beside the loop; what the loop waited for it is inside the step. CPU seconds count the creator's own work as well.
   Rewards are graded, so that hardly any group is silent and both methods train as many rows. Three starts (see
   ``overhead_starts.py``): the stand-in, which skills make play longer; a policy that plays alike whatever it reads; the
   same on the original's pages with an ordinary tokenizer.
2. One batch of rollouts, trained again and again by our update and by an unmodified TRL ``GRPOTrainer`` whose
   ``rollout_func`` hands out that same batch: tokens with a gradient a CPU second (on a GPU: a second), medians.

With ``--device cuda`` both are done with the start ``large`` in bfloat16 (autocast; sampling stays in float32).

Writes ``results/overhead.json`` and prints tables. Targets: step time <= 1.05, context <= 1.08, rows an episode 1.0, tokens a
second >= those of TRL.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

from overhead_starts import STARTS, Start, device_name
from overhead_trl import same_rollouts

from reskill_agents.trainers.config import RunConfig
from reskill_agents.trainers.loop import run
from reskill_agents.trainers.progress import Silent, StepMetrics

RESULTS = Path(__file__).resolve().parent / "results"
TRL = "trl"
ON_GPU = {"precision": "bfloat16", "max_logprob_gap": 0.5, "tokens_per_micro_batch": 12_000}
ROWS = (
    ("step time, s", "step_s", "<= 1.05"),
    ("of it rollouts", "rollout", ""),
    ("of it the update", "update", ""),
    ("of it all else", "else", ""),
    ("step, CPU s, creator included", "step_cpu_s", ""),
    ("context tokens an episode", "context_tokens", "<= 1.08"),
    ("of them skill text", "skill_tokens", ""),
    ("turns an episode", "turns", ""),
    ("step time a 1,000 context tokens, s", "s_per_1000_tokens", ""),
    ("rows with a gradient a step", "rows_a_step", ""),
    ("rows an episode", "rows_an_episode", "1.0"),
)


@dataclass
class Steps:
    """The steps of one method that are counted, with the CPU seconds of each."""

    lines: list[Mapping[str, Any]] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def read(self, run_dir: Path, after: int) -> None:
        """Add the steps of a run behind ``after`` but the first of them."""
        lines = (run_dir / "metrics.jsonl").read_text("utf-8").splitlines()[after + 1 :]
        self.lines += [json.loads(line) for line in lines]

    def summary(self) -> dict[str, float]:
        """Medians over the steps; rows an episode over all."""
        rows, forks = (sum(line[name] for line in self.lines) for name in ("rows", "forks"))
        return {
            "steps": len(self.lines),
            "step_s": self._seconds("total"),
            "rollout": self._seconds("rollout"),
            "update": self._seconds("update"),
            "else": self._median([_else(line["seconds"]) for line in self.lines]),
            "step_cpu_s": self._median(self.cpu),
            "creator_wait_max_s": max(line["seconds"].get("creator_wait_s", 0.0) for line in self.lines),
            "context_tokens": self._median([line["tokens"]["context"] / _episodes(line) for line in self.lines]),
            "skill_tokens": self._median([line["tokens"]["skill"] / _episodes(line) for line in self.lines]),
            "turns": self._median([_turns(line) / _episodes(line) for line in self.lines]),
            "s_per_1000_tokens": self._median(
                [1000 * line["seconds"]["total"] / line["tokens"]["context"] for line in self.lines]
            ),
            "rows_a_step": self._median([line["rows"] for line in self.lines]),
            "rows_an_episode": 1 + forks / max(rows - forks, 1),
            "steps_with_a_trial": sum(line["trial"] is not None for line in self.lines),
            "steps_with_masks": sum("masked" in line["arms"] for line in self.lines),
        }

    def _seconds(self, phase: str) -> float:
        return self._median([line["seconds"][phase] for line in self.lines])

    @staticmethod
    def _median(values: Sequence[float]) -> float:
        return statistics.median(values)


def _else(seconds: Mapping[str, float]) -> float:
    return seconds["total"] - seconds["rollout"] - seconds["update"]


def _episodes(line: Mapping[str, Any]) -> int:
    return sum(arm["episodes"] for arm in line["arms"].values())


def _turns(line: Mapping[str, Any]) -> float:
    return float(sum(arm["turns"] * arm["episodes"] for arm in line["arms"].values()))


class Clock(Silent):
    """CPU seconds of each step but the first: all threads of this process."""

    def __init__(self, into: list[float]) -> None:
        self.into, self.begun = into, 0.0

    def step(self, metrics: StepMetrics, steps: int) -> None:
        """Take the time."""
        now = time.process_time()
        if self.begun:
            self.into.append(now - self.begun)
        self.begun = now


def alternate(
    start: Start, folder: Path, *, steps: int, chunk: int, seed: int, threads: int, device: str
) -> dict[str, Steps]:
    """Train both methods in turns; which goes first changes too."""
    found = {"grpo": Steps(), "reskill": Steps()}
    for number, done in enumerate(range(0, steps, chunk)):
        for method in sorted(found, reverse=bool(number % 2)):
            config = RunConfig.build(
                method=method,
                steps=done + chunk,
                seed=seed,
                threads=threads,
                device=device,
                train_reward="graded",
                rollout=dict(start.rollout),
                update=ON_GPU if device == "cuda" else {},
                creator={"warm_up": start.warm_up},
                evaluation={"tasks": 1, "valid_tasks": 1, "test": False, "placebo": False},
                checkpoint={"every": 10_000},
            )
            work = run(
                config,
                start.world,
                policy_path=start.policy,
                run_dir=folder / method,
                resume=done > 0,
                listener=Clock(found[method].cpu),
                library=start.library if method == "reskill" else None,
            )
            asyncio.run(work)
            found[method].read(folder / method, done)
            print(f"{method}: {done + chunk} steps", flush=True)
    return found


def compare(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """One start, both methods."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        start = STARTS[name](folder / "policy", options.policy, seed=options.seed, threads=options.threads)
        steps = alternate(
            start, folder, steps=options.steps, chunk=options.chunk, seed=options.seed, threads=options.threads,
            device=options.device,
        )  # fmt: skip
    return {
        "meaning": start.meaning,
        **{method: found.summary() for method, found in steps.items()},
        "seconds": {method: [line["seconds"]["total"] for line in found.lines] for method, found in steps.items()},
        **_memory(options.device),
        **_circumstances(options),
    }


def _memory(device: str) -> dict[str, float]:
    """The largest that both methods took, engine and update together."""
    if device == "cpu":
        return {}
    import torch

    return {"device_memory_gb": torch.cuda.max_memory_allocated() / 1e9}


def against_trl(options: argparse.Namespace) -> dict[str, Any]:
    """Both updates on the clone's rollouts."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        name, settings = ("large", ON_GPU) if options.device == "cuda" else ("clone", {})
        start = STARTS[name](folder, options.policy, seed=options.seed, threads=options.threads)
        found = same_rollouts(
            start, folder, settings, repeats=options.repeats, seed=options.seed, threads=options.threads,
            device=options.device,
        )  # fmt: skip
    return {**found, **_circumstances(options)}


def _circumstances(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "device": device_name(options.device),
        "load_average": round(os.getloadavg()[0], 2),
        "cores": os.cpu_count(),
        "settings": {name: getattr(options, name) for name in ("steps", "chunk", "repeats", "threads", "seed")},
    }


def tables(result: Mapping[str, Any]) -> str:
    """Markdown."""
    parts = []
    for name in (one for one in STARTS if one in result):
        grpo, reskill = result[name]["grpo"], result[name]["reskill"]
        lines = ["| | grpo | reskill | ratio | target |", "|---|---|---|---|---|"]
        lines += [
            f"| {label} | {grpo[key]:.4g} | {reskill[key]:.4g} | {_ratio(reskill[key], grpo[key])} | {target} |"
            for label, key, target in ROWS
        ]
        notes = f"{int(reskill['steps'])} steps a method; of reskill's, {int(reskill['steps_with_a_trial'])} with a trial and "
        notes += (
            f"{int(reskill['steps_with_masks'])} of pruning; the loop waited {reskill['creator_wait_max_s']:.2g} s for "
        )
        notes += f"the creator at most; load average {result[name]['load_average']}"
        parts += [f"{name}: {result[name]['meaning']} ({notes})", "", *lines, ""]
    if TRL in result:
        ours, trl = result[TRL]["ours_tokens_a_second"], result[TRL]["trl_tokens_a_second"]
        clock = "CPU second" if result[TRL].get("device", "cpu") == "cpu" else "second"
        parts += [
            "| same rollouts | ours | TRL rollout_func | ratio | target |",
            "|---|---|---|---|---|",
            f"| tokens with a gradient a {clock} | {ours:.0f} | {trl:.0f} | {ours / trl:.2f} | >= 1 |",
        ]
    return "\n".join(parts)


def _ratio(one: float, other: float) -> str:
    return f"{one / other:.3f}" if other else ""


def main() -> int:
    """Command line; status 1 when a target was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", nargs="*", choices=[*STARTS, TRL], help="default: all that the device is for")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--policy", type=Path, help="the clone (default: the cached stand-in)")
    parser.add_argument("--steps", type=int, default=24, help="of each method (default 24)")
    parser.add_argument("--chunk", type=int, default=6, help="steps of one method before the other's turn (default 6)")
    parser.add_argument("--repeats", type=int, default=10, help="updates on the same rollouts (default 10)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=77)
    parser.add_argument("--out", type=Path, help="default: results/overhead.json, on a GPU results/gpu.json")
    options = parser.parse_args()
    on_cpu = options.device == "cpu"
    options.out = options.out or RESULTS / ("overhead.json" if on_cpu else "gpu.json")
    options.starts = options.starts or [*(name for name in STARTS if (name == "large") != on_cpu), TRL]
    result: dict[str, Any] = json.loads(options.out.read_text("utf-8")) if options.out.exists() else {}
    for name in options.starts:
        result[name] = against_trl(options) if name == TRL else compare(name, options)
        options.out.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n", "utf-8")
    print(tables(result))
    return int(any(missed(name, result[name]) for name in options.starts))


def missed(name: str, found: Mapping[str, Any]) -> bool:
    """Whether a target was."""
    if name == TRL:
        return bool(found["ours_tokens_a_second"] < found["trl_tokens_a_second"])
    grpo, reskill = found["grpo"], found["reskill"]
    return bool(
        reskill["step_s"] > 1.05 * grpo["step_s"]
        or reskill["context_tokens"] > 1.08 * grpo["context_tokens"]
        or reskill["rows_an_episode"] != 1.0
    )


if __name__ == "__main__":
    sys.exit(main())
