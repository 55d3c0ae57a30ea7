"""What travels through the creator graph: the work, findings, recommendations, drafts, the result."""

from __future__ import annotations

import hashlib
import operator
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Protocol, TypedDict, runtime_checkable

from reskill_agents.assertions import Assertion
from reskill_agents.episodes import Episode
from reskill_agents.induction import Induced, Induction, InductionConfig, induce
from reskill_agents.induction_advice import Advice, advice_body
from reskill_agents.library import DEFAULT_CAPACITY, Operation, OperationKind, Proposal, SkillLibrary
from reskill_agents.linter import LogWords
from reskill_agents.skill import MAX_AUTHORED_CHARACTERS, Skill
from reskill_agents.trigger import Trigger

TASK_FENCE = "task/"  # fences that hold no whole episode
ACTIONS_FENCE = "some actions"
OBSERVATIONS_FENCE = "some observations"
UNCHECKED = 20  # pieces of advice considered where nothing is checked


class TriggerGate(StrEnum):
    """What verification asks of a trigger.

    ``precise``: it fires, and more where the advice is needed than elsewhere; a model's always-on trigger must serve half of
    the failing tasks (:mod:`~reskill_agents.graphs.creator_triggers`). ``paper``: it fires in at least half of the episodes.
    """

    PRECISE = "precise"
    PAPER = "paper"


class Doubtful(StrEnum):
    """When advice that is not confirmed may be proposed.

    ``alone``: one at a time, for a trial to settle. ``likely``: where nothing is confirmed, the likeliest together.
    """

    ALONE = "alone"
    LIKELY = "likely"


@dataclass(frozen=True, slots=True)
class CreationConfig:
    """How proposals are made.

    Args:
        capacity: most skills in a library (the paper: 8).
        max_operations: most operations in a proposal (the paper: 3).
        max_characters: of name, description and body of an authored skill (the paper: 500).
        max_assertions: most assertions that live from one creation to the next (the paper: 10-15).
        attempts: times a skill is written again with the verifier's problems (the paper: 3).
        tasks: tasks analysed one by one (the paper: about 30).
        explore: chance that a proposal tries a doubtful directive instead of the best confirmed ones; doubtful ones are
            tried anyway when nothing confirmed is left. Correlations in a log can mislead; trials cannot.
        doubtful: when they may be proposed.
        gate: what is asked of triggers.
        induction: how strict induction is.
        general_triggers: every skill is always on (an ablation).
        assertions: off, nothing is graded or confirmed, and an offline author takes what a plain comparison of all
            episodes favours (an ablation).
    """

    capacity: int = DEFAULT_CAPACITY
    max_operations: int = 3
    max_characters: int = MAX_AUTHORED_CHARACTERS
    max_assertions: int = 15
    attempts: int = 3
    tasks: int = 30
    explore: float = 0.1
    doubtful: Doubtful = Doubtful.ALONE
    gate: TriggerGate = TriggerGate.PRECISE
    induction: InductionConfig = field(default_factory=InductionConfig)
    general_triggers: bool = False
    assertions: bool = True


@dataclass(frozen=True)
class PastVerdict:
    """What became of an earlier proposal.

    Args:
        proposal: what was tried.
        accepted: whether it was adopted.
        reason: the verdict in words (shown to a model author).
        step: training step of the verdict, -1 outside training; evidence counts as new when it is later.
        by_person: a person said so. A person's no to an operation stands whatever later evidence says.
    """

    proposal: Proposal
    accepted: bool
    reason: str = ""
    step: int = -1
    by_person: bool = False


@dataclass(frozen=True, slots=True)
class TaskSample:
    """The episodes of one task that are contrasted, best and worst; one of the two may be empty."""

    task_id: str
    good: tuple[str, ...]
    poor: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Insight:
    """What one task's episodes show.

    Args:
        task_id: the task.
        text: what separated good from poor, or what went wrong.
        succeeding, failing: actions that show it.
        trigger_actions: actions after which advice would have helped.
        skills: whether the skills that fired helped.
    """

    task_id: str
    text: str
    succeeding: tuple[str, ...] = ()
    failing: tuple[str, ...] = ()
    trigger_actions: tuple[str, ...] = ()
    skills: str = ""


