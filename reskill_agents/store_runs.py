"""Runs, threads, outcomes and episodes of one tenant."""

from __future__ import annotations

import asyncio
import math
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace

from reskill_agents.episode_logs import episode_from_json, episode_to_json
from reskill_agents.episodes import Episode
from reskill_agents.errors import OutcomeConflictError, StoreError, UnknownRunError
from reskill_agents.live_records import Capture, Fact, Json, Outcome, Run, RunOutcomes, ThreadPin
from reskill_agents.store_tenant import Path, Tenant, from_json, to_json

# What is known only when the run ends.
_GROWS = ("skills", "skill_tokens", "model", "calls", "prompt_tokens", "answer_tokens", "cached_tokens")
_NO_TRIAL = "~none"  # no trial id is encoded to this


class RunLog(Tenant):
    """What the app tells: runs, threads, outcomes, conversations."""

    # Runs and threads

    def pin_thread(self, pin: ThreadPin) -> ThreadPin:
        """See ``SkillStore``."""
        with self._locked():
            kept = self.thread_pin(pin.thread_id)
            if kept is not None:
                return kept
            self._put((self._path("pins"), pin.thread_id, to_json(pin)))
        return pin

    def thread_pin(self, thread_id: str) -> ThreadPin | None:
        """See ``SkillStore``."""
        return self._get(ThreadPin, self._path("pins"), thread_id)

    def record_run(self, run: Run) -> None:
        """See ``SkillStore``."""
        if not run.run_id or not run.thread_id:
            raise StoreError("a run needs a run id and a thread id")
        kept = self.run(run.run_id)
        if kept == run:
            return
        if kept is not None and replace(kept, **{name: getattr(run, name) for name in _GROWS}) != run:
            raise StoreError(f"run {run.run_id!r} was recorded before under other conditions")
        self._put(
            (self._path("runs"), run.run_id, to_json(run)),
            (self._path("threads", run.thread_id), run.run_id, {"started": run.started}),
        )

    def run(self, run_id: str) -> Run | None:
        """See ``SkillStore``."""
        return self._get(Run, self._path("runs"), run_id)

    def runs(self, *, since: float = 0.0) -> list[Run]:
        """See ``SkillStore``."""
        return _by_start(run for run in self._list(Run, self._path("runs")) if run.started >= since)

    def _thread_runs(self, thread_id: str) -> list[Run]:
        keys = [(self._path("runs"), item.key) for item in self._items(self._path("threads", thread_id))]
        return _by_start(from_json(Run, item.value) for item in self._get_items(keys) if item) if keys else []

    # Outcomes

    def record_outcome(
        self,
        subject: str,
        *,
        score: float | None = None,
        success: bool | None = None,
        metadata: Mapping[str, Fact] | None = None,
    ) -> Outcome:
        """See ``SkillStore``."""
        value = _score(score, success)
        facts = self._facts(metadata or {})
        with self._locked():
            run = self.run(subject)
            whole = run is None
            if run is None:
                runs = self._thread_runs(subject)
                if not runs:
                    raise UnknownRunError(f"no run or thread {subject!r} was recorded in {self._shown()}")
                run = runs[0]
            place = self._outcome_path(run), outcome_key(subject, whole)
            kept, sealed = self._get_items(
                [place, (self._path("windows", run.trial or _NO_TRIAL), _number(run.window))]
            )
            if kept is not None:
                first = from_json(Outcome, kept.value)
                if first.score != value:
                    raise OutcomeConflictError(
                        f"{subject!r} has the outcome {first.score:g} already; {value:g} was refused"
                    )
                return first
            late = bool(run.trial) and sealed is not None
            outcome = Outcome(subject, run.run_id, value, self._now(), late, facts, whole)
            self._put((*place, to_json(outcome)))
        return outcome

    async def arecord_outcome(
        self,
        subject: str,
        *,
        score: float | None = None,
        success: bool | None = None,
        metadata: Mapping[str, Fact] | None = None,
    ) -> Outcome:
        """See ``SkillStore``."""
        return await asyncio.to_thread(
            lambda: self.record_outcome(subject, score=score, success=success, metadata=metadata)
        )

    def observations(
        self, *, trial: str | None = None, window: int | None = None, since: float = 0.0
    ) -> list[RunOutcomes]:
        """See ``SkillStore``."""
        only: dict[str, object] = {} if trial is None else {"trial": trial}
        if window is not None:
            only["window"] = window
        outcomes: dict[str, list[Outcome]] = defaultdict(list)
        for outcome in self._outcomes(trial, window):
            outcomes[outcome.run_id].append(outcome)
        runs = _by_start(run for run in self._list(Run, self._path("runs"), only) if run.started >= since)
        return [
            RunOutcomes(run, tuple(sorted(outcomes[run.run_id], key=lambda one: (one.recorded, one.whole_thread))))
            for run in runs
        ]

    def _outcomes(self, trial: str | None, window: int | None) -> list[Outcome]:
        path = self._path("outcomes")
        if trial:
            path = self._path("outcomes", trial, *(() if window is None else (_number(window),)))
        elif trial == "":
            path = (*path, _NO_TRIAL)
        return self._list(Outcome, path)

    def _outcome_path(self, run: Run) -> Path:
        if run.trial:
            return self._path("outcomes", run.trial, _number(run.window))
        day = time.strftime("%Y-%m-%d", time.gmtime(run.started))
        return (*self._path("outcomes"), _NO_TRIAL, day)

    def _facts(self, metadata: Mapping[str, Fact]) -> dict[str, Fact]:
        for key, value in metadata.items():
            if not isinstance(key, str) or not isinstance(value, str | int | float | bool | None):
                raise StoreError(f"metadata holds flat facts by name, got {key!r}: {value!r}")
            if isinstance(value, float) and not math.isfinite(value):
                raise StoreError(f"metadata {key!r} is not finite")
        change = self._settings.redact_metadata
        if change is None:
            return dict(metadata)
        return {key: change(value) if isinstance(value, str) else value for key, value in metadata.items()}

    def _shown(self) -> str:
        return f"namespace {self._namespace!r}"

    # Episodes

    def record_episode(self, run_id: str, episode: Episode) -> bool:
        """See ``SkillStore``."""
        if self._settings.capture is Capture.OUTCOMES_ONLY:
            return False
        redact = self._settings.redact
        kept = episode if redact is None else redact(episode)
        value = {"at": self._now(), "episode": episode_to_json(replace(kept, episode_id=run_id))}
        with self._locked():  # not after its thread was forgotten
            if self.run(run_id) is None:
                raise UnknownRunError(f"no run {run_id!r} was recorded in {self._shown()}")
            self._put((self._path("episodes"), run_id, value))
        return True

    def episodes(self, *, since: float = 0.0) -> list[Episode]:
        """See ``SkillStore``."""
        kept = [item.value for item in self._items(self._path("episodes"))]
        wanted = sorted((value for value in kept if value["at"] >= since), key=lambda value: value["at"])
        if not wanted:
            return []
        own: dict[str, list[float]] = defaultdict(list)
        threads: dict[str, list[float]] = defaultdict(list)
        seen = self.observations()
        for one in seen:
            for outcome in one.outcomes:
                (threads[one.run.thread_id] if outcome.whole_thread else own[one.run.run_id]).append(outcome.score)
        runs = {one.run.run_id: one.run for one in seen}
        return [_with_outcome(value["episode"], runs, own, threads) for value in wanted]


