"""TextWorld cooking against a small fake of the package; the real one where it is installed."""

from __future__ import annotations

import importlib.util
import json
import random
import sys
import types
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from reskill_agents.environment import Split, StepResult
from reskill_agents.envs import textworld_games
from reskill_agents.envs.textworld import GameCounts, Kitchen, ObservationMode, TextWorldCooking
from reskill_agents.envs.textworld_map import KnownMap
from reskill_agents.envs.textworld_text import OBJECTIVE, clean
from reskill_agents.errors import ConfigError, EnvironmentFault
from reskill_agents.testing import check_world

COUNTS = GameCounts(6, 2, 3, 2)
TRAIN, TEST = ["carrot", "red onion"], ["tomato", "white tuna"]


@dataclass(frozen=True)
class Thing:
    name: str


@dataclass(frozen=True)
class Fact:
    name: str
    arguments: Sequence[Thing]


def fact(name: str, *things: str) -> Fact:
    return Fact(name, [Thing(thing) for thing in things])


class FakeMade:
    def __init__(self, food: str, seed: int) -> None:
        cooking, cutting = random.Random(seed).choice([("fried", "chopped"), ("roasted", "sliced")])
        self.metadata = {"ingredients": [(food, cooking, cutting)], "walkthrough": ["go east", "..."]}

    def save(self, path: str) -> None:
        Path(path).write_text(json.dumps(self.metadata["ingredients"]))


@dataclass
class FakeState:
    admissible_commands: list[str]
    facts: list[Fact]
    feedback: str
    score: int = 0
    max_score: int = 5
    won: bool = False
    lost: bool = False


@dataclass
class FakeGame:
    """A corridor and a kitchen with everything on the counter."""

    recipe: tuple[str, str, str]
    room: str = "corridor"
    held: list[str] = field(default_factory=list)
    states: set[str] = field(default_factory=set)
    score: int = 0
    over: str = ""

    def reset(self) -> FakeState:
        self.room, self.held, self.states, self.score, self.over = "corridor", [], set(), 0, ""
        return self.state(
            f"$$$ title $$$\n\n{OBJECTIVE}\n\n-= Corridor =-\nA corridor.\n\n\n\n>      -= Corridor =-0/1"
        )

    def state(self, said: str) -> FakeState:
        facts = [fact("at", "P", self.room), *(fact("in", thing, "I") for thing in self.held)]
        facts += [fact(state, self.recipe[0]) for state in sorted(self.states)]
        won, lost = self.over == "won", self.over == "lost"
        return FakeState(sorted(self.commands()), facts, said, self.score, 5, won, lost)

    def commands(self) -> list[str]:
        if self.room == "corridor":
            return ["go east", "inventory", "look"]
        food = self.recipe[0]
        commands = ["go west", "look", "examine cookbook", "examine stove", "examine oven", "examine counter"]
        commands += [f"take {thing} from counter" for thing in (food, "salt", "knife") if thing not in self.held]
        if food in self.held:
            commands += [f"cook {food} with stove", f"cook {food} with oven", "prepare meal", f"eat {food}"]
            if "knife" in self.held and not self.states & {"chopped", "sliced", "diced"}:
                commands += [f"{verb} {food} with knife" for verb in ("chop", "slice", "dice")]
        return [*commands, "eat meal"] if "meal" in self.held else commands

    def step(self, command: str) -> tuple[FakeState, int, bool]:
        food, cooking, cutting = self.recipe
        assert command in self.commands()
        verb, *rest = command.split(" ")
        if verb == "go":
            self.room = {"east": "kitchen", "west": "corridor"}[rest[0]]
        elif verb == "take":
            self.held = sorted([*self.held, command.removeprefix("take ").removesuffix(" from counter")])
            self.score += food in command
        elif verb == "cook":
            done = {"stove": "fried", "oven": "roasted"}[rest[-1]]
            self.fails(done != cooking or done in self.states)
            self.states.add(done)
        elif verb in ("chop", "slice", "dice"):
            done = {"chop": "chopped", "slice": "sliced", "dice": "diced"}[verb]
            self.fails(done != cutting)
            self.states.add(done)
        elif command == "prepare meal":
            self.fails(self.states != {cooking, cutting})
            self.held = ["meal"]
        elif verb == "eat":
            self.fails(command != "eat meal")
            self.over = self.over or "won"
        said = "The recipe." if command == "examine cookbook" else f"You {command}."
        return self.state(said), self.score, bool(self.over)

    def fails(self, wrong: bool) -> None:
        if wrong:
            self.over = "lost"
        else:
            self.score += 1

    def close(self) -> None:
        pass


