"""A purchase earns what the original gives; cases from the published behaviour, numbers by hand."""

from __future__ import annotations

import pytest
from webshop_shop import goal, product

from reskill_agents.envs.webshop_reward import Grader, has_attribute, matched_options, normal_colour, token_set_ratio

CORD = "Saireed UL Listed 2 Prong Power Cord for JBL Bar 3.1 Bar 2.1 Channel 4K Ultra HD Soundbar"
LEAD = "BRST AC Power Cord Outlet Socket Cable Plug Lead for Panasonic SC-HT830V DVD/VCR Combo Home Theater System"


@pytest.mark.parametrize(
    ("mine", "wanted", "same"),
    [("a › b › c", "b › c › a", True), ("a › b › c", "a › d › b", True), ("a › b › c", "a › a › d", False)],
)
def test_two_shared_category_levels_make_the_type_right(mine: str, wanted: str, same: bool) -> None:
    graded = Grader().type_factor(product(LEAD, product_category=mine), goal(CORD, product_category=wanted))
    assert graded == (1.0 if same else 0.5)


def test_the_same_query_makes_the_type_right() -> None:
    assert Grader().type_factor(product(LEAD, query="cord"), goal(CORD, query="cord")) == 1.0
    assert Grader().type_factor(product(LEAD, query="cable"), goal(CORD, query="cord")) == 0.5


def test_unknown_queries_and_categories_never_match_unless_strict() -> None:
    assert Grader().type_factor(product(LEAD), goal(CORD)) == 0.5
    assert Grader(strict_original=True).type_factor(product(LEAD), goal(CORD)) == 1.0


@pytest.mark.parametrize(("shared", "factor"), [(0, 0.0), (1, 0.1), (2, 0.5), (3, 1.0)])
def test_title_overlap_scales_the_type(shared: int, factor: float) -> None:
    def find_nouns(title: str) -> list[str]:
        return title.split()

    wanted = " ".join("abcdefghijkl")  # 12 nouns: shares of 0, 0.083, 0.167, 0.25
    bought = product(" ".join("abcdefghijkl"[:shared]) or "z")
    assert Grader(find_nouns=find_nouns).type_factor(bought, goal(wanted)) == factor


def test_no_shared_noun_gives_nothing_even_with_the_same_query() -> None:
    assert Grader().type_factor(product("Desk Lamp", query="x"), goal("Oak Chair", query="x")) == 0.0


def test_a_wanted_title_without_nouns_counts_as_a_fifth() -> None:
    assert Grader().type_factor(product("Desk Lamp"), goal("100 %")) == 0.5


def test_attributes_match_fuzzily_or_as_text_of_the_page() -> None:
    wanted = ("tea tree", "essential oils", "natural ingredients")
    listed = product(attributes=("essential oil", "natural ingredients"))
    assert [has_attribute(listed, phrase) for phrase in wanted] == [False, True, True]
    told = product(attributes=(), bullets=("Has essential oils",), description="Made with natural ingredients")
    assert [has_attribute(told, phrase) for phrase in wanted] == [False, True, True]
    bag = product("English tea", attributes=("tea bag", "earl gray"), bullets=("Calming",), description="by Lipton")
    assert not any(has_attribute(bag, phrase) for phrase in wanted)


@pytest.mark.parametrize(
    ("chosen", "wanted", "matched"),
    [
        (("pack of 12", "grey", "XL"), ("grey", "XL", "pack of 12"), 3),
        (("pack of 12", "blue", "XL"), ("grey", "XL", "pack of 12"), 2),
        (("pack of 12", "powder snow", "XL"), ("cool powder snow", "XL", "pack of 12"), 3),
        (("a", "b"), (), 0),
        ((), ("a", "b"), 0),
        (("large",), ("x-large",), 1),  # known leniencies, part of the original
        (("dark red",), ("dark green",), 1),
        (("pack of 12",), ("pack of 2",), 1),
        (("10",), ("10.5",), 1),
    ],
)
def test_options_match_in_any_order(chosen: tuple[str, ...], wanted: tuple[str, ...], matched: int) -> None:
    assert matched_options(chosen, wanted) == matched


@pytest.mark.parametrize(
    ("value", "colour"), [("violet lavender", "lavender"), ("123alabaster", "alabaster"), ("plain", "plain")]
)
def test_colours_are_normalised_to_the_first_known_one(value: str, colour: str) -> None:
    assert normal_colour(value) == colour


def test_ratio_is_thefuzz_not_raw_rapidfuzz() -> None:
    assert token_set_ratio("x-large", "large") == 100
    assert token_set_ratio("Café", "caf") == 100  # letters of Latin-1 are dropped first
    assert token_set_ratio("!!", "!!") == 0


def test_total_rewards_of_the_published_cases() -> None:
    attributes = ("tea tree", "essential oils", "natural ingredients")
    sneaker = "Mens D.O.N. Issue 2 Gca Basketball Sneakers Shoes Casual - Off White"

    def score(bought: str, wanted: str, known: tuple[str, ...], options: tuple[str, ...], query: str) -> float:
        path = "a › b › c" if bought == wanted else "a › d › e"
        text = "Best shampoo on the market, made with natural ingredients"
        item = product(bought, price=35, attributes=known, query=query, product_category=path, description=text)
        request = goal(
            wanted, attributes=attributes, options=options, price_upper=40, query="q1", product_category="a › b › c"
        )
        return Grader().grade(item, ("grey", "XL"), request).score

    listed = ("tea tree", "essential oil", "natural ingredients")
    assert score(sneaker, sneaker, listed, ("grey", "XL"), "q1") == 1
    assert score(sneaker, sneaker, (), ("grey", "XL"), "q1") == pytest.approx(2 / 3)
    assert score(sneaker, sneaker, (), ("grey", "XL", "pack of 12"), "q1") == pytest.approx(0.5714, abs=1e-4)
    assert score(LEAD, CORD, (), ("grey", "XL", "pack of 12"), "q2") == pytest.approx(0.2857, abs=1e-4)


def test_the_price_counts_as_one_part() -> None:
    dear = Grader().grade(product(price=50), (), goal(price_upper=40))
    assert not dear.price_ok
    assert dear.score == 0.5
    assert Grader().grade(product(price=40), (), goal(price_upper=40)).score == 1
