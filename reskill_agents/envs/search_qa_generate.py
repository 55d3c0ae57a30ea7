"""A made-up land to ask about: people, books, companies, towns and rivers, a passage each, and questions along the links.

A question names one thing and asks for another that is one to three links away, so the passages have to be found one
after the other. Several passages share words with every question: surnames run in families and books have kin.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reskill_agents.envs.search_qa_load import Passage, Question, QuestionSet, split_questions

RIVERS, TOWNS, PEOPLE, COMPANIES, BOOKS = 12, 36, 120, 48, 90
_ONSETS = "b br d dr f g gr h k kl l m n p pr r s st t tr v w z".split()
_VOWELS = "a e i o u ai ea ou".split()
_CODAS = "l m n r s nd rn st th x".split()
_THEMES = (
    "Harvest Lantern Winter Orchard Mirror Harbour Garden Thunder Compass Feather Island Clock Bridge Salt".split()
)
_TRADES = ("glass", "paper", "clocks", "rope", "ink", "bicycles", "tea", "lenses")
_CALLINGS = ("teacher", "engineer", "sailor", "gardener", "physician", "printer")


@dataclass(frozen=True, slots=True)
class Chain:
    """A type of question: the kind of thing it starts from, the links it follows, its wording."""

    name: str
    start: str
    links: tuple[str, ...]
    wording: str


CHAINS = (
    Chain("book-author", "book", ("author",), "Who wrote {}?"),
    Chain("town-river", "town", ("river",), "Which river flows through {}?"),
    Chain("company-founder", "company", ("founder",), "Who founded {}?"),
    Chain("book-author-birthplace", "book", ("author", "birthplace"), "In which town was the author of {} born?"),
    Chain("company-seat-river", "company", ("seat", "river"), "Which river flows through the town where {} is based?"),
    Chain("company-founder-birthplace", "company", ("founder", "birthplace"), "Where was the founder of {} born?"),
    Chain("person-employer-seat", "person", ("employer", "seat"), "In which town is the employer of {} based?"),
    Chain("person-birthplace-river", "person", ("birthplace", "river"), "Which river flows past the birthplace of {}?"),
    Chain("book-author-employer", "book", ("author", "employer"), "Which company did the author of {} work for?"),
    Chain("town-river-source", "town", ("river", "source"), "In which hills does the river through {} rise?"),
    Chain(
        "book-author-birthplace-river",
        "book",
        ("author", "birthplace", "river"),
        "Which river flows through the town where the author of {} was born?",
    ),
    Chain(
        "company-founder-birthplace-river",
        "company",
        ("founder", "birthplace", "river"),
        "The founder of {} was born in a town on which river?",
    ),
    Chain("person-employer-founder", "person", ("employer", "founder"), "Who founded the company that {} worked for?"),
    Chain(
        "book-author-employer-founder",
        "book",
        ("author", "employer", "founder"),
        "Who founded the company that employed the author of {}?",
    ),
    Chain(
        "person-employer-seat-river",
        "person",
        ("employer", "seat", "river"),
        "Which river runs through the town where the employer of {} is based?",
    ),
)


@dataclass(frozen=True, slots=True)
class _Thing:
    kind: str
    name: str
    links: Mapping[str, str]  # link -> name of the thing, or a text that ends a chain
    text: str


def generate_questions(seed: int) -> QuestionSet:
    """The land of this seed; the same seed gives the same land everywhere."""
    rng = random.Random(f"search-qa/{seed}")
    things = _land(rng)
    by_name = {thing.name: thing for thing in things}
    questions: list[Question] = []
    for chain in CHAINS:
        for thing in (thing for thing in things if thing.kind == chain.start):
            answer = _follow(thing, chain.links, by_name)
            number = f"search-qa-{chain.name}-{len(questions)}"
            text = chain.wording.format(thing.name)
            questions.append(Question(number, text, (answer,), chain.name, len(chain.links), thing.name))
    rng.shuffle(questions)
    passages = [Passage(thing.name, thing.text) for thing in things]
    rng.shuffle(passages)
    return QuestionSet(tuple(passages), tuple(split_questions(questions, seed=seed)), "generated", "type")


def _follow(thing: _Thing, links: Sequence[str], by_name: Mapping[str, _Thing]) -> str:
    for link in links[:-1]:
        thing = by_name[thing.links[link]]
    return thing.links[links[-1]]


def _land(rng: random.Random) -> list[_Thing]:
    names = _Names(rng)
    rivers = [_river(names.new(), names.new(), rng) for _ in range(RIVERS)]
    towns = [_town(names.new(), rng.choice(rivers).name, rng) for _ in range(TOWNS)]
    families = [names.new() for _ in range(PEOPLE // 3)]
    people_names = [f"{names.new()} {families[number % len(families)]}" for number in range(PEOPLE)]
    companies = [
        _company(f"{names.new()} {rng.choice(('Works', 'Company', 'Brothers'))}", rng.choice(people_names), towns, rng)
        for _ in range(COMPANIES)
    ]
    people = [_person(name, rng.choice(towns).name, rng.choice(companies).name, rng) for name in people_names]
    books = [_book(f"The {rng.choice(_THEMES)} of {names.new()}", rng.choice(people_names), rng) for _ in range(BOOKS)]
    return [*rivers, *towns, *people, *companies, *books]


class _Names:
    """New names, none twice."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._taken: set[str] = set()

    def new(self) -> str:
        """A name of two or three syllables."""
        rng, name = self._rng, ""
        while not name or name in self._taken:
            syllables = [rng.choice(_ONSETS) + rng.choice(_VOWELS) for _ in range(rng.choice((2, 3)))]
            name = ("".join(syllables) + rng.choice(_CODAS)).capitalize()
        self._taken.add(name)
        return name


def _river(name: str, hills: str, rng: random.Random) -> _Thing:
    text = f"The {name} is a river of {rng.randint(40, 900)} kilometres. It rises in the {hills} hills."
    return _Thing("river", name, {"source": hills}, text)


def _town(name: str, river: str, rng: random.Random) -> _Thing:
    text = (
        f"{name} is a town of {rng.randint(3, 90)},000 people. The river {river} flows through it. "
        f"It is known for its {rng.choice(_TRADES)}."
    )
    return _Thing("town", name, {"river": river}, text)


def _company(name: str, founder: str, towns: Sequence[_Thing], rng: random.Random) -> _Thing:
    seat = rng.choice(towns).name
    text = (
        f"{name} is a maker of {rng.choice(_TRADES)}, based in {seat}. "
        f"It was founded in {rng.randint(1820, 1960)} by {founder}."
    )
    return _Thing("company", name, {"seat": seat, "founder": founder}, text)


def _person(name: str, birthplace: str, employer: str, rng: random.Random) -> _Thing:
    text = (
        f"{name} was a {rng.choice(_CALLINGS)}, born in {birthplace} in {rng.randint(1800, 1940)}. "
        f"For most of life {name.split()[0]} worked for {employer}."
    )
    return _Thing("person", name, {"birthplace": birthplace, "employer": employer}, text)


def _book(name: str, author: str, rng: random.Random) -> _Thing:
    text = f"{name} is a novel of {rng.randint(120, 700)} pages. It was written by {author}."
    return _Thing("book", name, {"author": author}, text)