@dataclass(frozen=True, slots=True)
class CheckFinding:
    """How the episodes stand to one check: share of applicable episodes that passed it, by outcome."""

    assertion_id: str
    text: str
    passed_good: float
    passed_poor: float
    applicable: int
    passing: tuple[str, ...] = ()
    failing: tuple[str, ...] = ()
    skill: str = ""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What goes wrong, most important first, the assertions to keep watching, and per problem the tasks that show it."""

    problems: tuple[str, ...] = ()
    assertions: tuple[Assertion, ...] = ()
    tasks: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Recommendation:
    """One change to make.

    Args:
        kind: add, modify or delete.
        target: the live skill it concerns; empty for an addition.
        advice: the advice in the offline author's closed templates, if it can be said in them.
        trigger: when it should arrive, if known.
        idea: the advice in words (what a model author writes from).
        reason: why.
        evidence: figures and episode ids.
        tasks: analysed tasks whose failures it is for; empty when nobody says so.
        analysed: all tasks whose analysis found something; empty: all that were sampled.
    """

    kind: OperationKind
    target: str = ""
    advice: Advice | None = None
    trigger: Trigger | None = None
    idea: str = ""
    reason: str = ""
    evidence: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    analysed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Draft:
    """A recommendation carried out, who wrote it, and what verification found."""

    recommendation: Recommendation
    operation: Operation | None = None
    author: str = ""
    problems: tuple[str, ...] = ()
    quarantine: tuple[str, ...] = ()

    @property
    def sound(self) -> bool:
        """May be tried."""
        return self.operation is not None and not self.problems and not self.quarantine


@dataclass(frozen=True)
class CreationWork:
    """The inputs of one creation; nodes read it, nothing changes it. ``approve``: wait for a person at the end."""

    episodes: tuple[Episode, ...]
    library: SkillLibrary
    verdicts: tuple[PastVerdict, ...]
    assertions: tuple[Assertion, ...]
    seed: int
    config: CreationConfig
    author: Author
    approve: bool = False

    def rng(self, purpose: str) -> random.Random:
        """Randomness for one purpose, the same whenever it is asked for."""
        return random.Random(f"{self.seed}/{purpose}")

    @cached_property
    def scored(self) -> tuple[Episode, ...]:
        """The episodes that have an outcome."""
        return tuple(episode for episode in self.episodes if episode.score is not None)

    @cached_property
    def by_id(self) -> dict[str, Episode]:
        """Episodes by id."""
        return {episode.episode_id: episode for episode in self.scored}

    @cached_property
    def induction(self) -> Induction:
        """What the episodes teach without a model."""
        return induce(self.episodes, rng=self.rng("induction"), config=self.config.induction)

    @cached_property
    def favoured(self) -> tuple[Induced, ...]:
        """Advice that may be built on, most promising first: what was confirmed; without assertions, what looks best."""
        if self.config.assertions:
            return tuple(self.induction.confirmed)
        known = (*self.induction.confirmed, *self.induction.doubtful)
        plain = [self.induction.measure(found.advice) for found in known]
        return tuple(sorted(plain, key=lambda found: -found.promise))[:UNCHECKED]

    @cached_property
    def grammar(self) -> dict[str, Advice]:
        """Skill bodies of the closed templates over this log's vocabulary, and the advice each gives."""
        return {advice_body(advice): advice for advice in self.induction.sayable()}

    @cached_property
    def favoured_doses(self) -> dict[str, dict[Advice, float]]:
        """Per episode id, how well it kept each favoured advice (0..1; NaN: it did not apply)."""
        columns = {found.advice: self.induction.doses(found.advice).tolist() for found in self.favoured}
        return {
            episode.episode_id: {advice: doses[number] for advice, doses in columns.items()}
            for number, episode in enumerate(self.scored)
        }

    def advice_of(self, skill: Skill) -> Advice | None:
        """The advice a skill gives, if it was written with the closed templates."""
        return self.grammar.get(skill.body)

    @cached_property
    def live(self) -> dict[str, Induced]:
        """Figures of the library's skills that were written with the closed templates, by name."""
        found = {skill.name: self.advice_of(skill) for skill in self.library}
        return {name: self.induction.measure(d) for name, d in found.items() if d is not None}

    @cached_property
    def log_words(self) -> LogWords:
        """Everything a model author could copy from: observations, actions, tasks, names of tools and models."""
        texts: dict[str, None] = {}
        for episode in self.scored:
            texts.update(dict.fromkeys((episode.task.text, episode.final_observation, episode.model)))
            for turn in episode.turns:
                texts.update(dict.fromkeys((turn.observation, turn.action, *turn.tools)))
        return LogWords(tuple(texts), self.canaries)

    @cached_property
    def _canary_key(self) -> bytes:
        """Depends on every text of every log: who plants text in one log changes it, and cannot know the others."""
        digest = hashlib.blake2b(f"{self.seed}/canaries".encode(), digest_size=32)
        for episode in self.scored:
            texts = [episode.episode_id, episode.task.text, episode.final_observation]
            texts += [text for turn in episode.turns for text in (turn.observation, turn.action, turn.response)]
            for text in texts:
                digest.update(f"{len(text)}:".encode() + text.encode("utf-8", "replace"))
        return digest.digest()

    def canary(self, log: str) -> str:
        """The word in the fence around one log (an episode's id, or a label); who repeats it copied without reading.

        The same inputs give the same words, so that a cached creation asks the same prompts.
        """
        label = log.encode("utf-8", "replace")
        return hashlib.blake2b(label, key=self._canary_key, digest_size=8).hexdigest()

    @cached_property
    def canaries(self) -> frozenset[str]:
        """Every word that may stand in a fence of this creation."""
        tasks = (f"{TASK_FENCE}{episode.task.task_id}" for episode in self.scored)
        logs = (episode.episode_id for episode in self.scored)
        return frozenset(self.canary(log) for log in (*logs, *tasks, ACTIONS_FENCE, OBSERVATIONS_FENCE))


