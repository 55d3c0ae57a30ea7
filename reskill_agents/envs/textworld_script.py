"""The careless cook: what a player does whom nobody advises. It knows pages by their choices only."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from reskill_agents.directives import ActionClass, Criterion, Directive, Form, overlap
from reskill_agents.environment import Choice, Observation
from reskill_agents.envs.textworld_compact import NEEDED
from reskill_agents.envs.textworld_map import GOAL, TOWARD, UNSEEN

_TASK = frozenset({NEEDED})
_APPLIANCE = ActionClass("appliance")
READ = Directive(Form.SOON, ActionClass("book", "cookbook"))
LOOK = Directive(Form.BEFORE, _APPLIANCE, ActionClass("look", "stove"))  # one of the two tells about both
MATCH = Directive(Form.AMONG, _APPLIANCE, criterion=Criterion.MOST_TASK_WORDS)
STOP = Directive(Form.AFTER, _APPLIANCE, ActionClass("meal", "prepare meal"))
REMEDIES = (READ, LOOK, MATCH, STOP)  # with these a careless cook always wins


@dataclass(frozen=True, slots=True)
class Carelessness:
    """Chances, 0..1, each drawn where it matters.

    Args:
        read: in the kitchen, read the cookbook before anything else.
        look: before cooking, look at an appliance.
        right_appliance: take the appliance known to be needed, else any.
        cook_again: cook what has been cooked; drawn once an episode.
        look_into_fridge: open the fridge before taking a food from elsewhere.
        wander: go away without a reason.
    """

    read: float = 0.08
    look: float = 0.08
    right_appliance: float = 0.1
    cook_again: float = 0.4
    look_into_fridge: float = 0.6
    wander: float = 0.02


class CarelessCook:
    """Plays one episode; implements ``ScriptedActor``.

    It finds its way, and does what a recipe that it has read says about foods and cutting. What it lacks is what the recipe does
    not say: that there is a cookbook, what appliances are for, and that cooking twice burns the food.
    """

    def __init__(self, rng: random.Random, habits: Carelessness | None = None) -> None:
        self._rng = rng
        self._habits = habits or Carelessness()
        self._reads: bool | None = None
        self._looks: bool | None = None
        self._again: bool | None = None

    def act(self, observation: Observation) -> Choice:
        """The choice it takes; one of ``observation.choices``."""
        offered: dict[str, list[Choice]] = {}
        for choice in observation.choices:
            offered.setdefault(choice.kind, []).append(choice)
        rooms = offered.get("room", [])
        if rooms and self._chance(self._habits.wander):
            return self._rng.choice(rooms)
        if not observation.text.startswith(f"in {GOAL}"):
            return self._find_kitchen(rooms, offered.get("open", [])) or observation.choices[0]
        return self._in_kitchen(observation, offered)

    def _find_kitchen(self, rooms: Sequence[Choice], doors: Sequence[Choice]) -> Choice | None:
        for wanted in (GOAL, f"{TOWARD} {GOAL}", UNSEEN):
            found = next((room for room in rooms if room.text == wanted), None)
            if found:
                return found
        return next(iter(doors), None) or next((room for room in rooms if room.text.startswith(TOWARD)), None)

    def _in_kitchen(self, observation: Observation, offered: dict[str, list[Choice]]) -> Choice:
        if self._reads is None:
            self._reads = self._chance(self._habits.read)
        books, meals = offered.get("book", []), offered.get("meal", [])
        if books and self._reads:
            return books[0]
        if any(meal.text == "eat meal" for meal in meals):
            return next(meal for meal in meals if meal.text == "eat meal")
        parts = observation.text.split(" . ")
        hands = next((part for part in parts if part.startswith("have ")), "")
        recipe = next((part for part in parts if part.startswith("recipe ")), "")
        if not self._has_food(hands, recipe):
            return self._fetch(offered) or observation.choices[0]
        cut = self._cut(hands, recipe, offered)
        return cut or self._cook(hands, recipe, offered) or (meals or list(observation.choices))[0]

    def _has_food(self, hands: str, recipe: str) -> bool:
        held = {word for word in hands.split() if word[0] == "e" and word[1:].isdigit()}
        wanted = {word for word in recipe.split() if word[0] == "e" and word[1:].isdigit()}
        return wanted <= held if wanted else bool(held)

    def _fetch(self, offered: dict[str, list[Choice]]) -> Choice | None:
        foods = offered.get("food", [])
        fridge = next((choice for choice in offered.get("open", []) if choice.text == "fridge"), None)
        marked = any(len(food.text.split()) > 1 for food in foods)
        needed = [food for food in foods if overlap(food, _TASK)]
        if needed:
            return needed[0]
        if fridge and (marked or not foods or self._chance(self._habits.look_into_fridge)):
            return fridge
        if foods and not marked:
            return self._rng.choice(foods)
        unseen = [room for room in offered.get("room", []) if UNSEEN in room.text]
        return next(iter([*unseen, *offered.get("open", []), *foods]), None)

    def _cut(self, hands: str, recipe: str, offered: dict[str, list[Choice]]) -> Choice | None:
        wanted = not recipe or any(word in recipe.split() for word in ("chop", "slice", "dice"))
        if not wanted or any(word in hands.split() for word in ("chopped", "sliced", "diced")):
            cuts = [cut for cut in offered.get("cut", []) if recipe and overlap(cut, _TASK)]
            return cuts[0] if cuts else None
        if "knife" not in hands.split():
            return next(iter(offered.get("tool", [])), None)
        cuts = offered.get("cut", [])
        needed = [cut for cut in cuts if overlap(cut, _TASK)]
        return needed[0] if needed else self._rng.choice(cuts) if cuts and not recipe else None

    def _cook(self, hands: str, recipe: str, offered: dict[str, list[Choice]]) -> Choice | None:
        appliances = self._of_recipe(offered.get("appliance", []), recipe)
        if recipe and not any(word in recipe.split() for word in ("fry", "roast", "grill")):
            return None
        if any(word in hands.split() for word in ("fried", "roasted", "grilled")):
            if self._again is None:
                self._again = self._chance(self._habits.cook_again)
            again, self._again = self._again, False
            return self._rng.choice(appliances) if again and appliances else None
        looks = offered.get("look", [])
        if self._looks is None:
            self._looks = self._chance(self._habits.look)
        if self._looks and len(looks) > 1:
            return self._rng.choice(looks)
        needed = [choice for choice in appliances if overlap(choice, _TASK)]
        if needed and self._chance(self._habits.right_appliance):
            return needed[0]
        return self._rng.choice(appliances) if appliances else None

    def _of_recipe(self, appliances: Sequence[Choice], recipe: str) -> list[Choice]:
        """The choices that cook a food of the recipe; all of them while the recipe is unknown."""
        words = recipe.split()
        return [choice for choice in appliances if not recipe or choice.text.split()[1] in words]

    def _chance(self, share: float) -> bool:
        return self._rng.random() < share
