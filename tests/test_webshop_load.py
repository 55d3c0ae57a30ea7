"""Official files are read as the original cleans them; a bad file is named with its field."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from reskill_agents.envs.webshop_catalogue import DUMMY_ATTRIBUTE, Product, read_price
from reskill_agents.envs.webshop_load import OfficialData, load_folder
from reskill_agents.errors import ConfigError

ITEM = {
    "asin": "B01",
    "name": "Oak Chair",
    "pricing": "$12.50",
    "category": "home",
    "query": " Oak Chairs ",
    "product_category": "Home › Chairs",
    "full_description": "A chair.",
    "small_description": ["solid wood", "light"],
    "customization_options": {"Color": [{"value": " Red/Blue ", "image": None}], "Size": None},
}


def folder(path: Path, items: object, attributes: object = None, human: object = None) -> Path:
    """A folder of official files with these contents."""
    (path / "items_shuffle.json").write_text(json.dumps(items))
    (path / "items_ins_v2.json").write_text(json.dumps({} if attributes is None else attributes))
    if human is not None:
        (path / "items_human_ins.json").write_text(json.dumps(human))
    return path


def loaded(path: Path, item: dict[str, object]) -> Product:
    """The one product that ``item`` becomes."""
    return load_folder(folder(path, [{**ITEM, **item}])).products[0]


def test_a_product_is_cleaned(tmp_path: Path) -> None:
    item = loaded(tmp_path, {})
    assert item.title == "Oak Chair"
    assert item.query == "oak chairs"
    assert item.options == {"color": ("red | blue",)}
    assert (item.price, item.price_text) == (12.5, "$12.5")
    assert item.attributes == (DUMMY_ATTRIBUTE,)
    assert item.document == "oak chair a chair. solid wood color: red | blue"


@pytest.mark.parametrize("options", ["", None, {}, {"color": None}])
def test_options_may_be_empty(tmp_path: Path, options: object) -> None:
    assert loaded(tmp_path, {"customization_options": options}).options == {}


@pytest.mark.parametrize(("bullets", "kept"), [("one line", ("one line",)), ([], ()), (None, ())])
def test_a_small_description_may_be_one_text(tmp_path: Path, bullets: object, kept: tuple[str, ...]) -> None:
    assert loaded(tmp_path, {"small_description": bullets}).bullets == kept


def test_strange_and_repeated_asins_are_skipped(tmp_path: Path) -> None:
    items = [{**ITEM, "asin": asin} for asin in ("nan", "B0123456789", "B01", "B01", "B02")]
    assert [item.asin for item in load_folder(folder(tmp_path, items)).products] == ["B01", "B02"]
    assert len(load_folder(tmp_path, products=3).products) == 1


@pytest.mark.parametrize(
    ("pricing", "price", "text"),
    [("", 100.0, "$100.0"), ("$1,234.50", 1234.5, "$1234.5"), ("call us", 100.0, "$100.0")],
)
def test_prices_are_read_after_the_dollar_sign(pricing: str, price: float, text: str) -> None:
    assert read_price(pricing, random.Random(0)) == (price, text)


def test_a_price_range_gets_a_price_inside_it() -> None:
    price, text = read_price("$10.00 - $20.00", random.Random(0))
    assert 10 <= price <= 20
    assert text == "$10.0 to $20.0"


def test_prices_of_ranges_depend_on_the_seed_only(tmp_path: Path) -> None:
    data = folder(tmp_path, [{**ITEM, "pricing": "$1 - $90"}])
    assert load_folder(data, seed=1) == load_folder(data, seed=1)
    assert load_folder(data, seed=1) != load_folder(data, seed=2)


def test_instructions_are_read(tmp_path: Path) -> None:
    attributes = {"B01": {"attributes": ["solid wood"], "instruction": "find me", "instruction_attributes": ["solid"]}}
    written = {"instruction": "a chair.", "instruction_attributes": ["solid wood"], "instruction_options": ["red"]}
    human = {"B01": [written, {**written, "price_upper": None}, {**written, "price_upper": 30}]}
    data = load_folder(folder(tmp_path, [ITEM], attributes, human))
    assert data.products[0].attributes == ("solid wood",)
    assert data.products[0].instruction_attributes == ("solid",)
    assert [(entry.price_known, entry.price_upper) for entry in data.human] == [(False, None), (True, None), (True, 30)]
    assert data.files == ("items_shuffle.json", "items_ins_v2.json", "items_human_ins.json")


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"name": None}, r"items_shuffle\.json: product B01: 'name' is missing"),
        ({"asin": 7}, r"items_shuffle\.json: product 0: 'asin' must be text, not int"),
        ({"pricing": ["$1"]}, "'pricing' must be text, not list"),
        ({"pricing": "$free"}, r"'pricing' holds no number after a \$ sign: '\$free'"),
        ({"small_description": [1]}, "'small_description' must be a list of texts"),
        ({"customization_options": ["red"]}, "'customization_options': must be an object, not list"),
        (
            {"customization_options": {"color": [{"image": None}]}},
            r"'customization_options\.color': 'value' is missing",
        ),
        ({"customization_options": {"color": "red"}}, r"'customization_options\.color' must be a list, not str"),
    ],
)
def test_a_malformed_product_is_named(tmp_path: Path, item: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        loaded(tmp_path, item)


@pytest.mark.parametrize(
    ("items", "attributes", "human", "message"),
    [
        ({}, {}, None, r"items_shuffle\.json: must be a list, not dict"),
        ([], {}, None, r"items_shuffle\.json: holds no product"),
        ([7], {}, None, "product 0: must be an object, not int"),
        ([ITEM], [], None, r"items_ins_v2\.json: must be an object, not list"),
        ([ITEM], {"B01": {"attributes": 3}}, None, r"items_ins_v2\.json: product B01: 'attributes' must be a list"),
        ([ITEM], {}, {"B01": {}}, r"items_human_ins\.json: product B01 must be a list, not dict"),
        ([ITEM], {}, {"B01": [{}]}, r"items_human_ins\.json: product B01, instruction 0: 'instruction' is missing"),
        ([ITEM], {}, {"B01": [{"instruction": "x", "price_upper": "9"}]}, "'price_upper' must be dollars or null"),
    ],
)
def test_a_malformed_file_is_named(
    tmp_path: Path, items: object, attributes: object, human: object, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load_folder(folder(tmp_path, items, attributes, human))


def test_missing_broken_and_ambiguous_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        load_folder(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"no file items_shuffle\*\.json"):
        load_folder(tmp_path)
    folder(tmp_path, [ITEM])
    (tmp_path / "items_shuffle_1000.json").write_text("{")
    with pytest.raises(ConfigError, match=r"items_shuffle_1000\.json: cannot be read as JSON"):
        load_folder(tmp_path / "items_shuffle_1000.json")
    with pytest.raises(ConfigError, match="several files"):
        load_folder(tmp_path)


def test_files_of_one_size_belong_together(tmp_path: Path) -> None:
    folder(tmp_path, [ITEM])
    (tmp_path / "items_shuffle_1000.json").write_text(json.dumps([ITEM, {**ITEM, "asin": "B02"}]))
    (tmp_path / "items_ins_v2_1000.json").write_text("{}")
    small: OfficialData = load_folder(tmp_path / "items_shuffle_1000.json")
    assert small.files == ("items_shuffle_1000.json", "items_ins_v2_1000.json")
    assert load_folder(tmp_path / "items_shuffle.json").files == ("items_shuffle.json", "items_ins_v2.json")


def test_the_real_folder_is_read(shared_data: Path) -> None:
    data = load_folder(shared_data / "webshop")
    assert len(data.products) == 2956
    assert len(data.human) == 441
    assert sum(bool(item.options) for item in data.products) == 229
    assert data.files == ("items_shuffle_real.json", "items_ins_real.json", "items_human_ins_real.json")
