"""Stand-ins that are built once: a cache of folders, each complete or in the making."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock

from reskill_agents.environment import ScriptedWorld
from reskill_agents.trainers.cloning import CloneBudget
from reskill_agents.trainers.standin import REPORT_FILE, Progress, StandinSize, build_standin, cache_key
from reskill_agents.trainers.standin_gate import CloneGate


def cached_standin(
    world: ScriptedWorld,
    cache_root: Path,
    *,
    seed: int = 0,
    threads: int = 1,
    budget: CloneBudget | None = None,
    size: StandinSize | None = None,
    gate: CloneGate | None = None,
    curve_every: int = 0,
    progress: Progress | None = None,
) -> Path:
    """The folder of the stand-in for ``world``, built if it is not in the cache.

    Two processes that want the same one at the same time build it once (the second waits for the first). A folder in
    the cache is complete: it is built beside its place and renamed. A build that was killed is taken up where it stood.
    ``curve_every`` is no part of what the stand-in is: one that is there already gets no curve.
    """
    budget, size, gate = budget or CloneBudget(), size or StandinSize(), gate or CloneGate()
    name = f"{world.name}-{cache_key(world, seed, budget, size, gate)}"
    folder = cache_root / name
    if (folder / REPORT_FILE).is_file():
        return folder
    cache_root.mkdir(parents=True, exist_ok=True)
    with FileLock(cache_root / f"{name}.lock"):
        if not (folder / REPORT_FILE).is_file():
            building = cache_root / f".{name}-building"
            if not (building / REPORT_FILE).is_file():
                build_standin(
                    world,
                    building,
                    seed=seed,
                    threads=threads,
                    budget=budget,
                    size=size,
                    gate=gate,
                    curve_every=curve_every,
                    progress=progress,
                )
            building.replace(folder)
    return folder
