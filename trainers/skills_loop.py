"""The skills' side of training: ask the creator, try what it proposes, adopt or drop it, prune.

Between steps ``begin_step`` carries out what is due (a verdict, a proposal that joins, a new round); ``plan`` gives
every rollout its library before sampling; ``record`` takes the evidence. A verdict is a pure function of recorded
evidence and takes effect in the ``begin_step`` after it, behind the checkpoint that holds the evidence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from reskill_agents.assertions import Assertion
from reskill_agents.creator_usage import NO_USAGE, CreatorUsage, usage_of
from reskill_agents.environment import Task
from reskill_agents.episodes import Episode
from reskill_agents.errors import ProposalError
from reskill_agents.graphs.creator_state import Author, CreationConfig, CreationResult, PastVerdict
from reskill_agents.library import Proposal, SkillLibrary
from reskill_agents.packs import Fact, Lineage
from reskill_agents.reservoir import Reservoir
from reskill_agents.trainers.config import RunConfig
from reskill_agents.trainers.creation import Creation
from reskill_agents.trainers.episode_memory import EpisodeMemory
from reskill_agents.trainers.groups import GroupPlan, Member, PlayedGroup, Role
from reskill_agents.trainers.journal import Journal
from reskill_agents.trainers.lineage import adopted
from reskill_agents.trainers.methods import traits_of, trial_method
from reskill_agents.trainers.progress import ProposalEvent, TrialPurpose, TrialState, VerdictEvent
from reskill_agents.trainers.pruning import Pruner, removal
from reskill_agents.trainers.rewards import EpisodeFunction
from reskill_agents.trials import Arm, TrialHistory, VersionTrial


@dataclass
class OpenTrial:
    """A trial under way: why, of what, with which candidate."""

    trial: VersionTrial
    purpose: TrialPurpose
    proposal: Proposal | None
    candidate: SkillLibrary


@dataclass
class SkillsLoop:
    """All about skills between and during steps. See the module.

    Args:
        config: the run's settings.
        journal: where events go.
        outcome: the trial outcome of an episode.
        author: who writes; ``None``: the offline author.
        waited_s, asked: of the step begun last: seconds waited for a creation, and what it asked of a model.
    """

    config: RunConfig
    journal: Journal
    outcome: EpisodeFunction
    author: Author | None = None
    active: SkillLibrary = field(default_factory=SkillLibrary)
    version: int = 0
    lineage: dict[str, Lineage] = field(default_factory=dict)
    since: dict[str, int] = field(default_factory=dict)
    open_trial: OpenTrial | None = None
    pending: Creation | None = None
    history: TrialHistory = field(default_factory=TrialHistory)
    verdicts: list[PastVerdict] = field(default_factory=list)
    assertions: tuple[Assertion, ...] = ()
    creations: int = 0
    trials: int = 0
    next_creation: int = 0
    waited_s: float = 0.0
    asked: CreatorUsage = NO_USAGE
    _booked: CreatorUsage = NO_USAGE

    def __post_init__(self) -> None:
        self.traits = traits_of(self.config)
        self.reservoir = Reservoir(self.config.creator.reservoir)
        self.pruner = Pruner(self.outcome, self.config.seed)
        self.memory = EpisodeMemory(self.config.memory, self.outcome) if self.traits.remembers else None
        self._pruning_step = False
        if self.active.skills:  # what a run starts with may be pruned like what it adopts
            names = [skill.name for skill in self.active]
            self.pruner.screen = self.pruner.screen.for_library(names)
            self.since = dict.fromkeys(names, 0)

    @property
    def verdict_due(self) -> bool:
        """Whether the trial is over and its verdict not yet in force: checkpoint now."""
        return self.open_trial is not None and self.open_trial.trial.verdict() is not None

    @property
    def creation_config(self) -> CreationConfig:
        """What the creator is told."""
        settings = self.config.creator
        return CreationConfig(
            capacity=settings.capacity,
            gate=self.traits.gate,
            general_triggers=settings.general_triggers,
            assertions=settings.assertions,
        )

    async def begin_step(self, step: int) -> None:
        """Carry out what is due before ``step``."""
        self.waited_s, self.asked = 0.0, NO_USAGE
        self._conclude(step)
        if self.pending is not None and step >= self.pending.joins_at:
            await self._join(step)
        self._try_removal(step)
        if self._may_create(step):
            self._ask(step)

    def finish(self, step: int) -> None:
        """After the last step: a verdict that fell in it takes effect; an open trial stays undecided."""
        self._conclude(step)

    def resume(self) -> None:
        """Start again what was under way when the checkpoint was written."""
        if self.pending is not None:
            self.pending.start(self.author, self.creation_config)

    def is_validation_round(self, step: int) -> bool:
        """Method ``decoupled``: whether this step's rollouts are spent on held-out tasks."""
        every = self.config.creator.decoupled_every
        return self.traits.validation_rounds and step % every == every - 1

    def plan(self, step: int, tasks: Sequence[Task], sizes: Sequence[int] | None = None) -> list[GroupPlan]:
        """Every rollout's library, fixed before sampling (invariant 3). Nothing is trained while weights are frozen.

        ``sizes``: of the groups; default: all of ``rollout.group_size``.
        """
        plans = self._plans(step, tasks, sizes or [self.config.rollout.group_size] * len(tasks))
        return [replace(plan, trained=False) for plan in plans] if self.config.update.frozen else plans

    def _plans(self, step: int, tasks: Sequence[Task], sizes: Sequence[int]) -> list[GroupPlan]:
        groups = list(zip(tasks, sizes, strict=True))
        self._pruning_step = False
        if self.is_validation_round(step):
            validator = (Member(Role.VALIDATION, self.active),)
            return [GroupPlan(task, validator * size, trained=False) for task, size in groups]
        if self.open_trial is not None:
            return [GroupPlan(task, self._trial_members(self.open_trial, size)) for task, size in groups]
        masked = self.pruner.plan(tasks, sizes, self.active) if self.traits.prunes else None
        self._pruning_step = masked is not None
        return masked or [GroupPlan(task, (Member(Role.ACTIVE, self._carried(task)),) * size) for task, size in groups]

    def _carried(self, task: Task) -> SkillLibrary:
        return self.active if self.memory is None else self.memory.library_for(task)

    def plan_more(self, step: int, tasks: Sequence[Task]) -> list[GroupPlan]:
        """More groups of the same step, for groups without variance; none where their rollouts have another purpose."""
        if self._pruning_step or self.is_validation_round(step):
            return []
        if self.open_trial is not None or not self.traits.prunes:
            return self.plan(step, tasks)
        size, trained = self.config.rollout.group_size, not self.config.update.frozen
        return [GroupPlan(task, (Member(Role.ACTIVE, self._carried(task)),) * size, trained) for task in tasks]

    def record(self, step: int, played: Sequence[PlayedGroup]) -> None:
        """Take the evidence of a step: trial and reservoir (episodes of evaluation splits never get here)."""
        wanted = self.is_validation_round(step) or not self.traits.validation_rounds
        if self.traits.creates and wanted:
            self.reservoir.add(*(_without_tokens(e) for one in played for e in one.group.episodes))
        if self.memory is not None:
            self.memory.record(played)
        self.pruner.record(played, pruning_step=self._pruning_step)
        if self.open_trial is not None:
            groups = [
                [(member.arm, self.outcome(episode)) for member, episode in one.pairs if member.arm is not None]
                for one in played
            ]
            if not self.config.trial.paired and self.open_trial.purpose is not TrialPurpose.PRUNING:
                groups = [[pair for group in groups for pair in group]]
            self.open_trial.trial.record_step(groups)
            self.journal.trial_fact(step, self.open_trial.trial.facts()[self._last_step_fact()])

    def trial_state(self) -> TrialState | None:
        """The trial under way, for the metrics."""
        if self.open_trial is None:
            return None
        trial, belief = self.open_trial.trial, self.open_trial.trial.posterior()
        return TrialState(
            trial.trial_id,
            self.open_trial.purpose,
            belief.probability,
            belief.effect,
            belief.low,
            belief.high,
            trial.steps,
        )

    def _last_step_fact(self) -> int:
        return -2 if self.verdict_due else -1

    def _trial_members(self, open_trial: OpenTrial, size: int) -> tuple[Member, ...]:
        libraries = {Arm.INCUMBENT: self.active, Arm.CANDIDATE: open_trial.candidate}
        roles = {Arm.INCUMBENT: Role.ACTIVE, Arm.CANDIDATE: Role.CANDIDATE}
        return tuple(Member(roles[arm], libraries[arm], arm) for arm in open_trial.trial.assign(size))

    def _may_create(self, step: int) -> bool:
        settings = self.config.creator
        if not self.traits.creates or self.pending is not None or self.open_trial is not None:
            return False
        if self.traits.once and self.version > 0:
            return False
        if self.traits.validation_rounds and not self.is_validation_round(step - 1):
            return False
        enough = len(self.reservoir) >= (1 if self.traits.validation_rounds else settings.warm_up)
        return enough and step >= self.next_creation and self.creations < settings.max_creations

    def _ask(self, step: int) -> None:
        if self.config.aa:
            self._open_trial(step, TrialPurpose.AA, None, self.active)
            return
        self.creations += 1
        self.pending = Creation(
            self.creations,
            step,
            step + self.config.creator.join_after,
            self.reservoir.episodes,
            self.active,
            tuple(self.verdicts),
            self.config.seed * 1_000_003 + self.creations,
            self.assertions,
        )
        self.pending.start(self.author, self.creation_config)

    async def _join(self, step: int) -> None:
        creation = self.pending
        assert creation is not None
        deadline = None if self.config.reproducible else self.config.creator.deadline_s
        result, self.waited_s = await creation.join(deadline)
        self.pending = None
        used = usage_of(self.author)
        self.asked, self._booked = used - self._booked, used
        self.assertions = result.assertions
        self.next_creation = step + self.config.creator.every
        before, notes = self.active, list(result.report.notes)
        candidate = self._apply(result, notes)
        proposal = result.proposal if candidate is not None else None
        tried = proposal is not None and self.traits.tried
        event = ProposalEvent(
            creation.number,
            creation.asked_at,
            step,
            proposal,
            notes,
            proposal is not None and not tried,
            self._next_trial_id if tried else "",
            before,
            candidate or before,
        )
        self.journal.proposal(step, event, result.report)
        if proposal is None or candidate is None:
            return
        if tried:
            self._open_trial(step, TrialPurpose.CREATION, proposal, candidate)
        else:
            self._adopt(step, proposal, candidate, {"untested": True, "method": self.config.method.value})

    @property
    def _next_trial_id(self) -> str:
        return f"trial-{self.trials + 1:03d}"

    def _try_removal(self, step: int) -> None:
        if not self.traits.prunes or self.open_trial is not None or self.pending is not None:
            return
        weakest = self.pruner.weakest(step, self.since, min_age=self.config.pruning.min_age)
        if weakest is not None:
            name, reason = weakest
            self._open_trial(step, TrialPurpose.PRUNING, removal(name, reason), self.active.without(name))

    def _apply(self, result: CreationResult, notes: list[str]) -> SkillLibrary | None:
        if result.proposal is None:
            return None
        try:
            return result.proposal.apply(self.active, capacity=self.config.creator.capacity)
        except ProposalError as error:
            notes.append(f"the proposal does not apply: {error}")
            return None

    def _open_trial(self, step: int, purpose: TrialPurpose, proposal: Proposal | None, candidate: SkillLibrary) -> None:
        trial = VersionTrial(
            self.active,
            candidate,
            method=trial_method(self.config, purpose, self.history),
            seed=self.config.seed,
            history=self.history,
            trial_id=self._next_trial_id,
        )
        self.trials += 1
        self.open_trial = OpenTrial(trial, purpose, proposal, candidate)
        self.journal.trial_opened(step, trial.facts()[0], purpose, candidate)

    def _conclude(self, step: int) -> None:
        """Let a fallen verdict take effect."""
        if self.open_trial is None:
            return
        ended, verdict = self.open_trial, self.open_trial.trial.verdict()
        if verdict is None:
            return
        self.open_trial = None
        self.next_creation = max(self.next_creation, step)
        if ended.purpose is not TrialPurpose.PRUNING:
            self.history.add(ended.trial.finished())
        elif not verdict.accepted and ended.proposal is not None:
            self.pruner.screen.kept(ended.proposal.operations[0].name)
        if ended.proposal is not None and (verdict.accepted or ended.purpose is TrialPurpose.CREATION):
            self.verdicts.append(PastVerdict(ended.proposal, verdict.accepted, verdict.reason, step))
            if verdict.accepted:
                evidence: dict[str, Fact] = {
                    "trial": ended.trial.trial_id,
                    "probability": verdict.posterior.probability,
                    "difference": verdict.posterior.difference,
                    "episodes": int(sum(verdict.episodes)),
                    "step": step,
                }
                self._adopt(step, ended.proposal, ended.candidate, evidence)
        self.journal.verdict(
            VerdictEvent(step, ended.trial.trial_id, ended.purpose, verdict, ended.proposal, self.active, self.version)
        )

    def _adopt(self, step: int, proposal: Proposal, library: SkillLibrary, evidence: Mapping[str, Fact]) -> None:
        self.lineage = adopted(self.lineage, self.active, proposal, evidence)
        self.active = library
        self.version += 1
        self.pruner.adopt(library, proposal)
        self.since = {skill.name: self.since.get(skill.name, step) for skill in library}
        self.journal.library(step, self.version, library, self.lineage)


def _without_tokens(episode: Episode) -> Episode:
    """The creator reads no token ids; without them the reservoir is small, and the same after a resume."""
    return replace(episode, turns=tuple(replace(turn, call=None) for turn in episode.turns))
