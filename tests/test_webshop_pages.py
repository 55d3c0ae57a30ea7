"""Pages and the way through them are the original's."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from webshop_shop import goal, product, session

from reskill_agents.environment import Observation, Split
from reskill_agents.envs.webshop import ObservationMode, WebShopWorld
from reskill_agents.envs.webshop_catalogue import Catalogue, Product
from reskill_agents.envs.webshop_load import load_folder
from reskill_agents.envs.webshop_pages import PageView
from reskill_agents.envs.webshop_search import SearchIndex
from reskill_agents.envs.webshop_session import Page, ShopSession

CHAIR = product(
    options={"color": ("red", "blue"), "size": ("s",)},
    description="A chair.",
    bullets=("Solid wood.", "Light."),
)
TABLE = product("Oak Table", asin="B0TABLE", price=99.5)


def rich(visit: ShopSession, score: float = 0.0) -> str:
    return PageView(goal(), rich=True).show(visit, score).text


def plain(visit: ShopSession) -> Observation:
    return PageView(goal(), rich=False).show(visit, 0.0)


def test_start_page() -> None:
    assert rich(session(CHAIR)) == "WebShop\nInstruction: \ni want an oak chair\n[button] Search [button_]\n"
    shown = plain(session(CHAIR))
    assert shown.text == "WebShop [SEP] Instruction: [SEP] i want an oak chair [SEP] Search"
    assert [(choice.kind, choice.action) for choice in shown.choices] == [("search", "search[i want an oak chair]")]


def test_results_page_marks_visited_products() -> None:
    visit = session(CHAIR, TABLE)
    visit.search("oak")
    visit.click("b0chair")
    visit.click("< prev")
    assert rich(visit) == (
        "Instruction:\ni want an oak chair\n[button] Back to Search [button_]\nPage 1 (Total results: 2)\n"
        "[button] Next > [button_]\n"
        "\n[button] B0TABLE [button_]\nOak Table\n$99.5\n"
        "\n[clicked button] B0CHAIR [clicked button_]\nOak Chair\n$20.0\n"
    )
    assert [choice.action for choice in plain(visit).choices] == [
        *("click[back to search]", "click[next >]", "click[b0table]", "click[b0chair]"),
    ]
    assert [choice.kind for choice in plain(visit).choices] == ["button", "button", "item", "item"]


def test_item_page_tells_what_was_clicked_last_option_first() -> None:
    visit = session(CHAIR)
    visit.search("oak")
    for target in ("b0chair", "blue", "s"):
        assert visit.click(target)
    assert rich(visit) == (
        "You have clicked s.\nYou have clicked blue.\nInstruction:\ni want an oak chair\n"
        "[button] Back to Search [button_]\n[button] < Prev [button_]\n"
        "color\n  [button] red [button_]\n  [clicked button] blue [clicked button_]\n"
        "size\n  [clicked button] s [clicked button_]\n"
        "Oak Chair\nPrice: $20.0\nRating: N.A.\n[button] Description [button_]\n[button] Features [button_]\n"
        "[button] Reviews [button_]\n[button] Buy Now [button_]\n"
    )
    choices = plain(visit).choices
    assert [choice.text for choice in choices] == [
        *("back to search", "< prev", "description", "features", "reviews", "buy now", "red", "blue", "s"),
    ]
    assert [choice.group for choice in choices[-3:]] == ["color", "color", "size"]


def test_an_option_called_like_a_button_or_like_no_action_is_not_listed_twice_or_at_all() -> None:
    odd = product(options={"kind": ("Reviews", "", " ", "two\nlines", "fine", "fine")})
    visit = session(odd)
    visit.search("oak")
    assert visit.click("b0chair")
    listed = [choice.action for choice in plain(visit).choices]
    assert listed.count("click[reviews]") == 1
    assert listed.count("click[fine]") == 1
    assert len(listed) == len(set(listed)) == 7  # two ways back, three pages and to buy it, one option


def test_sub_pages_show_their_part_and_keep_options() -> None:
    visit = session(CHAIR)
    visit.search("oak")
    head = "Instruction:\ni want an oak chair\n[button] Back to Search [button_]\n[button] < Prev [button_]\n"
    for target in ("b0chair", "red", "features"):
        assert visit.click(target)
    assert rich(visit) == f"{head} Solid wood.\n Light.\n"
    visit.click("< prev")
    visit.click("description")
    assert rich(visit) == f"{head}A chair.\n"
    visit.click("< prev")
    visit.click("reviews")
    assert rich(visit) == head
    visit.click("< prev")
    assert visit.page is Page.ITEM
    assert visit.chosen == {"color": "red"}


@pytest.mark.parametrize("way", [["< prev"], ["back to search"], ["search"]])
def test_leaving_an_item_drops_the_chosen_options(way: list[str]) -> None:
    visit = session(CHAIR)
    visit.search("oak")
    visit.click("b0chair")
    visit.click("red")
    for target in way:
        if target == "search":
            visit.search("oak")
        else:
            visit.click(target)
    assert visit.chosen == {}
    assert visit.product is None


def test_back_to_search_forgets_visited_products() -> None:
    visit = session(CHAIR)
    for _ in range(2):
        visit.search("oak")
        assert visit.visited == set()
        visit.click("b0chair")
        visit.click("back to search")


def test_next_never_ends_and_prev_needs_a_second_page() -> None:
    visit = session(*(product(asin=f"B0{number}") for number in range(12)))
    visit.search("chair")
    assert not visit.click("< prev")
    assert len(visit.results()) == 10
    assert visit.click("next >")
    assert len(visit.results()) == 2
    assert visit.click("next >")
    assert visit.results() == ()
    assert "Page 3 (Total results: 12)\n[button] < Prev [button_]\n[button] Next > [button_]\n" in rich(visit)
    assert visit.click("< prev")
    assert visit.page_number == 2


def test_an_item_opens_from_the_open_results_page_only() -> None:
    visit = session(*(product(asin=f"B0{number}") for number in range(12)))
    assert not visit.click("b01")
    visit.search("chair")
    assert not visit.click("b011")  # on page 2
    visit.click("next >")
    assert visit.click("b011")
    visit.click("< prev")
    assert visit.page_number == 2


@cache
def shop() -> WebShopWorld:
    return WebShopWorld(mode=ObservationMode.TEXT_RICH)


def test_actions_are_parsed_greedily_and_unavailable_ones_change_nothing() -> None:
    world = shop()
    env, task = world.make(), world.tasks(Split.TRAIN)[0]
    start = env.reset(task, seed=0)
    for action in ("click[buy now]", "buy[now]", "nonsense", "search[]", "", "click[search]", "Search[x]"):
        result = env.step(action)
        assert (result.valid, result.observation, result.score, result.done) == (False, start, 0.0, False)
    wanted = world.goal(task)
    found = env.step(f"search[{wanted.title}] and so on")
    assert found.valid
    assert env.step(f"CLICK[{wanted.asin}]").valid is False
    assert env.step(f"click[{wanted.asin}]").valid  # any case of the target
    assert env.step("search[table]").valid  # on every page


def test_buying_the_wanted_product_with_its_options_earns_1_and_ends() -> None:
    world = shop()
    env = world.make()
    for task in world.tasks(Split.SEEN_TEST)[:20]:
        wanted = world.goal(task)
        env.reset(task, seed=0)
        env.step(f"search[{wanted.title}]")
        env.step(f"click[{wanted.asin}]")
        for value in wanted.options:
            assert env.step(f"click[{value}]").valid
        bought = env.step("click[buy now]")
        assert (bought.done, bought.score) == (True, 1.0)
        assert bought.observation.choices == ()
        again = env.step("click[back to search]")
        assert (again.valid, again.done, again.score) == (False, True, 1.0)


def test_options_left_out_cost_their_share() -> None:
    world = shop()
    env, task = world.make(), world.tasks(Split.SEEN_TEST)[0]
    wanted = world.goal(task)
    env.reset(task, seed=0)
    env.step(f"search[{wanted.title}]")
    env.step(f"click[{wanted.asin}]")
    bought = env.step("click[buy now]")
    parts = len(wanted.attributes) + len(wanted.options) + 1
    assert bought.score == pytest.approx(1 - len(wanted.options) / parts)


def recorded(folder: Path) -> list[str]:
    lines = (folder / "failure_logs" / "webshop.jsonl").read_text().splitlines()
    return [turn["observation"] for line in lines for turn in json.loads(line)["turns"]]


def test_recorded_item_pages_agree(shared_data: Path) -> None:
    """Real visits of LLM agents to the real shop, up to the 1,000 characters most of the logs keep."""
    products = load_folder(shared_data / "webshop").products
    by_title: dict[str, Product] = {}
    for item in products:
        by_title.setdefault(item.title, item)
    catalogue, index = Catalogue(products), SearchIndex([])
    agreed = 0
    for page in recorded(shared_data):
        title = re.search(r"\n(.*)\nPrice: ", page)
        instruction = re.search(r"Instruction:\n(.*)\n", page)
        if title is None or instruction is None or title[1] not in by_title:
            continue
        item = by_title[title[1]]
        if not item.options and "\n  [" in page:
            continue  # the rebuilt data lacks this product's options
        visit = ShopSession(catalogue, index, page=Page.ITEM, product=item)
        for value in reversed(re.findall(r"^You have clicked (.*)\.$", page, re.MULTILINE)):
            assert visit.click(value)
        shown = PageView(goal(instruction=instruction[1]), rich=True).show(visit, 0.0).text
        assert shown == page or (len(page) == 1000 and shown.startswith(page))
        agreed += 1
    assert agreed == 262


def test_recorded_start_and_results_pages_agree(shared_data: Path) -> None:
    starts = results = 0
    for page in recorded(shared_data):
        if page.startswith("WebShop"):
            instruction = page.split("\n")[2]
            assert page == PageView(goal(instruction=instruction), rich=True).show(session(CHAIR), 0.0).text
            starts += 1
        elif "(Total results: " in page:
            results += _results_page_agrees(page)
    assert (starts, results) == (320, 525)


def _results_page_agrees(page: str) -> bool:
    """Rebuild a recorded results page from the products it names in full (the log may have cut the last one)."""
    head = re.search(r"Instruction:\n(.*)\n.*\nPage (\d+) \(Total results: (\d+)\)\n", page)
    assert head is not None
    entry = re.compile(r"\n\n\[(clicked )?button\] (\w+) \[(?:clicked )?button_\]\n(.*)\n(\$.*)(?=\n)")
    found = list(entry.finditer(page))
    number, total = int(head[2]), int(head[3])
    shown = tuple(replace(product(match[3], asin=match[2]), price_text=match[4]) for match in found)
    start = (number - 1) * 10
    filler = tuple(product(asin=f"filler{index}") for index in range(start))
    hits = (*range(start + len(shown)), *[0] * total)[:total]
    visit = ShopSession(Catalogue((*filler, *shown)), SearchIndex([]), page=Page.RESULTS, page_number=number, hits=hits)
    visit.visited = {match[2] for match in found if match[1]}
    text = PageView(goal(instruction=head[1]), rich=True).show(visit, 0.0).text
    seen = found[-1].end() if found else len(page.split("\n\n")[0])
    return text.startswith(page[:seen])
