"""Compact pages: the request's words as slots, prices against its cap, few closed words."""

from __future__ import annotations

from dataclasses import replace

import pytest
from webshop_shop import goal, product, session

from reskill_agents.environment import Choice, Split
from reskill_agents.envs.webshop import WebShopWorld
from reskill_agents.envs.webshop_catalogue import Product
from reskill_agents.envs.webshop_compact import MAX_GROUPS, MAX_SLOTS, MAX_VALUES, CompactView, request_words
from reskill_agents.envs.webshop_goals import Goal
from reskill_agents.envs.webshop_session import Page, ShopSession

CHAIR = product(
    "Kessler Oak Chairs, Foldable", options={"color": ("navy blue", "red"), "size": ("x-large", "small")}, price=20.0
)
WISH = goal(
    instruction="I want a foldable oak chair with color: blue, and size: x-large, and price lower than 30.00 dollars",
    price_upper=30.0,
)


def view(wish: Goal = WISH, wanted: Product | None = CHAIR) -> CompactView:
    return CompactView(wish, wanted, seed=0)


def texts(choices: tuple[Choice, ...], kind: str) -> list[str]:
    return [choice.text for choice in choices if choice.kind == kind]


def opened(item: Product) -> ShopSession:
    visit = session(item)
    visit.page, visit.product = Page.ITEM, item
    return visit


def test_content_words_of_the_request_become_slots_in_order() -> None:
    assert request_words(WISH, ("color", "size")) == ("foldable", "oak", "chair", "blue", "x", "large")
    assert view().task == "w1 w2 w3 w4 w5 w6"


def test_at_most_16_slots() -> None:
    long = replace(WISH, instruction=" ".join(f"word{number}" for number in range(40)))
    assert len(request_words(long)) == MAX_SLOTS


def test_words_of_one_stem_share_a_slot() -> None:
    assert request_words(replace(WISH, instruction="chair chairs running run")) == ("chair", "running")


def test_start_page_offers_the_full_search_and_poorer_ones() -> None:
    shown = view().show(session(CHAIR), 0.0)
    assert shown.text == "start page . task : w1 w2 w3 w4 w5 w6"
    assert shown.task == "w1 w2 w3 w4 w5 w6"
    assert {choice.kind for choice in shown.choices} == {"search"}
    lengths = sorted(len(choice.text.split()) for choice in shown.choices)
    assert lengths[-1] == 6
    assert max(lengths[:-1]) <= 2
    full = max(shown.choices, key=lambda choice: len(choice.text))
    assert full.action == "search[foldable oak chair blue x large]"
    assert shown == view().show(session(CHAIR), 0.0)


def test_a_request_of_one_word_has_one_search() -> None:
    shown = view(replace(WISH, instruction="i want a chair")).show(session(CHAIR), 0.0)
    assert texts(shown.choices, "search") == ["w1"]


def test_results_show_slots_of_the_title_and_the_price_against_the_cap() -> None:
    dear = product("Oak Chair", asin="B0DEAR", price=31.0)
    lamp = product("Oakley Lamp", asin="B0LAMP", price=30.0, description="chair")
    visit = session(CHAIR, dear, lamp, results_a_page=5)
    visit.search("oak chair")
    shown = view().show(visit, 0.0)
    assert shown.text == "results page 1"
    found = {choice.action: choice.text for choice in shown.choices if choice.kind == "item"}
    assert found == {
        "click[b0chair]": "w1 w2 w3 x3 within",
        "click[b0dear]": "w2 w3 x2 above",
        "click[b0lamp]": "other x0 within",
    }
    assert texts(shown.choices, "button") == ["back to search"]


def test_next_and_prev_stand_where_there_is_something() -> None:
    visit = session(*(product(asin=f"B0{number}") for number in range(7)), results_a_page=5)
    visit.search("chair")
    assert texts(view().show(visit, 0.0).choices, "button") == ["next", "back to search"]
    visit.click("next >")
    shown = view().show(visit, 0.0)
    assert shown.text == "results page 2"
    assert texts(shown.choices, "button") == ["prev", "back to search"]
    visit.search("nothing of this")
    assert texts(view().show(visit, 0.0).choices, "button") == ["back to search"]


def test_item_page_lists_options_with_their_group_then_buttons() -> None:
    shown = view().show(opened(CHAIR), 0.0)
    assert shown.text == "item page w1 w2 w3 x3 within"
    assert [(c.text, c.group, c.action) for c in shown.choices if c.kind == "option"] == [
        ("g1 w4 other", "g1", "click[navy blue]"),
        ("g1 other", "g1", "click[red]"),
        ("g2 w5 w6", "g2", "click[x-large]"),
        ("g2 other", "g2", "click[small]"),
    ]
    assert texts(shown.choices, "button") == [
        *("description", "features", "reviews", "prev", "back to search", "buy now"),
    ]


def test_an_option_that_is_chosen_is_shown_and_its_group_no_longer_offered() -> None:
    visit, compact = opened(CHAIR), view()
    before = compact.show(visit, 0.0).choices
    visit.click("x-large")
    shown = compact.show(visit, 0.0)
    assert shown.text == "item page . chosen g2 w5 w6"
    assert shown.choices == tuple(choice for choice in before if choice.group != "g2")
    visit.click("red")
    shown = compact.show(visit, 0.0)
    assert shown.text == "item page . chosen g1 other g2 w5 w6"
    assert not texts(shown.choices, "option")


def test_sub_pages_show_slots_and_two_ways_back() -> None:
    told = replace(CHAIR, description="An oak thing.", bullets=("Foldable", "blue"))
    visit = opened(told)
    for name, text in (("description", "w2"), ("features", "w1 w4"), ("reviews", "other")):
        visit.click(name)
        shown = view().show(visit, 0.0)
        assert shown.text == f"{name} page {text}"
        assert texts(shown.choices, "button") == ["prev", "back to search"]
        visit.click("< prev")


def test_long_option_lists_are_cut_but_keep_the_named_value() -> None:
    many = replace(CHAIR, options={"color": (*(f"shade {n}" for n in range(30)), "blue")})
    options = texts(view(wanted=many).show(opened(many), 0.0).choices, "option")
    assert len(options) == MAX_VALUES
    assert options[-1] == "g1 w4"


def test_of_many_groups_the_named_ones_are_kept() -> None:
    groups = {f"extra {number}": (f"this {number}", f"that {number}") for number in range(5)} | {
        "color": ("red", "blue")
    }
    many = replace(CHAIR, options=groups)
    options = texts(view(wanted=many).show(opened(many), 0.0).choices, "option")
    assert len({text.split()[0] for text in options}) == MAX_GROUPS
    assert options[-1] == "g3 w4"


def test_done_page_shows_no_score_and_offers_nothing() -> None:
    visit = opened(CHAIR)
    visit.click("buy now")
    shown = view().show(visit, 0.5)
    assert (shown.text, shown.choices) == ("done", ())


@pytest.mark.parametrize("real", [False, True])
def test_episodes_stay_short(real: bool, request: pytest.FixtureRequest) -> None:
    data = request.getfixturevalue("shared_data") / "webshop" if real else None
    world = WebShopWorld(data)
    for task in world.tasks(Split.TRAIN)[:100]:
        env = world.make()
        start = env.reset(task, seed=1)
        full = max(start.choices, key=lambda choice: len(choice.text))
        found = env.step(full.action).observation
        shown = [(c.kind + " " + c.text).split() for c in (*start.choices, *found.choices)]
        assert sum(len(words) + 2 for words in shown) + len(start.text.split()) < 160
