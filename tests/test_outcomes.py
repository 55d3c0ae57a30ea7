"""Outcomes: known ids only, doubles harmless, contradictions refused; the same over HTTP and the command line."""

from __future__ import annotations

import http.client
import json
import math
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from live_stores import Clock, run, sqlite_store
from typer.testing import CliRunner

from reskill_agents.cli import app
from reskill_agents.errors import ConfigError, OutcomeConflictError, StoreError, UnknownRunError
from reskill_agents.outcome_server import MAX_BODY, OutcomeServer
from reskill_agents.store import LiveStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LiveStore]:
    with sqlite_store(tmp_path, "acme") as store:
        store.record_run(run("run-1", "thread-1"))
        store.record_run(run("run-2", "thread-1", started=1_000_001.0))
        yield store


def test_a_double_changes_nothing(tmp_path: Path) -> None:
    clock = Clock()
    store = sqlite_store(tmp_path, clock=clock)
    store.record_run(run())
    first = store.record_outcome("run-1", score=0.25, metadata={"source": "survey"})
    clock.now += 3600
    assert store.record_outcome("run-1", score=0.25, metadata={"source": "poll"}) == first
    assert [one.outcomes for one in store.observations()] == [(first,)]


def test_success_is_a_score_of_one_or_zero(store: LiveStore) -> None:
    assert store.record_outcome("run-1", success=True).score == 1.0
    assert store.record_outcome("run-1", score=1).score == 1.0
    assert store.record_outcome("run-2", success=False).score == 0.0


def test_a_contradiction_is_refused_and_the_first_stays(store: LiveStore) -> None:
    store.record_outcome("run-1", success=True)
    with pytest.raises(OutcomeConflictError, match="already"):
        store.record_outcome("run-1", success=False)
    assert [outcome.score for one in store.observations() for outcome in one.outcomes] == [1.0]


def test_unknown_ids_are_refused(store: LiveStore) -> None:
    with pytest.raises(UnknownRunError, match="run-9"):
        store.record_outcome("run-9", success=True)
    with pytest.raises(UnknownRunError):
        store.within(("other",)).record_outcome("run-1", success=True)


def test_an_outcome_of_a_thread_counts_for_its_first_run_and_not_twice(store: LiveStore) -> None:
    first = store.record_outcome("thread-1", score=0.5)
    assert (first.run_id, first.whole_thread) == ("run-1", True)
    store.record_run(run("run-0", "thread-2"))
    store.record_run(run("run-3", "thread-1", started=1_000_002.0))
    assert store.record_outcome("thread-1", score=0.5) == first
    with pytest.raises(OutcomeConflictError):
        store.record_outcome("thread-1", score=0.6)
    assert store.record_outcome("run-1", success=True).score == 1.0  # the run's own is another outcome


@pytest.mark.parametrize("score", [-0.1, 1.1, math.nan, math.inf, "1", True])
def test_a_score_is_a_number_from_zero_to_one(store: LiveStore, score: float) -> None:
    with pytest.raises(StoreError, match="from 0 to 1"):
        store.record_outcome("run-1", score=score)


def test_either_score_or_success(store: LiveStore) -> None:
    for arguments in ({}, {"score": 1.0, "success": True}):
        with pytest.raises(StoreError, match="either"):
            store.record_outcome("run-1", **arguments)  # type: ignore[arg-type]


def test_metadata_is_flat_and_finite(store: LiveStore) -> None:
    for wrong in ({"a": [1]}, {"a": {"b": 1}}, {"a": math.nan}, {1: "a"}):
        with pytest.raises(StoreError, match="metadata"):
            store.record_outcome("run-1", success=True, metadata=wrong)  # type: ignore[arg-type]
    facts = {"text": "good", "stars": 5, "share": 0.5, "paid": True, "note": None}
    store.record_outcome("run-1", success=True, metadata=facts)
    assert store.observations()[0].outcomes[0].metadata == facts


async def test_from_a_coroutine(store: LiveStore) -> None:
    assert (await store.arecord_outcome("run-1", success=True)).score == 1.0


