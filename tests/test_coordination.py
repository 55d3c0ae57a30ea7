"""The contract of a ``Coordinator``: locks exclude, leases have one holder. Any implementation can run it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from live_stores import Clock

from reskill_agents.coordination import Coordinator, InMemoryCoordinator, SqliteCoordinator
from reskill_agents.errors import CoordinationError

Make = Callable[[Clock], tuple[Coordinator, Coordinator]]


@pytest.fixture(params=["memory", "sqlite"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Two coordinators of the same store (of one process, where it binds one process only)."""

    def pair(clock: Clock) -> tuple[Coordinator, Coordinator]:
        if request.param == "memory":
            one = InMemoryCoordinator(timeout_s=0.2, clock=clock)
            return one, one
        path = tmp_path / "locks"
        return SqliteCoordinator(path, timeout_s=0.2, clock=clock), SqliteCoordinator(path, timeout_s=0.2, clock=clock)

    return pair


def check_locks(first: Coordinator, second: Coordinator) -> None:
    """A lock excludes; it is free again after the block, also after an error in it."""
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with first.exclusive("a"):
            entered.set()
            leave.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    entered.wait(10)
    with pytest.raises(CoordinationError), second.exclusive("a"):
        pass
    leave.set()
    holder.join()
    with pytest.raises(KeyError), second.exclusive("a"):
        raise KeyError
    with first.exclusive("a"):
        pass


def check_counting(first: Coordinator, second: Coordinator) -> None:
    """Read, wait, write under the lock: no update is lost."""
    count = 0

    def work(coordinator: Coordinator) -> None:
        nonlocal count
        for _ in range(10):
            with coordinator.exclusive("count"):
                seen = count
                time.sleep(0.0002)
                count = seen + 1

    threads = [threading.Thread(target=work, args=(one,)) for one in (first, second, first)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count == 30


def check_lease_holder(first: Coordinator, second: Coordinator) -> None:
    """One holder; renewing keeps the fence; a released lease passes on with a higher one."""
    lease = first.acquire("verdicts", "a", 60.0)
    assert lease is not None
    assert second.acquire("verdicts", "b", 60.0) is None
    assert second.acquire("other", "b", 60.0) is not None
    renewed = first.acquire("verdicts", "a", 60.0)
    assert renewed is not None
    assert renewed.fence == lease.fence
    with first.exclusive("verdicts"):
        assert first.holds(lease)
    first.release(lease)
    assert not first.holds(lease)
    taken = second.acquire("verdicts", "b", 60.0)
    assert taken is not None
    assert taken.fence > lease.fence
    first.release(lease)  # not ours any more
    assert second.holds(taken)


def test_locks_exclude(make: Make) -> None:
    check_locks(*make(Clock()))


def test_no_update_under_the_lock_is_lost(make: Make) -> None:
    check_counting(*make(Clock()))


def test_a_lease_has_one_holder(make: Make) -> None:
    check_lease_holder(*make(Clock()))


def test_a_lease_runs_out(make: Make) -> None:
    clock = Clock()
    first, second = make(clock)
    lease = first.acquire("verdicts", "a", 5.0)
    assert lease is not None
    clock.now += 4.9
    assert first.holds(lease)
    assert second.acquire("verdicts", "b", 5.0) is None
    clock.now += 0.2
    assert not first.holds(lease)
    assert second.acquire("verdicts", "b", 5.0) is not None
    assert not first.holds(lease)
    assert first.acquire("verdicts", "a", 5.0) is None


def test_a_lock_is_not_taken_twice_by_its_holder(tmp_path: Path) -> None:
    one = SqliteCoordinator(tmp_path / "locks")
    with one.exclusive("a"), pytest.raises(CoordinationError, match="re-entrant"), one.exclusive("b"):
        pass
    one.close()
