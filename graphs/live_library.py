"""What a live request is served with: the library in force, or the candidate of the trial that runs.

A thread is given its library at its first run and keeps it (sticky, by digest, in the store), so that a conversation
never changes its advice half-way. Three things take precedence: a freeze or a pinned library for everybody, and a rollback
for the threads that began before it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

from reskill_agents.graphs.evolution_method import restore_trial
from reskill_agents.library import SkillLibrary
from reskill_agents.live_records import ActivationKind, ActiveLibrary, ThreadPin, TrialRecord
from reskill_agents.store_protocol import SkillStore
from reskill_agents.trials.arm import Arm
from reskill_agents.trials.units import unit_arm

_log = logging.getLogger(__name__)
_REMEMBERED = 100_000  # threads whose pin is kept in memory; the store knows the others


@dataclass(frozen=True, slots=True)
class _Trial:
    """The open window, worked out once."""

    record: TrialRecord
    window: int
    share: float
    candidate: SkillLibrary


class LiveLibrary:
    """Serves one tenant's store. Safe from several threads; never raises.

    For a thread seen before, :meth:`assign` reads memory only (microseconds); the first run of a thread writes its pin to
    the store. A promotion is seen within the store's refresh time (half a second).

    Args:
        store: the tenant's live data.
        clock: seconds since the epoch.
    """

    def __init__(self, store: SkillStore, *, clock: Callable[[], float] = time.time) -> None:
        self.store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._pins: OrderedDict[str, ThreadPin] = OrderedDict()
        self._trial: _Trial | None = None
        self._rollback: tuple[int, float] = (-1, -1.0)  # number of the activation looked at, time of the last rollback
        self._last = SkillLibrary()

    def assign(self, thread_id: str, stratum: str = "", *, model: str = "") -> tuple[SkillLibrary, ThreadPin]:
        """The library for this run of a thread, and what to record with the run.

        Args:
            thread_id: the unit.
            stratum: threads of different strata are never compared (a kind of request, a customer tier). It must be
                known before the run. Different models are different strata.
            model: identity of the model that will answer.
        """
        try:
            return self._assign(thread_id, f"{stratum}|{model}" if model else stratum)
        except Exception:
            _log.warning("no live library could be assigned; the last one is served", exc_info=True)
            return self._last, ThreadPin(thread_id, self._last.digest, self._clock(), stratum=stratum)

    def _assign(self, thread_id: str, stratum: str) -> tuple[SkillLibrary, ThreadPin]:
        active = self.store.active()
        self._last = active.library
        pin = self._pins.get(thread_id)
        if pin is None:
            pin = self.store.thread_pin(thread_id) or self.store.pin_thread(self._first(thread_id, stratum, active))
            self._remember(pin)
        if active.frozen or active.pinned or pin.pinned <= self._last_rollback(active.number):
            pin = replace(pin, library=active.library.digest, trial="", arm=Arm.INCUMBENT, window=0, share=0.0)
        if pin.library == active.library.digest:
            return active.library, pin
        return self.store.library(pin.library), pin

    def _first(self, thread_id: str, stratum: str, active: ActiveLibrary) -> ThreadPin:
        now, trial = self._clock(), self._open_trial()
        if trial is None or trial.record.incumbent != active.library.digest:
            return ThreadPin(thread_id, active.library.digest, now, stratum=stratum)
        arm = unit_arm(trial.record.trial_id, thread_id, trial.share)
        library = trial.candidate if arm is Arm.CANDIDATE else active.library
        return ThreadPin(thread_id, library.digest, now, trial.record.trial_id, arm, trial.window, trial.share, stratum)

    def _open_trial(self) -> _Trial | None:
        record = self.store.open_trial()
        if record is None:
            return None
        known = self._trial
        if known is not None and known.record is record:
            return known
        if known is not None and (known.record.trial_id, known.window) == (record.trial_id, record.window):
            self._trial = replace(known, record=record)
            return self._trial
        restored = restore_trial(record.state)
        if restored.verdict() is not None:
            return None
        share = restored.assign_unit("").share
        self._trial = _Trial(record, restored.steps, share, self.store.library(record.candidate))
        return self._trial

    def _last_rollback(self, number: int) -> float:
        """When a person last rolled back."""
        if self._rollback[0] != number:
            times = [entry.at for entry in self.store.history() if entry.kind is ActivationKind.ROLLBACK]
            self._rollback = (number, times[-1] if times else -1.0)
        return self._rollback[1]

    def _remember(self, pin: ThreadPin) -> None:
        with self._lock:
            self._pins[pin.thread_id] = pin
            if len(self._pins) > _REMEMBERED:
                self._pins.popitem(last=False)
