"""The events of a run as short sentences: one wording for the live view, the log and the report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reskill_agents.library import OperationKind, Proposal

if TYPE_CHECKING:
    from reskill_agents.trainers.progress import ArmMetrics, EvaluationResult, ProposalEvent, StepMetrics, VerdictEvent

_VERBS = {OperationKind.ADD: "add", OperationKind.MODIFY: "rewrite", OperationKind.DELETE: "drop"}
ARMS = {"active": "in force", "candidate": "on trial", "masked": "less one skill", "validation": "validation"}


def share(value: float | None) -> str:
    """0.125 as ``12 %``; nothing known as a dash."""
    return "–" if value is None else f"{100 * value:.0f} %"


def duration(seconds: float) -> str:
    """``42 s``, ``3 min 05 s``, ``1 h 02 min``."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def operations_text(proposal: Proposal | None) -> str:
    """``add take-options, drop look-around``; an A/A trial has no proposal."""
    if proposal is None:
        return "the same library twice"
    return ", ".join(f"{_VERBS[operation.kind]} {operation.name}" for operation in proposal.operations)


def proposal_text(event: ProposalEvent) -> str:
    """What a creation round came to."""
    if event.proposal is None:
        return f"creation {event.creation}: nothing worth trying" + (f" ({event.notes[0]})" if event.notes else "")
    fate = "taken over untested" if event.adopted else "goes on trial"
    return f"creation {event.creation}: {operations_text(event.proposal)}: {fate}"


def verdict_text(event: VerdictEvent) -> str:
    """How a trial ended."""
    verdict = event.verdict
    episodes = round(sum(verdict.episodes))
    return (
        f"{verdict.outcome.value.upper()} {operations_text(event.proposal)} "
        f"(P better {verdict.posterior.probability:.3f} after {verdict.steps} steps, {episodes} episodes)"
    )


def arms_text(arms: dict[str, ArmMetrics]) -> str:
    """Success per arm."""
    return ", ".join(f"{ARMS.get(name, name)} {share(arm.success)}" for name, arm in arms.items() if arm.episodes)


def step_text(metrics: StepMetrics, steps: int) -> str:
    """One step."""
    parts = [f"step {metrics.step + 1}/{steps}", f"success {arms_text(dict(metrics.arms))}"]
    if metrics.trial is not None:
        parts.append(f"trial of {metrics.trial.purpose.value}: P better {metrics.trial.probability:.3f}")
    parts.append(f"{len(metrics.skills)} skills")
    parts.append(f"{metrics.seconds.get('total', 0.0):.1f} s")
    return "  ".join(parts)


def evaluation_text(result: EvaluationResult) -> str:
    """One evaluation."""
    total = result.total
    passed = "" if total.passed is None else f", passed {share(total.passed)}"
    return (
        f"{result.split}, {result.policy}, {library_text(result.library)}: success {share(total.success)} "
        f"(± {100 * total.success_se:.1f}), mean score {total.score:.2f}{passed}, {total.episodes} episodes"
    )


def library_text(library: str) -> str:
    """``none`` and ``skills`` in words."""
    return {"none": "without library", "skills": "with library", "placebo": "with placebo texts"}.get(library, library)
