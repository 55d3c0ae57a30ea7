"""Cooking games of TextWorld's official challenge: generated from a seed, cached, started.

    pip install 'reskill-agents[textworld]'      # the textworld package: Linux or macOS, needs gcc to install

Settings and foods are the challenge's own (``tw-cooking``, First TextWorld Problems): its ``train`` games use train foods and
preparations, ``valid`` and ``test`` add foods of their own. The package is imported on first use only.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Protocol, cast

from reskill_agents.environment import Split
from reskill_agents.errors import ConfigError
from reskill_agents.skill import digest_json

__all__ = ["Game", "GameState", "Kitchen", "PlayedGame", "make_games", "start"]

ATTEMPTS = 60  # seeds tried for a game with a food of its split; about one in four has one
INDEX = "index.json"
_OFFICIAL = {Split.TRAIN: "train", Split.VALID: "valid", Split.SEEN_TEST: "train", Split.UNSEEN_TEST: "test"}


@dataclass(frozen=True, slots=True)
class Kitchen:
    """Difficulty, by the challenge's own names.

    Defaults are the ones its skills were measured on here: one ingredient to fetch, cook and cut in a house of six rooms.

    Args:
        recipe: ingredients of the recipe, 1..5.
        take: how many of them have to be found.
        go: rooms, one of 1, 6, 9, 12 (a barbecue, and so grilling, comes with 9).
        open, cook, cut: whether things are closed, have to be cooked, have to be cut.
        drop: whether the hands can be full.
    """

    recipe: int = 1
    take: int = 1
    go: int = 6
    open: bool = True
    cook: bool = True
    cut: bool = True
    drop: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.recipe <= 5 or not 0 <= self.take <= self.recipe or self.go not in (1, 6, 9, 12):
            raise ConfigError(f"recipe 1..5, take 0..recipe and go 1, 6, 9 or 12 are possible, not {self}")


@dataclass(frozen=True, slots=True)
class Game:
    """A generated game.

    ``path``: its description (``.json``). ``ingredients``: food, cooking, cutting of the recipe. ``walkthrough``: commands
    that win it. ``unseen_food``: whether an ingredient is a food that no train game has.
    """

    path: Path
    split: Split
    ingredients: tuple[tuple[str, str, str], ...]
    walkthrough: tuple[str, ...]
    unseen_food: bool


class Named(Protocol):
    """A thing of the game."""

    name: str


class GameFact(Protocol):
    """A fact of the game, such as ``at(P, kitchen)``."""

    name: str
    arguments: Sequence[Named]


class GameState(Protocol):
    """What is used of the package's game state."""

    feedback: str
    admissible_commands: list[str]
    facts: Sequence[GameFact]
    score: int
    max_score: int
    won: bool
    lost: bool


class PlayedGame(Protocol):
    """A started game as the package gives it."""

    def reset(self) -> GameState:
        """From the start."""
        ...

    def step(self, command: str) -> tuple[GameState, int, bool]:
        """State, score so far, whether it is over."""
        ...

    def close(self) -> None:
        """Free what the game holds."""
        ...


class _Made(Protocol):
    metadata: Mapping[str, Sequence[object]]

    def save(self, path: str) -> None: ...


