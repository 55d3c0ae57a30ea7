"""Deletion: by age, and by thread."""

from __future__ import annotations

from reskill_agents.live_records import Outcome, Removed, Run
from reskill_agents.store_runs import RunLog, outcome_key
from reskill_agents.store_tenant import Path, from_json

_DAY_S = 86_400.0
_Place = tuple[Path, str]


class Privacy(RunLog):
    """What a tenant can have deleted. Libraries, sealed windows and verdicts stay: they name nobody."""

    def sweep(self) -> Removed:
        """See ``SkillStore``."""
        days = self._settings.retention_days
        if days is None:
            return Removed()
        before = self._now() - days * _DAY_S
        with self._locked():
            old = [run for run in self.runs() if run.started < before]
            gone = {run.run_id for run in old}
            items = self._items(self._path("outcomes"))
            outcomes = [(item, from_json(Outcome, item.value)) for item in items]
            dated = [item for item, one in outcomes if one.recorded < before or one.run_id in gone]
            episodes = [
                item for item in self._items(self._path("episodes")) if item.value["at"] < before or item.key in gone
            ]
            pins = [item for item in self._items(self._path("pins")) if item.value["pinned"] < before]
            self._delete([(item.namespace, item.key) for item in (*dated, *episodes, *pins)])
            self._delete([place for run in old for place in self._run_places(run)])
        return self._scrubbed(Removed(len(old), len(dated), len(episodes), len(pins)))

    def forget(self, thread_id: str) -> Removed:
        """See ``SkillStore``."""
        with self._locked():
            runs = self._thread_runs(thread_id)
            outcomes = [(self._outcome_path(run), outcome_key(run.run_id, False)) for run in runs]
            outcomes.extend((self._outcome_path(run), outcome_key(thread_id, True)) for run in runs)
            kept_outcomes = self._existing(outcomes)
            episodes = self._existing([(self._path("episodes"), run.run_id) for run in runs])
            pins = self._existing([(self._path("pins"), thread_id)])
            self._delete([*kept_outcomes, *episodes, *pins])
            self._delete([place for run in runs for place in self._run_places(run)])
        return self._scrubbed(Removed(len(runs), len(kept_outcomes), len(episodes), len(pins)))

    def _run_places(self, run: Run) -> list[_Place]:
        return [(self._path("runs"), run.run_id), (self._path("threads", run.thread_id), run.run_id)]

    def _existing(self, places: list[_Place]) -> list[_Place]:
        places = list(dict.fromkeys(places))
        if not places:
            return []
        return [place for place, item in zip(places, self._get_items(places), strict=True) if item is not None]

    def _scrubbed(self, removed: Removed) -> Removed:
        if removed.total:
            self._database.scrub()
        return removed
