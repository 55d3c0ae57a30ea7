"""Live trials, one at a time: open, seal windows, judge, carry out. Every action can be repeated after a crash.

The order is always: seal the window -> save the trial -> record the verdict -> promote -> note the ending. Whoever comes
after a crash finds how far it got and goes on there: sealed windows and verdicts are written once, a promotion that
was carried out is not carried out again, and the verdict is a function of the sealed windows only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from math import isfinite

from reskill_agents.coordination import Lease
from reskill_agents.graphs.evolution_ledger import (
    ENDINGS,
    Ending,
    LiveTrial,
    Purpose,
    next_level,
    read_trial,
    trial_history,
)
from reskill_agents.graphs.evolution_method import lifetime_method, removal_method, restore_trial
from reskill_agents.graphs.evolution_policy import Approval, EvolutionPolicy
from reskill_agents.library import Proposal, SkillLibrary
from reskill_agents.live_records import Fact, TrialRecord, VerdictRecord
from reskill_agents.skill_json import proposal_to_json
from reskill_agents.store_protocol import SkillStore
from reskill_agents.trials.verdict import Verdict
from reskill_agents.trials.version_trial import VersionTrial

APPROVALS = "evolution-approval"  # kind of the records that hold people's decisions about trials


class EventKind(StrEnum):
    """What an evolver did in a step."""

    IDLE = "idle"
    OPENED = "opened"
    SEALED = "sealed"
    VERDICT = "verdict"
    ENDED = "ended"
    AWAITING = "awaiting approval"
    MODEL = "model changed"
    CREATED = "created"
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened, in a sentence for people."""

    kind: EventKind
    text: str
    trial: str = ""


@dataclass(frozen=True, slots=True)
class Idea:
    """Something to put on trial; ``offer``: key of the person's proposal it is."""

    purpose: Purpose
    candidate: SkillLibrary
    proposal: Proposal | None
    origin: str
    offer: str = ""


@dataclass
class TrialDesk:
    """Everything that is done to a trial.

    Args:
        store: where it is done.
        policy: how.
        lease: the right to write; the store refuses once it has run out.
    """

    store: SkillStore
    policy: EvolutionPolicy
    lease: Lease | None = None

    def open(self, idea: Idea, trials: Sequence[LiveTrial], model: str, now: float) -> Event:
        """Begin the trial of ``idea`` against the library in force."""
        policy, active = self.policy, self.store.active()
        incumbent = active.library
        level = next_level(trials, policy.false_promotions)
        history = trial_history(trials, model)
        cap = policy.share
        if idea.purpose.removes:
            method = removal_method(max_windows=policy.removal_windows, cap=cap)
        else:
            method = lifetime_method(
                history,
                level=level,
                effect=policy.effect,
                max_windows=policy.max_windows,
                min_outcomes=policy.min_outcomes,
                cap=cap,
            )
        trial = VersionTrial(
            incumbent,
            idea.candidate,
            method=method,
            trial_id=_trial_id(len(trials) + 1, incumbent.digest, idea.candidate.digest, now),
        )
        if active.number == 0:  # so that a rollback can come back to it
            self.store.activate(incumbent, reason="served before the first trial")
        self.store.put_library(incumbent)
        self.store.put_library(idea.candidate)
        record = TrialRecord(
            trial_id=trial.trial_id,
            incumbent=incumbent.digest,
            candidate=idea.candidate.digest,
            model=model,
            opened=now,
            state=trial.to_state(),
            purpose=idea.purpose.value,
            note={
                "proposal": proposal_to_json(idea.proposal) if idea.proposal else None,
                "origin": idea.origin,
                "level": level,
                "offer": idea.offer,
            },
        )
        self.store.save_trial(record, lease=self.lease)
        self.store.append_facts(trial.trial_id, trial.facts(), first=0)
        return Event(
            EventKind.OPENED, f"{idea.purpose} from {idea.origin}: {change_text(idea.proposal)}", trial.trial_id
        )

    def advance(self, live: LiveTrial, now: float) -> tuple[LiveTrial, list[Event]]:
        """Seal the open window if its time has come; record the verdict if one falls."""
        record, events = live.record, list[Event]()
        trial = restore_trial(record.state)
        facts = len(trial.facts())
        for sealed in self.store.sealed_windows(record.trial_id):
            if sealed.window >= trial.steps and trial.verdict() is None:
                trial.record_step(sealed.groups)  # sealed by somebody who died before saving
        if trial.verdict() is None and self._border(record, trial.steps, now):
            sealed = self.store.seal_window(record.trial_id, trial.steps, grace_s=self.policy.grace_s)
            trial.record_step(sealed.groups)
            belief = trial.posterior()
            events.append(
                Event(
                    EventKind.SEALED,
                    f"window {sealed.window + 1}: difference {belief.difference:+.3f}, P(better) {belief.probability:.3f}",
                    record.trial_id,
                )
            )
        if trial.steps > record.window or len(trial.facts()) > facts:
            record = replace(record, state=trial.to_state(), window=trial.steps)
            self.store.save_trial(record, lease=self.lease)
            self.store.append_facts(record.trial_id, trial.facts(), first=0)
        verdict, kept = trial.verdict(), live.verdict
        if verdict is not None:
            kept = self.store.record_verdict(_verdict_record(record, trial, verdict, now), lease=self.lease)
            events.append(Event(EventKind.VERDICT, f"{verdict.outcome}: {verdict.reason}", record.trial_id))
        return replace(live, record=record, verdict=kept), events

    def conclude(self, live: LiveTrial, now: float) -> Event | None:
        """Carry out the verdict, or wait for a person; ``None`` when there is nothing new."""
        verdict = live.verdict
        if verdict is None:
            return None
        removes = live.purpose.removes
        if not verdict.accepted:
            return self.end(live, Ending.KEPT if removes else Ending.REJECTED, verdict.reason, now)
        active = self.store.active().library.digest
        done = active == live.record.candidate and active != live.record.incumbent
        if active != live.record.incumbent and not done:
            return self.end(live, Ending.SUPERSEDED, "another library was put in force meanwhile", now)
        by, reason = "", verdict.reason
        if not done and self._needs_approval(live):
            said = self.store.record(APPROVALS, live.trial_id)
            if said is None:
                return self._await(live, now)
            by, reason = str(said.get("by", "")), str(said.get("reason", "")) or reason
            if said.get("approved") is not True:
                return self.end(live, Ending.REFUSED, f"refused by {by}: {reason}", now)
        self.store.promote(live.trial_id, by=by, reason=reason, lease=self.lease)
        return self.end(live, Ending.REMOVED if removes else Ending.PROMOTED, reason, now, by=by)

    def end(self, live: LiveTrial, ending: Ending, why: str, now: float, *, by: str = "") -> Event:
        """Close the trial and note what became of it; threads keep what they carry."""
        self._close(live)
        self.store.put_record(ENDINGS, live.trial_id, {"ending": ending.value, "why": why, "at": now, "by": by})
        return Event(EventKind.ENDED, f"{ending}: {change_text(live.proposal)}: {why}", live.trial_id)

    def _await(self, live: LiveTrial, now: float) -> Event | None:
        if live.ending is Ending.AWAITING:
            if now - live.record.opened > self.policy.max_age_s:
                return self.end(live, Ending.EXPIRED, "nobody approved it in time", now)
            return None
        self._close(live)
        self.store.put_record(ENDINGS, live.trial_id, {"ending": Ending.AWAITING.value, "why": "", "at": now, "by": ""})
        return Event(EventKind.AWAITING, f"{change_text(live.proposal)}: waits for a person", live.trial_id)

    def _needs_approval(self, live: LiveTrial) -> bool:
        wanted = self.policy.approval
        return wanted is Approval.CHANGES or (wanted is Approval.PROMOTIONS and not live.purpose.removes)

    def _close(self, live: LiveTrial) -> None:
        if live.record.open:
            self.store.save_trial(replace(live.record, open=False), lease=self.lease)

    def _border(self, record: TrialRecord, window: int, now: float) -> bool:
        """Whether the open window may be sealed: enough threads have an outcome, or it is old and not empty.

        Neither looks at who did better.
        """
        seen = self.store.observations(trial=record.trial_id, window=window)
        if not seen:
            return False
        finished = {one.run.thread_id for one in seen if one.outcomes}
        oldest = min(one.run.started for one in seen)
        return len(finished) >= self.policy.window_units or now - oldest >= self.policy.window_s + self.policy.grace_s


