"""What follows from the trials in a live store: lessons for the next trial, and what is proven for which model.

Nothing here is kept apart: everything is a function of the trials, their verdicts and their notes, so an evolver that is
killed and started anew knows what the dead one knew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from reskill_agents.errors import ReSkillError
from reskill_agents.graphs.creator_state import PastVerdict
from reskill_agents.graphs.evolution_method import restore_trial, trial_level
from reskill_agents.library import Proposal, SkillLibrary
from reskill_agents.live_records import Json, TrialRecord, VerdictRecord
from reskill_agents.skill import Skill
from reskill_agents.skill_json import proposal_from_json
from reskill_agents.store_protocol import SkillStore
from reskill_agents.trials.history import TrialHistory
from reskill_agents.trials.verdict import Rule


class Purpose(StrEnum):
    """Why a live trial runs."""

    PROPOSAL = "proposal"
    REMOVAL = "removal"
    RETRIAL = "retrial"  # a removal trial because the app's model changed
    AA = "aa"

    @property
    def removes(self) -> bool:
        """Whether the candidate is the library without one skill."""
        return self in (Purpose.REMOVAL, Purpose.RETRIAL)


class Ending(StrEnum):
    """What became of a trial."""

    RUNNING = "running"
    AWAITING = "awaiting approval"
    PROMOTED = "promoted"
    REMOVED = "removed"
    REJECTED = "rejected"
    KEPT = "kept"  # a removal trial: the skill stays
    REFUSED = "refused"  # by a person, after it had won
    EXPIRED = "expired"
    SUPERSEDED = "superseded"  # another library was put in force by a person
    MODEL_CHANGED = "model changed"


@dataclass(frozen=True)
class LiveTrial:
    """A trial of the store, read: its record, verdict (if any), proposal and libraries."""

    record: TrialRecord
    verdict: VerdictRecord | None
    proposal: Proposal | None
    purpose: Purpose
    ending: Ending
    origin: str
    why: str = ""

    @property
    def trial_id(self) -> str:
        """Its id."""
        return self.record.trial_id

    @property
    def target(self) -> str:
        """The skill that a removal trial leaves out; empty for others."""
        return self.proposal.operations[0].name if self.purpose.removes and self.proposal else ""

    @property
    def counted(self) -> bool:
        """Whether it spent error of the app's life."""
        return not self.purpose.removes


ENDINGS = "evolution-ending"  # kind of the records that hold what became of each trial


def read_trials(store: SkillStore) -> list[LiveTrial]:
    """All trials of ``store``, oldest first."""
    verdicts = {verdict.trial_id: verdict for verdict in store.verdicts()}
    endings = store.records(ENDINGS)
    return [
        read_trial(record, verdicts.get(record.trial_id), endings.get(record.trial_id)) for record in store.trials()
    ]


def read_trial(record: TrialRecord, verdict: VerdictRecord | None, ending: Json | None) -> LiveTrial:
    """``record`` with its note read."""
    proposal = record.note.get("proposal")
    return LiveTrial(
        record,
        verdict,
        proposal_from_json(proposal) if proposal else None,
        Purpose(record.purpose),
        Ending(str(ending["ending"])) if ending else Ending.RUNNING,
        str(record.note.get("origin", "")),
        str(ending.get("why", "")) if ending else "",
    )


def next_level(trials: Sequence[LiveTrial], alpha: float) -> float:
    """The level at which the next trial of something new is tested."""
    counted = [trial for trial in trials if trial.counted]
    promotions = sum(trial.verdict is not None and trial.verdict.accepted for trial in counted)
    return trial_level(alpha, len(counted) + 1, promotions)


def trial_history(trials: Sequence[LiveTrial], model: str) -> TrialHistory:
    """The finished trials of new things under ``model``."""
    history = TrialHistory()
    for trial in trials:
        if trial.purpose is Purpose.PROPOSAL and trial.verdict is not None and trial.record.model == model:
            try:
                history.add(restore_trial(trial.record.state).finished())
            except ReSkillError:
                continue  # of an older version: it teaches nothing
    return history


