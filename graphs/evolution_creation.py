"""Who writes skills for a live app, when it is asked, and what it is shown."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from reskill_agents.episodes import Episode
from reskill_agents.graphs.creator import create
from reskill_agents.graphs.creator_state import Author, CreationConfig, CreationResult, PastVerdict
from reskill_agents.graphs.evolution_ledger import LiveTrial, verdict_times
from reskill_agents.graphs.evolution_policy import EvolutionPolicy
from reskill_agents.library import DEFAULT_CAPACITY, SkillLibrary
from reskill_agents.store_protocol import SkillStore

CURSOR = "evolution-cursor"  # kind of the evolver's own records: ``creation`` and ``model``
CREATIONS = "evolution-creation"  # kind of the records of what each request to the creator gave


class LiveCreator(Protocol):
    """Reads episodes and says what to try next. May take minutes; whatever it raises ends the step as a fault."""

    async def __call__(
        self, episodes: Sequence[Episode], library: SkillLibrary, *, verdicts: Sequence[PastVerdict], seed: int
    ) -> CreationResult:
        """A proposal that applies to ``library``, or none; ``verdicts``: what became of earlier ones, oldest first."""
        ...


@dataclass(frozen=True)
class AuthorCreator:
    """The creator graph with one author (``None``: the offline author)."""

    author: Author | None = None
    capacity: int = DEFAULT_CAPACITY
    config: CreationConfig | None = None

    async def __call__(
        self, episodes: Sequence[Episode], library: SkillLibrary, *, verdicts: Sequence[PastVerdict], seed: int
    ) -> CreationResult:
        """See :class:`LiveCreator`."""
        config = self.config or CreationConfig(capacity=self.capacity)
        return await create(episodes, library, author=self.author, verdicts=verdicts, seed=seed, config=config)


@dataclass(frozen=True)
class CreationRequest:
    """One request to the creator.

    Args:
        number: 1 for the first.
        episodes: with an outcome, under the present model, oldest first; ``step`` counts the verdicts before them.
        library: in force when it was made.
        trials: all so far.
    """

    number: int
    episodes: tuple[Episode, ...]
    library: SkillLibrary
    trials: tuple[LiveTrial, ...]


def creation_request(
    store: SkillStore, policy: EvolutionPolicy, trials: Sequence[LiveTrial], model: str, now: float
) -> CreationRequest | None:
    """What to ask the creator, if it is time and enough has come in; notes that it was asked."""
    cursor = store.record(CURSOR, "creation") or {}
    number, last, since = int(_number(cursor.get("number"))), _number(cursor.get("at")), _number(cursor.get("since"))
    if number and (
        now - last < policy.create_every_s or len(store.runs(since=last)) < policy.new_episodes  # cheaper than episodes
    ):
        return None
    episodes = _episodes(store, trials, model, since)
    if len(episodes) < policy.min_episodes or (number and sum(at > last for at, _ in episodes) < policy.new_episodes):
        return None
    shown = episodes[-policy.episodes :]
    store.put_record(CURSOR, "creation", {"number": number + 1, "at": now, "since": shown[0][0]})
    return CreationRequest(number + 1, tuple(e for _, e in shown), store.active().library, tuple(trials))


def _episodes(store: SkillStore, trials: Sequence[LiveTrial], model: str, since: float) -> list[tuple[float, Episode]]:
    """Episodes with an outcome under ``model``, with the start of their run, oldest first."""
    started = {run.run_id: run.started for run in store.runs(since=since)}
    fell = verdict_times(trials)
    found = []
    for episode in store.episodes(since=since):
        at = started.get(episode.episode_id)
        if at is None or episode.score is None or (episode.model and model and episode.model != model):
            continue
        found.append((at, replace(episode, step=bisect_right(fell, at))))
    return sorted(found, key=lambda pair: pair[0])


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
