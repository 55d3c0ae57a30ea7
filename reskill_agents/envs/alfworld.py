"""ALFWorld's text games as a world, through the ``alfworld`` package (Shridhar et al., 2021).

    pip install alfworld && alfworld-download        # package and data, in $ALFWORLD_DATA
    world = ALFWorld(Path("base_config.yaml"))       # the package's own configuration file

**Not run against the real games here**: package and data were not at hand. The adapter is written from the package's
source and tested against a small fake with its interface. The package is imported on first use only.
"""

from __future__ import annotations

import contextlib
import copy
import io
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

import yaml

from reskill_agents.environment import Choice, Observation, Split, StepResult, Task
from reskill_agents.errors import ConfigError, EnvironmentFault

__all__ = ["ALFWorld", "ALFWorldEnvironment", "BatchEnv", "Games", "package_games"]

MAX_TURNS = 50  # the package's own limit
VALID_SHARE = 0.1  # of the train games; ALFWorld has no validation games of its own
SYSTEM_PROMPT = (
    "You are in a household. Do the task that is told at the start, one action a turn, written as the list of "
    "admissible actions has it, for example: go to desk 1; open drawer 2; take mug 1 from desk 1; look; inventory."
)
_SPLITS = {
    "train": Split.TRAIN,
    "eval_in_distribution": Split.SEEN_TEST,
    "eval_out_of_distribution": Split.UNSEEN_TEST,
}
_TASK = re.compile(r"Your task is to:\s*(.+?)\s*$", re.DOTALL)
_NOTHING = "Nothing happens"
Config = dict[str, object]


class BatchEnv(Protocol):
    """A started game as the package gives it: lists with one entry a game of the batch."""

    def reset(self) -> tuple[Sequence[str], Mapping[str, Sequence[object]]]:
        """Observations and infos."""
        ...

    def step(
        self, commands: Sequence[str]
    ) -> tuple[Sequence[str], Sequence[float], Sequence[bool], Mapping[str, Sequence[object]]]:
        """Observations, scores, dones and infos."""
        ...

    def close(self) -> None:
        """Free what the game holds."""
        ...


class Games(Protocol):
    """The package's ``AlfredTWEnv``: the games of a split, and a way to start those that are left in its list."""

    game_files: list[str]
    num_games: int

    def init_env(self, batch_size: int) -> BatchEnv:
        """Start the games in ``game_files``."""
        ...


GamesMaker = Callable[[Config, str], Games]


def package_games(config: Config, train_eval: str) -> Games:
    """The games of the real package.

    Raises:
        ConfigError: the package is missing, or its data are.
    """
    try:
        environment = import_module("alfworld.agents.environment")
    except ImportError as error:
        raise ConfigError(f"ALFWorld needs its package: pip install alfworld && alfworld-download ({error})") from error
    try:
        newer = hasattr(environment, "get_environment")  # older versions offer the class itself
        kind = environment.get_environment("AlfredTWEnv") if newer else environment.AlfredTWEnv
        with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
            return cast("Games", kind(config, train_eval=train_eval))
    except (OSError, KeyError, AttributeError) as error:
        raise ConfigError(
            f"ALFWorld's games cannot be read: {error!r}. Run alfworld-download, set ALFWORLD_DATA to its folder, and "
            "use the configuration file of the installed version"
        ) from error


@dataclass(frozen=True, slots=True)
class _Game:
    """A game file and the split of the package it belongs to."""

    path: str
    train_eval: str


class ALFWorld:
    """ALFWorld's games in splits; see :class:`reskill_agents.environment.World`.

    Train and validation games are the package's ``train`` (a seeded tenth for validation), seen test its
    ``eval_in_distribution``, unseen test its ``eval_out_of_distribution`` (rooms that no other split has). The score is 1
    when the game is won, else 0.

    Args:
        config: the package's configuration, as a YAML file or read already. Shuffled names (``domain_randomization``)
            and the expert beside the game (training method ``dagger``) are switched off: a task and its actions must
            always give the same observations.
        seed: which train games are for validation.
        max_turns: turns an episode may take.
        make_games: what gives the games of a split; the package by default.

    Raises:
        ConfigError: package, data or configuration are missing or unusable.
    """

    name = "alfworld"

    def __init__(
        self,
        config: Path | Config,
        *,
        seed: int = 0,
        max_turns: int = MAX_TURNS,
        make_games: GamesMaker = package_games,
    ) -> None:
        if max_turns < 1:
            raise ConfigError(f"max_turns is {max_turns}, at least 1 needed")
        self.max_turns = max_turns
        self._seed = seed
        settings = _deterministic(_read(config) if isinstance(config, Path) else config)
        self._loaders = {train_eval: make_games(settings, train_eval) for train_eval in _SPLITS}
        self._games: dict[str, _Game] = {}
        self._tasks: dict[Split, list[Task]] = {split: [] for split in Split}
        for train_eval, split in _SPLITS.items():
            self._add(train_eval, split)

    def _add(self, train_eval: str, split: Split) -> None:
        found = sorted(self._loaders[train_eval].game_files)
        if not found:
            raise ConfigError(f"ALFWorld has no games of {train_eval!r}: has alfworld-download been run?")
        held_out: set[str] = set()
        if split is Split.TRAIN:
            rng = random.Random(f"alfworld/valid/{self._seed}")
            held_out = set(rng.sample(found, round(VALID_SHARE * len(found))))
        for path in found:
            place = Split.VALID if path in held_out else split
            task = _task(path, train_eval, place)
            if task.task_id in self._games:
                raise ConfigError(f"ALFWorld has two games {task.task_id!r}")
            self._games[task.task_id] = _Game(path, train_eval)
            self._tasks[place].append(task)

    def tasks(self, split: Split) -> Sequence[Task]:
        """The games of a split in order of their names. A task's text is its type and objects; the game tells more."""
        return self._tasks[split]

    def make(self) -> ALFWorldEnvironment:
        """A new environment."""
        return ALFWorldEnvironment(self._games, self._loaders)

    def describe(self) -> Mapping[str, str | int | float | bool]:
        """Settings, and games per split."""
        counts = {f"tasks_{split.value}": len(tasks) for split, tasks in self._tasks.items()}
        return {"world": self.name, "seed": self._seed, "max_turns": self.max_turns, **counts}

    def system_prompt(self) -> str:
        """What the agent is told before the first observation."""
        return SYSTEM_PROMPT


