"""Jobs in their order, several at a time, none started that would not end in time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from threading import Condition

from study_durations import Durations


class Ended(StrEnum):
    """How a job ended; the value is what the log says."""

    DONE = "done"
    BEFORE = "done before"
    STOPPED = "stopped"  # time was up; it goes on in the next piece
    FAILED = "FAILED"


@dataclass(frozen=True)
class Report:
    """How a job ended; ``fresh``: all of it was run now, so its duration counts."""

    ended: Ended
    why: str = ""
    fresh: bool = False

    @property
    def good(self) -> bool:
        """Whether what was wanted is there."""
        return self.ended in (Ended.DONE, Ended.BEFORE)


@dataclass(frozen=True)
class Task:
    """One thing to do.

    Args:
        name, kind: kinds take about as long.
        run: does it within that many seconds (``None``: no limit).
        needs: names of tasks that must have ended well before.
        there: the result is there, so nothing will be run: takes no time.
    """

    name: str
    kind: str
    run: Callable[[float | None], Report]
    needs: tuple[str, ...] = ()
    there: bool = False


@dataclass
class Queue:
    """Runs tasks.

    Args:
        durations: of earlier jobs.
        parallel: tasks at a time.
        deadline: on ``clock``, seconds; ``None`` without a limit.
        say: gets a line for each task.
    """

    durations: Durations
    parallel: int = 1
    deadline: float | None = None
    say: Callable[[str], None] = print
    clock: Callable[[], float] = time.monotonic
    good: set[str] = field(default_factory=set)
    _changed: Condition = field(default_factory=Condition)
    _pending: list[Task] = field(default_factory=list)
    _running: int = 0

    def run(self, tasks: Sequence[Task]) -> bool:
        """Do those not done here before; True when all ended well.

        What does not fit into the time, or lacks what it needs, is left.
        """
        self._pending = [task for task in tasks if task.name not in self.good]
        with ThreadPoolExecutor(self.parallel) as pool:
            for worker in [pool.submit(self._work) for _ in range(self.parallel)]:
                worker.result()
        left = {task.kind: 0 for task in self._pending}
        for task in self._pending:
            left[task.kind] += 1
        for kind, count in left.items():
            self.say(f"left         {count} x {kind}")
        return all(task.name in self.good for task in tasks)

    def _work(self) -> None:
        while (task := self._next()) is not None:
            started = self.clock()
            try:
                report = task.run(None if self.deadline is None else max(1.0, self.deadline - started))
            except Exception as error:  # a job that breaks must not take the others along
                report = Report(Ended.FAILED, f"{type(error).__name__}: {error}")
            if report.ended is Ended.DONE and report.fresh:
                self.durations.add(task.kind, task.name, self.clock() - started)
            with self._changed:
                self._running -= 1
                if report.good:
                    self.good.add(task.name)
                self.say(f"{report.ended:<12} {task.name}" + (f": {report.why}" if report.why else ""))
                self._changed.notify_all()

    def _next(self) -> Task | None:
        """The first task that may start; waits while a running one may make another possible."""
        with self._changed:
            while True:
                for task in self._pending:
                    if self.good.issuperset(task.needs) and self._fits(task):
                        self._pending.remove(task)
                        self._running += 1
                        return task
                if not self._running:
                    return None
                self._changed.wait()

    def _fits(self, task: Task) -> bool:
        if self.deadline is None or task.there:
            return True
        return self.clock() + self.durations.expected(task.kind) <= self.deadline
