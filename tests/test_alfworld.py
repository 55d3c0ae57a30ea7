"""The ALFWorld adapter against a small fake of the package's interface (the real games are not at hand)."""

from __future__ import annotations

import sys
import types
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from reskill_agents.environment import Split
from reskill_agents.envs.alfworld import ALFWorld, Config, package_games
from reskill_agents.errors import ConfigError, EnvironmentFault
from reskill_agents.testing import check_world

Infos = Mapping[str, Sequence[object]]
CONFIG: Config = {"env": {"type": "AlfredTWEnv"}}
TASK = "put a mug in desk."


class FakeGame:
    """Go to the desk, take the mug, put it down; as a batch of one."""

    def __init__(self, path: str) -> None:
        self.path, self.place, self.held, self.closed = path, "room", False, False

    def infos(self, won: bool = False) -> Infos:
        commands = ["look", "inventory", "go to desk 1", "go to shelf 1"]
        commands += ["take mug 1 from shelf 1"] if self.place == "shelf 1" and not self.held else []
        commands += ["put mug 1 in/on desk 1"] if self.place == "desk 1" and self.held else []
        return {"admissible_commands": [commands], "won": [won], "extra.gamefile": [self.path]}

    def reset(self) -> tuple[Sequence[str], Infos]:
        self.place, self.held = "room", False
        start = "-= Welcome to TextWorld, ALFRED! =-\n\nYou are in the middle of a room.\n\nYour task is to: "
        return (start + TASK + "\n",), self.infos()

    def step(self, commands: Sequence[str]) -> tuple[Sequence[str], Sequence[float], Sequence[bool], Infos]:
        [command] = commands
        if self.path.endswith("broken/game.tw-pddl"):
            raise RuntimeError("the interpreter died")
        if command.startswith("go to "):
            self.place = command.removeprefix("go to ")
        self.held = self.held or command.startswith("take")
        won = command.startswith("put")
        return ("You win!" if won else f"You are at {self.place}.",), (float(won),), (won,), self.infos(won)

    def close(self) -> None:
        self.closed = True


class FakeGames:
    """The package's ``AlfredTWEnv``."""

    started: list[FakeGame] = []  # noqa: RUF012 (a record over all instances)

    def __init__(self, config: Config, train_eval: str) -> None:
        count = 20 if train_eval == "train" else 4
        kinds = ("pick_and_place_simple-Mug-None-Desk-308", "look_at_obj_in_light-Book-None-DeskLamp-7")
        folder = f"/data/{train_eval}"
        self.game_files = [f"{folder}/{kinds[n % 2]}/trial_{n:02}/game.tw-pddl" for n in reversed(range(count))]
        self.num_games = count

    def init_env(self, batch_size: int) -> FakeGame:
        assert batch_size == 1
        assert self.num_games == len(self.game_files) == 1
        self.started.append(FakeGame(self.game_files[0]))
        return self.started[-1]


def world() -> ALFWorld:
    return ALFWorld(CONFIG, make_games=FakeGames)


def test_it_keeps_the_contract() -> None:
    check_world(world())


def test_splits_are_the_packages_with_a_tenth_for_validation() -> None:
    assert [len(world().tasks(split)) for split in Split] == [18, 2, 4, 4]
    task = world().tasks(Split.UNSEEN_TEST)[0]
    assert task.text == "look at obj in light: Book, DeskLamp"
    assert task.tags == {"type": "look_at_obj_in_light"}
    assert task.task_id == "alfworld-eval_out_of_distribution-look_at_obj_in_light-Book-None-DeskLamp-7-trial_01"
    assert world().describe()["tasks_valid"] == 2


def test_a_game_is_played_to_its_end() -> None:
    env, task = world().make(), world().tasks(Split.SEEN_TEST)[2]
    start = env.reset(task, seed=0)
    assert start.task == TASK
    assert start.text.endswith(f"Your task is to: {TASK}")
    assert [choice.kind for choice in start.choices] == ["look", "inventory", "go", "go"]
    assert FakeGames.started[-1].path.split("/")[3] == task.task_id.split("-", 2)[2].rsplit("-", 1)[0]
    refused = env.step("put mug 1 in/on desk 1")
    assert (refused.valid, refused.observation) == (False, start)
    for command in ("go to shelf 1", "take mug 1 from shelf 1", "go to desk 1"):
        result = env.step(command)
        assert (result.valid, result.done, result.score) == (True, False, 0.0)
    won = env.step("put mug 1 in/on desk 1")
    assert (won.done, won.score, won.observation.text, won.observation.choices) == (True, 1.0, "You win!", ())
    assert won.observation.task == TASK
    assert env.step("look").valid is False


