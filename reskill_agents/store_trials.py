"""Live trials of one tenant: records, sealed windows, verdicts, and the promotion that follows from a verdict."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from reskill_agents.coordination import Lease
from reskill_agents.errors import CoordinationError, StoreError
from reskill_agents.live_records import (
    Activation,
    ActivationKind,
    Groups,
    Json,
    RunOutcomes,
    SealedWindow,
    TrialRecord,
    VerdictRecord,
)
from reskill_agents.store_runs import RunLog
from reskill_agents.store_serving import Serving
from reskill_agents.store_tenant import to_json
from reskill_agents.trials.facts import TrialFact, to_json_line
from reskill_agents.trials.units import UnitOutcome, window_groups


class TrialBook(RunLog, Serving):
    """Everything about trials. One process at a time writes it: the one that holds the lease."""

    def lease(self, holder: str, seconds: float) -> Lease | None:
        """See ``SkillStore``."""
        return self._database.coordinator.acquire(self._lock_name, holder, seconds)

    def release(self, lease: Lease) -> None:
        """See ``SkillStore``."""
        self._database.coordinator.release(lease)

    def save_trial(self, trial: TrialRecord, *, lease: Lease | None = None) -> None:
        """See ``SkillStore``."""
        for digest in (trial.incumbent, trial.candidate):
            self.library(digest)
        with self._locked():
            self._check(lease)
            if trial.open and self.verdict(trial.trial_id) is not None:
                raise StoreError(f"trial {trial.trial_id!r} has its verdict; it cannot be opened again")
            self._put(*self._trial_entries(trial))
            self._invalidate()

    def _trial_entries(self, trial: TrialRecord) -> list[tuple[tuple[str, ...], str, dict[str, Any]]]:
        value = to_json(trial)
        entries = [(self._path("trials"), trial.trial_id, value)]
        pointer = self._get(TrialRecord, self._path("active"), "trial")
        if trial.open or (pointer is not None and pointer.trial_id == trial.trial_id):
            entries.append((self._path("active"), "trial", value))
        return entries

    def trial(self, trial_id: str) -> TrialRecord | None:
        """See ``SkillStore``."""
        return self._get(TrialRecord, self._path("trials"), trial_id)

    def trials(self) -> list[TrialRecord]:
        """See ``SkillStore``."""
        found = self._list(TrialRecord, self._path("trials"))
        return sorted(found, key=lambda trial: (trial.opened, trial.trial_id))

    # Windows

    def seal_window(self, trial_id: str, window: int, *, grace_s: float = 0.0) -> SealedWindow:
        """See ``SkillStore``."""
        place = self._path("windows", trial_id), f"{window:09d}"
        with self._locked():  # no outcome can be recorded meanwhile
            kept = self._get(SealedWindow, *place)
            if kept is not None:
                return kept
            if self.trial(trial_id) is None:
                raise StoreError(f"no trial {trial_id!r} in namespace {self.namespace!r}")
            now = self._now()
            groups = _groups(self.observations(trial=trial_id, window=window), trial_id, window, now - grace_s)
            sealed = SealedWindow(trial_id, window, now, groups)
            self._put((*place, to_json(sealed)))
        return sealed

    def sealed_windows(self, trial_id: str) -> list[SealedWindow]:
        """See ``SkillStore``."""
        return sorted(self._list(SealedWindow, self._path("windows", trial_id)), key=lambda one: one.window)

    # Verdicts

    def record_verdict(self, verdict: VerdictRecord, *, lease: Lease | None = None) -> VerdictRecord:
        """See ``SkillStore``."""
        with self._locked():
            self._check(lease)
            kept = self.verdict(verdict.trial_id)
            if kept is not None:
                if replace(kept, at=verdict.at) != verdict:
                    raise StoreError(f"trial {verdict.trial_id!r} has another verdict already")
                return kept
            trial = self.trial(verdict.trial_id)
            if trial is None:
                raise StoreError(f"no trial {verdict.trial_id!r} in namespace {self.namespace!r}")
            sealed = {one.window for one in self.sealed_windows(verdict.trial_id)}
            unsealed = [window for window in verdict.windows if window not in sealed]
            if unsealed or list(verdict.windows) != sorted(set(verdict.windows)):
                raise StoreError(
                    f"a verdict names sealed windows in order; it names {verdict.windows}, sealed: {sealed}"
                )
            self._put(
                (self._path("verdicts"), verdict.trial_id, to_json(verdict)),
                *self._trial_entries(replace(trial, open=False)),
            )
            self._invalidate()
        return verdict

    def verdict(self, trial_id: str) -> VerdictRecord | None:
        """See ``SkillStore``."""
        return self._get(VerdictRecord, self._path("verdicts"), trial_id)

    def verdicts(self) -> list[VerdictRecord]:
        """See ``SkillStore``."""
        found = self._list(VerdictRecord, self._path("verdicts"))
        return sorted(found, key=lambda verdict: (verdict.at, verdict.trial_id))

    def promote(self, trial_id: str, *, by: str = "", reason: str = "", lease: Lease | None = None) -> Activation:
        """See ``SkillStore``."""
        with self._locked():
            self._check(lease)
            for entry in self.history():
                if entry.kind is ActivationKind.VERDICT and entry.trial == trial_id:
                    return entry
            trial, verdict = self.trial(trial_id), self.verdict(trial_id)
            if trial is None or verdict is None or not verdict.accepted:
                raise StoreError(f"no verdict accepted the candidate of trial {trial_id!r}")
            now = self._newest()
            if now.frozen:
                raise StoreError("frozen: nothing is promoted until unfreeze")
            if now.library != trial.incumbent:
                raise StoreError(f"trial {trial_id!r} was against {trial.incumbent}; {now.library} is served now")
            return self._append(
                ActivationKind.VERDICT, trial.candidate, by=by, reason=reason or verdict.reason, trial=trial_id
            )

    def _check(self, lease: Lease | None) -> None:
        if lease is not None and not self._database.coordinator.holds(lease):
            raise CoordinationError(f"{lease.holder!r} no longer holds the lease {lease.name!r}; nothing was written")

    # Facts and what else the evolver keeps

    def append_facts(self, trial_id: str, facts: Sequence[TrialFact], *, first: int) -> None:
        """See ``SkillStore``."""
        path = self._path("facts", trial_id)
        numbered = [(path, f"{first + index:09d}", _fact(fact)) for index, fact in enumerate(facts)]
        if not numbered:
            return
        with self._locked():
            kept = self._get_items([(path, key) for path, key, _ in numbered])
            fresh = [entry for entry, item in zip(numbered, kept, strict=True) if item is None]
            if fresh:
                self._put(*fresh)

    def facts(self, trial_id: str) -> list[Json]:
        """See ``SkillStore``."""
        return [item.value for item in sorted(self._items(self._path("facts", trial_id)), key=lambda item: item.key)]

    def put_record(self, kind: str, key: str, value: Json) -> None:
        """See ``SkillStore``."""
        self._put((self._path("records", kind), key, dict(value)))

    def record(self, kind: str, key: str) -> Json | None:
        """See ``SkillStore``."""
        [item] = self._get_items([(self._path("records", kind), key)])
        return None if item is None else item.value

    def records(self, kind: str) -> dict[str, Json]:
        """See ``SkillStore``."""
        return {item.key: item.value for item in sorted(self._items(self._path("records", kind)), key=lambda i: i.key)}


def _groups(observed: Sequence[RunOutcomes], trial: str, window: int, ended: float) -> Groups:
    """One value a thread; a thread seen under two arms or strata says nothing and is left out."""
    threads: dict[str, list[RunOutcomes]] = {}
    for one in observed:
        threads.setdefault(one.run.thread_id, []).append(one)
    outcomes: list[UnitOutcome] = []
    for runs in threads.values():
        given = runs[0].run.assignment
        if given is None or any((one.run.arm, one.run.stratum) != (given.arm, given.stratum) for one in runs):
            continue
        scores = [outcome.score for one in runs for outcome in one.outcomes if not outcome.late]
        if scores:
            outcomes.extend(UnitOutcome(given, score) for score in scores)
        elif runs[-1].run.started <= ended:
            outcomes.append(UnitOutcome(given, None))
    return tuple(tuple(group) for group in window_groups(outcomes, trial, window))


def _fact(fact: TrialFact) -> dict[str, Any]:
    value = json.loads(to_json_line(fact))
    assert isinstance(value, dict)
    return value
