"""What a person sees while a run goes on: a live view in a terminal, log lines elsewhere, nothing when asked for quiet.

Each display is a ``ProgressListener`` (``trainers.progress``) and a context manager.
"""

from __future__ import annotations

import math
import time
from collections import deque
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from reskill_agents import progress_text as say

if TYPE_CHECKING:
    from reskill_agents.trainers.progress import (
        EvaluationResult,
        Phase,
        ProgressListener,
        ProposalEvent,
        StepMetrics,
        VerdictEvent,
    )

    class Display(ProgressListener, AbstractContextManager["Display"], Protocol):
        """A progress listener with a beginning and an end, that also shows what is built before the run."""

        def building(self, what: str, share: float, detail: str) -> None:
            """A share (0..1) of ``what`` is done."""
            ...


_BLOCKS = " ▁▂▃▄▅▆▇█"
_RECENT = 10  # steps that the remaining time is estimated from
_COLOURS = {"active": "cyan", "candidate": "yellow", "masked": "magenta", "validation": "blue"}


def hush_libraries() -> None:
    """No progress bars of the libraries beneath: they would tear the display, and appear where quiet was asked for."""
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]


def make_display(*, quiet: bool = False, console: Console | None = None, title: str = "") -> Display:
    """The display that fits: quiet, live (the console is a terminal) or plain."""
    console = console or Console(stderr=True)
    if quiet:
        return QuietDisplay()
    if console.is_terminal and not console.is_dumb_terminal:
        return LiveDisplay(console, title)
    return PlainDisplay(console)


class QuietDisplay:
    """Says nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Nothing to end."""

    def building(self, what: str, share: float, detail: str) -> None:
        """Ignored."""

    def phase(self, phase: Phase, detail: str) -> None:
        """Ignored."""

    def step(self, metrics: StepMetrics, steps: int) -> None:
        """Ignored."""

    def proposal(self, event: ProposalEvent) -> None:
        """Ignored."""

    def verdict(self, event: VerdictEvent) -> None:
        """Ignored."""

    def evaluation(self, result: EvaluationResult) -> None:
        """Ignored."""


