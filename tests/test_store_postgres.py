"""The live store on a real PostgreSQL, on loopback; skipped where it or its driver is not installed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_stores import PLAIN, library, open_trial, postgres_server, run, verdict
from store_hammer import hammer
from test_coordination import check_counting, check_lease_holder

from reskill_agents.errors import CoordinationError, OutcomeConflictError, StoreError
from reskill_agents.store import LiveStore

pytest.importorskip("psycopg")
pytest.importorskip("langgraph.store.postgres")


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """The address of an empty database."""
    with (
        tempfile.TemporaryDirectory(dir="/tmp", prefix="reskill-pg-") as folder,
        postgres_server(Path(folder)) as found,
    ):
        if found is None:
            pytest.skip("PostgreSQL is not installed")
        yield found


def test_a_trial_from_first_run_to_promotion(database: str) -> None:
    with LiveStore.open(database, ("acme",), settings=PLAIN) as store:
        assert not store.one_evolver_only
        open_trial(store)
        store.record_run(run("r", "t", trial="trial-1"))
        store.record_outcome("r", success=True)
        with pytest.raises(OutcomeConflictError):
            store.record_outcome("r", success=False)
        assert store.seal_window("trial-1", 0).groups == ((("incumbent", 1.0),),)
        store.record_verdict(verdict(windows=(0,)))
        store.promote("trial-1")
        with LiveStore.open(database, ("acme",), settings=PLAIN) as other:
            assert other.active().library == library("new")
        assert store.within(("acm_",)).runs() == store.within(("ACME",)).runs() == []
        assert store.forget("t").runs == 1
        assert store.runs() == []


def test_locks_and_leases(database: str) -> None:
    from reskill_agents.coordination_postgres import PostgresCoordinator

    first, second = PostgresCoordinator(database, timeout_s=0.2), PostgresCoordinator(database, timeout_s=0.2)
    with first.exclusive("a"), pytest.raises(CoordinationError), second.exclusive("a"):
        pass
    check_lease_holder(first, second)
    first.close()
    with second.exclusive("a"):
        pass
    second.close()
    patient = [PostgresCoordinator(database) for _ in range(2)]
    check_counting(*patient)
    for one in patient:
        one.close()


def test_processes_killed_at_random(database: str, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    assert hammer(database, notes, 1.0, seed=2).told > 20


def test_an_address_where_nothing_listens_is_our_error() -> None:
    with pytest.raises(StoreError, match="PostgreSQL"):
        LiveStore.open("postgresql://tester@127.0.0.1:1/postgres", settings=PLAIN)