class ALFWorldEnvironment:
    """One game at a time; whatever the package raises is an :class:`EnvironmentFault`.

    Actions are the admissible commands of the turn. A command outside the list is not sent to the game.
    """

    def __init__(self, games: Mapping[str, _Game], loaders: Mapping[str, Games]) -> None:
        self._games = games
        self._loaders = loaders
        self._env: BatchEnv | None = None
        self._shown = Observation("")
        self._done, self._score = False, 0.0

    def reset(self, task: Task, *, seed: int) -> Observation:
        """Start the game of ``task``. The games have no randomness of their own, so ``seed`` changes nothing."""
        game = self._games.get(task.task_id)
        if game is None:
            raise EnvironmentFault(f"no task {task.task_id!r} in this world")
        self._close()
        try:
            loader = copy.copy(self._loaders[game.train_eval])  # reading all games again would take minutes
            loader.game_files, loader.num_games = [game.path], 1
            self._env = loader.init_env(batch_size=1)
            texts, infos = self._env.reset()
            text = str(texts[0]).strip()
            goal = _TASK.search(text)
            self._done, self._score = False, 0.0
            self._shown = Observation(text, _choices(infos), goal[1] if goal else task.text)
        except Exception as error:
            self._close()
            raise EnvironmentFault(f"{task.task_id}: the game could not be started: {error!r}") from error
        return self._shown

    def step(self, action: str) -> StepResult:
        """Take an admissible command; another one changes nothing."""
        if self._env is None:
            raise EnvironmentFault("step before reset")
        if self._done or action not in [choice.action for choice in self._shown.choices]:
            return StepResult(self._shown, self._done, self._score, valid=False)
        try:
            texts, _, dones, infos = self._env.step([action])
            self._done, self._score = bool(dones[0]), float(bool(infos["won"][0]))
            choices = () if self._done else _choices(infos)
            self._shown = Observation(str(texts[0]).strip() or _NOTHING, choices, self._shown.task)
        except Exception as error:
            self._close()
            raise EnvironmentFault(f"command {action!r} failed: {error!r}") from error
        return StepResult(self._shown, self._done, self._score)

    def _close(self) -> None:
        env, self._env = self._env, None
        if env is not None:
            with contextlib.suppress(Exception):  # a broken game must not keep the next one from starting
                env.close()


def _choices(infos: Mapping[str, Sequence[object]]) -> tuple[Choice, ...]:
    """The admissible commands; choices of one verb are of one kind (``go``, ``take``, ``open``)."""
    commands = infos["admissible_commands"][0]
    if not isinstance(commands, list | tuple):
        raise TypeError(f"admissible_commands holds {type(commands).__name__}, not a list")
    return tuple(Choice(str(command)) for command in dict.fromkeys(commands))


def _task(path: str, train_eval: str, split: Split) -> Task:
    """The task of ``.../<type>-<object>-<...>-<scene>/<trial>/game.tw-pddl``."""
    parts = Path(path).parts
    trial, folder = (parts[-2], parts[-3]) if len(parts) >= 3 else (Path(path).stem, Path(path).stem)
    kind, *objects = folder.split("-")
    words = [word for word in objects if word != "None" and not word.isdigit()]
    text = f"{kind.replace('_', ' ')}: {', '.join(words)}" if words else kind.replace("_", " ")
    return Task(f"alfworld-{train_eval}-{folder}-{trial}", text, split, {"type": kind})


def _deterministic(config: Config) -> Config:
    """A copy of the configuration without shuffled names and without the expert, which may time out."""
    settings = copy.deepcopy(config)
    for section, name, value in (("env", "domain_randomization", False), ("general", "training_method", "dqn")):
        part = settings.get(section)
        if isinstance(part, dict):
            part[name] = value
    return settings


def _read(path: Path) -> Config:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML ({error})") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: must hold settings by name, not {type(content).__name__}")
    return content
