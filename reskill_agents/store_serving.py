"""Libraries by digest, and which one is served: a history that only grows, and a pointer that follows from it."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from dataclasses import dataclass, replace
from typing import Any

from reskill_agents.errors import RunFolderError, StoreError
from reskill_agents.library import RENDERER_VERSION, SkillLibrary
from reskill_agents.live_records import Activation, ActivationKind, ActiveLibrary, Namespace, TrialRecord
from reskill_agents.skill_json import library_from_json, library_to_json
from reskill_agents.store_tenant import Database, Tenant, from_json, to_json

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Served:
    """What memory holds: the active library, and the open trial as it was read with it."""

    active: ActiveLibrary
    trial: TrialRecord | None
    checked: float

    def stale(self) -> Served:
        """The same, to be read again on the next request."""
        return replace(self, checked=-math.inf)


class Serving(Tenant):
    """Which library the app gets, and how it came to that (invariant 7)."""

    def __init__(self, database: Database, namespace: Namespace) -> None:
        super().__init__(database, namespace)
        alone = replace(database, settings=replace(database.settings, share_from=()))
        others = [other for other in database.settings.share_from if tuple(other) != self.namespace]
        self._shared = tuple(Serving(alone, other) for other in others)
        self._libraries: dict[str, SkillLibrary] = {}
        self._written: set[str] = set()
        self._served: Served | None = None
        self._serving_lock = threading.Lock()

    # Libraries

    def put_library(self, library: SkillLibrary) -> str:
        """See ``SkillStore``."""
        if library.digest not in self._written:
            self._put((self._path("libraries"), library.digest, library_to_json(library)))
            self._written.add(library.digest)
            self._libraries[library.digest] = library
        return library.digest

    def library(self, digest: str) -> SkillLibrary:
        """See ``SkillStore``."""
        known = self._libraries.get(digest)
        if known is not None:
            return known
        if digest in _EMPTY_DIGESTS:
            return _EMPTY
        [item] = self._get_items([(self._path("libraries"), digest)])
        if item is None:
            for other in self._shared:
                try:
                    return other.library(digest)
                except StoreError:
                    continue
            raise StoreError(f"no library {digest} in namespace {self._namespace!r}")
        try:
            library = library_from_json(item.value)
        except RunFolderError as error:
            raise StoreError(f"library {digest}: {error}") from error
        self._libraries[digest] = library
        return library

    # What is served

    def active(self) -> ActiveLibrary:
        """See ``SkillStore``."""
        return self._fresh().active

    async def aactive(self) -> ActiveLibrary:
        """See ``SkillStore``."""
        served = self._in_memory()
        return served.active if served is not None else (await asyncio.to_thread(self._fresh)).active

    def open_trial(self) -> TrialRecord | None:
        """See ``SkillStore``."""
        served = self._fresh()
        active, trial = served.active, served.trial
        if trial is None or active.frozen or active.pinned or trial.incumbent != active.library.digest:
            return None
        return trial

    def _in_memory(self) -> Served | None:
        served = self._served
        return served if served is not None and time.monotonic() - served.checked < self._settings.refresh_s else None

    def _fresh(self) -> Served:
        served = self._in_memory()
        if served is not None:
            return served
        with self._serving_lock:  # one thread asks the database, the others wait for its answer
            served = self._in_memory()
            if served is None:
                served = self._served = self._read_served()
            return served

    def _read_served(self) -> Served:
        try:
            return self._ask()
        except StoreError as error:
            if self._served is None:
                raise
            _log.warning("the library served before is served on: %s", error)  # an app outlives its skill store
            return replace(self._served, checked=time.monotonic())

    def _ask(self) -> Served:
        checked = time.monotonic()
        pointer, trial = self._get_items([(self._path("active"), "library"), (self._path("active"), "trial")])
        newest = self._follow(None if pointer is None else from_json(Activation, pointer.value))
        before = self._served
        if newest is None:
            active = self._from_shared()
        elif before is not None and before.active.number == newest.number:
            active = before.active
        else:
            active = ActiveLibrary(self.library(newest.library), newest.number, newest.pinned, newest.frozen)
        opened = None if trial is None else from_json(TrialRecord, trial.value)
        return Served(active, opened if opened is not None and opened.open else None, checked)

    def _follow(self, newest: Activation | None) -> Activation | None:
        """The pointer is a cache: a history that went on without it is followed."""
        while True:
            number = 1 if newest is None else newest.number + 1
            later = self._get(Activation, self._path("history"), _number(number))
            if later is None:
                return newest
            newest = later

    def _from_shared(self) -> ActiveLibrary:
        for other in self._shared:
            active = other.active()
            if active.number:
                return replace(active, number=0, pinned=False, frozen=active.frozen, shared_from=other.namespace)
        return ActiveLibrary(_EMPTY)

    def history(self) -> list[Activation]:
        """See ``SkillStore``."""
        return sorted(self._list(Activation, self._path("history")), key=lambda entry: entry.number)

    # Changes

    def activate(self, library: SkillLibrary, *, reason: str = "", by: str = "") -> Activation:
        """See ``SkillStore``."""
        self.put_library(library)
        kind = ActivationKind.DECISION if by else ActivationKind.IMPORT
        return self._change(kind, library.digest, by=by, reason=reason)

    def rollback(self, *, to: str | int | None = None, by: str = "", reason: str = "") -> Activation:
        """See ``SkillStore``."""
        history = self.history()
        if isinstance(to, int):
            digests = [entry.library for entry in history if entry.number == to]
        elif to is not None:
            digests = [entry.library for entry in history if entry.library == to]
        else:
            digests = [entry.library for entry in history if entry.library != history[-1].library]
        if not digests:
            raise StoreError("there is no earlier library" if to is None else f"nothing in the history matches {to!r}")
        self.library(digests[-1])
        return self._change(ActivationKind.ROLLBACK, digests[-1], by=by, reason=reason)

    def pin(self, digest: str, *, by: str = "", reason: str = "") -> Activation:
        """See ``SkillStore``."""
        self.library(digest)
        return self._change(ActivationKind.PIN, digest, by=by, reason=reason, pinned=True)

    def unpin(self, *, by: str = "", reason: str = "") -> Activation:
        """See ``SkillStore``."""
        return self._change(ActivationKind.UNPIN, None, by=by, reason=reason, pinned=False)

    def freeze(self, *, by: str = "", reason: str = "") -> Activation:
        """See ``SkillStore``."""
        return self._change(ActivationKind.FREEZE, None, by=by, reason=reason, frozen=True)

    def unfreeze(self, *, by: str = "", reason: str = "") -> Activation:
        """See ``SkillStore``."""
        return self._change(ActivationKind.UNFREEZE, None, by=by, reason=reason, frozen=False)

    def _change(
        self,
        kind: ActivationKind,
        library: str | None,
        *,
        by: str,
        reason: str,
        pinned: bool | None = None,
        frozen: bool | None = None,
    ) -> Activation:
        with self._locked():
            return self._append(kind, library, by=by, reason=reason, pinned=pinned, frozen=frozen)

    def _append(
        self,
        kind: ActivationKind,
        library: str | None,
        *,
        by: str,
        reason: str,
        trial: str = "",
        pinned: bool | None = None,
        frozen: bool | None = None,
    ) -> Activation:
        """The next entry of the history, and the pointer to it; the lock is held."""
        before = self._newest()
        if before.pinned and library is not None and kind is not ActivationKind.PIN:
            raise StoreError(f"library {before.library} is pinned; unpin it first")
        entry = Activation(
            number=before.number + 1,
            kind=kind,
            library=before.library if library is None else library,
            at=self._now(),
            trial=trial,
            by=by,
            reason=reason,
            pinned=before.pinned if pinned is None else pinned,
            frozen=before.frozen if frozen is None else frozen,
        )
        value: dict[str, Any] = to_json(entry)
        self._put((self._path("history"), _number(entry.number), value), (self._path("active"), "library", value))
        self._invalidate()
        return entry

    def _invalidate(self) -> None:
        served = self._served
        self._served = None if served is None else served.stale()

    def _newest(self) -> Activation:
        """The newest entry from the database; where there is none yet, what is served by default."""
        newest = self._follow(self._get(Activation, self._path("active"), "library"))
        if newest is not None:
            return newest
        shared = self._from_shared().library
        return Activation(0, ActivationKind.IMPORT, shared.digest, 0.0)


_EMPTY = SkillLibrary()
_EMPTY_DIGESTS = frozenset(
    _EMPTY.digest_as(version) for version in range(1, RENDERER_VERSION + 1)
)  # it need not be written


def _number(value: int) -> str:
    return f"{value:09d}"
