"""Cooking in a text game: find the kitchen, read the recipe, fetch, cut and cook what it asks for, eat (TextWorld).

    pip install 'reskill-agents[textworld]'
    world = TextWorldCooking()                                          # the games' prose, for language models
    world = TextWorldCooking(mode=ObservationMode.COMPACT)              # closed words, for the built-in policy

Games are those of the official challenge (Côté et al., 2018; First TextWorld Problems), made from seeds and cached.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from reskill_agents.directives import Directive
from reskill_agents.environment import Split, Task
from reskill_agents.envs import textworld_compact, textworld_text
from reskill_agents.envs.textworld_compact import CompactKitchen
from reskill_agents.envs.textworld_games import Game, Kitchen, make_games, start
from reskill_agents.envs.textworld_script import REMEDIES, CarelessCook
from reskill_agents.envs.textworld_states import KnownStates
from reskill_agents.envs.textworld_text import OBJECTIVE, TextKitchen
from reskill_agents.errors import ConfigError

__all__ = ["GameCounts", "Kitchen", "ObservationMode", "TextWorldCooking"]

CACHE = Path(".cache") / "textworld"


class ObservationMode(StrEnum):
    """How games are shown: ``text``, their own prose; ``compact``, few closed words and foods as numbered slots."""

    TEXT = "text"
    COMPACT = "compact"


MAX_TURNS = {ObservationMode.TEXT: 30, ObservationMode.COMPACT: 20}  # games are won in 11 commands on average
ONE_ROOM_TURNS = 12  # in compact mode, where nine win


@dataclass(frozen=True, slots=True)
class GameCounts:
    """How many games each split has. Defaults: 20 ms a game, 80 kB each."""

    train: int = 160
    valid: int = 80
    seen_test: int = 80
    unseen_test: int = 80

    def __post_init__(self) -> None:
        if min(asdict(self).values()) < 1:
            raise ConfigError(f"every split needs a game at least, not {self}")


class TextWorldCooking:
    """Cooking games in splits; see :class:`reskill_agents.environment.World`.

    Train and seen test: the official train foods and preparations, different games. Valid and unseen test: games of the
    official valid and test splits whose recipe has a food no train game has. The score is the share of the game's points; it
    is 1 when the meal is eaten as the recipe says. In compact mode it is also a
    :class:`reskill_agents.environment.ScriptedWorld`.

    Args:
        mode: how games are shown.
        kitchen: how hard games are.
        games: how many there are.
        seed: of the games.
        cache: where games are kept.
        max_turns: turns an episode may take; default 30, in compact mode 20, or 12 where there is one room.
        progress: told while games are made: how many are done, of how many.

    Raises:
        ConfigError: the package is missing, or the settings fit no game.
    """

    name = "textworld-cooking"

    def __init__(
        self,
        *,
        mode: ObservationMode = ObservationMode.TEXT,
        kitchen: Kitchen | None = None,
        games: GameCounts | None = None,
        seed: int = 0,
        cache: Path = CACHE,
        max_turns: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self._kitchen, self._seed = kitchen or Kitchen(), seed
        one_room = mode is ObservationMode.COMPACT and self._kitchen.go == 1
        self.max_turns = max_turns if max_turns is not None else ONE_ROOM_TURNS if one_room else MAX_TURNS[mode]
        if self.max_turns < 1:
            raise ConfigError(f"max_turns is {max_turns}, at least 1 needed")
        self.mode = mode
        self._states = KnownStates(partial(start, prose=False))
        counts = {Split(split): count for split, count in asdict(games or GameCounts()).items()}
        self._games: dict[str, Game] = {}
        self._tasks: dict[Split, list[Task]] = {split: [] for split in Split}
        for game in make_games(cache, self._kitchen, counts, seed=seed, progress=progress):
            task_id = f"cooking-{seed}-{game.path.stem}"
            text = textworld_compact.NEEDED if mode is ObservationMode.COMPACT else OBJECTIVE
            tags = {"foods": "unseen" if game.unseen_food else "train"}
            self._games[task_id] = game
            self._tasks[game.split].append(Task(task_id, text, game.split, tags))

    def tasks(self, split: Split) -> Sequence[Task]:
        """The games of a split, always in the same order."""
        return self._tasks[split]

    def game(self, task: Task) -> Game:
        """The game behind ``task``, with recipe and walkthrough; for tests and oracles, never for agents."""
        return self._games[task.task_id]

    def make(self) -> CompactKitchen | TextKitchen:
        """A new environment."""
        if self.mode is ObservationMode.TEXT:
            return TextKitchen(self._games)
        return CompactKitchen(self._games, self._states)

    def describe(self) -> Mapping[str, str | int | float | bool]:
        """Settings, games per split and the package's version."""
        try:
            made_with = version("textworld")
        except PackageNotFoundError:
            made_with = "unknown"
        return {
            "world": self.name,
            "mode": self.mode.value,
            "seed": self._seed,
            "max_turns": self.max_turns,
            "textworld": made_with,
            **{f"kitchen_{name}": value for name, value in asdict(self._kitchen).items()},
            **{f"tasks_{split.value}": len(tasks) for split, tasks in self._tasks.items()},
        }

    def system_prompt(self) -> str:
        """What the agent is told before the first observation."""
        compact = self.mode is ObservationMode.COMPACT
        return textworld_compact.SYSTEM_PROMPT if compact else textworld_text.SYSTEM_PROMPT

    def vocabulary(self) -> Sequence[str]:
        """Every word of compact pages, choices and the system prompt, in a fixed order."""
        self._need_compact("a closed vocabulary")
        return textworld_compact.compact_vocabulary()

    def actor(self, seed: int) -> CarelessCook:
        """A careless cook for one episode."""
        self._need_compact("a scripted actor")
        return CarelessCook(random.Random(f"cook/{seed}"))

    def remedies(self) -> Sequence[Directive]:
        """What a careless cook lacks; a clone is examined on it. No agent, creator or trial is told."""
        return REMEDIES

    def _need_compact(self, what: str) -> None:
        if self.mode is not ObservationMode.COMPACT:
            raise ConfigError(f"{what} exists in mode 'compact' only, not in {self.mode.value!r}")
