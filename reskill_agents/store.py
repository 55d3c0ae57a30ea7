"""The live store: what an embedded agent and its evolver keep, over any LangGraph ``BaseStore``.

::

    store = LiveStore.open("skills.db", ("acme",))
    store.record_run(Run("run-1", "thread-1", store.active().library.digest, time.time()))
    store.record_outcome("run-1", success=True)

Layout: ``("reskill", <tenant>, <kind>, ...)``; a tenant is one label, so that none is a prefix of another. Outcomes
lie under trial and window, at ``outcome/<run id>``. A ``BaseStore`` cannot compare and set: whatever reads before it
writes does so under the ``Coordinator``'s lock.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from reskill_agents.coordination import Clock, Coordinator, InMemoryCoordinator
from reskill_agents.live_records import Namespace, Removed
from reskill_agents.store_databases import open_database
from reskill_agents.store_privacy import Privacy
from reskill_agents.store_tenant import Database, StoreSettings
from reskill_agents.store_trials import TrialBook

if TYPE_CHECKING:
    from langgraph.store.base import BaseStore

    from reskill_agents.store_protocol import SkillStore

__all__ = ["LiveStore", "Removed", "StoreSettings"]


class LiveStore(TrialBook, Privacy):
    """One tenant's live data. ``SkillStore`` documents the methods."""

    def __init__(self, database: Database, namespace: Namespace = ()) -> None:
        super().__init__(database, namespace)
        self._tenants: dict[Namespace, LiveStore] = {self.namespace: self}

    @classmethod
    def open(
        cls,
        database: str | Path,
        namespace: Namespace = (),
        *,
        settings: StoreSettings | None = None,
        clock: Clock = time.time,
    ) -> LiveStore:
        """The embedded store: a SQLite file (made when it is not there), or a ``postgresql://`` address.

        Args:
            database: where.
            namespace: the tenant; ``within`` gives others.
            settings: default: episodes are kept, redacted by LangChain's detectors, for ever.
            clock: seconds since the epoch.

        Raises:
            StoreError: it cannot be opened.
            ConfigError: a setting is wrong, or a package is missing.
        """
        return cls(open_database(database, settings or StoreSettings(), clock), namespace)

    @classmethod
    def over(
        cls,
        base: BaseStore,
        namespace: Namespace = (),
        *,
        coordinator: Coordinator | None = None,
        settings: StoreSettings | None = None,
        clock: Clock = time.time,
    ) -> LiveStore:
        """The same over a deployment's own store, whose ``setup`` was called.

        Without a ``coordinator`` locks bind this process only (``one_evolver_only``): several may serve and record,
        one may evolve, and of two different outcomes recorded for one run at the same moment the later stays.
        """
        parts = Database(base, coordinator or InMemoryCoordinator(), settings or StoreSettings(), clock)
        return cls(parts, namespace)

    @property
    def one_evolver_only(self) -> bool:
        """See ``SkillStore``."""
        return not self._database.coordinator.across_processes

    def within(self, namespace: Namespace) -> LiveStore:
        """See ``SkillStore``."""
        namespace = tuple(namespace)
        known = self._tenants.get(namespace)
        if known is None:
            known = LiveStore(self._database, namespace)
            known._tenants = self._tenants
            known = self._tenants.setdefault(namespace, known)
        return known

    def close(self) -> None:
        """Let go of the database, for all tenants."""
        self._database.close()

    def __enter__(self) -> LiveStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _is_a_skill_store(store: LiveStore) -> SkillStore:
    """For the type checker."""
    return store
