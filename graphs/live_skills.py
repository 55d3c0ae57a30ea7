"""The live store as what the middleware and the prompt nodes take: which library a thread carries, what it did with it."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from reskill_agents.environment import Task
from reskill_agents.episodes import Episode, Turn
from reskill_agents.graphs.live_library import LiveLibrary
from reskill_agents.live_records import Run, ThreadPin
from reskill_agents.serving import RunNote, ServedUnit, SkillServing
from reskill_agents.store_protocol import SkillStore
from reskill_agents.trials.arm import Arm

_Key = TypeVar("_Key")
_Kept = TypeVar("_Kept")
_REMEMBERED = 10_000  # runs under way; older ones are read back from the store when they go on


@dataclass
class _RunSoFar:
    run: Run
    turns: dict[int, Turn] = field(default_factory=dict)
    metered: set[int] = field(default_factory=set)

    def take(self, note: RunNote, turn: Turn) -> None:
        """Add one note; a second one of the same turn adds what the first did not know."""
        run = self.run
        if turn.index not in self.turns:
            skills = tuple(dict.fromkeys((*run.skills, *note.skills)))
            tokens = run.skill_tokens + note.skill_tokens
            run = replace(run, skills=skills, skill_tokens=tokens, model=note.unit.model or run.model)
        if note.usage is not None and turn.index not in self.metered:
            self.metered.add(turn.index)
            run = replace(
                run,
                calls=run.calls + 1,
                prompt_tokens=run.prompt_tokens + note.usage.prompt,
                answer_tokens=run.answer_tokens + note.usage.answer,
                cached_tokens=run.cached_tokens + note.usage.cached,
            )
        self.run = run
        self.turns[turn.index] = turn


class LiveSkills:
    """Serves and records for ``ReSkillMiddleware`` and ``skill_node`` over a live store, for all its tenants::

        store = LiveStore.open("skills.sqlite")
        agent = create_agent(model, tools, middleware=[ReSkillMiddleware(LiveSkills(store))])
        agent.invoke(..., {"configurable": {"thread_id": "customer-17"}})
        store.record_outcome("customer-17", success=True)

    A thread's library is fixed at its first run. Every model call completes the run and its episode in the store (which
    redacts, or keeps no conversation at all, as its settings say). A run that goes on in another process is read back.

    Args:
        store: the live data; a run's namespace is looked up in it with ``within``.
        stratum: of a unit; units of different strata are never compared.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        store: SkillStore,
        *,
        stratum: Callable[[ServedUnit], str] = lambda unit: "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.store = store
        self._stratum = stratum
        self._clock = clock
        self._lock = threading.Lock()
        self._live: dict[tuple[str, ...], LiveLibrary] = {}
        self._pins: OrderedDict[tuple[tuple[str, ...], str], ThreadPin] = OrderedDict()
        self._runs: OrderedDict[tuple[tuple[str, ...], str], _RunSoFar] = OrderedDict()

    def serve(self, unit: ServedUnit) -> SkillServing:
        """See ``SkillProvider``. The first run of a thread writes its pin to the store; later ones read memory."""
        live = self._live.get(unit.namespace)
        if live is None:
            live = self._live.setdefault(unit.namespace, LiveLibrary(self._store(unit), clock=self._clock))
        library, pin = live.assign(unit.thread_id or unit.run_id, self._stratum(unit), model=unit.model)
        with self._lock:
            _keep(self._pins, (unit.namespace, unit.run_id), pin)
        return SkillServing(library, pin.arm if pin.trial else None, pin.trial)

    def note_turn(self, note: RunNote, turn: Turn) -> None:
        """See ``RunRecorder``. Runs without any id cannot be found again and are not recorded."""
        unit = note.unit
        if not unit.run_id:
            return
        store = self._store(unit)
        with self._lock:
            so_far = self._runs.get((unit.namespace, unit.run_id))
        if so_far is None:
            so_far = self._read(store, unit) or _RunSoFar(self._new(note))
        with self._lock:
            so_far = _keep(self._runs, (unit.namespace, unit.run_id), so_far)
            so_far.take(note, turn)
            run, turns = so_far.run, tuple(so_far.turns[index] for index in sorted(so_far.turns))
        store.record_run(run)
        task = Task(unit.run_id, turns[0].observation)
        store.record_episode(unit.run_id, Episode(unit.run_id, task, turns, None, model=run.model))

    def _new(self, note: RunNote) -> Run:
        unit = note.unit
        pin = self._pins.get((unit.namespace, unit.run_id))
        run = Run(unit.run_id, unit.thread_id or unit.run_id, note.library, self._clock())
        if pin is None or not note.trial or pin.trial != note.trial:
            return run
        return replace(
            run,
            trial=pin.trial,
            arm=note.arm or Arm.INCUMBENT,
            window=pin.window,
            share=pin.share,
            stratum=pin.stratum,
        )

    def _read(self, store: SkillStore, unit: ServedUnit) -> _RunSoFar | None:
        run = store.run(unit.run_id)
        if run is None:
            return None
        kept = [episode for episode in store.episodes(since=run.started) if episode.episode_id == unit.run_id]
        turns = {turn.index: turn for episode in kept for turn in episode.turns}
        return _RunSoFar(run, turns, {index for index, turn in turns.items() if turn.action})

    def _store(self, unit: ServedUnit) -> SkillStore:
        return self.store.within(unit.namespace) if unit.namespace else self.store


def _keep(memory: OrderedDict[_Key, _Kept], key: _Key, value: _Kept) -> _Kept:
    kept = memory.setdefault(key, value)
    memory.move_to_end(key)
    if len(memory) > _REMEMBERED:
        memory.popitem(last=False)
    return kept
