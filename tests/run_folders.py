"""A simulated run, written with the trainer's own run folder and journal: what reports and commands are tested on.

Nothing is trained: outcomes are drawn from success rates that rise, trials are real trials on those outcomes.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path

from reskill_agents import Arm, Method, Operation, Proposal, Skill, SkillLibrary, Trigger, TriggerKind
from reskill_agents.environment import Task
from reskill_agents.episode_logs import episode_to_json
from reskill_agents.episodes import Episode, Turn
from reskill_agents.graphs.creator_state import CreationReport
from reskill_agents.packs import Lineage
from reskill_agents.trainers.config import RunConfig
from reskill_agents.trainers.journal import Journal
from reskill_agents.trainers.lineage import adopted
from reskill_agents.trainers.progress import (
    ArmMetrics,
    EvaluationResult,
    ProgressListener,
    ProposalEvent,
    Score,
    Silent,
    StepMetrics,
    TokenCounts,
    TrialPurpose,
    TrialState,
    VerdictEvent,
)
from reskill_agents.trainers.run_folder import Log, RunFolder
from reskill_agents.trials import VersionTrial

OPTIONS = Skill(
    "take-named-options",
    "Take every option the task names before finishing.",
    "**When to use:** `finish` is offered.\n**Action:** Before `finish`, take every option the task names.",
    Trigger(TriggerKind.OBSERVATION_PATTERN, "finish"),
)
SKIP = Skill(
    "finish-at-once",
    "Finish as soon as you can.",
    "**When to use:** `finish` is offered.\n**Action:** Take `finish` as soon as it is offered. <b>&</b>",
    Trigger(TriggerKind.BEGINNING),
)
MATCH = Skill(
    "best-match",
    "Take the best match.",
    "**When to use:** several item choices are offered.\n"
    "**Action:** When several item choices are offered, take the one listed first.",
    Trigger(TriggerKind.ACTION_PATTERN, r"^search\["),
)
BETTER_MATCH = (
    "**When to use:** several item choices are offered.\n"
    "**Action:** When several item choices are offered, take the one that shares the most words with the task."
)


@dataclass
class SimulatedRun:
    """A run that is played out step by step into ``folder``."""

    folder: RunFolder
    listener: ProgressListener
    steps: int
    seed: int = 3
    library: SkillLibrary = field(default_factory=SkillLibrary)
    lineage: dict[str, Lineage] = field(default_factory=dict)
    version: int = 0
    step: int = 0
    trials: int = 0

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.journal = Journal(self.folder, self.listener)
        self.journal.library(0, 0, self.library, {})

    def try_out(self, proposal: Proposal, gain: float, purpose: TrialPurpose = TrialPurpose.CREATION) -> bool:
        """A proposal, its trial, its verdict; ``gain`` is the candidate's true advantage."""
        if self.step >= self.steps:
            return False
        self.trials += 1
        candidate = proposal.apply(self.library)
        trial = VersionTrial(self.library, candidate, seed=self.seed, trial_id=f"trial-{self.trials:03d}")
        if purpose is TrialPurpose.CREATION:
            event = ProposalEvent(
                self.trials, self.step, self.step, proposal, ("a note",), False, trial.trial_id, self.library, candidate
            )
            self.journal.proposal(self.step, event, CreationReport("offline", ("Failures skip options.",)))
        self.journal.trial_opened(self.step, trial.facts()[0], purpose, candidate)
        while trial.verdict() is None and self.step < self.steps:
            groups = [
                [(arm, self.outcome(gain if arm is Arm.CANDIDATE else 0.0)) for arm in trial.assign(8)]
                for _ in range(16)
            ]
            trial.record_step(groups)
            facts = trial.facts()
            self.journal.trial_fact(self.step, facts[-2] if trial.verdict() else facts[-1])
            belief = trial.posterior()
            state = TrialState(
                trial.trial_id, purpose, belief.probability, belief.effect, belief.low, belief.high, trial.steps
            )
            self.advance({"active": 0.0, "candidate": gain}, state)
        verdict = trial.verdict()
        if verdict is None:
            return False
        if verdict.accepted:
            evidence = {"trial": trial.trial_id, "probability": verdict.posterior.probability, "step": self.step}
            self.lineage = adopted(self.lineage, self.library, proposal, evidence)
            self.library, self.version = candidate, self.version + 1
            self.journal.library(self.step, self.version, self.library, self.lineage)
        self.journal.verdict(
            VerdictEvent(self.step, trial.trial_id, purpose, verdict, proposal, self.library, self.version)
        )
        return verdict.accepted

    def rate(self) -> float:
        """Success of the library in force now."""
        return 0.05 + 0.5 * self.step / self.steps + 0.08 * len(self.library)

    def outcome(self, gain: float) -> float:
        """One graded outcome."""
        return float(self.rng.random() < min(0.98, self.rate() + gain))

    def advance(self, arms: dict[str, float], trial: TrialState | None = None) -> None:
        """One step of metrics and one logged episode."""
        if self.step >= self.steps:
            return
        counts = {name: 128 // len(arms) for name in arms}
        met = {name: sum(self.outcome(gain) for _ in range(counts[name])) / counts[name] for name, gain in arms.items()}
        made = {
            name: ArmMetrics(self.library.digest, counts[name], 0, rate, rate, rate, rate, 5.2, 0.01)
            for name, rate in met.items()
        }
        metrics = StepMetrics(
            step=self.step,
            version=self.step,
            arms=made,
            library=self.library.digest,
            skills=tuple(skill.name for skill in self.library),
            trial=trial,
            groups=16,
            silent_groups=4,
            forks=0,
            loss=0.01,
            grad_norm=0.2,
            clip_rate=0.0,
            entropy=0.4,
            kl=0.0,
            lr=3e-5,
            rows=128,
            trained_tokens=900,
            logprob_gap=1e-6,
            tokens=TokenCounts(900, 2000 * len(self.library), 16000),
            reservoir=128,
            seconds={"skills": 0.01, "rollout": 0.9, "update": 0.6, "publish": 0.05, "total": 1.56},
        )
        self.folder.append(Log.METRICS, metrics)
        self.folder.append(Log.EPISODES, {**episode_to_json(self.episode()), "role": "active", "without": ""})
        self.listener.step(metrics, self.steps)
        self.step += 1

    def episode(self) -> Episode:
        """What was played."""
        turns = (Turn(0, "a page", "search[lamp]"), Turn(1, "results", "open[b1]"), Turn(2, "item, finish", "finish"))
        return Episode(f"e{self.step}", Task(f"t{self.step}", "find a lamp"), turns, 1.0, step=self.step)


def evaluation(policy: str, library: str, split: str, success: float, step: int) -> EvaluationResult:
    """An evaluation with two tags."""
    score = Score(200, 0, success, 0.03, min(1.0, success + 0.2), 0.02)
    other = Score(100, 0, max(0.0, success - 0.1), 0.04, success, 0.03)
    return EvaluationResult(
        policy, library, "sha256-x", split, score, {"goals=human": other, "goals=made": score}, step
    )


def write_run(
    path: Path,
    *,
    steps: int = 60,
    finished: bool = True,
    seed: int = 3,
    gain: float = 0.2,
    listener: ProgressListener | None = None,
) -> Path:
    """A run folder with an accepted addition, a rejected one, an accepted rewrite and a pruning trial.

    ``gain`` is the true advantage of the first proposal; with 0 and few steps its trial stays undecided.
    """
    config = RunConfig(method=Method.RESKILL, steps=steps, seed=seed)
    with RunFolder(path, config) as folder:
        folder.write_json("world.json", {"world": "simulated", "tasks_train": 400})
        run = SimulatedRun(folder, listener or Silent(), steps, seed)
        for _ in range(3):
            run.advance({"active": 0.0})
        run.try_out(
            Proposal((Operation.add(OPTIONS), Operation.add(MATCH)), "Failures miss options.", ("61 of 80",)), gain
        )
        run.advance({"active": 0.0, "masked": -0.1})
        run.try_out(Proposal((Operation.add(SKIP),), "Episodes are long."), -0.15)
        run.advance({"active": 0.0, "masked": -0.1})
        run.try_out(Proposal((Operation.modify("best-match", body=BETTER_MATCH),), "The first is rarely best."), 0.17)
        run.try_out(Proposal((Operation.delete("take-named-options"),), "worth little"), 0.2, TrialPurpose.PRUNING)
        while run.step < steps:
            run.advance({"active": 0.0, "masked": -0.1})
        results = [evaluation("before", "none", s, 0.03, 0) for s in ("seen_test", "unseen_test")]
        if finished:
            for split, shift in (("valid", 0.02), ("seen_test", 0.0), ("unseen_test", -0.05)):
                results.append(evaluation("after", "none", split, 0.12 + shift, steps))
                results.append(evaluation("after", "skills", split, 0.71 + shift, steps))
                if split != "valid":
                    results.append(evaluation("after", "placebo", split, 0.2 + shift, steps))
                    results.append(evaluation("before", "skills", split, 0.44 + shift, 0))
        folder.write_json("evaluation.json", {"results": results})
    return path
