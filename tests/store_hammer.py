"""Several processes write one store and are killed at random; then everything must add up.

    python tests/store_hammer.py --seconds 60 --database /tmp/hammer/live.db

A worker notes on a file of its own what the store told it; what was told must be there afterwards.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

from live_stores import PLAIN, library, run, verdict

from reskill_agents.errors import OutcomeConflictError, StoreError
from reskill_agents.live_records import Outcome, SealedWindow, TrialRecord
from reskill_agents.store import LiveStore
from reskill_agents.trials import Arm

TRIALS = 12
TENANT = ("hammer",)


@dataclass(frozen=True)
class Tally:
    """What a hammering did."""

    kills: int
    outcomes: int
    told: int
    refused: int
    verdicts: int
    sealed: int


def hammer(database: str, notes: Path, seconds: float, seed: int, *, workers: int = 2) -> Tally:
    """Let ``workers`` processes write for so long, killing and restarting them; then check everything.

    Raises:
        AssertionError: when an outcome was lost, doubled or torn, or a trial has two verdicts.
    """
    rng = random.Random(seed)
    store = LiveStore.open(database, TENANT, settings=PLAIN)
    _prepare(store)
    running = {index: _start(database, notes, index, rng) for index in range(workers)}
    for worker in running.values():
        worker.wait_until_at_work()
    end, kills = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        time.sleep(rng.uniform(0.05, 0.8))
        victim = rng.randrange(workers)
        kills += running[victim].kill()
        running[victim] = _start(database, notes, victim, rng)
        running[victim].wait_until_at_work()
    for worker in running.values():
        kills += worker.kill()
    tally = _check(store, notes, kills)
    store.close()
    return tally


def _prepare(store: LiveStore) -> None:
    old, new = library("old"), library("new")
    store.put_library(new)
    store.activate(old)
    for number in range(TRIALS):
        store.save_trial(TrialRecord(f"t{number}", old.digest, new.digest, "m", 0.0, {}))


@dataclass(frozen=True)
class _Worker:
    process: subprocess.Popen[bytes]
    notes: Path
    before: int

    def wait_until_at_work(self) -> None:
        while _size(self.notes) == self.before:
            assert self.process.poll() is None, f"a worker ended by itself with {self.process.returncode}"
            time.sleep(0.005)

    def kill(self) -> int:
        """Not politely. 1, because it was still at work, as it must be."""
        assert self.process.poll() is None, f"a worker ended by itself with {self.process.returncode}"
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        return 1


def _start(database: str, notes: Path, index: int, rng: random.Random) -> _Worker:
    own = notes / f"worker-{index}"
    command = [sys.executable, __file__, "--database", database, "--notes", str(own)]
    before = _size(own)
    return _Worker(subprocess.Popen([*command, "--worker", str(rng.randrange(2**60))]), own, before)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def work(database: str, notes: Path, seed: int) -> None:
    """Write until killed, and note each answer."""
    rng = random.Random(seed)
    store = LiveStore.open(database, TENANT, settings=PLAIN)
    file = os.open(notes, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def told(*fields: object) -> None:
        os.write(file, ("\t".join(map(str, fields)) + "\n").encode())

    number = 0
    while True:
        number += 1
        bucket = int(time.time() * 200)  # what all processes work on in the same 5 ms
        trial, window = f"t{bucket % TRIALS}", bucket // 50 % 10**6
        name = f"own-{seed}-{number}" if rng.random() < 0.5 else f"shared-{bucket}"
        arm = Arm.CANDIDATE if random.Random(name + trial).random() < 0.5 else Arm.INCUMBENT
        one = run(name, f"thread-{name}", trial=trial, arm=arm, window=window)
        store.record_run(one)
        try:
            kept = store.record_outcome(name, score=rng.choice((0.0, 1.0)))
            told("outcome", name, kept.score, kept.late)
        except OutcomeConflictError:
            told("refused", name)
        if rng.random() < 0.02:
            told("sealed", trial, window, hash_of(store.seal_window(trial, window)))
        if rng.random() < 0.1:
            disputed = TrialRecord(
                f"v{bucket // 20}", library("old").digest, library("new").digest, "m", 0.0, {}, open=False
            )
            store.save_trial(disputed)
            ending = replace(verdict(disputed.trial_id, accepted=rng.random() < 0.5), reason=str(rng.random()))
            try:
                told("verdict", ending.trial_id, store.record_verdict(ending).reason)
            except StoreError:
                told("no-verdict", ending.trial_id)
        if rng.random() < 0.01:
            told("activation", store.activate(library(f"skill-{rng.randrange(9)}")).number)


def hash_of(sealed: SealedWindow) -> str:
    """Equal for equal windows, in every process."""
    return repr(sealed.groups).replace("\t", " ")


def _check(store: LiveStore, notes: Path, kills: int) -> Tally:
    lines = [line.split("\t") for path in notes.iterdir() for line in path.read_text().split("\n")[:-1]]
    kept: dict[str, Outcome] = {}
    by_window: dict[tuple[str, int], list[float]] = defaultdict(list)
    for one in store.observations():  # every record is read whole, or this raises
        assert len(one.outcomes) <= 1, f"{one.run.run_id} has two outcomes"
        for outcome in one.outcomes:
            kept[one.run.run_id] = outcome
            if not outcome.late:
                by_window[one.run.trial, one.run.window].append(outcome.score)
    told: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for kind, *fields in lines:
        told[kind].add(tuple(fields))
    for name, score, late in told["outcome"]:
        assert (str(kept[name].score), str(kept[name].late)) == (score, late), (
            f"{name}: told {score}, kept {kept[name]}"
        )
    endings: dict[str, str] = {fields[0]: fields[1] for fields in told["verdict"]}
    assert len(endings) == len(told["verdict"]), "a trial was told two verdicts"
    for trial, reason in endings.items():
        found = store.verdict(trial)
        assert found is not None
        assert found.reason == reason
    sealed = [window for trial in store.trials() for window in store.sealed_windows(trial.trial_id)]
    shown = {(window.trial_id, str(window.window)): hash_of(window) for window in sealed}
    for trial, number, groups in told["sealed"]:
        assert shown[trial, number] == groups
    for window in sealed:
        values = Counter(value for group in window.groups for _, value in group if value is not None)
        assert values == Counter(by_window[window.trial_id, window.window]), "a sealed window and its outcomes differ"
    history = store.history()
    assert [entry.number for entry in history] == list(range(1, len(history) + 1))
    assert {int(number) for (number,) in told["activation"]} <= {entry.number for entry in history}
    assert len(told["activation"]) == sum(line[0] == "activation" for line in lines), "a number was given twice"
    assert store.active().number == history[-1].number
    refused = sum(line[0] == "refused" for line in lines)
    return Tally(kills, len(kept), len(told["outcome"]), refused, len(store.verdicts()), len(sealed))


def main() -> None:
    """Hammer from the command line, or be a worker."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seconds", type=float, default=60.0)
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--database", default="")
    arguments.add_argument("--notes", default="")
    arguments.add_argument("--worker", type=int)
    chosen = arguments.parse_args()
    if chosen.worker is not None:
        work(chosen.database, Path(chosen.notes), chosen.worker)
    with tempfile.TemporaryDirectory() as folder:
        notes = Path(folder) / "notes"
        notes.mkdir()
        print(hammer(chosen.database or f"{folder}/live.db", notes, chosen.seconds, chosen.seed))


if __name__ == "__main__":
    main()