def package(name: str = "textworld") -> ModuleType:
    """A module of the package.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise ConfigError(f"TextWorld needs its package: pip install 'reskill-agents[textworld]' ({error})") from error


def make_games(
    folder: Path,
    kitchen: Kitchen,
    counts: Mapping[Split, int],
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[Game]:
    """The games for ``counts``, generated into ``folder`` if they are not there (about 50 a second).

    Train and seen test are different games of the official train split; valid and unseen test are the official valid and
    test games whose recipe has a food that train games never have. Deterministic in ``kitchen``, ``seed`` and the
    package's version, all of which are in the folder's name. A folder is complete or absent: it is made beside its place.

    Raises:
        ConfigError: the package is missing, or these settings have no game with a food of a split.
    """
    package()
    wanted = {split.value: counts[split] for split in Split}
    about = {"kitchen": asdict(kitchen), "seed": seed, "counts": wanted, "textworld": version("textworld")}
    home = folder / digest_json(about).removeprefix("sha256-")[:16]
    if not (home / INDEX).is_file():
        folder.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=f".{home.name}-", dir=folder))
        try:
            _generate(building, kitchen, counts, seed, progress or (lambda done, total: None))
            with contextlib.suppress(OSError):  # another process was faster; its games are the same
                building.replace(home)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    index = json.loads((home / INDEX).read_text(encoding="utf-8"))
    return [
        Game(
            home / one["file"],
            Split(one["split"]),
            tuple((food, cooking, cutting) for food, cooking, cutting in one["ingredients"]),
            tuple(one["walkthrough"]),
            one["unseen_food"],
        )
        for one in index
    ]


def _generate(
    folder: Path, kitchen: Kitchen, counts: Mapping[Split, int], seed: int, progress: Callable[[int, int], None]
) -> None:
    index: list[dict[str, object]] = []
    total = sum(counts.values())
    train_foods = set(package("textworld.challenges.tw_cooking.cooking").FOODS_SPLITS["train"])
    with _one_pass():
        for split in Split:
            for number in range(counts[split]):
                game, unseen = _one_game(kitchen, split, number, seed, train_foods)
                name = f"{split.value}-{number:04d}.json"
                game.save(str(folder / name))
                index.append(
                    {
                        "file": name,
                        "split": split.value,
                        "ingredients": game.metadata["ingredients"],
                        "walkthrough": game.metadata["walkthrough"],
                        "unseen_food": unseen,
                    }
                )
                progress(len(index), total)
    (folder / INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")


def _one_game(kitchen: Kitchen, split: Split, number: int, seed: int, train_foods: set[str]) -> tuple[_Made, bool]:
    """The game, and whether its recipe has a food that train games never have."""
    textworld = package()
    make = package("textworld.challenges.tw_cooking.cooking").make
    wanted = _OFFICIAL[split] != "train"
    for attempt in range(ATTEMPTS):
        options = textworld.GameOptions()
        text = f"{seed}/{split.value}/{number}/{attempt}"
        options.seeds = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) >> 1
        game = cast("_Made", make({**asdict(kitchen), "split": _OFFICIAL[split], "recipe_seed": 0}, options))
        foods = {str(cast("Sequence[object]", one)[0]) for one in game.metadata["ingredients"]}
        if bool(foods - train_foods) is wanted:
            return game, wanted
    raise ConfigError(f"no {split.value} game with a food of its own in {ATTEMPTS} attempts: {kitchen}")


@contextlib.contextmanager
def _one_pass() -> Iterator[None]:
    """Let the package make a game in 20 ms instead of 3 s.

    It reads the rules of the challenge anew for every game, and compiles each once only to note the commands that win
    (which are in the game's metadata as well). Games are the same without, but for those notes (a test compares them).
    """
    maker, rules = package("textworld.generator.maker").GameMaker, package("textworld.generator.data").KnowledgeBase
    noted, load = vars(maker)["set_walkthrough"], vars(rules)["load"]
    maker.set_walkthrough = lambda self, commands: None
    rules.load = functools.cache(rules.load)
    try:
        yield
    finally:
        maker.set_walkthrough, rules.load = noted, load


def start(game: Game, *, prose: bool) -> PlayedGame:
    """Start ``game``. With ``prose`` it is the compiled game (compiled when first asked for, 2 to 3 s); else its states
    and commands are the same, and its texts are empty.

    Raises:
        ConfigError: the package is missing.
        OSError, RuntimeError: the game could not be read or compiled.
    """
    textworld = package()
    wanted = textworld.EnvInfos(admissible_commands=True, facts=True, won=True, lost=True, max_score=True, score=True)
    path = _compiled(game.path) if prose else game.path
    return cast("PlayedGame", textworld.start(str(path), wanted))


def _compiled(path: Path) -> Path:
    compiled = path.with_suffix(".z8")
    if not compiled.is_file():
        textworld = package()
        with tempfile.TemporaryDirectory(prefix=".compile-", dir=path.parent) as folder:
            options = textworld.GameOptions()
            options.path = str(Path(folder) / compiled.name)
            made = textworld.generator.compile_game(textworld.Game.load(str(path)), options)
            Path(made).replace(compiled)
    return compiled
