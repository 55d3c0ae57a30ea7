"""A cooking game on compact pages: few closed words, foods as numbered slots, for the built-in policy.

The environment does the word matching, so that a tiny policy can read pages: once the cookbook has been read, a food and a way
to cut are marked ``needed`` or ``other`` by the recipe; once an appliance has been looked at, so is the appliance
("Useful for frying things." against "fry the carrot"). Nothing is shown that the player has not seen. Choices are the game's
commands less those that a cook can do without (look, inventory, examine most things, close, put, insert, drop, eat raw).
What is done and can't be undone is not offered again. The episode ends with the meal, right or wrong, and where nothing is left
to do.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from reskill_agents.environment import Choice, Observation, StepResult, Task
from reskill_agents.envs.textworld_games import Game
from reskill_agents.envs.textworld_map import KnownMap
from reskill_agents.envs.textworld_states import KitchenState, KnownStates, SharedGame
from reskill_agents.errors import EnvironmentFault

NEEDED, OTHER = "needed", "other"
MAX_FOODS = 24
SYSTEM_PROMPT = "you are in a house . cook what is needed and eat it"
READ, EAT = "examine cookbook", "eat meal"
CUTS = {"chopped": "chop", "sliced": "slice", "diced": "dice"}
COOKS = {"fried": "fry", "roasted": "roast", "grilled": "grill"}
APPLIANCES = {"stove": "fried", "oven": "roasted", "BBQ": "grilled"}  # as their descriptions say
KINDS = ("room", "open", "book", "look", "food", "tool", "cut", "appliance", "meal")
ROOMS = "kitchen pantry livingroom corridor bedroom bathroom shed garden backyard driveway street supermarket".split()
_STATES = frozenset((*CUTS, *COOKS, "burned"))
_TAKE = re.compile(r"take (.+?)(?: from .+)?")
_CUT = re.compile(r"(chop|slice|dice) (.+) with knife")
_COOK = re.compile(r"cook (.+) with (stove|oven|BBQ)")


@dataclass
class Pages:
    """What the player of one episode has seen, and how it is shown. Deterministic in the game and ``seed``."""

    game: Game
    seed: int
    read: bool = False
    looked: set[str] = field(default_factory=set)
    known: KnownMap = field(default_factory=KnownMap)
    _slots: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        numbers = list(range(1, MAX_FOODS + 1))
        random.Random(f"slots/{self.seed}/{self.game.path.name}").shuffle(numbers)
        self._free = numbers

    def show(self, state: KitchenState) -> Observation:
        """The page for ``state``."""
        exits = [command.removeprefix("go ") for command in state.commands if command.startswith("go ")]
        self.known.arrive(state.room, exits)
        text = " . ".join(filter(None, (f"in {state.room}", self._recipe(), self._hands(state))))
        return Observation(text, tuple(sorted(self._choices(state.commands), key=_place)), NEEDED)

    def after(self, command: str) -> None:
        """Note what ``command`` showed the player."""
        if command == READ:
            self.read = True
        elif command.startswith("examine "):
            self.looked.add(command.removeprefix("examine "))
        elif command.startswith("go "):
            self.known.leave(command.removeprefix("go "))

    def _slot(self, food: str) -> str:
        if food not in self._slots:
            self._slots[food] = f"e{self._free[len(self._slots) % MAX_FOODS]}"
        return self._slots[food]

    def _recipe(self) -> str:
        if not self.read:
            return ""
        steps = (
            " ".join(filter(None, (self._slot(food), CUTS.get(cutting), COOKS.get(cooking))))
            for food, cooking, cutting in self.game.ingredients
        )
        return f"recipe {' '.join(steps)}"

    def _hands(self, state: KitchenState) -> str:
        shown = []
        for thing, states in state.held:
            name = thing if thing in ("knife", "meal") else self._slot(thing)
            shown.append(" ".join([name, *sorted(states & _STATES)]))
        return f"have {' '.join(sorted(shown))}" if shown else ""

    def _mark(self, thing: str, verb: str = "") -> str:
        """`` needed`` or `` other`` by the recipe, nothing before it is read."""
        if not self.read:
            return ""
        wanted = {food: (COOKS.get(cooking), CUTS.get(cutting)) for food, cooking, cutting in self.game.ingredients}
        fits = thing in wanted and (not verb or verb in wanted[thing])
        return f" {NEEDED if fits else OTHER}"

    def _choices(self, commands: Sequence[str]) -> Iterator[Choice]:
        for command in commands:
            if command.startswith("go "):
                yield Choice(command, self.known.label(command.removeprefix("go ")), "room")
            elif command == "open fridge" or (command.startswith("open ") and command.endswith("door")):
                yield Choice(command, command.split()[-1], "open")
            elif command == READ:
                if not self.read:
                    yield Choice(command, "cookbook", "book")
            elif command.startswith("examine ") and (thing := command.removeprefix("examine ")) in APPLIANCES:
                if thing not in self.looked:
                    yield Choice(command, thing.lower(), "look")
            elif taken := _TAKE.fullmatch(command):
                yield from self._take(command, taken[1])
            elif cut := _CUT.fullmatch(command):
                yield Choice(command, f"{cut[1]} {self._slot(cut[2])}{self._mark(cut[2], cut[1])}", "cut")
            elif cook := _COOK.fullmatch(command):
                yield from self._cook(command, cook[1], cook[2])
            elif command in ("prepare meal", EAT):
                yield Choice(command, command, "meal")

    def _take(self, command: str, thing: str) -> Iterator[Choice]:
        if thing == "knife":
            yield Choice(command, "knife", "tool")
        elif thing not in ("cookbook", "meal"):
            yield Choice(command, f"{self._slot(thing)}{self._mark(thing)}", "food")

    def _cook(self, command: str, food: str, appliance: str) -> Iterator[Choice]:
        if food == "meal":
            return
        verb = COOKS[APPLIANCES[appliance]]
        mark = self._mark(food, verb) if appliance in self.looked else ""
        yield Choice(command, f"{appliance.lower()} {self._slot(food)}{mark}", "appliance")


def _place(choice: Choice) -> tuple[int, int]:
    """Where a choice is listed: by kind; foods by slot, which tells nothing; appliances with the needed one first."""
    within = 0
    if choice.kind == "food":
        within = int(choice.text.split()[0][1:])
    elif choice.kind == "appliance":
        within = {NEEDED: 0, OTHER: 2}.get(choice.text.split()[-1], 1)
    return KINDS.index(choice.kind), within


class CompactKitchen:
    """Plays the games without their prose; see :class:`reskill_agents.environment.Environment`."""

    def __init__(self, games: Mapping[str, Game], states: KnownStates) -> None:
        self._games = games
        self._states = states
        self._game = SharedGame(states)
        self._pages: Pages | None = None
        self._shown = Observation("")
        self._done, self._score = False, 0.0

    def reset(self, task: Task, *, seed: int) -> Observation:
        """Start the game of ``task``; ``seed`` says which food gets which number."""
        game = self._games.get(task.task_id)
        if game is None:
            raise EnvironmentFault(f"no task {task.task_id!r} in this world")
        self._pages, self._done, self._score = None, False, 0.0
        try:
            state = self._game.reset(game)
            pages = Pages(game, seed)
            self._shown = pages.show(state)
        except Exception as error:
            self._game = SharedGame(self._states)
            raise EnvironmentFault(f"{task.task_id}: the game could not be started: {error!r}") from error
        self._pages = pages
        return self._shown

    def step(self, action: str) -> StepResult:
        """Take a listed command; another one changes nothing."""
        if self._pages is None:
            raise EnvironmentFault("step before reset")
        if self._done or action not in [choice.action for choice in self._shown.choices]:
            return StepResult(self._shown, self._done, self._score, valid=False)
        try:
            state = self._game.step(action)
            self._pages.after(action)
            page = self._pages.show(state)
            self._done = state.done or action == EAT or not page.choices
            self._shown = Observation("done", (), NEEDED) if self._done else page
        except Exception as error:
            self._game, self._pages = SharedGame(self._states), None
            raise EnvironmentFault(f"command {action!r} failed: {error!r}") from error
        self._score = state.score
        return StepResult(self._shown, self._done, self._score)


def compact_vocabulary() -> tuple[str, ...]:
    """Every word that compact pages, choices and the system prompt can hold."""
    fixed = f"""in recipe have knife meal burned . done {NEEDED} {OTHER} {SYSTEM_PROMPT} fridge door cookbook unseen toward
        known stove oven bbq prepare meal eat meal"""
    words = [*fixed.split(), *ROOMS, *KINDS, *CUTS, *CUTS.values(), *COOKS, *COOKS.values()]
    return tuple(dict.fromkeys([*words, *(f"e{number}" for number in range(1, MAX_FOODS + 1))]))