def test_what_is_random_in_the_package_is_switched_off() -> None:
    seen: list[Config] = []

    def make_games(config: Config, train_eval: str) -> FakeGames:
        seen.append(config)
        return FakeGames(config, train_eval)

    given: Config = {"env": {"domain_randomization": True, "x": 1}, "general": {"training_method": "dagger"}}
    games = ALFWorld(given, make_games=make_games)
    for task in games.tasks(Split.TRAIN)[:3]:
        games.make().reset(task, seed=0)
    expected = {"env": {"domain_randomization": False, "x": 1}, "general": {"training_method": "dqn"}}
    assert seen == [expected] * 3  # one a split: the games are not read again for every environment
    assert given["env"] == {"domain_randomization": True, "x": 1}


def test_the_game_before_is_closed() -> None:
    env, tasks = world().make(), world().tasks(Split.TRAIN)
    env.reset(tasks[0], seed=0)
    first = FakeGames.started[-1]
    env.reset(tasks[1], seed=0)
    assert first.closed
    assert not FakeGames.started[-1].closed


def test_what_breaks_is_a_fault() -> None:
    class Broken(FakeGames):
        def __init__(self, config: Config, train_eval: str) -> None:
            super().__init__(config, train_eval)
            self.game_files = [path.replace("trial_00", "broken") for path in self.game_files]

    broken = ALFWorld(CONFIG, make_games=Broken)
    task = next(task for split in Split for task in broken.tasks(split) if task.task_id.endswith("broken"))
    env = broken.make()
    env.reset(task, seed=0)
    with pytest.raises(EnvironmentFault, match="command 'look' failed: RuntimeError"):
        env.step("look")
    with pytest.raises(EnvironmentFault, match="step before reset"):
        env.step("look")

    class Unstartable(FakeGames):
        def init_env(self, batch_size: int) -> FakeGame:
            raise OSError("no interpreter")

    other = ALFWorld(CONFIG, make_games=Unstartable)
    with pytest.raises(EnvironmentFault, match="could not be started"):
        other.make().reset(other.tasks(Split.TRAIN)[0], seed=0)


def test_missing_games_and_wrong_settings_are_named(tmp_path: Path) -> None:
    class Empty(FakeGames):
        def __init__(self, config: Config, train_eval: str) -> None:
            super().__init__(config, train_eval)
            self.game_files = []

    with pytest.raises(ConfigError, match="no games of 'train'"):
        ALFWorld(CONFIG, make_games=Empty)
    with pytest.raises(ConfigError, match="max_turns is 0"):
        ALFWorld(CONFIG, max_turns=0, make_games=FakeGames)
    with pytest.raises(ConfigError, match="cannot be read as YAML"):
        ALFWorld(tmp_path / "nowhere.yaml", make_games=FakeGames)
    (tmp_path / "list.yaml").write_text("- 1")
    with pytest.raises(ConfigError, match="must hold settings by name, not list"):
        ALFWorld(tmp_path / "list.yaml", make_games=FakeGames)
    (tmp_path / "good.yaml").write_text("env: {type: AlfredTWEnv}")
    assert ALFWorld(tmp_path / "good.yaml", make_games=FakeGames).tasks(Split.VALID)


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A fake package where the real one would be imported from."""
    module = types.ModuleType("alfworld.agents.environment")
    for name in ("alfworld", "alfworld.agents"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def test_the_package_is_found_in_both_of_its_layouts(package: types.ModuleType) -> None:
    package.AlfredTWEnv = FakeGames  # type: ignore[attr-defined]
    assert len(package_games(CONFIG, "train").game_files) == 20
    package.get_environment = {"AlfredTWEnv": FakeGames}.__getitem__  # type: ignore[attr-defined]
    assert len(package_games(CONFIG, "eval_in_distribution").game_files) == 4


def test_missing_data_are_named(package: types.ModuleType) -> None:
    def no_data(config: Config, train_eval: str) -> FakeGames:
        raise FileNotFoundError("logic/alfred.pddl")

    package.AlfredTWEnv = no_data  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match=r"cannot be read: FileNotFoundError.*alfworld-download"):
        ALFWorld(CONFIG)


def test_without_the_package_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "alfworld", None)
    monkeypatch.setitem(sys.modules, "alfworld.agents.environment", None)
    with pytest.raises(ConfigError, match="pip install alfworld"):
        ALFWorld(CONFIG)
