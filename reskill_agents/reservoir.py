"""The bounded memory of episodes that the creator reads."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

from reskill_agents.episode_logs import episode_from_json, episode_to_json
from reskill_agents.episodes import Episode
from reskill_agents.errors import RunFolderError

DEFAULT_CAPACITY = 200  # the paper's
DEFAULT_PER_SLOT = (
    8  # a whole group; the paper keeps 1. Measured on careless play of 384 episodes: with 1, 85 are left and
)
# induction confirms one or two causes; with 8 all are left and it confirms four of four


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
    """At most ``capacity`` episodes, ``per_slot`` for each (task, arm, outcome class), first in first out.

    A newer episode of a full slot replaces that slot's oldest. Faults (``score is None``) are never kept: they say
    nothing about the agent. Whole groups are worth keeping, because effects are estimated inside them. The paper's
    reservoir is ``capacity=200, per_slot=1``.
    """

    def __init__(self, capacity: int = DEFAULT_CAPACITY, *, per_slot: int = DEFAULT_PER_SLOT) -> None:
        if capacity < 1 or per_slot < 1:
            raise ValueError(f"capacity and per_slot must be at least 1 episode, got {capacity} and {per_slot}")
        self.capacity = capacity
        self.per_slot = per_slot
        self._kept: OrderedDict[int, Episode] = OrderedDict()
        self._slots: dict[_Slot, deque[int]] = {}
        self._next = 0

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, *episodes: Episode) -> None:
        """Keep ``episodes``; the oldest leave when there are more than ``capacity``."""
        for episode in episodes:
            if episode.score is None:
                continue
            slot = self._slots.setdefault(_slot_of(episode), deque())
            if len(slot) == self.per_slot:
                del self._kept[slot.popleft()]
            slot.append(self._next)
            self._kept[self._next] = episode
            self._next += 1
            if len(self._kept) > self.capacity:
                self._forget_oldest()

    def _forget_oldest(self) -> None:
        number, episode = self._kept.popitem(last=False)
        key = _slot_of(episode)
        self._slots[key].remove(number)
        if not self._slots[key]:
            del self._slots[key]

    @property
    def episodes(self) -> tuple[Episode, ...]:
        """What is kept, oldest first."""
        return tuple(self._kept.values())

    def to_state(self) -> dict[str, object]:
        """JSON-able state; token ids are left out (the creator does not read them)."""
        return {
            "capacity": self.capacity,
            "per_slot": self.per_slot,
            "episodes": [episode_to_json(episode) for episode in self.episodes],
        }

    @classmethod
    def from_state(cls, state: Mapping[str, object]) -> Reservoir:
        """The reservoir that :meth:`to_state` described.

        Raises:
            RunFolderError: when ``state`` is not such a description.
        """
        capacity, per_slot, episodes = state.get("capacity"), state.get("per_slot"), state.get("episodes")
        if not isinstance(capacity, int) or not isinstance(per_slot, int) or not isinstance(episodes, Sequence):
            raise RunFolderError("the reservoir's state needs 'capacity' and 'per_slot' (int) and 'episodes' (list)")
        reservoir = cls(capacity, per_slot=per_slot)
        reservoir.add(*_read(episodes))
        return reservoir


def _read(episodes: Iterable[object]) -> Iterable[Episode]:
    for number, entry in enumerate(episodes):
        if not isinstance(entry, Mapping):
            raise RunFolderError(f"episode {number} of the reservoir's state is not an object")
        yield episode_from_json(entry)


_Slot = tuple[str, str, OutcomeClass]


def _slot_of(episode: Episode) -> _Slot:
    return episode.task.task_id, episode.arm or "", OutcomeClass.of(episode)
