"""Locks and leases in PostgreSQL: advisory locks of a session, and one small table. Needs ``psycopg``."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import psycopg

from reskill_agents.coordination import DEFAULT_TIMEOUT_S, Lease, same_lease, successor, valid_lease
from reskill_agents.errors import CoordinationError


class PostgresCoordinator:
    """All processes of all machines that share one database.

    A lock is ``pg_advisory_lock`` on a connection of its own: the server frees it when the session ends. Lease times
    are the server's clock.

    Args:
        conninfo: of the database the store lives in.
        timeout_s: how long to wait for a lock.
    """

    def __init__(self, conninfo: str, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._thread = threading.Lock()
        self._connection = psycopg.connect(conninfo, autocommit=True)
        self._connection.execute("SELECT set_config('lock_timeout', %s, false)", (f"{int(timeout_s * 1000)}ms",))
        with self._locked("reskill.setup"):
            self._connection.execute(
                "CREATE TABLE IF NOT EXISTS reskill_leases (name TEXT PRIMARY KEY, holder TEXT NOT NULL,"
                " until DOUBLE PRECISION NOT NULL, fence BIGINT NOT NULL)"
            )

    @property
    def across_processes(self) -> bool:
        """Yes, on any machine."""
        return True

    @contextmanager
    def exclusive(self, name: str) -> Iterator[None]:
        """See :class:`~reskill_agents.coordination.Coordinator`."""
        with self._locked(f"lock:{name}"):
            yield

    def acquire(self, name: str, holder: str, seconds: float) -> Lease | None:
        """See :class:`~reskill_agents.coordination.Coordinator`."""
        with self._locked(f"lock:{name}"):
            lease = successor(self._read(name), name, holder, self._now(), seconds)
            if lease is not None:
                self._write(lease)
            return lease

    def release(self, lease: Lease) -> None:
        """See :class:`~reskill_agents.coordination.Coordinator`."""
        with self._locked(f"lock:{lease.name}"):
            if same_lease(self._read(lease.name), lease):
                self._write(replace(lease, until=0.0))

    def holds(self, lease: Lease) -> bool:
        """See :class:`~reskill_agents.coordination.Coordinator`."""
        return valid_lease(self._read(lease.name), lease, self._now())

    def close(self) -> None:
        """Close the connection; its locks are freed."""
        self._connection.close()

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
        if not self._thread.acquire(timeout=self._timeout_s):
            raise CoordinationError(f"the lock {name!r} was not free within {self._timeout_s:g} s")
        try:
            try:
                self._connection.execute("SELECT pg_advisory_lock(%s)", (number,))
            except psycopg.Error as error:
                raise CoordinationError(f"the lock {name!r}: {error}") from error
            try:
                yield
            finally:
                self._connection.execute("SELECT pg_advisory_unlock(%s)", (number,))
        finally:
            self._thread.release()

    def _now(self) -> float:
        row = self._connection.execute("SELECT extract(epoch FROM clock_timestamp())").fetchone()
        return float(row[0]) if row else time.time()

    def _read(self, name: str) -> Lease | None:
        query = "SELECT holder, until, fence FROM reskill_leases WHERE name = %s"
        row = self._connection.execute(query, (name,)).fetchone()
        return Lease(name, str(row[0]), float(row[1]), int(row[2])) if row else None

    def _write(self, lease: Lease) -> None:
        self._connection.execute(
            "INSERT INTO reskill_leases (name, holder, until, fence) VALUES (%s, %s, %s, %s) ON CONFLICT (name)"
            " DO UPDATE SET holder = excluded.holder, until = excluded.until, fence = excluded.fence",
            (lease.name, lease.holder, lease.until, lease.fence),
        )
