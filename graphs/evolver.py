"""Skills that evolve inside a running app: one step at a time, as a background thread, by cron, or by hand.

A step looks at what came in, does what is due (seal a window, carry out a verdict, open the next trial) and returns. It
never blocks the app and never raises: what goes wrong is an event of the step. Of several evolvers on one store one
works at a time (the coordinator's lease); the others do nothing.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from reskill_agents.errors import ProposalError
from reskill_agents.graphs.creator_state import Author, CreationResult
from reskill_agents.graphs.evolution_creation import (
    CREATIONS,
    CURSOR,
    AuthorCreator,
    CreationRequest,
    LiveCreator,
    creation_request,
)
from reskill_agents.graphs.evolution_ideas import OFFERS, leave_out_idea, next_idea
from reskill_agents.graphs.evolution_ledger import (
    Ending,
    LiveTrial,
    Purpose,
    past_verdicts,
    read_trials,
    tried_pairs,
)
from reskill_agents.graphs.evolution_policy import EvolutionPolicy
from reskill_agents.graphs.evolution_trials import (
    Event,
    EventKind,
    Idea,
    TrialDesk,
    change_text,
    current_trial,
    reread,
    say,
)
from reskill_agents.library import Proposal, SkillLibrary
from reskill_agents.skill_json import proposal_to_json
from reskill_agents.store_protocol import SkillStore

_log = logging.getLogger(__name__)
_LEASE_S = 60.0
_LOOK_EVERY_S = 600.0  # between two looks at all recent runs while no trial runs
_SWEEP_EVERY_S = 3600.0  # between two sweeps of records that are older than the store's retention
_SAME_MODEL = 10  # latest runs that must agree before the app's model counts as changed


@dataclass(frozen=True, slots=True)
class StepReport:
    """What one step did. ``idle`` says why nothing was to be done; ``fault`` what went wrong."""

    events: tuple[Event, ...] = ()
    idle: str = ""
    fault: str = ""


class SkillEvolver:
    """Evolves the skills of one tenant's store.

    Args:
        store: the tenant's live data; everything the evolver knows is in it.
        creator: who writes skills: an author (see ``creator_state``), any ``LiveCreator``, or ``None`` for the offline
            author.
        policy: what a person decided beforehand.
        model: identity of the app's model, policy version included; empty: as the latest runs say.
        seed: of the creator.
        on_step: told of every step that did something or failed (to log it, or to call somebody); what it raises is
            logged. It runs where the step runs.
    """

    def __init__(
        self,
        store: SkillStore,
        creator: LiveCreator | Author | None = None,
        policy: EvolutionPolicy | None = None,
        *,
        model: str = "",
        seed: int = 0,
        clock: Callable[[], float] = time.time,
        on_step: Callable[[StepReport], None] | None = None,
    ) -> None:
        self.store = store
        self.policy = policy or EvolutionPolicy()
        self.creator: LiveCreator = (
            AuthorCreator(creator, self.policy.capacity) if creator is None or isinstance(creator, Author) else creator
        )
        self.seed = seed
        self._model = model
        self._clock = clock
        self._holder = f"evolver-{uuid.uuid4().hex[:12]}"
        self._desk = TrialDesk(store, self.policy)
        self._looked = self._swept = float("-inf")
        self._on_step = on_step
        self._thread: threading.Thread | None = None
        self._halt = threading.Event()

    async def step(self, now: float | None = None) -> StepReport:
        """Do what is due at ``now`` (seconds since the epoch). Never raises."""
        at = self._clock() if now is None else now
        try:
            report = await self._step(at)
        except Exception as error:
            _log.warning("a step of the evolver failed", exc_info=True)
            report = StepReport(fault=f"{type(error).__name__}: {error}")
        if self._on_step is not None and (report.events or report.fault):
            try:
                self._on_step(report)
            except Exception:
                _log.exception("on_step failed")
        return report

    def start(self, every_s: float = 30.0) -> None:
        """Run steps in a daemon thread with an event loop of its own: the app's loop is never blocked.

        Starting it twice changes nothing.
        """
        if self._thread is not None and self._thread.is_alive():
            return
        self._halt.clear()
        self._thread = threading.Thread(target=self._run, args=(every_s,), name="skill-evolver", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 10.0) -> bool:
        """Ask the thread to end and wait; whether it did. Whatever it was doing can be resumed by the next evolver."""
        self._halt.set()
        if self._thread is None:
            return True
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def offer(self, proposal: Proposal, *, by: str = "") -> str:
        """Put a person's proposal next in line for a trial; returns its key."""
        key = f"{self._clock():017.6f}-{uuid.uuid4().hex[:8]}"
        self.store.put_record(OFFERS, key, {"proposal": proposal_to_json(proposal), "by": by})
        return key

    def approve(self, trial_id: str, *, by: str, reason: str = "", approved: bool = True) -> None:
        """Say what becomes of a trial that waits for a person; the next step carries it out."""
        say(self.store, trial_id, by=by, reason=reason, approved=approved)

    def _run(self, every_s: float) -> None:
        while not self._halt.is_set():
            asyncio.run(self.step())
            self._halt.wait(every_s)

    async def _step(self, now: float) -> StepReport:
        if not await self._take_lease():
            return StepReport(idle="another evolver is at work")
        try:
            await self._sweep(now)
            active = await self.store.aactive()
            if active.frozen or active.pinned:
                return StepReport(idle="frozen" if active.frozen else "a library is pinned")
            events, asks = await asyncio.to_thread(self._due, now)
            if asks is not None:
                result = await asyncio.to_thread(self._create, asks)
                if not await self._take_lease():  # it may have run out meanwhile
                    return StepReport(tuple(events), idle="another evolver took over while the creator worked")
                events += await asyncio.to_thread(self._try_created, asks, result, now)
            return StepReport(tuple(events), idle="" if events else "nothing is due")
        finally:
            lease, self._desk.lease = self._desk.lease, None
            if lease is not None:
                await asyncio.to_thread(self.store.release, lease)

    async def _sweep(self, now: float) -> None:
        """Keep the store's retention, frozen or not; does nothing where it has none."""
        if 0.0 <= now - self._swept < _SWEEP_EVERY_S:
            return
        removed = await asyncio.to_thread(self.store.sweep)
        self._swept = now
        if removed.total:
            _log.info("retention: %d records deleted", removed.total)

    async def _take_lease(self) -> bool:
        self._desk.lease = await asyncio.to_thread(self.store.lease, self._holder, _LEASE_S)
        return self._desk.lease is not None

    def _due(self, now: float) -> tuple[list[Event], CreationRequest | None]:
        """Everything but the creator's work."""
        events = self._watch_model(now)
        trials = read_trials(self.store)
        running = current_trial(trials)
        if running is not None:
            events += self._go_on(running, now)
            if current_trial([reread(self.store, running)]) is not None:
                return events, None
            trials = read_trials(self.store)
        idea = next_idea(self.store, self.policy, trials, self.model)
        if idea is not None:
            return [*events, self._desk.open(idea, trials, self.model, now)], None
        return events, creation_request(self.store, self.policy, trials, self.model, now)

    def _go_on(self, live: LiveTrial, now: float) -> list[Event]:
        events: list[Event] = []
        if live.verdict is None:
            ending = self._reason_to_stop(live, now)
            if ending is not None:
                return [self._desk.end(live, ending[0], ending[1], now)]
            live, events = self._desk.advance(live, now)
        ended = self._desk.conclude(live, now)
        return events if ended is None else [*events, ended]

    def _reason_to_stop(self, live: LiveTrial, now: float) -> tuple[Ending, str] | None:
        if self.store.active().library.digest != live.record.incumbent:
            return Ending.SUPERSEDED, "another library was put in force"
        if live.record.model and live.record.model != self.model:
            return Ending.MODEL_CHANGED, f"from {live.record.model or 'unknown'} to {self.model or 'unknown'}"
        if now - live.record.opened > self.policy.max_age_s:
            return Ending.EXPIRED, f"no verdict within {self.policy.max_age_s / 86400:g} days"
        return None

    @property
    def model(self) -> str:
        """Identity of the app's present model; verdicts are looked for and recorded under it."""
        if self._model:
            return self._model
        known = self.store.record(CURSOR, "model")
        return str(known["model"]) if known else ""

    def _watch_model(self, now: float) -> list[Event]:
        """Notice that the app's model changed: ``model=`` differs from the record, or the latest runs agree on another."""
        known = self.store.record(CURSOR, "model")
        before = str(known["model"]) if known else ""
        current = self._model or self._latest_model(now) or before
        if current == before and known is not None:
            return []
        self.store.put_record(CURSOR, "model", {"model": current, "since": now, "before": before})
        if known is None or not before:
            return []
        text = f"from {before} to {current}: skills stay served, each goes back to trial"
        return [Event(EventKind.MODEL, text)]

    def _latest_model(self, now: float) -> str:
        """The model of the latest runs, if enough of them agree."""
        trial = self.store.open_trial()
        if trial is not None:
            runs = [seen.run for seen in self.store.observations(trial=trial.trial_id, window=trial.window)]
        elif 0.0 <= now - self._looked < min(self.policy.create_every_s, _LOOK_EVERY_S):
            return ""
        else:
            self._looked = now
            runs = self.store.runs(since=now - self.policy.window_s)
        latest = [run.model for run in runs if run.model][-_SAME_MODEL:]
        return latest[0] if len(latest) == _SAME_MODEL and len(set(latest)) == 1 else ""

    def _create(self, asks: CreationRequest) -> CreationResult:
        """Runs in a worker thread with a loop of its own: induction is work for a processor, not for the app's loop."""
        return asyncio.run(
            self.creator(
                asks.episodes,
                asks.library,
                verdicts=past_verdicts(asks.trials),
                seed=self.seed * 1_000_003 + asks.number,
            )
        )

    def _try_created(self, asks: CreationRequest, result: CreationResult, now: float) -> list[Event]:
        origin, proposal = f"creation {asks.number}", result.proposal
        notes = [*result.report.notes, *(f"quarantined: {reason}" for reason in result.report.quarantined)]
        trials = read_trials(self.store)
        library = self.store.active().library
        candidate: SkillLibrary | None = None
        if library.digest != asks.library.digest or current_trial(trials) is not None:
            notes.append("the library changed while the creator worked")
        elif proposal is not None:
            try:
                candidate = proposal.apply(library, capacity=self.policy.capacity)
            except ProposalError as error:
                notes.append(f"the proposal does not apply: {error}")
            if candidate and (library.digest, candidate.digest) in tried_pairs(trials, self.model):
                notes.append("exactly this was tried before")
                candidate = None
        change = change_text(proposal) if proposal else "nothing"
        self.store.put_record(
            CREATIONS,
            f"{asks.number:06d}",
            {"at": now, "episodes": len(asks.episodes), "change": change, "notes": notes},
        )
        events = [Event(EventKind.CREATED, f"{origin} from {len(asks.episodes)} episodes: {change}")]
        if candidate is not None:
            events.append(self._desk.open(Idea(Purpose.PROPOSAL, candidate, proposal, origin), trials, self.model, now))
        elif idle := leave_out_idea(self.store, self.policy, trials, self.model, retrial=False):
            events.append(self._desk.open(idle, trials, self.model, now))
        return events
