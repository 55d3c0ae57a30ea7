"""Outcomes from LangSmith feedback, asked for by LangSmith's own client from a loopback service that answers as theirs."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from langsmith import Client
from live_stores import run, sqlite_store
from typer.testing import CliRunner

from reskill_agents.cli import app as cli
from reskill_agents.errors import StoreError
from reskill_agents.langsmith_feedback import poll_feedback

PROJECT = str(uuid.uuid4())
NOW = datetime.now(UTC).isoformat()


@dataclass
class LangSmith:
    """What the service holds: feedback, model calls by trace; and what it was asked."""

    feedback: list[dict[str, object]] = field(default_factory=list)
    calls: dict[str, dict[str, object]] = field(default_factory=dict)
    asked: list[dict[str, list[str]]] = field(default_factory=list)
    status: int = 200

    def say(self, score: float | bool | None, *, about: str, trace: str = "", key: str = "user_score") -> None:
        """Somebody rates a run."""
        self.feedback.append(
            {
                "id": str(uuid.uuid4()),
                "created_at": NOW,
                "modified_at": NOW,
                "run_id": about,
                "trace_id": trace or about,
                "key": key,
                "score": score,
            }
        )

    def trace(self, run_id: str) -> str:
        """A trace one of whose model calls belongs to our run ``run_id``."""
        trace = str(uuid.uuid4())
        self.calls[trace] = {
            "id": str(uuid.uuid4()),
            "extra": {"metadata": {"reskill.run": run_id}},
        }
        return trace


def handler(service: LangSmith) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            place, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
            if place == "/sessions":
                found = [{"id": PROJECT, "name": "shop", "tenant_id": PROJECT, "reference_dataset_id": None}]
                self.answer(found if query["name"] == ["shop"] else [])
            elif place == "/feedback":
                service.asked.append(query)
                self.answer([one for one in service.feedback if [one["key"]] == query["key"]])
            else:
                self.answer({})

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            found = service.calls.get(str(asked["trace"]))
            self.answer({"runs": [found] if found else [], "cursors": {}})

        def answer(self, value: object) -> None:
            data = json.dumps(value).encode()
            self.send_response(service.status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    return Handler


@pytest.fixture
def service() -> Iterator[tuple[LangSmith, str]]:
    """The service and its address."""
    held = LangSmith()
    with ThreadingHTTPServer(("127.0.0.1", 0), handler(held)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield held, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def client(address: str) -> Client:
    return Client(api_url=address, api_key="none", auto_batch_tracing=False)


def test_feedback_on_a_run_the_app_named_is_its_outcome(service: tuple[LangSmith, str], tmp_path: Path) -> None:
    held, address = service
    named = str(uuid.uuid4())
    held.say(0.75, about=named)
    held.say(1.0, about=named, key="something else")
    with sqlite_store(tmp_path) as store:
        store.record_run(run(named))
        found = poll_feedback(store, client(address), project="shop", key="user_score")
        assert (found.recorded, found.seen) == (1, 1)
        [outcome] = store.observations()[0].outcomes
        assert (outcome.score, outcome.metadata["source"]) == (0.75, "langsmith")
    assert held.asked[0]["session"] == [PROJECT]


def test_feedback_on_a_trace_finds_the_run_its_model_calls_name(service: tuple[LangSmith, str], tmp_path: Path) -> None:
    held, address = service
    trace = held.trace("thread-1/4")
    held.say(True, about=str(uuid.uuid4()), trace=trace)
    with sqlite_store(tmp_path) as store:
        store.record_run(run("thread-1/4", "thread-1"))
        assert poll_feedback(store, client(address), project="shop", key="user_score").recorded == 1
        assert store.observations()[0].outcomes[0].score == 1.0


def test_doubles_change_nothing_and_what_cannot_be_used_is_counted(
    service: tuple[LangSmith, str], tmp_path: Path
) -> None:
    held, address = service
    known = str(uuid.uuid4())
    held.say(4, about=known)
    with sqlite_store(tmp_path) as store:
        store.record_run(run(known))
        poll = lambda: poll_feedback(store, client(address), project="shop", key="user_score", scale=lambda s: s / 5)  # noqa: E731
        assert poll().recorded == 1
        held.say(1, about=known)  # another person disagrees
        held.say(5, about=str(uuid.uuid4()))  # not ours
        held.say(None, about=known)
        held.say(9, about=known)
        again = poll()
        assert (again.recorded, again.conflicting, again.unmatched, again.unusable) == (1, 1, 1, 2)
        assert [outcome.score for outcome in store.observations()[0].outcomes] == [0.8]


def test_a_later_poll_asks_from_where_the_last_one_began(service: tuple[LangSmith, str], tmp_path: Path) -> None:
    held, address = service
    with sqlite_store(tmp_path) as store:
        for now in (10_000.0, 20_000.0):
            poll_feedback(store, client(address), project="shop", key="user_score", clock=lambda now=now: now)  # type: ignore[misc]
    assert "min_created_at" not in held.asked[0]
    assert held.asked[1]["min_created_at"] == [datetime.fromtimestamp(10_000.0 - 300.0, UTC).isoformat()]


def test_a_tenants_feedback_is_no_other_tenants_outcome(service: tuple[LangSmith, str], tmp_path: Path) -> None:
    held, address = service
    mine = str(uuid.uuid4())
    held.say(1.0, about=mine)
    with sqlite_store(tmp_path, "acme") as store:
        store.record_run(run(mine))
        other = poll_feedback(store.within(("other",)), client(address), project="shop", key="user_score")
        assert (other.recorded, other.unmatched) == (0, 1)
        assert store.observations()[0].outcomes == ()


def test_an_unreachable_or_unknown_project_is_our_error(service: tuple[LangSmith, str], tmp_path: Path) -> None:
    held, address = service
    with sqlite_store(tmp_path) as store:
        with pytest.raises(StoreError, match="LangSmith"):
            poll_feedback(store, client(address), project="typo", key="user_score")
        held.status = 403
        with pytest.raises(StoreError, match="LangSmith"):
            poll_feedback(store, client(address), project="shop", key="user_score")


def test_the_command_polls_once(
    service: tuple[LangSmith, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, address = service
    monkeypatch.setenv("LANGSMITH_ENDPOINT", address)
    monkeypatch.setenv("LANGSMITH_API_KEY", "none")
    named = str(uuid.uuid4())
    held.say(5, about=named)
    with sqlite_store(tmp_path) as store:
        store.record_run(run(named))
    where = ["--store", str(tmp_path / "live.db"), "--project", "shop", "--key", "user_score", "--highest", "5"]
    shown = CliRunner().invoke(cli, ["poll-langsmith", *where])
    assert shown.output.startswith("1 outcomes"), shown.output
    with sqlite_store(tmp_path) as store:
        assert store.observations()[0].outcomes[0].score == 1.0
