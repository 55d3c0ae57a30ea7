"""The live store as everything else sees it: middleware, evolver, report, command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from reskill_agents.coordination import Lease
from reskill_agents.episodes import Episode
from reskill_agents.library import SkillLibrary
from reskill_agents.live_records import (
    Activation,
    ActiveLibrary,
    Fact,
    Json,
    Namespace,
    Outcome,
    Removed,
    Run,
    RunOutcomes,
    SealedWindow,
    ThreadPin,
    TrialRecord,
    VerdictRecord,
)
from reskill_agents.trials.facts import TrialFact


@runtime_checkable
class SkillStore(Protocol):
    """One tenant's live data. Every method reads and writes under ``namespace`` only.

    All methods are blocking and safe from several threads and processes; from a coroutine use the ``a`` twins or
    ``asyncio.to_thread``. ``reskill_agents.store.LiveStore`` implements it over any LangGraph ``BaseStore``.

    Raises:
        StoreError: for anything refused; nothing was written then.
    """

    @property
    def namespace(self) -> Namespace:
        """The tenant."""
        ...

    def within(self, namespace: Namespace) -> SkillStore:
        """The same database for another tenant; the same object every time."""
        ...

    # Runs and threads

    def pin_thread(self, pin: ThreadPin) -> ThreadPin:
        """Fix what a thread carries. The first pin of a thread wins; that one is returned."""
        ...

    def thread_pin(self, thread_id: str) -> ThreadPin | None:
        """The thread's pin; ``None`` before its first run."""
        ...

    def record_run(self, run: Run) -> None:
        """Write or complete a run. A second write may add skills, tokens and model; all else must be the same."""
        ...

    def run(self, run_id: str) -> Run | None:
        """The run; ``None`` when unknown."""
        ...

    def runs(self, *, since: float = 0.0) -> list[Run]:
        """Runs that started at or after ``since``, oldest first."""
        ...

    # Outcomes

    def record_outcome(
        self,
        subject: str,
        *,
        score: float | None = None,
        success: bool | None = None,
        metadata: Mapping[str, Fact] | None = None,
    ) -> Outcome:
        """Say how a run went, now or days later.

        Args:
            subject: a run id or a thread id.
            score: 0..1; or
            success: the same as a score of 1 or 0. Exactly one of both.
            metadata: flat facts.

        Returns:
            What is kept: for a repeated call with the same score, the first one.

        Raises:
            UnknownRunError: no such run or thread here.
            OutcomeConflictError: another score was recorded for it before; that one stays.
            StoreError: the score is not a number from 0 to 1.
        """
        ...

    async def arecord_outcome(
        self,
        subject: str,
        *,
        score: float | None = None,
        success: bool | None = None,
        metadata: Mapping[str, Fact] | None = None,
    ) -> Outcome:
        """The same from a coroutine."""
        ...

    def observations(
        self, *, trial: str | None = None, window: int | None = None, since: float = 0.0
    ) -> list[RunOutcomes]:
        """Runs with their outcomes, oldest first: of a trial (and window), of no trial (``trial=""``), or all (``None``)."""
        ...

    # Episodes

    def record_episode(self, run_id: str, episode: Episode) -> bool:
        """Keep a conversation, redacted. ``False``, and nothing written, under ``Capture.OUTCOMES_ONLY``."""
        ...

    def episodes(self, *, since: float = 0.0) -> list[Episode]:
        """Conversations kept at or after ``since``, oldest first; ``episode_id`` is the run id.

        ``score``: the mean of the run's outcomes (its own, else its thread's) where there are any; else as captured.
        """
        ...

    # Libraries and what is served

    def put_library(self, library: SkillLibrary) -> str:
        """Keep a library; returns its digest."""
        ...

    def library(self, digest: str) -> SkillLibrary:
        """The library with this digest, from memory after the first time.

        Raises:
            StoreError: unknown here and in what is shared.
        """
        ...

    def active(self) -> ActiveLibrary:
        """What is served, from memory; at most ``refresh_s`` (default half a second) old."""
        ...

    async def aactive(self) -> ActiveLibrary:
        """The same without blocking the loop when memory is stale."""
        ...

    def history(self) -> list[Activation]:
        """Every activation, oldest first."""
        ...

    def activate(self, library: SkillLibrary, *, reason: str = "", by: str = "") -> Activation:
        """Serve an imported library; with ``by``, it is a recorded decision of that person. Refused while pinned."""
        ...

    def promote(self, trial_id: str, *, by: str = "", reason: str = "", lease: Lease | None = None) -> Activation:
        """Serve the candidate of a trial whose recorded verdict accepted it. Repeating it changes nothing.

        Raises:
            StoreError: no accepting verdict, frozen, pinned, or the incumbent is no longer the one served.
        """
        ...

    def rollback(self, *, to: str | int | None = None, by: str = "", reason: str = "") -> Activation:
        """Serve an earlier library again: the one before (default), a digest, or the number of an activation.

        Works while frozen; refused while pinned.
        """
        ...

    def pin(self, digest: str, *, by: str = "", reason: str = "") -> Activation:
        """Serve this library, whatever is promoted, until ``unpin``."""
        ...

    def unpin(self, *, by: str = "", reason: str = "") -> Activation:
        """Go on from the pinned library."""
        ...

    def freeze(self, *, by: str = "", reason: str = "") -> Activation:
        """The kill switch: the active library for everybody, no trial traffic, no promotion."""
        ...

    def unfreeze(self, *, by: str = "", reason: str = "") -> Activation:
        """End of the freeze."""
        ...

    # Trials. One process at a time writes these: the holder of the lease.

    def lease(self, holder: str, seconds: float) -> Lease | None:
        """Take or renew the right to write verdicts here; ``None`` while another holder has it.

        Give it to ``save_trial``, ``record_verdict`` and ``promote``: they check it where they write.
        """
        ...

    def release(self, lease: Lease) -> None:
        """Give it back."""
        ...

    @property
    def one_evolver_only(self) -> bool:
        """Whether the lease binds this process only, so that a single evolver process is supported."""
        ...

    def save_trial(self, trial: TrialRecord, *, lease: Lease | None = None) -> None:
        """Write or replace the record of a trial. Once it has a verdict it cannot be open.

        Raises:
            CoordinationError: ``lease`` was lost.
        """
        ...

    def trial(self, trial_id: str) -> TrialRecord | None:
        """The record; ``None`` when unknown."""
        ...

    def trials(self) -> list[TrialRecord]:
        """All, oldest first."""
        ...

    def open_trial(self) -> TrialRecord | None:
        """The newest open trial, from memory, as fresh as :meth:`active`.

        ``None`` while frozen or pinned, and when its incumbent is no longer the library served (a rollback).
        """
        ...

    def seal_window(self, trial_id: str, window: int, *, grace_s: float = 0.0) -> SealedWindow:
        """Close a window with the outcomes it has; a sealed window is returned as it is.

        Threads without an outcome count as missing, those whose run started less than ``grace_s`` ago are left out.
        """
        ...

    def sealed_windows(self, trial_id: str) -> list[SealedWindow]:
        """All, by window."""
        ...

    def record_verdict(self, verdict: VerdictRecord, *, lease: Lease | None = None) -> VerdictRecord:
        """Write the verdict of a trial, once, and close the trial; the same one again changes nothing.

        Raises:
            StoreError: another verdict is there, or a window it names is not sealed.
            CoordinationError: ``lease`` was lost.
        """
        ...

    def verdict(self, trial_id: str) -> VerdictRecord | None:
        """The verdict; ``None`` while the trial runs."""
        ...

    def verdicts(self) -> list[VerdictRecord]:
        """All, oldest first."""
        ...

    def append_facts(self, trial_id: str, facts: Sequence[TrialFact], *, first: int) -> None:
        """Write facts ``first``, ``first + 1`` ... of a trial; what is there already is left as it is."""
        ...

    def facts(self, trial_id: str) -> list[Json]:
        """The facts as JSON objects, in order."""
        ...

    # What else the evolver keeps (approvals, cursors)

    def put_record(self, kind: str, key: str, value: Json) -> None:
        """Write or replace a JSON object of the caller's own ``kind``."""
        ...

    def record(self, kind: str, key: str) -> Json | None:
        """Read it."""
        ...

    def records(self, kind: str) -> dict[str, Json]:
        """All of a kind, by key."""
        ...

    # Privacy

    def sweep(self) -> Removed:
        """Delete runs, outcomes, episodes and pins older than ``retention_days``; nothing without that setting."""
        ...

    def forget(self, thread_id: str) -> Removed:
        """Delete everything kept about a thread. Sealed windows stay: they hold means, and name nobody.

        A run that is still going on writes again when it ends: forget the thread after it. Skills that were written
        with the help of its conversations are not touched.
        """
        ...