def say(store: SkillStore, trial_id: str, *, by: str, reason: str = "", approved: bool = True) -> None:
    """Record what a person says about a trial that waits; the next step carries it out."""
    store.put_record(APPROVALS, trial_id, {"approved": approved, "by": by, "reason": reason})


def current_trial(trials: Sequence[LiveTrial]) -> LiveTrial | None:
    """The trial that is not over: running, or waiting for a person."""
    return next((trial for trial in reversed(trials) if trial.ending in (Ending.RUNNING, Ending.AWAITING)), None)


def reread(store: SkillStore, live: LiveTrial) -> LiveTrial:
    """``live`` as the store has it now."""
    record = store.trial(live.trial_id) or live.record
    return read_trial(record, store.verdict(live.trial_id), store.record(ENDINGS, live.trial_id))


def change_text(proposal: Proposal | None) -> str:
    """``add a-skill, delete another``; for A/A trials, that nothing changes."""
    if proposal is None:
        return "identical libraries"
    return ", ".join(f"{operation.kind} {operation.name}" for operation in proposal.operations)


def _trial_id(number: int, incumbent: str, candidate: str, now: float) -> str:
    mark = hashlib.sha256(f"{incumbent}{candidate}{now!r}".encode()).hexdigest()
    return f"live-{number:04d}-{mark[:8]}"


def _verdict_record(record: TrialRecord, trial: VersionTrial, verdict: Verdict, now: float) -> VerdictRecord:
    belief = verdict.posterior
    numbers: dict[str, float] = {
        "probability": belief.probability,
        "difference": belief.difference,
        "difference_se": belief.difference_se,
        "effect": belief.effect,
        "low": belief.low,
        "high": belief.high,
        "threads_incumbent": verdict.episodes.incumbent,
        "threads_candidate": verdict.episodes.candidate,
        "missing_incumbent": verdict.missing.incumbent,
        "missing_candidate": verdict.missing.candidate,
        "mean_incumbent": verdict.means.incumbent,
        "mean_candidate": verdict.means.candidate,
    }
    facts: dict[str, Fact] = {name: value if isfinite(value) else None for name, value in numbers.items()}
    return VerdictRecord(
        trial_id=record.trial_id,
        accepted=verdict.accepted,
        rule=verdict.rule.value,
        reason=verdict.reason,
        windows=tuple(range(trial.steps)),
        model=record.model,
        at=now,
        facts=facts,
    )