def test_observations_by_trial_and_window(tmp_path: Path) -> None:
    store = sqlite_store(tmp_path)
    store.record_run(run("plain", "a"))
    store.record_run(run("first", "b", trial="t"))
    store.record_run(run("second", "c", trial="t", window=1, started=1_000_001.0))
    for name in ("plain", "first", "second"):
        store.record_outcome(name, success=True)

    def seen(**which: object) -> list[tuple[str, int]]:
        return [(one.run.run_id, len(one.outcomes)) for one in store.observations(**which)]  # type: ignore[arg-type]

    assert seen() == [("first", 1), ("plain", 1), ("second", 1)]
    assert seen(trial="") == [("plain", 1)]
    assert seen(trial="t") == [("first", 1), ("second", 1)]
    assert seen(trial="t", window=1) == [("second", 1)]
    assert seen(since=1_000_000.5) == [("second", 1)]


@contextmanager
def served(store: LiveStore, token: str | None = None) -> Iterator[OutcomeServer]:
    with OutcomeServer(store, port=0, token=token) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def post(
    server: OutcomeServer, body: object, path: str = "/outcomes", headers: Mapping[str, str] | None = None
) -> tuple[int, dict[str, object]]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    try:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection.request("POST", path, data, {"content-type": "application/json", **(headers or {})})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def test_outcomes_come_in_over_http(store: LiveStore) -> None:
    with served(store) as server:
        kept = {"id": "run-1", "run_id": "run-1", "score": 1.0, "late": False}
        assert post(server, {"id": "run-1", "success": True, "metadata": {"by": "survey"}}) == (200, kept)
        assert post(server, {"id": "run-1", "score": 1}) == (200, kept)
        assert post(server, {"id": "run-1", "score": 0.5})[0] == 409
        assert post(server, {"id": "run-9", "score": 0.5})[0] == 404
        wrong = [b"{", b"[]", b'{"id": 3, "score": 1}', b'{"id": "run-2"}', b'{"id": "run-2", "score": 2}']
        wrong += [b'{"id": "run-2", "score": "1"}', b'{"id": "run-2", "score": 1, "namespace": ["b"]}', b"[" * 9000]
        wrong += [b'{"id": "run-2", "score": NaN}', b'{"id": "run-2", "score": 1, "metadata": [1]}', b"\xff"]
        assert {post(server, body)[0] for body in wrong} == {400}
        assert post(server, {}, "/other")[0] == 404
        assert post(server, b"{}", headers={"content-type": "text/plain"})[0] == 415
        assert post(server, b" " * (MAX_BODY + 1))[0] == 413
    assert [len(one.outcomes) for one in store.observations()] == [1, 0]


def test_with_a_token_nobody_else_gets_in(store: LiveStore) -> None:
    body = {"id": "run-1", "success": True}
    with served(store, token="secret") as server:
        assert post(server, body)[0] == 401
        assert post(server, body, headers={"authorization": "Bearer wrong"})[0] == 401
        assert post(server, body, headers={"authorization": "Bearer secret"})[0] == 200


def test_an_open_address_needs_a_token(store: LiveStore) -> None:
    for host in ("0.0.0.0", "example.org"):
        with pytest.raises(ConfigError, match="token"):
            OutcomeServer(store, host=host, port=0)


def test_forget_and_sweep_from_the_command_line(tmp_path: Path) -> None:
    with sqlite_store(tmp_path, "acme", "eu") as store:
        store.record_run(run("run-1", "thread-1"))
        store.record_run(run("run-2", "thread-2"))
        store.record_outcome("run-1", success=True)
    where = ["--store", str(tmp_path / "live.db"), "--namespace", "acme/eu"]
    command = CliRunner()
    told = command.invoke(app, ["forget", "--thread", "thread-1", *where])
    assert (told.exit_code, told.output.strip()) == (
        0,
        "forgotten: 1 runs, 1 outcomes, 0 conversations, 0 thread pins",
    )
    assert "nothing is kept" in command.invoke(app, ["forget", "--thread", "thread-1", *where]).output
    assert "1 runs" in command.invoke(app, ["sweep", "--days", "1", *where]).output
    missing = command.invoke(app, ["forget", "--thread", "t", "--store", str(tmp_path / "typo.db")])
    assert isinstance(missing.exception, StoreError)
    assert not (tmp_path / "typo.db").exists()
