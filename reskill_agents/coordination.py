"""One writer at a time: locks and leases between processes. A ``BaseStore`` has no compare-and-set, so this is apart.

``exclusive`` makes read-then-write safe; a lease says for a while who may write verdicts.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


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
