"""The compact observation mode: the words of the request become numbered slots, and pages show only slots.

The environment does the word matching (by Porter stem), so that a tiny policy can read pages: a title or option value
shows the slots of the request's words it holds, a price whether it is within the request's cap. Words come from a
small closed vocabulary (:func:`compact_vocabulary`).
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from functools import lru_cache

from reskill_agents.directives import STOP_WORDS
from reskill_agents.environment import Choice, Observation
from reskill_agents.envs.webshop_catalogue import Product
from reskill_agents.envs.webshop_goals import Goal
from reskill_agents.envs.webshop_search import MAX_HITS, Analyser
from reskill_agents.envs.webshop_session import BACK_TO_SEARCH, BUY_NOW, NEXT, PREVIOUS, SUB_PAGES, Page, ShopSession

RESULTS_A_PAGE = 5
MAX_SLOTS = 16
MAX_TITLE_WORDS = 7
MAX_GROUPS = 3
MAX_VALUES = 10
POOR_SEARCHES = 3
MAX_PAGES = MAX_HITS // RESULTS_A_PAGE
WITHIN, ABOVE, OTHER = "within", "above", "other"
SYSTEM_PROMPT = "you are in a shop . buy what the task asks for"
_FILLER = frozenset(
    """find me looking search show buy get please some something also one ones item product products color size price
    priced dollars dollar cost under less more than should must have has which come comes made type pair set kind
    prefer preferably interested""".split()
)
_WORD = re.compile(r"[a-z0-9]+(?:\.[0-9]+)?")
_PRICE = re.compile(r",? and price lower than [0-9.]+ dollars$")
_stem = lru_cache(maxsize=200_000)(Analyser().stem)


@lru_cache(maxsize=100_000)
def _stems(text: str) -> tuple[str, ...]:
    """The stems of the content words of ``text``, in order, repeats dropped."""
    words = (word for word in _WORD.findall(text.lower()) if word not in STOP_WORDS)
    return tuple(dict.fromkeys(_stem(word) for word in words))


@lru_cache(maxsize=20_000)
def request_words(goal: Goal, groups: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The content words of a request, in order: no filler, no price text, no names of option groups."""
    text = _PRICE.sub("", goal.instruction.lower())
    for group in groups:
        text = text.replace(f"{group}: ", " ")
    by_stem: dict[str, str] = {}
    for word in _WORD.findall(text):
        if word not in STOP_WORDS and word not in _FILLER:
            by_stem.setdefault(_stem(word), word)
    return tuple(by_stem.values())[:MAX_SLOTS]