class PlainDisplay(QuietDisplay):
    """One line an event, with the seconds since the start; for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = time.monotonic()
        self._built: tuple[str, int] | None = None

    def _say(self, text: str) -> None:
        seconds = time.monotonic() - self._started
        self._console.print(f"[{seconds:7.1f} s] {text}", markup=False, highlight=False, soft_wrap=True)

    def building(self, what: str, share: float, detail: str) -> None:
        """A line every tenth."""
        tenth = (what, int(10 * share))
        if tenth != self._built:
            self._built = tenth
            self._say(f"{what} {100 * share:.0f} %  {detail}".rstrip())

    def phase(self, phase: Phase, detail: str) -> None:
        """The phase begins."""
        self._say(f"{phase.value}: {detail}" if detail else phase.value)

    def step(self, metrics: StepMetrics, steps: int) -> None:
        """One step."""
        self._say(say.step_text(metrics, steps))

    def proposal(self, event: ProposalEvent) -> None:
        """One creation round."""
        self._say(say.proposal_text(event))

    def verdict(self, event: VerdictEvent) -> None:
        """One verdict."""
        self._say(say.verdict_text(event))

    def evaluation(self, result: EvaluationResult) -> None:
        """One evaluation."""
        self._say(say.evaluation_text(result))


class LiveDisplay(QuietDisplay):
    """A view that redraws itself: phase, steps with the time left, success per arm, the trial, what happened last."""

    def __init__(self, console: Console, title: str = "") -> None:
        self._title = title
        self._phase, self._detail = "starting", ""
        self._built: float | None = None
        self._steps = 0
        self._metrics: StepMetrics | None = None
        self._curves: dict[str, deque[float]] = {}
        self._seconds: deque[float] = deque(maxlen=_RECENT)
        self._events: deque[Text] = deque(maxlen=6)
        self._started = time.monotonic()
        self._live = Live(console=console, get_renderable=self.render, refresh_per_second=4, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._live.stop()

    def building(self, what: str, share: float, detail: str) -> None:
        """Shown with a bar until the next phase."""
        self._phase, self._detail, self._built = what, detail, share

    def phase(self, phase: Phase, detail: str) -> None:
        """The phase begins."""
        self._phase, self._detail, self._built = phase.value, detail, None

    def step(self, metrics: StepMetrics, steps: int) -> None:
        """One step."""
        self._metrics, self._steps = metrics, steps
        self._seconds.append(metrics.seconds.get("total", 0.0))
        for name, arm in metrics.arms.items():
            if arm.success is not None:
                self._curves.setdefault(name, deque(maxlen=40)).append(arm.success)

    def proposal(self, event: ProposalEvent) -> None:
        """One creation round."""
        self._events.append(Text(f"✎ {say.proposal_text(event)}", style="bold" if event.proposal else "dim"))

    def verdict(self, event: VerdictEvent) -> None:
        """One verdict."""
        good = event.verdict.accepted
        self._events.append(Text(f"{'✓' if good else '✗'} {say.verdict_text(event)}", style="green" if good else "red"))

    def evaluation(self, result: EvaluationResult) -> None:
        """One evaluation."""
        self._events.append(Text(f"◎ {say.evaluation_text(result)}"))

    def render(self) -> RenderableType:
        """The view as it stands."""
        parts: list[RenderableType] = [self._headline()]
        if self._built is not None:
            parts.append(ProgressBar(1.0, self._built, width=60))
        if self._metrics is not None:
            parts += [self._progress(self._metrics), self._arms(self._metrics), *self._trial(self._metrics)]
            names = ", ".join(self._metrics.skills) or "none yet"
            parts.append(Text.assemble(("skills in force  ", "dim"), names))
        if self._events:
            parts += [Text(), *self._events]
        return Panel(Group(*parts), title=Text(self._title) if self._title else None, border_style="dim")

    def _headline(self) -> Text:
        elapsed = say.duration(time.monotonic() - self._started)
        return Text.assemble((self._phase, "bold"), "  ", self._detail, ("  " + elapsed, "dim"))

    def _progress(self, metrics: StepMetrics) -> Table:
        done = metrics.step + 1
        left = (self._steps - done) * sum(self._seconds) / max(1, len(self._seconds))
        grid = Table.grid(padding=(0, 2))
        text = f"step {done}/{self._steps}"
        grid.add_row(text, ProgressBar(self._steps, done, width=40), Text(f"{say.duration(left)} left", style="dim"))
        return grid

    def _arms(self, metrics: StepMetrics) -> Table:
        grid = Table.grid(padding=(0, 2))
        for name, curve in self._curves.items():
            if name not in metrics.arms:
                continue
            colour = _COLOURS.get(name, "white")
            grid.add_row(say.ARMS.get(name, name), Text(sparkline(curve), style=colour), say.share(curve[-1]))
        return grid

    def _trial(self, metrics: StepMetrics) -> list[RenderableType]:
        trial = metrics.trial
        if trial is None:
            return []
        probability = min(1.0, max(0.0, trial.probability))
        grid = Table.grid(padding=(0, 2))
        bar = ProgressBar(1.0, probability, width=40, complete_style="green" if probability > 0.5 else "red")
        counted = f"P better {probability:.3f} after {trial.steps} steps"
        grid.add_row(Text(f"trial ({trial.purpose.value})"), bar, Text(counted, style="dim"))
        return [grid]


def sparkline(values: deque[float] | list[float]) -> str:
    """Shares (0..1) as one character each."""
    top = len(_BLOCKS) - 1
    return "".join("·" if math.isnan(v) else _BLOCKS[round(min(1.0, max(0.0, v)) * (top - 1)) + 1] for v in values)
