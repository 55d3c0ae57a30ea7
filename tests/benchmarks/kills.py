"""Kill -9 at random moments: ``python tests/benchmarks/kills.py --kills 20`` (toy world, a few minutes; ``--out FILE``).

An unbroken reproducible run is the yardstick. Then runs of the same settings are killed (SIGKILL) at moments drawn
evenly from the yardstick's wall time and resumed, again and again; a run that gets to its end is compared with the
yardstick (metrics, episodes, trials, evaluation: bit for bit, wall times left out) and the next one begins. Whatever
differs ends the program with an error. A child is forked for each start, so that no time goes into imports.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import platform
import random
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
import trl
from tiny_policy import tiny_policy
from trainer_runs import go, lines, small_config

from reskill_agents.trainers.config import RunConfig

STEPS = 12
LOGS = ("metrics.jsonl", "episodes.jsonl", "trials.jsonl")


@dataclass(frozen=True)
class Kill:
    """One SIGKILL: in which run, after how many seconds of it (start to kill), steps in its log, newest checkpoint."""

    run: int
    after_s: float
    steps_logged: int
    checkpoint: str


def settings() -> RunConfig:
    """Twelve steps with creations, trials and verdicts; checkpoints every third step and before each verdict."""
    return small_config(steps=STEPS, checkpoint={"every": 3}, evaluation={"tasks": 2, "valid_tasks": 2, "every": 6})


def start(policy: Path, run_dir: Path, *, resume: bool) -> multiprocessing.process.BaseProcess:
    """A child that trains; its output goes nowhere."""
    child = multiprocessing.get_context("fork").Process(target=_train, args=(policy, run_dir, resume))
    child.start()
    return child


def _train(policy: Path, run_dir: Path, resume: bool) -> None:
    with (
        Path(os.devnull).open("w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        go(settings(), policy, run_dir, resume=resume)


def unbroken(policy: Path, run_dir: Path) -> float:
    """Play the yardstick; its seconds."""
    began = time.perf_counter()
    child = start(policy, run_dir, resume=False)
    child.join()
    if child.exitcode != 0:
        raise SystemExit(f"the unbroken run failed with exit code {child.exitcode}")
    return time.perf_counter() - began


def differences(one: Path, other: Path) -> list[str]:
    """Files that are not equal."""
    found = [log for log in LOGS if lines(one, log) != lines(other, log)]
    same = (one / "evaluation.json").read_bytes() == (other / "evaluation.json").read_bytes()
    return found if same else [*found, "evaluation.json"]


def progress(run_dir: Path) -> tuple[int, str]:
    """Steps in the log, and the newest checkpoint's name (empty without one)."""
    metrics = run_dir / "metrics.jsonl"
    steps = metrics.read_bytes().count(b"\n") if metrics.exists() else 0
    checkpoints = sorted(path.name for path in (run_dir / "checkpoints").glob("step-*"))
    return steps, checkpoints[-1] if checkpoints else ""


def kill_one(policy: Path, run_dir: Path, number: int, after_s: float) -> Kill | None:
    """Start or resume, kill after ``after_s``; ``None`` when the run got to its end before."""
    child = start(policy, run_dir, resume=(run_dir / "config.json").exists())
    child.join(after_s)
    if child.exitcode is not None:
        if child.exitcode != 0:
            raise SystemExit(f"run {number} failed by itself with exit code {child.exitcode}")
        return None
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    return Kill(number, round(after_s, 3), *progress(run_dir))


def main(arguments: Sequence[str] | None = None) -> None:
    """Kill, resume, compare; print the record, and the sum of it in one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        record = _record(options.kills, rng, Path(folder))
    text = json.dumps({"command": f"kills.py --kills {options.kills} --seed {options.seed}", **record}, indent=1)
    if options.out is not None:
        options.out.write_text(text + "\n", "utf-8")
    print(text)
    kills, compared, seconds = record["kills"], record["runs_compared"], record["unbroken_s"]
    print(f"{kills} kills, {compared} runs compared, all equal; unbroken {seconds} s")


def _record(kills: int, rng: random.Random, folder: Path) -> dict[str, object]:
    policy, yardstick = tiny_policy(folder / "policy"), folder / "unbroken"
    seconds = unbroken(policy, yardstick)
    done: list[Kill] = []
    compared = 0
    while True:
        run_dir = folder / f"run-{compared}"
        left = kills - len(done)
        killed = kill_one(policy, run_dir, compared, rng.uniform(0, seconds)) if left else None
        if killed is not None:
            done.append(killed)
            print(f"kill {len(done)}/{kills}: {killed}", file=sys.stderr)
            continue
        if not left:
            kill_one(policy, run_dir, compared, 1e6)  # the last run goes to its end
        wrong = differences(yardstick, run_dir)
        if wrong:
            raise SystemExit(f"run {compared} differs from the unbroken one in {', '.join(wrong)}; kills: {done}")
        compared += 1
        if not left:
            break
    events = [line["event"] for line in lines(yardstick, "trials.jsonl")]
    return {
        "kills": len(done),
        "runs_compared": compared,
        "all_equal": True,
        "steps": STEPS,
        "unbroken_s": round(seconds, 2),
        "verdicts": events.count("verdict"),
        "evaluations": len(json.loads((yardstick / "evaluation.json").read_text("utf-8"))["results"]),
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "trl": trl.__version__},
        "moments": [asdict(kill) for kill in done],
    }


if __name__ == "__main__":
    main()