class Fakes:
    """The package's modules, and how often games were started."""

    started = 0
    made = 0


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fakes:
    """The fake package where the real one would be imported from."""
    fakes = Fakes()

    class GameOptions:
        seeds = 0
        path = ""

    def make(settings: dict[str, object], options: GameOptions) -> FakeMade:
        fakes.made += 1
        foods = TRAIN if settings["split"] == "train" else [*TRAIN, *TEST]
        return FakeMade(random.Random(options.seeds).choice(foods), options.seeds)

    def start(path: str, infos: object) -> FakeGame:
        fakes.started += 1
        [[food, cooking, cutting]] = json.loads(Path(path).read_text())
        return FakeGame((food, cooking, cutting))

    def compile_game(game: str, options: GameOptions) -> str:
        Path(options.path).write_text(game)
        return options.path

    names = ("textworld", "textworld.challenges.tw_cooking.cooking", "textworld.generator.maker")
    textworld, cooking, maker = (types.ModuleType(name) for name in names)
    data = types.ModuleType("textworld.generator.data")
    load = types.SimpleNamespace(load=lambda path: Path(path).read_text())
    vars(textworld).update(GameOptions=GameOptions, start=start, Game=load, EnvInfos=dict)
    vars(textworld)["generator"] = types.SimpleNamespace(compile_game=compile_game)
    vars(cooking).update(make=make, FOODS_SPLITS={"train": TRAIN, "valid": TEST, "test": TEST})
    vars(maker)["GameMaker"] = type("GameMaker", (), {"set_walkthrough": lambda self, commands: None})
    vars(data)["KnowledgeBase"] = type("KnowledgeBase", (), {"load": classmethod(lambda cls: cls())})
    for module in (textworld, cooking, maker, data):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(textworld_games, "version", lambda name: "fake")
    return fakes


def world(folder: Path, mode: ObservationMode = ObservationMode.COMPACT) -> TextWorldCooking:
    return TextWorldCooking(mode=mode, games=COUNTS, cache=folder)


def test_it_keeps_the_contract_in_both_modes(fake: Fakes, tmp_path: Path) -> None:
    check_world(world(tmp_path), tasks_per_split=2)
    check_world(world(tmp_path, ObservationMode.TEXT), scripted=False, tasks_per_split=2)


def test_valid_and_unseen_games_have_foods_that_no_train_game_has(fake: Fakes, tmp_path: Path) -> None:
    games = world(tmp_path)
    assert [len(games.tasks(split)) for split in Split] == [6, 2, 3, 2]
    for split in Split:
        unseen = split in (Split.VALID, Split.UNSEEN_TEST)
        for task in games.tasks(split):
            [(food, _, _)] = games.game(task).ingredients
            assert (food in TEST) is unseen
            assert task.tags == {"foods": "unseen" if unseen else "train"}


