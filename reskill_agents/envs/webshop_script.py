"""The careless shopper: what a player does whom nobody advises. It knows pages by their choices only."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from reskill_agents.directives import content_words, overlap
from reskill_agents.environment import Choice, Observation
from reskill_agents.envs.webshop_compact import ABOVE


@dataclass(frozen=True, slots=True)
class Carelessness:
    """Chances, 0..1, each drawn where it matters.

    Args:
        full_search: search with all words of the request, else with a poorer set.
        best_item: open the affordable item that fits best, else any.
        choose_options: on an item's page, take the named options before buying.
        read: on an item's page, open a sub-page first.
        any_option: on an item's page, take some option first.
        page_on: on a results page, go to the next page.
        go_back: leave an item's or a results page the way it came.
    """

    full_search: float = 0.1
    best_item: float = 0.1
    choose_options: float = 0.1
    read: float = 0.08
    any_option: float = 0.015
    page_on: float = 0.01
    go_back: float = 0.015


class CarelessShopper:
    """Plays one episode; implements ``ScriptedActor``."""

    def __init__(self, rng: random.Random, habits: Carelessness | None = None) -> None:
        self._rng = rng
        self._habits = habits or Carelessness()
        self._thorough: bool | None = None  # whether it takes named options on the page that is open
        self._taken_groups: set[str] = set()

    def act(self, observation: Observation) -> Choice:
        """The choice it takes; one of ``observation.choices``."""
        choices = observation.choices
        words = content_words(observation.task)
        kinds = {choice.kind for choice in choices}
        if "search" in kinds:
            return self._search([choice for choice in choices if choice.kind == "search"], words)
        if "item" in kinds:
            return self._pick_item(choices, words)
        if any(choice.text == "buy now" for choice in choices):
            return self._on_item_page(choices, words)
        return _button(choices, "prev") or choices[0]

    def _search(self, searches: Sequence[Choice], words: frozenset[str]) -> Choice:
        full = max(searches, key=lambda choice: overlap(choice, words))
        poorer = [choice for choice in searches if choice != full]
        if not poorer or self._rng.random() < self._habits.full_search:
            return full
        return self._rng.choice(poorer)

    def _pick_item(self, choices: Sequence[Choice], words: frozenset[str]) -> Choice:
        self._thorough = None
        self._taken_groups.clear()
        for chance, name in ((self._habits.page_on, "next"), (self._habits.go_back, "back to search")):
            button = _button(choices, name)
            if button and self._rng.random() < chance:
                return button
        items = [choice for choice in choices if choice.kind == "item"]
        if self._rng.random() < self._habits.best_item:
            cheap = [item for item in items if ABOVE not in content_words(item.text)] or items
            return max(cheap, key=lambda choice: overlap(choice, words))
        return self._rng.choice(items)

    def _on_item_page(self, choices: Sequence[Choice], words: frozenset[str]) -> Choice:
        if self._thorough is None:
            self._thorough = self._rng.random() < self._habits.choose_options
        options = [choice for choice in choices if choice.kind == "option"]
        if self._thorough:
            named = [c for c in options if overlap(c, words) and c.group not in self._taken_groups]
            if named:
                best = max(
                    (choice for choice in named if choice.group == named[0].group),
                    key=lambda choice: (overlap(choice, words), -len(content_words(choice.text))),
                )
                self._taken_groups.add(best.group)
                return best
        draw = self._rng.random()
        if draw < self._habits.read:
            return _button(choices, self._rng.choice(("description", "features", "reviews"))) or choices[-1]
        draw -= self._habits.read
        if options and draw < self._habits.any_option:
            return self._rng.choice(options)
        draw -= self._habits.any_option
        if 0 <= draw < self._habits.go_back:
            return _button(choices, "prev") or choices[-1]
        return _button(choices, "buy now") or choices[-1]


def _button(choices: Sequence[Choice], name: str) -> Choice | None:
    return next((choice for choice in choices if choice.kind == "button" and choice.text == name), None)
