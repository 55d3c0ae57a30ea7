"""Rules of the original WebShop that no other test of the shop holds: whole visits, ranking, recorded item pages."""

from __future__ import annotations

import json
import math
import random
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from webshop_shop import goal, product, session

from reskill_agents.environment import Split
from reskill_agents.envs.webshop import ObservationMode, WebShopWorld
from reskill_agents.envs.webshop_catalogue import Catalogue
from reskill_agents.envs.webshop_load import load_folder
from reskill_agents.envs.webshop_pages import PageView
from reskill_agents.envs.webshop_search import Analyser, SearchIndex, encode_length
from reskill_agents.envs.webshop_session import Page, ShopSession
from reskill_agents.envs.webshop_splits import INDEX_SPLITS_FROM

RECORDED_CHARACTERS = 1000  # where most of the public logs cut a page
CHAIR = product(options={"color": ("red", "blue")}, description="A chair.", bullets=("Solid wood.",))


@cache
def shop(mode: ObservationMode) -> WebShopWorld:
    return WebShopWorld(mode=mode)


# Search


def lucene_score(query: str, documents: list[str], number: int) -> float:
    """BM25 straight from its formula, k1 0.9 and b 0.4, document lengths after one lossy byte."""
    analyser = Analyser()
    terms = [analyser.terms(document) for document in documents]
    average = sum(map(len, terms)) / len(terms)
    norm = 0.9 * (1 - 0.4 + 0.4 * encode_length(len(terms[number])) / average)
    score = 0.0
    for term in analyser.terms(query):
        holders = sum(term in document for document in terms)
        count = terms[number].count(term)
        if holders and count:
            idf = math.log(1 + (len(documents) - holders + 0.5) / (holders + 0.5))
            score += idf * count / (count + norm)
    return score


def test_the_ranking_is_that_of_the_formula_on_a_shop() -> None:
    documents = [item.document for item in shop(ObservationMode.TEXT)._catalogue.products[:120]]
    index, rng = SearchIndex(documents), random.Random(0)
    for _ in range(8):
        query = " ".join(rng.sample(sorted(set(" ".join(documents).split())), 4))
        scores = [lucene_score(query, documents, number) for number in range(len(documents))]
        assert index.scores(query) == pytest.approx(scores, rel=1e-5)
        found = index.search(query)
        assert all(scores[number] > 0 for number in found)
        assert len(found) == min(50, sum(score > 0 for score in scores))
        ranked = [round(scores[number], 4) for number in found]
        assert ranked == sorted(ranked, reverse=True)
        assert list(found) == sorted(found, key=lambda number: (-float(index.scores(query)[number]), number))


def test_search_sees_title_description_first_bullet_and_options_only() -> None:
    item = product(
        "Oak Chair", description="For the Garden.", bullets=("Solid wood.", "Second line."),
        options={"color": ("teal",)}, attributes=("heavy duty",), query="seat",
    )  # fmt: skip
    index = SearchIndex([item.document])
    assert all(index.search(word) for word in ("oak", "garden", "solid", "color", "teal"))
    assert not any(index.search(word) for word in ("second", "heavy", "seat"))


# Pages and actions


def test_the_last_page_in_both_modes() -> None:
    visit = session(CHAIR)
    visit.page = Page.DONE
    rich, plain = (PageView(goal(), rich=rich).show(visit, 0.75) for rich in (True, False))
    assert rich.text == "Thank you for shopping with us!\nYour score (min 0.0, max 1.0)\n0.75\n"
    assert plain.text == "Thank you for shopping with us! [SEP] Your score (min 0.0, max 1.0) [SEP] 0.75"
    assert rich.choices == plain.choices == ()


def test_an_item_page_in_plain_text() -> None:
    visit = session(CHAIR)
    visit.search("oak")
    visit.click("b0chair")
    assert PageView(goal(), rich=False).show(visit, 0.0).text == (
        "Instruction: [SEP] i want an oak chair [SEP] Back to Search [SEP] < Prev [SEP] color [SEP] red [SEP] blue [SEP] "
        "Oak Chair [SEP] Price: $20.0 [SEP] Rating: N.A. [SEP] Description [SEP] Features [SEP] Reviews [SEP] Buy Now"
    )


@pytest.mark.parametrize("page", [Page.START, Page.RESULTS, Page.ITEM, Page.DESCRIPTION, Page.FEATURES, Page.REVIEWS])
def test_search_works_on_every_page_and_drops_what_was_chosen(page: Page) -> None:
    world = shop(ObservationMode.TEXT_RICH)
    env, task = world.make(), world.tasks(Split.TRAIN)[0]
    wanted = world.goal(task)
    env.reset(task, seed=0)
    way = [f"search[{wanted.title}]", f"click[{wanted.asin}]", f"click[{wanted.options[0]}]"]
    for action in way[: {Page.START: 0, Page.RESULTS: 1}.get(page, 3)]:
        assert env.step(action).valid
    if page in (Page.DESCRIPTION, Page.FEATURES, Page.REVIEWS):
        assert env.step(f"click[{page.value}]").valid
    found = env.step(f"search[{wanted.title}]")
    assert found.valid
    assert "\nPage 1 (Total results: " in found.observation.text
    again = env.step(f"click[{wanted.asin}]").observation.text
    assert "You have clicked" not in again
    assert "[clicked button]" not in again


