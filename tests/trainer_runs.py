"""Small training runs on the toy world: a config, an author with prepared skills, listeners that watch or crash."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from pathlib import Path

from toy_world import ToyWorld

from reskill_agents.graphs.creator_state import CreationWork, Recommendation
from reskill_agents.graphs.offline_author import OfflineAuthor
from reskill_agents.library import Operation, OperationKind
from reskill_agents.skill import Skill
from reskill_agents.trainers.config import RunConfig
from reskill_agents.trainers.loop import RunResult, run
from reskill_agents.trainers.progress import (
    EvaluationResult,
    Phase,
    ProposalEvent,
    StepMetrics,
    VerdictEvent,
)


def small_config(**changes: object) -> RunConfig:
    """Four groups of four, short trials; everything a run has, in a second or two."""
    settings: dict[str, object] = {
        "steps": 6,
        "seed": 3,
        "train_reward": "graded",
        "rollout": {"groups": 4, "group_size": 4, "max_tokens": 1},
        "update": {"lr": 1e-3},
        "trial": {"max_steps": 2},
        "creator": {"warm_up": 4, "join_after": 1},
        "evaluation": {"tasks": 2, "valid_tasks": 2},
        "checkpoint": {"every": 2},
    }
    return RunConfig.build(**{**settings, **changes})


def skill(name: str, body: str = "Before `ship`, take every tag the task names.") -> Skill:
    """A skill that is always on."""
    return Skill(name, "Use always.", body)


class PreparedAuthor(OfflineAuthor):
    """Proposes prepared skills, one a round, by the number of verdicts and skills there are."""

    bodies = (
        "Before `ship`, take every tag the task names.",
        "Do not take a crate marked `sealed`.",
        "Take `leave` as soon as it is offered.",
        "Never take `back` twice.",
    )

    async def recommend(self, work: CreationWork, *_: object) -> tuple[Recommendation, ...]:
        number = len(work.verdicts) + len(work.library)
        return (Recommendation(OperationKind.ADD, idea=str(number % len(self.bodies)), reason="prepared"),)

    async def write(self, work: CreationWork, recommendation: Recommendation, *_: object) -> Operation:
        number = int(recommendation.idea)
        return Operation.add(skill(f"prepared-{number}", self.bodies[number]))


@dataclass
class Watcher:
    """Collects what it is told."""

    steps: list[StepMetrics] = field(default_factory=list)
    proposals: list[ProposalEvent] = field(default_factory=list)
    verdicts: list[VerdictEvent] = field(default_factory=list)
    evaluations: list[EvaluationResult] = field(default_factory=list)
    phases: list[Phase] = field(default_factory=list)

    def phase(self, phase: Phase, detail: str) -> None:
        self.phases.append(phase)

    def step(self, metrics: StepMetrics, steps: int) -> None:
        self.steps.append(metrics)

    def proposal(self, event: ProposalEvent) -> None:
        self.proposals.append(event)

    def verdict(self, event: VerdictEvent) -> None:
        self.verdicts.append(event)

    def evaluation(self, result: EvaluationResult) -> None:
        self.evaluations.append(result)


class Crash(BaseException):
    """Stands for a kill: nothing in the library may catch it."""


@dataclass
class CrashAt(Watcher):
    """Crashes after step ``at``, before any checkpoint of that step."""

    at: int = 0

    def step(self, metrics: StepMetrics, steps: int) -> None:
        super().step(metrics, steps)
        if metrics.step == self.at:
            raise Crash


def go(
    config: RunConfig,
    policy: Path,
    run_dir: Path,
    *,
    resume: bool = False,
    listener: Watcher | None = None,
    world: ToyWorld | None = None,
) -> RunResult:
    """One run from start to end."""
    return asyncio.run(
        run(
            config,
            world or ToyWorld(),
            policy_path=policy,
            run_dir=run_dir,
            resume=resume,
            listener=listener,
            author=PreparedAuthor(),
        )
    )


def lines(run_dir: Path, log: str) -> list[dict[str, object]]:
    """A log without what may differ between equal runs: wall times."""
    entries = [json.loads(line) for line in (run_dir / log).read_text("utf-8").splitlines()]
    for entry in entries:
        entry.pop("seconds", None)
        if isinstance(entry.get("report"), dict):
            entry["report"].pop("seconds")
    return entries
