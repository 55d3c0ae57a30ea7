"""``reskill forget``, ``reskill sweep`` and ``reskill serve-outcomes``: the live store from the command line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from reskill_agents.live_records import Removed
    from reskill_agents.store import LiveStore

Store = Annotated[str, typer.Option(help="The SQLite file of the live store, or postgresql://...")]
Tenant = Annotated[
    str, typer.Option("--namespace", help="The tenant, its labels joined by '/'; default: the nameless one.")
]
TOKEN_VARIABLE = "RESKILL_OUTCOME_TOKEN"


def forget(
    thread: Annotated[str, typer.Option(help="Id of the thread.")], store: Store, namespace: Tenant = ""
) -> None:
    """Delete everything kept about a thread: runs, outcomes, conversations. Verdicts stay; they name nobody."""
    with _open(store, namespace) as live:
        removed = live.forget(thread)
    typer.echo(f"forgotten: {_shown(removed)}" if removed.total else f"nothing is kept about thread {thread!r}")


def sweep(
    days: Annotated[float, typer.Option(help="Age from which on records are deleted.")],
    store: Store,
    namespace: Tenant = "",
) -> None:
    """Delete runs, outcomes and conversations older than so many days."""
    with _open(store, namespace, retention_days=days) as live:
        typer.echo(f"deleted: {_shown(live.sweep())}")


def serve_outcomes(
    store: Store,
    namespace: Tenant = "",
    host: Annotated[str, typer.Option(help="Any address but loopback needs a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free one.")] = 8712,
) -> None:
    """Take outcomes over HTTP: POST /outcomes. The token, if any, is in the environment: RESKILL_OUTCOME_TOKEN."""
    from reskill_agents.outcome_server import OutcomeServer

    with (
        _open(store, namespace) as live,
        OutcomeServer(live, host=host, port=port, token=os.environ.get(TOKEN_VARIABLE)) as server,
    ):
        typer.echo(f"http://{host}:{server.server_port}/outcomes")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            typer.echo("stopped", err=True)


def open_store(store: str, namespace: str = "") -> LiveStore:
    """The live store a command names. It must exist: a mistyped path makes no new one."""
    return _open(store, namespace)


def _open(store: str, namespace: str, *, retention_days: float | None = None) -> LiveStore:
    from reskill_agents.errors import StoreError
    from reskill_agents.live_records import Capture
    from reskill_agents.store import LiveStore, StoreSettings

    if "://" not in store and not Path(store).is_file():
        raise StoreError(f"there is no store at {store}")
    settings = StoreSettings(capture=Capture.OUTCOMES_ONLY, retention_days=retention_days)  # commands capture nothing
    return LiveStore.open(store, tuple(namespace.split("/")) if namespace else (), settings=settings)


def _shown(removed: Removed) -> str:
    return f"{removed.runs} runs, {removed.outcomes} outcomes, {removed.episodes} conversations, {removed.pins} thread pins"
