"""Two processes, one store, killed at random (``python tests/store_hammer.py --seconds 60`` for longer)."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from langgraph.store.sqlite.aio import AsyncSqliteStore
from live_stores import PLAIN, library, run, sqlite_store
from store_hammer import hammer

from reskill_agents.errors import OutcomeConflictError
from reskill_agents.store import LiveStore


def test_nothing_is_lost_doubled_or_torn_when_processes_are_killed(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    tally = hammer(str(tmp_path / "live.db"), notes, 2.0, seed=1)
    assert tally.kills >= 3
    assert tally.told > 100


def test_threads_of_one_process_share_a_store(tmp_path: Path) -> None:
    store = sqlite_store(tmp_path)
    told: list[float] = []

    def work(worker: int) -> None:
        for number in range(25):
            store.record_run(run(f"{worker}-{number}"))
            store.record_outcome(f"{worker}-{number}", success=True)
            store.record_run(run(f"shared-{number}"))
            with suppress(OutcomeConflictError):
                told.append(store.record_outcome(f"shared-{number}", score=worker / 4).score)
            store.activate(library(f"skill-{worker}"))
            store.active()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert len(told) == 25
    assert [len(one.outcomes) for one in store.observations()] == [1] * 125
    assert [entry.number for entry in store.history()] == list(range(1, 101))


async def test_an_asynchronous_store_serves_coroutines(tmp_path: Path) -> None:
    async with AsyncSqliteStore.from_conn_string(str(tmp_path / "theirs.db")) as base:
        await base.setup()
        store = LiveStore.over(base, ("acme",), settings=PLAIN)
        await asyncio.to_thread(store.activate, library("new"))
        assert (await store.aactive()).library == library("new")
        await asyncio.to_thread(store.record_run, run())
        assert (await store.arecord_outcome("run-1", success=True)).score == 1.0
        with pytest.raises(OutcomeConflictError):
            await store.arecord_outcome("run-1", success=False)
