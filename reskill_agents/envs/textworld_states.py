"""The states of cooking games, each computed once.

A step of a game costs 2 to 3 ms, most of it to list the commands of the new state; a group of episodes, and all the scripted
episodes of a cloning, pass through the same states again and again. So states are kept and shared by all environments of a world.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from reskill_agents.envs.textworld_games import Game, GameState, PlayedGame

MAX_NODES = 50_000  # of about 2 kB


@dataclass(frozen=True, slots=True)
class KitchenState:
    """What a page is made of: where the player is, what it holds and in which states, the commands, the points."""

    room: str
    held: tuple[tuple[str, frozenset[str]], ...]
    commands: tuple[str, ...]
    score: float
    done: bool


@dataclass(eq=False, slots=True)
class Node:
    """A state, and those that commands lead to as far as anybody tried."""

    state: KitchenState
    scored: tuple[str, ...]  # commands that brought points so far: part of what tells two states apart
    points: int
    after: dict[str, Node] = field(default_factory=dict)


@dataclass
class KnownStates:
    """The nodes of all games, shared by environments; forgotten when there are too many.

    Args:
        start: starts a game without prose.
    """

    start: Callable[[Game], PlayedGame]
    max_nodes: int = MAX_NODES
    _roots: dict[str, Node] = field(default_factory=dict)
    _nodes: dict[tuple[object, ...], Node] = field(default_factory=dict)

    def root(self, game: Game) -> Node | None:
        """The first state of ``game`` if it is known."""
        return self._roots.get(game.path.name)

    def add(self, game: Game, state: GameState, before: Node | None, command: str) -> Node:
        """The node of ``state``, reached by ``command`` from ``before`` (``None``: the start)."""
        points = int(state.score or 0)
        scored = () if before is None else before.scored
        if before is not None and points > before.points:
            scored = (*scored, command)
        facts = frozenset((str(f.name), tuple(str(one.name) for one in f.arguments)) for f in state.facts)
        over = state.won or state.lost
        key = (game.path.name, hash(facts), scored, points, state.won, state.lost)
        node = self._nodes.get(key)
        if node is None:
            if len(self._nodes) >= self.max_nodes:
                self._nodes.clear()
                self._roots.clear()
            node = self._nodes[key] = Node(_shown(state, facts, over), scored, points)
        if before is None:
            self._roots[game.path.name] = node
        else:
            before.after[command] = node
        return node


def _shown(state: GameState, facts: frozenset[tuple[str, tuple[str, ...]]], over: bool) -> KitchenState:
    room = next(things[1] for name, things in facts if name == "at" and things[0] == "P")
    held = sorted(things[0] for name, things in facts if name == "in" and things[1] == "I")
    states = {thing: frozenset(name for name, things in facts if things == (thing,)) for thing in held}
    commands = tuple(sorted(set(state.admissible_commands)))
    return KitchenState(room, tuple(states.items()), commands, share(state), over)


def share(state: GameState) -> float:
    """The points earned of those possible, 0..1; 1 only for a game that is won."""
    if state.won:
        return 1.0
    return max(state.score or 0, 0) / (state.max_score or 1)


class SharedGame:
    """One play of a game at a time, over the known states; the game itself is stepped where nobody has been."""

    def __init__(self, states: KnownStates) -> None:
        self._states = states
        self._game: Game | None = None
        self._live: PlayedGame | None = None
        self._live_path = ""
        self._at: Node | None = None
        self._history: list[str] = []
        self._stepped = -1  # commands of the history that the live game has taken; -1: it is not at its start

    def reset(self, game: Game) -> KitchenState:
        """Start ``game``."""
        self._game, self._history, self._stepped = game, [], -1
        self._at = self._states.root(game)
        if self._at is None:
            self._at = self._states.add(game, self._restart(game), None, "")
        return self._at.state

    def step(self, command: str) -> KitchenState:
        """Take an admissible command."""
        if self._game is None or self._at is None:
            raise RuntimeError("step before reset")
        self._history.append(command)
        known = self._at.after.get(command)
        self._at = known or self._states.add(self._game, self._catch_up(self._game), self._at, command)
        return self._at.state

    def _restart(self, game: Game) -> GameState:
        if self._live is None or self._live_path != str(game.path):
            self._live, self._live_path = self._states.start(game), str(game.path)
        self._stepped = 0
        return self._live.reset()

    def _catch_up(self, game: Game) -> GameState:
        """The live game after all commands of the history."""
        if self._stepped < 0:
            self._restart(game)
        if self._live is None:
            raise RuntimeError("no game was started")
        state, _, _ = self._live.step(self._history[self._stepped])
        self._stepped += 1
        while self._stepped < len(self._history):
            state, _, _ = self._live.step(self._history[self._stepped])
            self._stepped += 1
        return state