def test_an_argument_is_lower_cased_and_the_brackets_are_greedy() -> None:
    world = shop(ObservationMode.TEXT_RICH)
    env, task = world.make(), world.tasks(Split.TRAIN)[0]
    start = env.reset(task, seed=0)
    greedy = env.step("search[red chair] [now]")  # the verb is `search[red chair] `, which does not exist
    assert (greedy.valid, greedy.observation) == (False, start)
    shouted = env.step("search[RED CHAIR]").observation.text
    assert env.step("click[Back To SEARCH]").valid
    assert env.step("search[red chair]").observation.text == shouted


def test_an_action_that_is_not_available_gives_nothing_even_late_in_a_visit() -> None:
    world = shop(ObservationMode.TEXT)
    env, task = world.make(), world.tasks(Split.TRAIN)[0]
    wanted = world.goal(task)
    env.reset(task, seed=0)
    env.step(f"search[{wanted.title}]")
    page = env.step(f"click[{wanted.asin}]").observation
    for action in ("click[next >]", "click[no such value]", "click[search]", "buy now", "click[]"):
        result = env.step(action)
        assert (result.valid, result.done, result.score, result.observation) == (False, False, 0.0, page)


def test_admissible_are_buttons_and_links_then_option_values() -> None:
    world = shop(ObservationMode.TEXT)
    env, task = world.make(), world.tasks(Split.TRAIN)[0]
    wanted = world.goal(task)
    env.reset(task, seed=0)
    results = env.step(f"search[{wanted.title}]").observation
    assert [kind for kind, _ in Counter(choice.kind for choice in results.choices).items()] == ["button", "item"]
    assert sum(choice.kind == "item" for choice in results.choices) == 10
    item = env.step(f"click[{wanted.asin}]").observation
    kinds = [choice.kind for choice in item.choices]
    assert kinds == ["button"] * 6 + ["option"] * (len(kinds) - 6)
    assert all(env.step(choice.action).valid for choice in item.choices if choice.kind == "option")


# Goals


def test_splits_by_index_need_2000_goals() -> None:
    assert INDEX_SPLITS_FROM == 2000


def official_folder(folder: Path, goals: int) -> Path:
    """Official files with ``goals`` human instructions on ten products."""
    items = [{"asin": f"B{n}", "name": f"Oak Chair {n}", "pricing": "$10"} for n in range(10)]
    written = {"instruction": "a chair.", "instruction_attributes": ["solid wood"], "instruction_options": []}
    human = {f"B{n}": [written] * (goals // 10) for n in range(10)}
    (folder / "items_shuffle.json").write_text(json.dumps(items))
    (folder / "items_ins_v2.json").write_text("{}")
    (folder / "items_human_ins.json").write_text(json.dumps(human))
    return folder


def test_2000_human_goals_are_split_as_the_original_splits_them(tmp_path: Path) -> None:
    world = WebShopWorld(official_folder(tmp_path, 2000), mode=ObservationMode.TEXT)
    assert [len(world.tasks(split)) for split in Split] == [500, 1000, 500, 0]
    assert world.describe()["split_rule"] == "index"
    order = list(range(2000))
    random.Random(233).shuffle(order)
    assert [task.task_id for task in world.tasks(Split.SEEN_TEST)] == [f"webshop-{number}" for number in order[:500]]


# Recorded visits


def test_every_recorded_item_page_is_ours_or_of_a_product_the_data_lack(shared_data: Path) -> None:
    """All 271 recorded item pages are accounted for; the visitors clicked titles, so the title names the product."""
    products = load_folder(shared_data / "webshop").products
    by_title = {item.title: item for item in reversed(products)}
    catalogue, index, counts = Catalogue(products), SearchIndex([]), Counter[str]()
    for line in (shared_data / "failure_logs" / "webshop.jsonl").read_text().splitlines():
        for turn in json.loads(line)["turns"]:
            page = turn["observation"]
            shown_title = re.search(r"\n(.*)\nPrice: .*\nRating: ", page)
            if shown_title is None:
                continue
            item = by_title.get(shown_title[1])
            if item is None or (not item.options and "\n  [" in page):
                counts["product or its options not in the data"] += 1
                continue
            visit = ShopSession(catalogue, index, page=Page.ITEM, product=item)
            for value in reversed(re.findall(r"^You have clicked (.*)\.$", page, re.MULTILINE)):
                assert visit.click(value)
            request = page.split("Instruction:\n", 1)[1].split("\n", 1)[0]
            ours = PageView(goal(instruction=request), rich=True).show(visit, 0.0).text
            cut = len(page) == RECORDED_CHARACTERS
            assert page == (ours[:RECORDED_CHARACTERS] if cut else ours)
            counts["cut" if cut else "whole"] += 1
            counts["with a chosen option"] += bool(visit.chosen)
    assert (counts["whole"], counts["cut"], counts["product or its options not in the data"]) == (259, 3, 9)
    assert counts["with a chosen option"] == 50