class CreatorState(TypedDict, total=False):
    """The state of the graph."""

    samples: tuple[TaskSample, ...]
    sample: TaskSample
    insights: Annotated[list[Insight], operator.add]
    checks: tuple[CheckFinding, ...]
    diagnosis: Diagnosis
    plan: tuple[Recommendation, ...]
    drafts: tuple[Draft, ...]
    attempt: int
    proposal: Proposal | None
    notes: Annotated[list[str], operator.add]


@runtime_checkable
class Author(Protocol):
    """Whoever reads the evidence and writes skills.

    Each method is one node of the graph and must not change its arguments. A method that cannot do its work raises
    :class:`~reskill_agents.errors.CreatorError`; the graph then lets the offline author do that node and notes why.
    """

    @property
    def name(self) -> str:
        """For reports."""
        ...

    @property
    def rewrites(self) -> bool:
        """Whether a refused draft can come out better the second time."""
        ...

    async def analyse(self, work: CreationWork, sample: TaskSample) -> Insight | None:
        """What separated good from poor episodes of one task; called once a sampled task, concurrently."""
        ...

    async def diagnose(
        self, work: CreationWork, insights: Sequence[Insight], checks: Sequence[CheckFinding]
    ) -> Diagnosis:
        """What goes wrong, and the assertions to keep."""
        ...

    async def recommend(
        self, work: CreationWork, insights: Sequence[Insight], diagnosis: Diagnosis
    ) -> tuple[Recommendation, ...]:
        """At most ``work.config.max_operations`` changes; none when nothing is worth trying."""
        ...

    async def write(self, work: CreationWork, recommendation: Recommendation, problems: Sequence[str]) -> Operation:
        """The operation that carries out ``recommendation``; ``problems`` is what verification found last time."""
        ...


@dataclass(frozen=True)
class CreationReport:
    """How a proposal came about.

    Args:
        author: name of the author asked.
        insights, diagnosis: what the nodes found, in words.
        checks: pass rates of the assertions, by outcome.
        assertions: the induced assertions with their figures, best first.
        notes: what happened on the way (retries, fallbacks with their reason, dropped recommendations).
        quarantined: drafts that only a person may let in, with the reason.
        seconds: wall time.
    """

    author: str
    insights: tuple[str, ...] = ()
    checks: tuple[CheckFinding, ...] = ()
    diagnosis: tuple[str, ...] = ()
    assertions: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    quarantined: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True)
class CreationResult:
    """A proposal, or none when nothing is worth trying, and how it came about.

    Args:
        proposal: to put on trial.
        report: how it came about.
        assertions: to hand to the next creation.
        quarantine: drafts that only a person may let in.
        waiting: a person is asked; ``proposed`` is what about, and ``proposal`` stays empty until the answer.
        proposed: what the creation came to, before any person.
    """

    proposal: Proposal | None
    report: CreationReport
    assertions: tuple[Assertion, ...] = ()
    quarantine: tuple[Draft, ...] = ()
    waiting: bool = False
    proposed: Proposal | None = None