def _with_outcome(
    value: Json, runs: Mapping[str, Run], own: Mapping[str, list[float]], threads: Mapping[str, list[float]]
) -> Episode:
    episode = episode_from_json(value)
    run = runs.get(episode.episode_id)
    if run is None:
        return episode
    scores = own.get(run.run_id) or threads.get(run.thread_id)
    return replace(
        episode,
        score=sum(scores) / len(scores) if scores else episode.score,
        arm=run.arm if run.trial else None,
        library_digest=run.library,
        model=run.model or episode.model,
    )


def _score(score: float | None, success: bool | None) -> float:
    if (score is None) == (success is None):
        raise StoreError("give either score or success")
    if success is not None:
        if not isinstance(success, bool):
            raise StoreError(f"success is True or False, got {success!r}")
        return float(success)
    if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
        raise StoreError(f"a score is a number from 0 to 1, got {score!r}")
    return float(score)


def outcome_key(subject: str, whole_thread: bool) -> str:
    """The key of an outcome, the same every time it is recorded."""
    return f"{'thread-outcome' if whole_thread else 'outcome'}/{subject}"


def _number(value: int) -> str:
    return f"{value:09d}"


def _by_start(runs: Iterable[Run]) -> list[Run]:
    return sorted(runs, key=lambda run: (run.started, run.run_id))
