"""The databases behind the embedded store: a SQLite file, or PostgreSQL."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

from reskill_agents.coordination import Clock, SqliteCoordinator
from reskill_agents.errors import ConfigError, StoreError
from reskill_agents.store_tenant import Database, StoreSettings

_BUSY_S = 30.0
_CACHED_STATEMENTS = 256


def open_database(where: str | Path, settings: StoreSettings, clock: Clock) -> Database:
    """A ``postgresql://`` address, or the path of a SQLite file.

    Raises:
        StoreError: it cannot be opened.
        ConfigError: a package is missing.
    """
    if isinstance(where, str) and where.startswith(("postgresql://", "postgres://")):
        return _postgres(where, settings, clock)
    return _sqlite(Path(where), settings, clock)


def _sqlite(path: Path, settings: StoreSettings, clock: Clock) -> Database:
    """Write-ahead log, so that readers never wait; commits survive the death of the process (``synchronous=NORMAL``:
    a power failure may take the last ones). Deleted bytes are overwritten."""
    try:
        from langgraph.store.sqlite import SqliteStore
    except ImportError as error:
        raise ConfigError("the embedded store needs: pip install 'reskill-agents[embed]'") from error
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for file in (path, _locks(path)):
            os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))  # conversations are nobody else's business
        coordinator = SqliteCoordinator(_locks(path), timeout_s=_BUSY_S, clock=clock)
        connection = sqlite3.connect(
            str(path),
            timeout=_BUSY_S,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=_CACHED_STATEMENTS,
        )
        base = SqliteStore(connection)
        with coordinator.exclusive("setup"):  # its migrations do not expect company
            for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "secure_delete=ON"):
                connection.execute(f"PRAGMA {pragma}")
            base.setup()
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"{path}: {error}") from error

    def scrub() -> None:
        with base.lock:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close() -> None:
        connection.close()
        coordinator.close()

    return Database(base, coordinator, settings, clock, scrub, close)


def _locks(path: Path) -> Path:
    return path.with_name(path.name + ".locks")


def _postgres(conninfo: str, settings: StoreSettings, clock: Clock) -> Database:
    try:
        import psycopg
        from langgraph.store.postgres import PostgresStore
        from psycopg.rows import dict_row

        from reskill_agents.coordination_postgres import PostgresCoordinator
    except ImportError as error:
        raise ConfigError("a PostgreSQL store needs: pip install 'reskill-agents[postgres]'") from error
    try:
        coordinator = PostgresCoordinator(conninfo, timeout_s=_BUSY_S)
        connection = psycopg.Connection[dict[str, Any]].connect(
            conninfo, autocommit=True, prepare_threshold=0, row_factory=dict_row
        )
        base = PostgresStore(connection)
        with coordinator.exclusive("setup"):
            base.setup()
    except psycopg.Error as error:
        raise StoreError(f"PostgreSQL: {error}") from error

    def close() -> None:
        connection.close()
        coordinator.close()

    return Database(base, coordinator, settings, clock, close=close)
