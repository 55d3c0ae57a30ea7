"""Collecting model calls of many episodes into rounds of batching."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from reskill_agents.engine import GenerateRequest, Generation
from reskill_agents.errors import EngineError

T = TypeVar("T")
RunRound = Callable[[Sequence[GenerateRequest]], Sequence[Generation]]


@dataclass(frozen=True, slots=True, eq=False)
class _Pending:
    request: GenerateRequest
    future: asyncio.Future[Generation]
    loop: asyncio.AbstractEventLoop
    arrival: int


class RoundScheduler:
    """Batches requests into rounds and runs them one after the other on one worker thread.

    A round starts when every open session has a request pending (the barrier), so what runs together, and in which
    order (that of ``open``), depends on the episodes alone and never on timing. With ``max_wait_s`` a round also
    starts that long after its first request, with whatever is pending: faster when sessions wait for slow tools,
    not reproducible to the last bit. Requests of sessions that were never opened join the next round.

    With several cohorts the sessions are dealt into that many, each with rounds of its own: while one cohort is being
    answered, the episodes of another take their turns, so that engine and environments keep two cores busy.

    Safe to use from several threads and event loops.

    Args:
        run_round: answers the requests of one round, in order; called on the worker thread.
        cohorts: how many, by order of ``open``.
        max_wait_s: seconds; ``None`` for the pure barrier.
        max_batch: requests a round, at most.
        on_thread_start: called first on the worker thread.
    """

    def __init__(
        self,
        run_round: RunRound,
        *,
        cohorts: int = 1,
        max_wait_s: float | None = None,
        max_batch: int = 512,
        on_thread_start: Callable[[], None] | None = None,
    ) -> None:
        self._run_round = run_round
        self._max_wait_s = max_wait_s
        self._max_batch = max_batch
        self._lock = threading.Lock()
        self._open: dict[str, int] = {}
        self._opened = 0
        self._arrivals = 0
        self._pending: list[_Pending] = []
        self._missing: list[set[str]] = [set() for _ in range(cohorts)]  # open sessions without a pending request
        self._running = False
        self._timer: asyncio.TimerHandle | None = None
        self._worker = ThreadPoolExecutor(1, "policy-engine", initializer=on_thread_start)

    def open(self, session: str) -> None:
        """Announce a session; rounds wait for it until it is released."""
        with self._lock:
            if session not in self._open:
                self._open[session] = self._opened
                self._missing[self._cohort(session)].add(session)
                self._opened += 1

    def release(self, session: str) -> bool:
        """Forget a session (unknown ones are ignored); whether it was open."""
        with self._lock:
            known = session in self._open
            if known:
                self._missing[self._cohort(session)].discard(session)
                del self._open[session]
            self._start_if_ready()
        return known

    def is_open(self, session: str) -> bool:
        """Whether the session was opened and not released."""
        return session in self._open

    async def submit(self, request: GenerateRequest) -> Generation:
        """The answer to ``request``, after the round it falls into."""
        loop = asyncio.get_running_loop()
        pending = _Pending(request, loop.create_future(), loop, self._arrivals)
        with self._lock:
            self._arrivals += 1
            self._pending.append(pending)
            self._missing[self._cohort(request.session)].discard(request.session)
            self._start_if_ready()
            if not self._running and self._max_wait_s is not None and self._timer is None:
                self._timer = loop.call_later(self._max_wait_s, self._time_is_up)
        return await pending.future

    async def call(self, function: Callable[[], T]) -> T:
        """Run ``function`` on the worker thread, between rounds."""
        return await asyncio.get_running_loop().run_in_executor(self._worker, function)

    def close(self) -> None:
        """Let the running round finish and stop the worker thread."""
        self._worker.shutdown(wait=True, cancel_futures=True)

    def _time_is_up(self) -> None:
        with self._lock:
            self._timer = None
            self._start_if_ready(force=True)

    def _cohort(self, session: str) -> int:
        return self._open.get(session, 0) % len(self._missing)

    def _start_if_ready(self, *, force: bool = False) -> None:
        """Start a round if one is due. Holds the lock."""
        if self._running or not self._pending:
            return
        ready = {number for number, missing in enumerate(self._missing) if force or not missing}
        batch = self._take_batch(ready) if ready else []
        if batch:
            self._running = True
            self._worker.submit(self._work, batch)

    def _take_batch(self, cohorts: set[int]) -> list[_Pending]:
        """One request a session of one cohort, in the order in which sessions were opened, unopened ones last."""
        present = [pending for pending in self._pending if not pending.future.cancelled()]
        due = [self._cohort(pending.request.session) for pending in present]
        cohort = next((number for number in due if number in cohorts), None)
        last = self._opened
        ordered = sorted(
            zip(due, present, strict=True),
            key=lambda item: (self._open.get(item[1].request.session, last), item[1].arrival),
        )
        batch: list[_Pending] = []
        later: list[_Pending] = []
        sessions: set[str] = set()
        for number, pending in ordered:
            session = pending.request.session
            if number != cohort or session in sessions or len(batch) == self._max_batch:
                later.append(pending)
            else:
                sessions.add(session)
                batch.append(pending)
        self._pending = later
        if batch and cohort is not None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            waiting = {pending.request.session for pending in later}
            own = {session for session in self._open if self._cohort(session) == cohort}
            self._missing[cohort] = own - waiting
        return batch

    def _work(self, batch: list[_Pending]) -> None:
        results: Sequence[Generation] | EngineError
        try:
            results = self._run_round([pending.request for pending in batch])
        except EngineError as error:
            results = error
        except Exception as error:
            results = EngineError(f"the engine failed on a round of {len(batch)} calls: {error!r}")
            results.__cause__ = error
        with self._lock:
            self._running = False
            self._start_if_ready(force=self._max_wait_s is not None)  # what is left has waited a round already
        for loop in {pending.loop for pending in batch}:
            answers = [(p.future, _answer(results, i)) for i, p in enumerate(batch) if p.loop is loop]
            if not loop.is_closed():
                loop.call_soon_threadsafe(_resolve, answers)


def _answer(results: Sequence[Generation] | EngineError, index: int) -> Generation | EngineError:
    return results if isinstance(results, EngineError) else results[index]


def _resolve(answers: Sequence[tuple[asyncio.Future[Generation], Generation | EngineError]]) -> None:
    for future, answer in answers:
        if future.done():
            continue
        if isinstance(answer, EngineError):
            future.set_exception(answer)
        else:
            future.set_result(answer)
