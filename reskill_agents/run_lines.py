"""The lines of a run folder's logs, as far as readers need them (``trainers.run_folder``, ``trainers.journal``)."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from reskill_agents.library import SkillLibrary
from reskill_agents.skill import Skill
from reskill_agents.trigger import Repeat, Trigger, TriggerKind

Scalar = str | int | float | bool | None


class Line(BaseModel):
    """One object of a log; what a later version adds is passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Arm(Line):
    """The episodes of a step that carried one library; shares and means 0..1, ``None`` without any."""

    library: str = ""
    episodes: int = 0
    faults: int = 0
    success: float | None = None
    score: float | None = None
    reward: float | None = None
    turns: float = 0.0
    invalid: float = 0.0


class Tokens(Line):
    """Tokens of a step's episodes by kind."""

    sampled: int = 0
    skill: int = 0
    context: int = 0


class Step(Line):
    """One training step."""

    step: int
    arms: dict[str, Arm]
    library: str = ""
    skills: tuple[str, ...] = ()
    groups: int = 0
    silent_groups: int = 0
    loss: float | None = None
    grad_norm: float | None = None
    clip_rate: float | None = None
    entropy: float | None = None
    kl: float | None = None
    logprob_gap: float | None = None
    trained_tokens: int = 0
    tokens: Tokens = Tokens()
    reservoir: int = 0
    seconds: dict[str, float] = {}


class Score(Line):
    """Success and mean score with standard errors."""

    episodes: int
    faults: int = 0
    success: float
    success_se: float
    score: float
    score_se: float
    passed: float | None = None


class Evaluation(Line):
    """One policy with one library on one split."""

    policy: str
    library: str
    digest: str = ""
    split: str
    total: Score
    by_tag: dict[str, Score] = {}
    step: int = 0


class TriggerLine(Line):
    """A trigger."""

    kind: TriggerKind = TriggerKind.GENERAL
    pattern: str = ""
    repeat: Repeat | None = None
    cooldown: int = 3

    def trigger(self) -> Trigger:
        """As a trigger."""
        return Trigger(self.kind, self.pattern, self.repeat, self.cooldown)


class SkillLine(Line):
    """A skill with its texts."""

    name: str
    description: str
    body: str
    trigger: TriggerLine = TriggerLine()

    def skill(self) -> Skill:
        """As a skill."""
        return Skill(self.name, self.description, self.body, self.trigger.trigger())


class LibraryLine(Line):
    """A library."""

    digest: str
    skills: tuple[SkillLine, ...] = ()

    def library(self) -> SkillLibrary:
        """As a library."""
        return SkillLibrary(tuple(line.skill() for line in self.skills))


class Change(Line):
    """One operation of a proposal, for people."""

    kind: str
    name: str
    skill: SkillLine | None = None
    body: str | None = None


class Proposed(Line):
    """What was proposed and why."""

    reason: str = ""
    evidence: tuple[str, ...] = ()
    operations: tuple[Change, ...] = ()

    @property
    def title(self) -> str:
        """``add take-options, drop look-around``."""
        verbs = {"add": "add", "modify": "rewrite", "delete": "drop"}
        return ", ".join(f"{verbs.get(one.kind, one.kind)} {one.name}" for one in self.operations)


class Creation(Line):
    """A creation round."""

    step: int
    creation: int
    asked_at: int = 0
    proposal: Proposed | None = None
    notes: tuple[str, ...] = ()
    adopted: bool = False
    trial: str = ""


class Belief(Line):
    """What a trial believes; higher is better for the candidate."""

    probability: float
    effect: float = 0.0
    low: float | None = None
    high: float | None = None
    difference: float | None = None
    difference_se: float | None = None
    information: float | None = None


class TrialLine(Line):
    """A trial began."""

    step: int
    trial: str
    purpose: str = "creation"
    method: str = ""
    incumbent: str = ""
    aa: bool = False
    candidate: LibraryLine


class Posterior(Line):
    """A trial after one more step of evidence; counts are (incumbent, candidate)."""

    step: int
    trial: str
    episodes: tuple[int, int]
    missing: tuple[int, int] = (0, 0)
    means: tuple[float | None, float | None] = (None, None)
    information: float | None = None
    posterior: Belief


class Ending(Line):
    """How a trial ended."""

    outcome: str
    rule: str = ""
    reason: str = ""
    posterior: Belief
    steps: int = 0
    episodes: dict[str, float] = {}
    missing: dict[str, float] = {}
    means: dict[str, float] = {}

    @property
    def accepted(self) -> bool:
        """Whether the candidate came into force."""
        return self.outcome == "accepted"


class VerdictLine(Line):
    """A trial's verdict came into force."""

    step: int
    trial: str
    purpose: str = "creation"
    verdict: Ending
    proposal: Proposed | None = None


class LineageLine(Line):
    """Where a skill comes from."""

    version: int = 1
    parent: str | None = None
    evidence: dict[str, Scalar] = {}


class LibraryEvent(Line):
    """A library came into force."""

    step: int
    version: int
    library: LibraryLine
    lineage: dict[str, LineageLine] = {}
