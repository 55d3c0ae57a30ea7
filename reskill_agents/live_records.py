"""What the live store keeps: runs, outcomes, pins, activations, trials, sealed windows, verdicts.

Times are seconds since the epoch, UTC. Nothing here holds conversation text except ``Outcome.metadata`` (redacted
before it is written); conversations are ``Episode`` and are kept apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from reskill_agents.library import SkillLibrary
from reskill_agents.trials.arm import Arm
from reskill_agents.trials.units import UnitAssignment

Fact = str | int | float | bool | None
Json = Mapping[str, object]
Namespace = tuple[str, ...]

NO_STRATUM = ""


class Capture(StrEnum):
    """How much of a conversation is kept."""

    EPISODES = "episodes"
    OUTCOMES_ONLY = "outcomes_only"


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the agent, under fixed conditions.

    Args:
        run_id: unique within the namespace.
        thread_id: the conversation it belongs to; the unit of live trials.
        library: digest of the library it carried.
        started: when.
        model: identity of the model that answered, policy version included; a verdict holds for this model only.
        trial, arm, window, share, stratum: as ``UnitAssignment`` gave them; ``trial`` is empty outside trials.
        skills: names of the skills whose text entered the prompt.
        skill_tokens: prompt tokens their text took, over all calls of the run.
        calls: model calls whose usage the model reported; the next three sum over these.
        prompt_tokens: tokens read, cached ones included.
        answer_tokens: tokens written.
        cached_tokens: of ``prompt_tokens``, read from the provider's prompt cache.
    """

    run_id: str
    thread_id: str
    library: str
    started: float
    model: str = ""
    trial: str = ""
    arm: Arm = Arm.INCUMBENT
    window: int = 0
    share: float = 0.0
    stratum: str = NO_STRATUM
    skills: tuple[str, ...] = ()
    skill_tokens: int = 0
    calls: int = 0
    prompt_tokens: int = 0
    answer_tokens: int = 0
    cached_tokens: int = 0

    @property
    def assignment(self) -> UnitAssignment | None:
        """What the trial gave this run's thread; ``None`` outside trials."""
        if not self.trial:
            return None
        return UnitAssignment(self.trial, self.thread_id, self.arm, self.stratum, self.window, self.share)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run (or a whole thread) went.

    Args:
        subject: the run id or thread id the caller named.
        run_id: the run it counts for; for a thread its first run.
        score: 0..1, higher is better.
        recorded: when it was first recorded.
        late: its window was sealed before it came; kept, but no trial counts it.
        metadata: flat facts, redacted.
        whole_thread: whether the caller named the thread.
    """

    subject: str
    run_id: str
    score: float
    recorded: float
    late: bool = False
    metadata: Mapping[str, Fact] = field(default_factory=dict)
    whole_thread: bool = False


@dataclass(frozen=True, slots=True)
class RunOutcomes:
    """A run with its outcomes so far; none of them yet is an empty tuple."""

    run: Run
    outcomes: tuple[Outcome, ...] = ()


@dataclass(frozen=True, slots=True)
class ThreadPin:
    """What a thread got at its first run and keeps: library, and its place in a trial (if any)."""

    thread_id: str
    library: str
    pinned: float
    trial: str = ""
    arm: Arm = Arm.INCUMBENT
    window: int = 0
    share: float = 0.0
    stratum: str = NO_STRATUM


class ActivationKind(StrEnum):
    """How a library came to be the one served (invariant 7), or what else changed about serving."""

    IMPORT = "import"
    VERDICT = "verdict"
    DECISION = "decision"
    ROLLBACK = "rollback"
    PIN = "pin"
    UNPIN = "unpin"
    FREEZE = "freeze"
    UNFREEZE = "unfreeze"


@dataclass(frozen=True, slots=True)
class Activation:
    """One entry of the history of the served library; entries are numbered from 1 without gaps and never change.

    Args:
        number: place in the history.
        kind: what happened.
        library: digest that is active after it (under a pin: the pinned one).
        at: when.
        trial: the trial whose verdict it was.
        by: the person who decided, if one did.
        reason: one sentence for people.
        pinned, frozen: state of serving after it.
    """

    number: int
    kind: ActivationKind
    library: str
    at: float
    trial: str = ""
    by: str = ""
    reason: str = ""
    pinned: bool = False
    frozen: bool = False


@dataclass(frozen=True, slots=True)
class ActiveLibrary:
    """What is served now. ``number`` 0: nothing was ever activated, the library is empty."""

    library: SkillLibrary
    number: int = 0
    pinned: bool = False
    frozen: bool = False
    shared_from: Namespace | None = None


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """A live trial as kept between processes.

    Args:
        trial_id: unique within the namespace.
        incumbent, candidate: library digests; both libraries are in the store.
        model: identity of the model it runs under.
        opened: when.
        state: ``VersionTrial.to_state()`` after the windows sealed so far.
        window: the open window, 0-based.
        open: whether threads are still assigned to it.
        purpose: ``proposal``, ``removal``, ``retrial`` (after a change of model), or as the evolver names it.
        note: what the evolver wants to keep with it (proposal, evidence).
    """

    trial_id: str
    incumbent: str
    candidate: str
    model: str
    opened: float
    state: Json
    window: int = 0
    open: bool = True
    purpose: str = "proposal"
    note: Json = field(default_factory=dict)


Groups = tuple[tuple[tuple[Arm, float | None], ...], ...]


@dataclass(frozen=True, slots=True)
class SealedWindow:
    """All the evidence of one window, for ever: what ``VersionTrial.record_step`` takes. Names no unit.

    ``groups`` has one group per stratum, one value per thread: the mean of its outcomes, ``None`` if it has none.
    """

    trial_id: str
    window: int
    sealed: float
    groups: Groups


@dataclass(frozen=True, slots=True)
class VerdictRecord:
    """The end of a live trial: a pure function of the windows it names. There is one per trial.

    Args:
        trial_id: the trial.
        accepted: whether the candidate won.
        rule, reason: as ``Verdict`` has them.
        windows: the sealed windows it used, ascending.
        model: the model it was earned under.
        at: when it was written.
        facts: numbers for the report (effect, interval, episodes per arm ...).
    """

    trial_id: str
    accepted: bool
    rule: str
    reason: str
    windows: tuple[int, ...]
    model: str
    at: float
    facts: Mapping[str, Fact] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Removed:
    """How many records a sweep or a ``forget`` deleted."""

    runs: int = 0
    outcomes: int = 0
    episodes: int = 0
    pins: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.runs + self.outcomes + self.episodes + self.pins
