"""One writer at a time: locks and leases between processes. A ``BaseStore`` has no compare-and-set, so this is apart.

``exclusive`` makes read-then-write safe; a lease says for a while who may write verdicts.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

from reskill_agents.errors import CoordinationError

DEFAULT_TIMEOUT_S = 30.0  # a lock is held for a few reads and one write, well below a second
Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write verdicts. ``fence`` grows with every change of holder."""

    name: str
    holder: str
    until: float
    fence: int


@runtime_checkable
class Coordinator(Protocol):
    """Locks and leases, over all processes that share a store.

    ``tests/test_coordination.py`` holds the contract tests any implementation can run.
    """

    @property
    def across_processes(self) -> bool:
        """Whether other processes are kept out too. If not, one evolver process is supported, and says so."""
        ...

    def exclusive(self, name: str) -> AbstractContextManager[None]:
        """Hold the lock called ``name`` for the block. Not re-entrant. Freed by the system when the process dies.

        Raises:
            CoordinationError: not free within the time limit.
        """
        ...

    def acquire(self, name: str, holder: str, seconds: float) -> Lease | None:
        """Take or renew the lease for ``seconds``; ``None`` while another holder's has not run out."""
        ...

    def release(self, lease: Lease) -> None:
        """Give it back; nothing happens when it is no longer ours."""
        ...

    def holds(self, lease: Lease) -> bool:
        """Whether nobody took it over and it has not run out. Ask inside ``exclusive(lease.name)`` before writing."""
        ...


class InMemoryCoordinator:
    """Threads of this process only."""

    def __init__(self, *, timeout_s: float = DEFAULT_TIMEOUT_S, clock: Clock = time.time) -> None:
        self._timeout_s = timeout_s
        self._clock = clock
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._leases: dict[str, Lease] = {}

    @property
    def across_processes(self) -> bool:
        """Never."""
        return False

    @contextmanager
    def exclusive(self, name: str) -> Iterator[None]:
        """See :class:`Coordinator`."""
        with self._lock:
            lock = self._locks.setdefault(name, threading.Lock())
        if not lock.acquire(timeout=self._timeout_s):
            raise CoordinationError(_not_free(name, self._timeout_s))
        try:
            yield
        finally:
            lock.release()

    def acquire(self, name: str, holder: str, seconds: float) -> Lease | None:
        """See :class:`Coordinator`."""
        with self._lock:
            lease = successor(self._leases.get(name), name, holder, self._clock(), seconds)
            if lease is not None:
                self._leases[name] = lease
            return lease

    def release(self, lease: Lease) -> None:
        """See :class:`Coordinator`."""
        with self._lock:
            if same_lease(self._leases.get(lease.name), lease):
                self._leases[lease.name] = replace(lease, until=0.0)

    def holds(self, lease: Lease) -> bool:
        """See :class:`Coordinator`."""
        with self._lock:
            return valid_lease(self._leases.get(lease.name), lease, self._clock())


class SqliteCoordinator:
    """Processes of one machine, through a small SQLite file of its own beside the store's.

    A lock is ``BEGIN IMMEDIATE`` on that file: the system frees it when the process dies, and nothing is written to
    disk. All names share the one lock. Make it after forking, like any SQLite connection.
    """

    def __init__(self, path: Path | str, *, timeout_s: float = DEFAULT_TIMEOUT_S, clock: Clock = time.time) -> None:
        self._timeout_s = timeout_s
        self._clock = clock
        self._thread = threading.RLock()
        self._connection = sqlite3.connect(
            str(path), timeout=timeout_s, isolation_level=None, check_same_thread=False, cached_statements=16
        )
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS leases"
            " (name TEXT PRIMARY KEY, holder TEXT NOT NULL, until REAL NOT NULL, fence INTEGER NOT NULL)"
        )

    @property
    def across_processes(self) -> bool:
        """Yes, on one machine."""
        return True

    @contextmanager
    def exclusive(self, name: str) -> Iterator[None]:
        """See :class:`Coordinator`."""
        with self._transaction(name):
            yield

    def acquire(self, name: str, holder: str, seconds: float) -> Lease | None:
        """See :class:`Coordinator`."""
        with self._transaction(name):
            lease = successor(self._read(name), name, holder, self._clock(), seconds)
            if lease is not None:
                self._write(lease)
            return lease

    def release(self, lease: Lease) -> None:
        """See :class:`Coordinator`."""
        with self._transaction(lease.name):
            if same_lease(self._read(lease.name), lease):
                self._write(replace(lease, until=0.0))

    def holds(self, lease: Lease) -> bool:
        """See :class:`Coordinator`."""
        with self._thread:
            return valid_lease(self._read(lease.name), lease, self._clock())

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @contextmanager
    def _transaction(self, name: str) -> Iterator[None]:
        if not self._thread.acquire(timeout=self._timeout_s):
            raise CoordinationError(_not_free(name, self._timeout_s))
        try:
            if self._connection.in_transaction:
                raise CoordinationError("a lock is held already by this thread; locks are not re-entrant")
            try:
                self._connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                raise CoordinationError(f"{_not_free(name, self._timeout_s)}: {error}") from error
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")
        finally:
            self._thread.release()

    def _read(self, name: str) -> Lease | None:
        row = self._connection.execute("SELECT holder, until, fence FROM leases WHERE name = ?", (name,)).fetchone()
        return Lease(name, *row) if row else None

    def _write(self, lease: Lease) -> None:
        self._connection.execute(
            "INSERT OR REPLACE INTO leases (name, holder, until, fence) VALUES (?, ?, ?, ?)",
            (lease.name, lease.holder, lease.until, lease.fence),
        )


def _not_free(name: str, seconds: float) -> str:
    return f"the lock {name!r} was not free within {seconds:g} s"


def successor(current: Lease | None, name: str, holder: str, now: float, seconds: float) -> Lease | None:
    """The lease after ``holder`` asked for it at ``now``; ``None`` when another holder's has not run out."""
    if current is None:
        return Lease(name, holder, now + seconds, 1)
    if current.until > now and current.holder != holder:
        return None
    renewed = current.until > now
    return Lease(name, holder, now + seconds, current.fence if renewed else current.fence + 1)


def same_lease(current: Lease | None, lease: Lease) -> bool:
    """Whether nobody took ``lease`` over, run out or not."""
    return current is not None and (current.holder, current.fence) == (lease.holder, lease.fence)


def valid_lease(current: Lease | None, lease: Lease, now: float) -> bool:
    """Whether ``lease`` still gives the right to write."""
    return current is not None and same_lease(current, lease) and current.until > now