class CompactView:
    """How one goal's visit is shown. Deterministic in the goal and ``seed`` (which orders the searches)."""

    def __init__(self, goal: Goal, wanted: Product | None, seed: int) -> None:
        self._goal = goal
        self._words = request_words(goal, tuple(wanted.options) if wanted else ())
        self._slots = {_stem(word): f"w{number}" for number, word in enumerate(self._words, 1)}
        self._searches = self._offer_searches(random.Random(f"searches/{seed}/{goal.instruction}"))
        self._items: dict[tuple[str, ...], tuple[Choice, ...]] = {}

    @property
    def task(self) -> str:
        """The request as slots: ``w1 w2 w3``."""
        return " ".join(self._slots.values())

    def show(self, session: ShopSession, score: float) -> Observation:
        """The open page; the score is not shown."""
        if session.page is Page.START:
            return Observation(f"start page . task : {self.task}", self._searches, self.task)
        if session.page is Page.RESULTS:
            return Observation(f"results page {session.page_number}", self._results(session), self.task)
        product = session.product
        if session.page is Page.DONE or product is None:
            return Observation("done", (), self.task)
        if session.page is Page.ITEM:
            return Observation(self._item_text(session, product), self._item_choices(session, product), self.task)
        buttons = (Choice(f"click[{PREVIOUS}]", "prev", "button"), _button(BACK_TO_SEARCH))
        return Observation(f"{session.page} page {self._seen_on(session.page, product)}", buttons, self.task)

    def _offer_searches(self, rng: random.Random) -> tuple[Choice, ...]:
        count = len(self._words)
        picks = {tuple(range(count))}
        for _ in range(4 * POOR_SEARCHES):
            if len(picks) <= POOR_SEARCHES and count > 1:
                picks.add(tuple(sorted(rng.sample(range(count), rng.randint(1, min(2, count - 1))))))
        ordered = sorted(picks)
        rng.shuffle(ordered)
        slots = list(self._slots.values())
        return tuple(
            Choice(f"search[{' '.join(self._words[i] for i in pick)}]", " ".join(slots[i] for i in pick), "search")
            for pick in ordered
        )

    def _results(self, session: ShopSession) -> tuple[Choice, ...]:
        items = [
            Choice(f"click[{product.asin.lower()}]", self._label(product), "item") for product in session.results()
        ]
        more = len(session.hits) > session.page_number * session.results_a_page
        buttons = [_button(BACK_TO_SEARCH)]
        if session.page_number > 1:
            buttons.insert(0, Choice(f"click[{PREVIOUS}]", "prev", "button"))
        if more:
            buttons.insert(0, Choice(f"click[{NEXT}]", "next", "button"))
        return (*items, *buttons)

    def _label(self, product: Product) -> str:
        """The title's slots, how many they are (``x3``), and the price against the cap."""
        slots = self._slotted(product.title, MAX_TITLE_WORDS)
        return f"{slots} x{0 if slots == OTHER else len(slots.split())} {self._price(product)}"

    def _price(self, product: Product) -> str:
        return WITHIN if product.price <= self._goal.price_upper else ABOVE

    def _slotted(self, text: str, limit: int) -> str:
        """The slots of ``text`` in the request's order, at most ``limit``; ``other`` when there is none."""
        stems = set(_stems(text))
        found = [slot for stem, slot in self._slots.items() if stem in stems]
        return " ".join(found[:limit]) or OTHER

    def _value(self, value: str, rivals: Sequence[str]) -> str:
        """The slots of an option value; ``other`` marks extra words.

        Where a rival of its group is named in full, a value named in part is shown as ``other`` alone.
        """
        stems = _stems(value)
        found = [self._slots[stem] for stem in stems if stem in self._slots]
        if found and len(found) == len(stems):
            return " ".join(found)
        return OTHER if any(self._named(rival) for rival in rivals) else " ".join([*found, OTHER])

    def _named(self, value: str) -> bool:
        """Whether the request holds every word of ``value``."""
        stems = _stems(value)
        return bool(stems) and all(stem in self._slots for stem in stems)

    def _groups(self, product: Product) -> tuple[tuple[str, str], ...]:
        """(label, group) of at most :data:`MAX_GROUPS` groups in page order, those with a named value kept first."""
        groups = list(product.options)
        if len(groups) > MAX_GROUPS:
            best = {
                group: max(map(self._closeness, values), default=(0, 0)) for group, values in product.options.items()
            }
            kept = set(sorted(groups, key=lambda group: best[group], reverse=True)[:MAX_GROUPS])
            groups = [group for group in groups if group in kept]
        return tuple((f"g{number}", group) for number, group in enumerate(groups, 1))

    def _item_text(self, session: ShopSession, product: Product) -> str:
        shown = [
            f"{label} {self._value(session.chosen[group], product.options[group])}"
            for label, group in self._groups(product)
            if group in session.chosen
        ]
        return f"item page . chosen {' '.join(shown)}" if shown else f"item page {self._label(product)}"

    def _item_choices(self, session: ShopSession, product: Product) -> tuple[Choice, ...]:
        """Option values, then buttons. A group that is chosen is not offered again: what is left to do is what is listed."""
        groups = [(label, group) for label, group in self._groups(product) if group not in session.chosen]
        key = (product.asin, *(group for _, group in groups))
        if key not in self._items:
            options: dict[str, Choice] = {}
            for label, group in groups:
                for value in self._offered(product.options[group]):
                    action = f"click[{value}]"
                    if "[" not in value:  # the original's action pattern cannot name it
                        options[action] = Choice(
                            action, f"{label} {self._value(value, product.options[group])}", "option", label
                        )
            buttons = (
                *(_button(page.value) for page in SUB_PAGES),
                Choice(f"click[{PREVIOUS}]", "prev", "button"),
                _button(BACK_TO_SEARCH),
                _button(BUY_NOW),
            )
            self._items[key] = (*options.values(), *buttons)
        return self._items[key]

    def _offered(self, values: Sequence[str]) -> Sequence[str]:
        """At most :data:`MAX_VALUES` values in page order, the ones that share most with the request kept."""
        if len(values) <= MAX_VALUES:
            return values
        closeness = {value: self._closeness(value) for value in values}
        kept = set(sorted(values, key=lambda value: closeness[value], reverse=True)[:MAX_VALUES])
        return [value for value in values if value in kept]

    def _closeness(self, value: str) -> tuple[int, int]:
        stems = _stems(value)
        shared = sum(stem in self._slots for stem in stems)
        return shared, shared - len(stems)

    def _seen_on(self, page: Page, product: Product) -> str:
        if page is Page.DESCRIPTION:
            return self._slotted(product.description, MAX_TITLE_WORDS)
        if page is Page.FEATURES:
            return self._slotted(" ".join(product.bullets), MAX_TITLE_WORDS)
        return OTHER


def _button(name: str) -> Choice:
    return Choice(f"click[{name}]", name, "button")


def compact_vocabulary() -> tuple[str, ...]:
    """Every word that compact observations, choices (their verbs too) and the system prompt can hold."""
    fixed = f"""start results item description features reviews page task chosen done . :
        next prev back to search buy now click search item option button {WITHIN} {ABOVE} {OTHER} {SYSTEM_PROMPT}"""
    slots = [f"w{number}" for number in range(1, MAX_SLOTS + 1)] + [f"g{number}" for number in range(1, MAX_GROUPS + 1)]
    counts = [f"x{number}" for number in range(MAX_TITLE_WORDS + 1)]
    words = [*fixed.split(), *slots, *counts, *(str(number) for number in range(1, MAX_PAGES + 1))]
    return tuple(dict.fromkeys(words))
