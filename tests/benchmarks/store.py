"""How fast the live store is: ``python tests/benchmarks/store.py [--outcomes 100000]``. A SQLite file, one process."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from reskill_agents.library import SkillLibrary
from reskill_agents.live_records import Run, TrialRecord
from reskill_agents.skill import Skill
from reskill_agents.store import LiveStore, StoreSettings
from reskill_agents.trials import Arm

WINDOWS = 20


def measure(label: str, times: int, work: Callable[[], object]) -> None:
    """Print what one of ``times`` costs, in wall and processor time."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"{label:42} {wall:8.2f} s  {wall / times * 1e6:9.1f} us each  ({cpu / times * 1e6:.1f} us of processor)")


def main() -> None:
    """Fill a store and read it back."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--outcomes", type=int, default=100_000)
    count = arguments.parse_args().outcomes
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "live.db"
        store = LiveStore.open(path, ("acme",), settings=StoreSettings(redact=None, redact_metadata=None))
        old, new = (SkillLibrary((Skill(name, "What it is.", "What to do."),)) for name in ("old", "new"))
        store.activate(old)
        store.put_library(new)
        store.save_trial(TrialRecord("t", old.digest, new.digest, "m", 0.0, {}))
        runs = [
            Run(f"r{n}", f"thread{n}", old.digest, float(n), "m", "t", list(Arm)[n % 2], n % WINDOWS, 0.5)
            for n in range(count)
        ]
        measure("record a run", count, lambda: [store.record_run(run) for run in runs])
        measure("record an outcome", count, lambda: [store.record_outcome(run.run_id, success=True) for run in runs])
        measure("record it again", 1000, lambda: [store.record_outcome(f"r{n}", success=True) for n in range(1000)])
        measure("active library, from memory", 100_000, lambda: [store.active() for _ in range(100_000)])
        measure(f"seal a window of {count // WINDOWS}", 1, lambda: store.seal_window("t", 0))
        measure("read all runs with their outcomes", count, lambda: store.observations())
        measure("forget a thread", 1, lambda: store.forget("thread7"))
        store.close()
        print(f"{path.stat().st_size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
