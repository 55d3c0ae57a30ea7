"""The bounded memory of episodes that the creator reads."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

from reskill_agents.episode_logs import episode_from_json, episode_to_json
from reskill_agents.episodes import Episode
from reskill_agents.errors import RunFolderError

DEFAULT_CAPACITY = 200  # the paper's


class OutcomeClass(StrEnum):
    """How an episode went, as coarse as the reservoir needs it."""

    SUCCESS = "success"
    PARTIAL = "partial"
    FAILURE = "failure"

    @classmethod
    def of(cls, episode: Episode) -> OutcomeClass:
        """Success is the full score, failure is none at all."""
        if episode.success:
            return cls.SUCCESS
        return cls.PARTIAL if episode.score else cls.FAILURE


class Reservoir:
    """At most ``capacity`` episodes, one for each (task, arm, outcome class), first in first out.

    A newer episode of a slot replaces the older one and goes to the end of the queue. Faults (``score is None``) are
    never kept: they say nothing about the agent.
    """

    def __init__(self, capacity: int = DEFAULT_CAPACITY) -> None:
        if capacity < 1:
            raise ValueError(f"the capacity must be at least 1 episode, got {capacity}")
        self.capacity = capacity
        self._slots: OrderedDict[tuple[str, str, OutcomeClass], Episode] = OrderedDict()

    def __len__(self) -> int:
        return len(self._slots)

    def add(self, *episodes: Episode) -> None:
        """Keep ``episodes``; the oldest leave when there are more than ``capacity``."""
        for episode in episodes:
            if episode.score is None:
                continue
            key = (episode.task.task_id, episode.arm or "", OutcomeClass.of(episode))
            self._slots.pop(key, None)
            self._slots[key] = episode
            if len(self._slots) > self.capacity:
                self._slots.popitem(last=False)

    @property
    def episodes(self) -> tuple[Episode, ...]:
        """What is kept, oldest first."""
        return tuple(self._slots.values())

    def to_state(self) -> dict[str, object]:
        """JSON-able state; token ids are left out (the creator does not read them)."""
        return {"capacity": self.capacity, "episodes": [episode_to_json(episode) for episode in self.episodes]}

    @classmethod
    def from_state(cls, state: Mapping[str, object]) -> Reservoir:
        """The reservoir that :meth:`to_state` described.

        Raises:
            RunFolderError: when ``state`` is not such a description.
        """
        capacity, episodes = state.get("capacity"), state.get("episodes")
        if not isinstance(capacity, int) or not isinstance(episodes, Sequence):
            raise RunFolderError("the reservoir's state needs 'capacity' (int) and 'episodes' (list)")
        reservoir = cls(capacity)
        reservoir.add(*_read(episodes))
        return reservoir


def _read(episodes: Iterable[object]) -> Iterable[Episode]:
    for number, entry in enumerate(episodes):
        if not isinstance(entry, Mapping):
            raise RunFolderError(f"episode {number} of the reservoir's state is not an object")
        yield episode_from_json(entry)