def past_verdicts(trials: Sequence[LiveTrial]) -> tuple[PastVerdict, ...]:
    """What the creator is told about earlier proposals: rejected, adopted, adopted and removed again.

    ``step`` is the number of verdicts before it; see :func:`epoch_of`.
    """
    ended = [trial for trial in trials if trial.verdict is not None]
    found = []
    for step, trial in enumerate(ended):
        if trial.proposal is None or trial.verdict is None:
            continue
        accepted = trial.verdict.accepted and trial.ending is not Ending.REFUSED
        if trial.purpose is Purpose.PROPOSAL or accepted:
            found.append(PastVerdict(trial.proposal, accepted, trial.verdict.reason, step))
    return tuple(found)


def verdict_times(trials: Sequence[LiveTrial]) -> list[float]:
    """When each verdict fell; an episode's step is the number of them before it started."""
    return [trial.verdict.at for trial in trials if trial.verdict is not None]


def tried_pairs(trials: Sequence[LiveTrial], model: str) -> set[tuple[str, str]]:
    """(incumbent, candidate) of the verdicts under ``model``."""
    return {(t.record.incumbent, t.record.candidate) for t in trials if t.verdict and t.record.model == model}


@dataclass(frozen=True)
class Standing:
    """What is known about one skill in force.

    Args:
        skill: the skill.
        proven: model -> the trial that showed that it helps under that model (alone, or in the bundle it came with).
        tested: model -> number of verdicts that had fallen when its last removal trial ended.
    """

    skill: Skill
    proven: Mapping[str, str]
    tested: Mapping[str, int]

    def proven_for(self, model: str) -> bool:
        """Whether a verdict under ``model`` speaks for it."""
        return model in self.proven


def standings(store: SkillStore, trials: Sequence[LiveTrial], library: SkillLibrary) -> list[Standing]:
    """The standing of every skill of ``library``, in its order."""
    proven: dict[str, dict[str, str]] = {skill.digest: {} for skill in library}
    tested: dict[str, dict[str, int]] = {skill.digest: {} for skill in library}
    ended = [trial for trial in trials if trial.verdict is not None]
    for number, trial in enumerate(ended, 1):
        if trial.verdict is None:
            continue
        incumbent = {skill.name: skill.digest for skill in store.library(trial.record.incumbent)}
        model = trial.record.model
        if trial.purpose.removes:
            digest = incumbent.get(trial.target, "")
            if digest in proven:
                tested[digest][model] = number
                if not trial.verdict.accepted and trial.verdict.rule == Rule.NOT_BETTER:
                    proven[digest][model] = trial.trial_id
        elif trial.verdict.accepted and trial.purpose is Purpose.PROPOSAL:
            for skill in store.library(trial.record.candidate):
                if skill.digest in proven and skill.digest not in incumbent.values():
                    proven[skill.digest][model] = trial.trial_id
    return [Standing(skill, proven[skill.digest], tested[skill.digest]) for skill in library]


def to_leave_out(known: Sequence[Standing], model: str, verdicts: int, *, rest: int, retrial: bool) -> list[Standing]:
    """The skills whose worth may be tested by leaving them out, the least known first.

    Args:
        known: of the library in force.
        model: the app's present model.
        verdicts: that have fallen so far.
        rest: verdicts for which a tested skill is left alone.
        retrial: only skills that were proven under another model and never tested under this one.
    """
    fit: list[tuple[bool, int, int]] = []
    for index, standing in enumerate(known):
        last = standing.tested.get(model)
        if retrial and (standing.proven_for(model) or not standing.proven or last is not None):
            continue
        if last is not None and verdicts - last < rest:
            continue
        fit.append((standing.proven_for(model), last if last is not None else -1, index))
    return [known[index] for _, _, index in sorted(fit)]


def often_fired(store: SkillStore, library: SkillLibrary, *, least: int, share: float) -> frozenset[str]:
    """Skills whose text entered at least ``least`` of the runs that carried ``library``, and this share of them.

    Others are never left out: a rare skill may be vital where it fires, and a mean over all threads cannot see that.
    """
    runs = [run for run in store.runs() if run.library == library.digest]
    fired = Counter(name for run in runs for name in run.skills)
    return frozenset(name for name, count in fired.items() if count >= max(least, share * len(runs)))
