"""What a run tells whoever watches: phases, steps, proposals, verdicts, evaluations.

The same records, as JSON, are the lines of ``metrics.jsonl``, ``trials.jsonl`` and the content of ``evaluation.json``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from reskill_agents.creator_usage import NO_USAGE, CreatorUsage
from reskill_agents.library import Proposal, SkillLibrary
from reskill_agents.trials import Verdict


class Phase(StrEnum):
    """What the run is doing."""

    LOADING = "loading"
    EVALUATING = "evaluating"
    TRAINING = "training"
    FINISHED = "finished"


class TrialPurpose(StrEnum):
    """Why two libraries are compared."""

    CREATION = "creation"
    PRUNING = "pruning"
    AA = "aa"


@dataclass(frozen=True, slots=True)
class ArmMetrics:
    """The episodes of one step that carried one library.

    Args:
        library: its digest.
        episodes: played; ``faults`` of them have no outcome.
        success: share with the full score, of those with an outcome (``None``: there were none).
        score: mean score, 0..1.
        reward: mean train reward.
        outcome: mean trial outcome.
        turns: mean turns an episode.
        invalid: share of turns whose action the environment did not take.
    """

    library: str
    episodes: int
    faults: int
    success: float | None
    score: float | None
    reward: float | None
    outcome: float | None
    turns: float
    invalid: float


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """Tokens of a step's episodes by kind; ``context`` holds everything the policy read, sampled tokens included.

    ``observation``: the rest, what the world and the template said.
    """

    sampled: int = 0
    skill: int = 0
    context: int = 0
    observation: int = 0


@dataclass(frozen=True, slots=True)
class TrialState:
    """The trial under way: P(candidate better), effect in within-group standard deviations, steps recorded."""

    trial: str
    purpose: TrialPurpose
    probability: float
    effect: float
    low: float
    high: float
    steps: int


@dataclass(frozen=True, slots=True)
class StepMetrics:
    """One line of ``metrics.jsonl``. All but ``seconds`` and ``creator`` is bit-equal between equal reproducible runs.

    Args:
        step: 0-based.
        version: of the weights that sampled this step.
        arms: by name: ``active`` (the library in force; the incumbent of a trial), ``candidate``, ``masked`` (less some
            skills, in pruning steps), ``validation`` (method decoupled).
        library: digest of the library in force; ``skills``: the names in it.
        trial: the trial under way after this step's evidence.
        silent_groups: groups without variance in the train reward; they carry no policy gradient.
        forks: rows beyond one an episode.
        loss, grad_norm, clip_rate, entropy, kl, lr, rows, trained_tokens, logprob_gap: see ``UpdateReport``.
        tokens: by kind.
        reservoir: episodes the creator could read.
        seconds: by phase: rollout, evidence, update, publish, creator_wait_s, total (from the step's own start to its
            end: steps that overlap have seconds in common).
        resampled: groups played on top, instead of silent ones (dynamic sampling).
        limited: share of episodes that the turn or context limit ended.
        weight, truncated_weights: of the importance correction, see ``UpdateReport``.
        staleness, max_staleness: versions between sampling and update, see ``UpdateReport``.
        creator: what the creation that joined before this step asked of a language model (late ones: with the next that
            joins). After a resume answers come from the cache, for nothing.
    """

    step: int
    version: int
    arms: Mapping[str, ArmMetrics]
    library: str
    skills: Sequence[str]
    trial: TrialState | None
    groups: int
    silent_groups: int
    forks: int
    loss: float
    grad_norm: float
    clip_rate: float
    entropy: float
    kl: float
    lr: float
    rows: int
    trained_tokens: int
    logprob_gap: float
    tokens: TokenCounts
    reservoir: int
    seconds: Mapping[str, float] = field(default_factory=dict)
    resampled: int = 0
    limited: float = 0.0
    weight: float = 1.0
    truncated_weights: float = 0.0
    staleness: float = 0.0
    max_staleness: int = 0
    creator: CreatorUsage = NO_USAGE


@dataclass(frozen=True, slots=True)
class ProposalEvent:
    """A creation round ended. ``proposal`` is ``None`` when nothing was worth trying; ``notes`` say why.

    Args:
        creation: number of the round, from 1.
        asked_at, joined_at: steps; both fixed before the round began.
        adopted: taken over at once without a trial (methods static and decoupled).
        trial: id of the trial it goes into; empty without one.
        before, after: the libraries.
    """

    creation: int
    asked_at: int
    joined_at: int
    proposal: Proposal | None
    notes: Sequence[str]
    adopted: bool
    trial: str
    before: SkillLibrary
    after: SkillLibrary


@dataclass(frozen=True, slots=True)
class VerdictEvent:
    """A trial ended; ``library`` is in force from ``step`` on."""

    step: int
    trial: str
    purpose: TrialPurpose
    verdict: Verdict
    proposal: Proposal | None
    library: SkillLibrary
    version: int


@dataclass(frozen=True, slots=True)
class Score:
    """Success and mean score (0..1) with standard errors over tasks; ``faults`` have no outcome.

    ``passed``: the share of episodes above the world's ``passing_score``, where it has one (ScienceWorld: 70 of 100).
    """

    episodes: int
    faults: int
    success: float
    success_se: float
    score: float
    score_se: float
    passed: float | None = None


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """One policy with one library on one split.

    Args:
        policy: ``before`` or ``after`` training, or ``step-N``.
        library: ``none``, ``skills`` (method memory: the episodes it shows) or ``placebo``; ``digest`` says which exactly.
        split: of the tasks.
        total: over all tasks.
        by_tag: the same by task tag, key ``name=value``.
        step: training steps of the policy.
    """

    policy: str
    library: str
    digest: str
    split: str
    total: Score
    by_tag: Mapping[str, Score]
    step: int


class ProgressListener(Protocol):
    """Whoever watches a run. Called from the event loop between steps; must return fast and must not raise."""

    def phase(self, phase: Phase, detail: str) -> None:
        """The run begins to do something else."""
        ...

    def step(self, metrics: StepMetrics, steps: int) -> None:
        """A step of ``steps`` ended."""
        ...

    def proposal(self, event: ProposalEvent) -> None:
        """A creation round ended."""
        ...

    def verdict(self, event: VerdictEvent) -> None:
        """A trial ended."""
        ...

    def evaluation(self, result: EvaluationResult) -> None:
        """An evaluation ended."""
        ...


class Silent:
    """A listener that ignores everything."""

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
