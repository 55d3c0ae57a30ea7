"""Several listeners as one."""

from __future__ import annotations

from dataclasses import dataclass

from reskill_agents.trainers.progress import (
    EvaluationResult,
    Phase,
    ProgressListener,
    ProposalEvent,
    StepMetrics,
    VerdictEvent,
)


@dataclass(frozen=True)
class Listeners:
    """Several listeners as one."""

    each: tuple[ProgressListener, ...] = ()

    def phase(self, phase: Phase, detail: str) -> None:
        """The run begins to do something else."""
        for one in self.each:
            one.phase(phase, detail)

    def step(self, metrics: StepMetrics, steps: int) -> None:
        """A step ended."""
        for one in self.each:
            one.step(metrics, steps)

    def proposal(self, event: ProposalEvent) -> None:
        """A creation round ended."""
        for one in self.each:
            one.proposal(event)

    def verdict(self, event: VerdictEvent) -> None:
        """A trial ended."""
        for one in self.each:
            one.verdict(event)

    def evaluation(self, result: EvaluationResult) -> None:
        """An evaluation ended."""
        for one in self.each:
            one.evaluation(result)
