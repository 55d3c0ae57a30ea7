"""What a player of a text game knows of its map."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

UNSEEN, TOWARD, KNOWN = "unseen", "toward", "known"
GOAL = "kitchen"


@dataclass
class KnownMap:
    """Rooms visited, and where their exits led.

    A label says of an exit what the player could know: the room behind it, ``unseen`` where nobody went, and ``toward
    kitchen`` or ``toward unseen`` where the shortest known way there begins (the kitchen first).
    """

    here: str = ""
    exits: dict[str, dict[str, str]] = field(default_factory=dict)  # room -> direction -> room, or nothing yet
    _left: tuple[str, str] | None = None

    def leave(self, direction: str) -> None:
        """The player goes ``direction``."""
        self._left = (self.here, direction)

    def arrive(self, room: str, directions: Sequence[str]) -> None:
        """The player is in ``room`` and sees exits (more of them once a door is open)."""
        if self._left is not None and room != self._left[0]:
            origin, direction = self._left
            self.exits[origin][direction] = room
            back = _OPPOSITE.get(direction)
            if back:
                self.exits.setdefault(room, {})[back] = origin
        self._left, self.here = None, room
        known = self.exits.setdefault(room, {})
        for direction in directions:
            known.setdefault(direction, "")

    def label(self, direction: str) -> str:
        """What the exit of the room here in ``direction`` is called."""
        target = self.exits[self.here].get(direction, "")
        if not target:
            return UNSEEN
        if target == GOAL:
            return GOAL
        wanted = GOAL if GOAL in self.exits and self.here != GOAL else UNSEEN
        return f"{TOWARD} {wanted}" if self._first_step(wanted) == direction else KNOWN

    def _first_step(self, wanted: str) -> str:
        """The direction in which the shortest known way to ``wanted`` begins; nothing when there is none."""
        queue = deque((direction, room) for direction, room in sorted(self.exits[self.here].items()))
        seen = {self.here}
        while queue:
            first, room = queue.popleft()
            if not room:
                if wanted == UNSEEN:
                    return first
                continue
            if room == wanted:
                return first
            if room not in seen:
                seen.add(room)
                queue.extend((first, other) for _, other in sorted(self.exits.get(room, {}).items()))
        return ""


_OPPOSITE = {"north": "south", "south": "north", "east": "west", "west": "east"}