def test_games_are_made_once(fake: Fakes, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    TextWorldCooking(games=COUNTS, cache=tmp_path, progress=lambda done, total: told.append((done, total)))
    made = fake.made
    assert told == [(number, 13) for number in range(1, 14)]
    world(tmp_path)
    assert fake.made == made
    TextWorldCooking(games=COUNTS, cache=tmp_path, seed=1)
    assert fake.made > made
    assert len(list(tmp_path.iterdir())) == 2  # nothing half made is left


def test_a_compact_game_is_won_by_what_the_pages_mark(fake: Fakes, tmp_path: Path) -> None:
    games = world(tmp_path)
    env, task = games.make(), games.tasks(Split.TRAIN)[0]
    [(food, cooking, cutting)] = games.game(task).ingredients
    assert [choice.text for choice in env.reset(task, seed=3).choices] == ["unseen"]
    page = env.step("go east").observation
    assert page.text == "in kitchen"
    texts = {choice.action: f"{choice.kind} {choice.text}" for choice in page.choices}
    assert texts["examine cookbook"] == "book cookbook"
    assert "examine counter" not in texts
    assert len(texts[f"take {food} from counter"].split()) == 2  # a slot, and no mark before the recipe is read
    page = env.step("examine cookbook").observation
    slot = page.text.split()[4]
    verbs = {"chopped": "chop", "sliced": "slice", "fried": "fry", "roasted": "roast"}
    assert page.text == f"in kitchen . recipe {slot} {verbs[cutting]} {verbs[cooking]}"
    texts = {choice.action: choice.text for choice in page.choices}
    assert texts[f"take {food} from counter"] == f"{slot} needed"
    assert texts["take salt from counter"].endswith(" other")
    assert "examine cookbook" not in texts  # done
    appliance, other = ("stove", "oven") if cooking == "fried" else ("oven", "stove")
    for action in (f"take {food} from counter", "take knife from counter", f"examine {other}"):
        page = env.step(action).observation
    texts = {choice.action: choice.text for choice in page.choices}
    assert texts[f"cook {food} with {other}"] == f"{other} {slot} other"
    assert texts[f"cook {food} with {appliance}"] == f"{appliance} {slot}"  # nobody has looked at it
    assert texts[f"{verbs[cutting]} {food} with knife"] == f"{verbs[cutting]} {slot} needed"
    results = [
        env.step(action)
        for action in (
            f"{verbs[cutting]} {food} with knife",
            f"cook {food} with {appliance}",
            "prepare meal",
            "eat meal",
        )
    ]
    assert [result.score for result in results] == [0.4, 0.6, 0.8, 1.0]
    assert results[-1].done


def test_a_compact_game_ends_with_the_meal_right_or_wrong(
    fake: Fakes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = FakeGame.step

    def step(game: FakeGame, command: str) -> tuple[FakeState, int, bool]:
        if command == "eat meal":  # the real game goes on after a bad meal, and can't be won any more
            game.held = []
            return game.state("You eat."), game.score, False
        return played(game, command)

    monkeypatch.setattr(FakeGame, "fails", lambda game, wrong: None)
    monkeypatch.setattr(FakeGame, "step", step)
    games = world(tmp_path)
    env, task = games.make(), games.tasks(Split.TRAIN)[0]
    food = games.game(task).ingredients[0][0]
    env.reset(task, seed=0)
    for action in ("go east", f"take {food} from counter", "prepare meal"):
        assert not env.step(action).done
    eaten = env.step("eat meal")
    assert (eaten.done, eaten.score, eaten.observation.choices) == (True, 0.2, ())
    assert env.step("go west").valid is False


def test_a_compact_game_ends_where_nothing_is_left_to_do(
    fake: Fakes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeGame, "commands", lambda game: ["examine cookbook", "look"])
    games = world(tmp_path)
    env = games.make()
    assert [choice.text for choice in env.reset(games.tasks(Split.TRAIN)[0], seed=0).choices] == ["cookbook"]
    assert env.step("examine cookbook").done


def test_one_room_takes_fewer_turns(fake: Fakes, tmp_path: Path) -> None:
    kitchen = Kitchen(go=1, open=False)
    one_room = TextWorldCooking(mode=ObservationMode.COMPACT, kitchen=kitchen, games=COUNTS, cache=tmp_path)
    prose = TextWorldCooking(kitchen=kitchen, games=COUNTS, cache=tmp_path)
    assert (one_room.max_turns, world(tmp_path).max_turns, prose.max_turns) == (12, 20, 30)


def test_a_step_that_was_taken_before_is_not_taken_again(fake: Fakes, tmp_path: Path) -> None:
    games = world(tmp_path)
    task = games.tasks(Split.TRAIN)[0]

    def play() -> list[StepResult]:
        env = games.make()
        env.reset(task, seed=0)
        return [env.step(action) for action in ("go east", "examine cookbook", "take salt from counter")]

    first = play()
    started = fake.started
    assert play() == first
    assert fake.started == started
    env = games.make()
    env.reset(task, seed=0)
    env.step("go east")
    env.step("take knife from counter")  # new: the game behind catches up
    again = env.step("examine cookbook")
    assert again.observation.text.endswith("have knife")
    assert fake.started == started + 1


def test_foods_get_other_numbers_with_another_seed(fake: Fakes, tmp_path: Path) -> None:
    games = world(tmp_path)
    env, task = games.make(), games.tasks(Split.TRAIN)[0]
    pages = []
    for seed in range(4):
        env.reset(task, seed=seed)
        pages.append(env.step("go east").observation)
    assert len({page.choices for page in pages}) > 1


def test_prose_is_the_games_own_less_title_and_status_line(fake: Fakes, tmp_path: Path) -> None:
    games = world(tmp_path, ObservationMode.TEXT)
    env, task = games.make(), games.tasks(Split.SEEN_TEST)[0]
    start = env.reset(task, seed=0)
    assert start.text == f"{OBJECTIVE}\n\n-= Corridor =-\nA corridor."
    assert [choice.action for choice in start.choices] == ["go east", "inventory", "look"]
    assert env.step("eat carrot").valid is False
    assert env.step("go east").observation.text == "You go east."
    assert clean("\n\nTaken.\n\n\n\nMore.\n> ") == "Taken.\n\nMore.\n>"


def test_a_lost_game_is_over_and_not_a_success(fake: Fakes, tmp_path: Path) -> None:
    games = world(tmp_path, ObservationMode.TEXT)
    env, task = games.make(), games.tasks(Split.TRAIN)[0]
    food = games.game(task).ingredients[0][0]
    env.reset(task, seed=0)
    env.step("go east")
    env.step(f"take {food} from counter")
    lost = env.step("prepare meal")
    assert (lost.done, lost.score, lost.observation.choices) == (True, 0.2, ())
    assert env.step("look").valid is False


def test_a_map_knows_what_its_player_saw() -> None:
    known = KnownMap()
    known.arrive("corridor", ["north", "east"])
    assert [known.label("north"), known.label("east")] == ["unseen", "unseen"]
    known.leave("north")
    known.arrive("bathroom", ["south"])
    assert known.label("south") == "toward unseen"
    known.leave("south")
    known.arrive("corridor", ["north", "east"])
    assert known.label("north") == "known"
    known.leave("east")
    known.arrive("kitchen", ["west", "south"])
    assert [known.label("west"), known.label("south")] == ["known", "unseen"]
    known.leave("west")
    known.arrive("corridor", ["north", "east"])
    assert known.label("east") == "kitchen"
    known.leave("north")
    known.arrive("bathroom", ["south"])
    assert known.label("south") == "toward kitchen"


def test_wrong_settings_are_named(fake: Fakes, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="go 1, 6, 9 or 12"):
        Kitchen(go=7)
    with pytest.raises(ConfigError, match="a game at least"):
        GameCounts(train=0)
    with pytest.raises(ConfigError, match="mode 'compact' only"):
        world(tmp_path, ObservationMode.TEXT).vocabulary()
    with pytest.raises(ConfigError, match="max_turns is 0"):
        TextWorldCooking(max_turns=0, cache=tmp_path)


def test_what_breaks_is_a_fault(fake: Fakes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for mode in ObservationMode:
        games = world(tmp_path, mode)
        env, task = games.make(), games.tasks(Split.TRAIN)[0]
        env.reset(task, seed=0)
        with monkeypatch.context() as broken:
            broken.setattr(FakeGame, "step", lambda self, command: 1 / 0)
            with pytest.raises(EnvironmentFault, match="'go east' failed: ZeroDivisionError"):
                env.step("go east")
        with pytest.raises(EnvironmentFault, match="step before reset"):
            env.step("go east")
        env.reset(task, seed=0)
        assert env.step("go east").valid


def test_without_the_package_it_is_said_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "textworld", None)
    with pytest.raises(ConfigError, match=r"reskill-agents\[textworld\]"):
        TextWorldCooking(cache=tmp_path)


@pytest.fixture
def real() -> None:
    if importlib.util.find_spec("textworld") is None:
        pytest.skip("the textworld package is not installed: pip install 'reskill-agents[textworld]'")


REAL = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",
    "ignore::PendingDeprecationWarning",
    "ignore::SyntaxWarning",
    "ignore:Game .* is not fully supported",  # the interpreter's, of all TextWorld games
)


@REAL
@pytest.mark.slow
def test_the_real_games_keep_the_contract(real: None, tmp_path: Path) -> None:
    counts = GameCounts(2, 1, 1, 2)
    check_world(TextWorldCooking(mode=ObservationMode.COMPACT, games=counts, cache=tmp_path), tasks_per_split=2)
    prose = TextWorldCooking(games=GameCounts(1, 1, 1, 1), cache=tmp_path, max_turns=8)
    check_world(prose, scripted=False, tasks_per_split=1)


@REAL
@pytest.mark.slow
def test_real_games_are_the_same_with_and_without_prose_and_their_walkthroughs_win(real: None, tmp_path: Path) -> None:
    games = TextWorldCooking(games=GameCounts(1, 1, 1, 1), cache=tmp_path)
    for split in (Split.TRAIN, Split.UNSEEN_TEST):
        game = games.game(games.tasks(split)[0])
        prose, silent = (textworld_games.start(game, prose=prose) for prose in (True, False))
        states = [(prose.reset(), silent.reset())]
        states += [(prose.step(command)[0], silent.step(command)[0]) for command in game.walkthrough]
        for said, unsaid in states:
            assert (said.won, said.lost, said.score or 0) == (unsaid.won, unsaid.lost, unsaid.score or 0)
            if not said.won:
                assert said.admissible_commands == unsaid.admissible_commands
        assert states[-1][0].won
        prose.close()


@REAL
@pytest.mark.slow
def test_real_games_made_the_short_way_are_those_of_the_challenge(real: None, tmp_path: Path) -> None:
    """Making them without noting the winning commands changes nothing else."""
    from textworld.challenges.tw_cooking import cooking

    made = textworld_games._one_game(Kitchen(), Split.TRAIN, 0, 0, set(cooking.FOODS_SPLITS["train"]))[0]
    with textworld_games._one_pass():
        short = textworld_games._one_game(Kitchen(), Split.TRAIN, 0, 0, set(cooking.FOODS_SPLITS["train"]))[0]
    made.save(str(tmp_path / "made.json"))
    short.save(str(tmp_path / "short.json"))
    one, other = (json.loads((tmp_path / name).read_text()) for name in ("made.json", "short.json"))
    for game in (one, other):
        for quest in game["quests"]:
            quest["commands"] = []
            for event in quest["win_events"]:
                event["commands"] = event["actions"] = []
    assert one == other
