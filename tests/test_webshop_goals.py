"""Goals, price caps and splits."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
from webshop_shop import product

from reskill_agents.environment import Split
from reskill_agents.envs.webshop import WebShopWorld
from reskill_agents.envs.webshop_goals import (
    NO_CAP,
    GoalSource,
    human_goals,
    made_goals,
    price_cap,
    price_text,
    synthetic_goals,
    weigh,
)
from reskill_agents.envs.webshop_load import HumanInstruction
from reskill_agents.envs.webshop_nouns import head_noun, nouns
from reskill_agents.envs.webshop_splits import split_by_index, split_by_type
from reskill_agents.errors import ConfigError


def test_a_cap_is_the_larger_of_two_of_the_next_four_tens() -> None:
    caps = {price_cap(34.0, random.Random(seed)) for seed in range(60)}
    assert caps == {50.0, 60.0, 70.0}  # 40 is never the larger of two
    assert price_cap(985.0, random.Random(0)) == NO_CAP
    assert price_text(40.0) == ", and price lower than 40.00 dollars"
    assert price_text(NO_CAP) == ""


def test_human_goals_drop_the_final_dot_and_those_without_attributes() -> None:
    chair = product()
    written = [
        HumanInstruction("B0CHAIR", "i want a chair.", ("solid wood",), ("red",), True, 40.0),
        HumanInstruction("B0CHAIR", "i want a chair.", (), (), True, 40.0),
        HumanInstruction("B0CHAIR", "no cap", ("solid wood",), (), True, None),
        HumanInstruction("B0CHAIR", "drawn cap", ("solid wood",), ()),
        HumanInstruction("B0OTHER", "not sold here", ("solid wood",), ()),
    ]
    first, second, third = human_goals(written, [chair], random.Random(0))
    assert first.instruction == "i want a chair, and price lower than 40.00 dollars"
    assert first.options == ("red",)
    assert second.instruction == "no cap"
    assert third.price_upper in (40.0, 50.0, 60.0)


def test_synthetic_goals_run_over_all_options_in_sorted_group_order() -> None:
    chair = product(price=995.0, options={"size": ("s", "l"), "color": ("red",)})
    chair = type(chair)(
        **{name: getattr(chair, name) for name in chair.__slots__}
        | {"instruction": "find me a chair", "instruction_attributes": ("solid wood",)}
    )
    goals = list(synthetic_goals([chair, product()], random.Random(0)))
    assert [goal.instruction for goal in goals] == [
        "find me a chair with color: red, and size: s",
        "find me a chair with color: red, and size: l",
    ]
    assert goals[0].options == ("red", "s")


def test_weights_are_one_over_how_often_an_attribute_is_asked() -> None:
    goals = list(
        made_goals([product(options={"color": ("red", "blue")}, attributes=("solid wood",))], random.Random(0))
    )
    assert len(goals) == 2
    assert [goal.weight for goal in weigh(goals)] == [0.5, 0.5]


def test_made_goals_ask_only_for_values_that_words_can_tell_apart() -> None:
    options = {"color": ("a", "red", "red - 1", "1 red", "blue")}  # "a" is no content word; two are the same words
    goals = list(made_goals([product(options=options)], random.Random(0)))
    assert {goal.options for goal in goals} == {("red",), ("blue",)}
    assert all(goal.source is GoalSource.MADE for goal in goals)
    assert not list(made_goals([product(options={"color": ("a",)})], random.Random(0)))


@pytest.mark.parametrize(
    ("title", "head"),
    [
        ("Cosycost USB Microphone,Condenser Computer PC Gaming Microphone", "microphone"),
        ("Jaqqra Dresses for Women,Womens Deep Sequin Dress", "dress"),
        ("Cake Beauty Curl Friend Defining Curl Cream - Bounce", "cream"),
        ("24 Berries", "berry"),
        ("100 %", ""),
    ],
)
def test_the_type_is_the_head_noun_of_the_title(title: str, head: str) -> None:
    assert head_noun(title) == head


def test_nouns_stand_in_for_a_tagger() -> None:
    assert nouns("Saireed UL Listed 2 Prong Power Cord for JBL Bar 3.1") == (
        *("saireed", "ul", "listed", "prong", "power", "cord", "jbl", "bar"),
    )
    wanted = nouns("adidas Unisex-Adult D.o.n. Issue 2 Basketball Shoe")
    bought = nouns("adidas Unisex-Adult D.o.n. Issue 2 Indoor Court Shoe")
    assert len(set(wanted) & set(bought)) / len(wanted) == pytest.approx(0.85, abs=0.03)


def test_index_splits_are_the_originals() -> None:
    splits = split_by_index(2100)
    assert [len(splits[split]) for split in Split] == [600, 1000, 500, 0]
    assert sorted(number for numbers in splits.values() for number in numbers) == list(range(2100))
    order = list(range(2100))
    random.Random(233).shuffle(order)
    assert splits[Split.SEEN_TEST] == order[:500]


def test_types_and_products_never_cross_splits() -> None:
    keys = [(f"type{number % 50}", f"product{number // 4}-{number % 50}") for number in range(1000)]
    splits = split_by_type(keys)
    kinds = {split: {keys[number][0] for number in numbers} for split, numbers in splits.items()}
    assert len(kinds[Split.UNSEEN_TEST]) == 10
    assert not kinds[Split.UNSEEN_TEST] & (kinds[Split.TRAIN] | kinds[Split.VALID] | kinds[Split.SEEN_TEST])
    products = [{keys[number][1] for number in numbers} for numbers in splits.values()]
    assert sum(map(len, products)) == len(set.union(*products))
    shares = [len(splits[split]) / 800 for split in (Split.TRAIN, Split.VALID, Split.SEEN_TEST)]
    assert shares == pytest.approx([0.6, 0.2, 0.2], abs=0.03)


def test_too_few_goals_for_a_split_is_said() -> None:
    with pytest.raises(ConfigError, match=r"at least 40 goals.*'valid': "):
        split_by_type([(f"type{number % 20}", f"product{number}") for number in range(150)])


def test_generated_categories_are_held_out_whole() -> None:
    world = WebShopWorld(catalogue_seed=3)
    queries = {split: {world.goal(task).query for task in world.tasks(split)} for split in Split}
    assert len(queries[Split.UNSEEN_TEST]) >= 9
    assert not queries[Split.UNSEEN_TEST] & (queries[Split.TRAIN] | queries[Split.VALID] | queries[Split.SEEN_TEST])
    assert min(len(world.tasks(split)) for split in Split) >= 200
    described = world.describe()
    assert described["products"] == 4368
    assert described["tasks_train"] == described["tasks_train_generated"] == len(world.tasks(Split.TRAIN))


def test_the_catalogue_is_a_function_of_its_seed() -> None:
    texts = [[task.text for task in WebShopWorld(catalogue_seed=seed).tasks(Split.TRAIN)] for seed in (3, 3, 4)]
    assert texts[0] == texts[1] != texts[2]


def test_real_data_is_split_by_type_with_both_sources(shared_data: Path) -> None:
    world = WebShopWorld(shared_data / "webshop")
    described = world.describe()
    assert described["split_rule"] == "type"
    counts = Counter(task.tags["goals"] for split in Split for task in world.tasks(split))
    assert counts["human"] == 441 - 74
    assert counts["made"] > 800
    for split in Split:
        sources = Counter(task.tags["goals"] for task in world.tasks(split))
        assert min(sources["human"], sources["made"]) >= 40
