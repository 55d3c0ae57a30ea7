"""Reading a folder of official WebShop files."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reskill_agents.envs.json_stream import kind_of, stream_list
from reskill_agents.envs.webshop_catalogue import DUMMY_ATTRIBUTE, Product, clean_option_value, read_price
from reskill_agents.errors import ConfigError

PRODUCTS, HUMAN, ATTRIBUTES = "items_shuffle*.json", "items_human_ins*.json", "items_ins*.json"
_MAX_ASIN = 10


@dataclass(frozen=True, slots=True)
class HumanInstruction:
    """One crowd-written request.

    ``price_known`` says whether the file gives the cap that was shown (ours do; the official file does not);
    ``price_upper`` is that cap in dollars, ``None`` for no cap.
    """

    asin: str
    instruction: str
    attributes: tuple[str, ...]
    options: tuple[str, ...]
    price_known: bool = False
    price_upper: float | None = None


@dataclass(frozen=True, slots=True)
class OfficialData:
    """What a folder holds: products in file order, human instructions in product order, the files' names."""

    products: tuple[Product, ...]
    human: tuple[HumanInstruction, ...]
    files: tuple[str, ...]


def load_folder(folder: Path, *, products: int | None = None, seed: int = 0) -> OfficialData:
    """Read ``items_shuffle*.json``, ``items_ins*.json`` and, if there, ``items_human_ins*.json``.

    Args:
        folder: the folder; or the products file itself, when a folder holds several.
        products: read only the first so many products, as the original's ``num_products``.
        seed: draws the prices of products with a price range.

    Raises:
        ConfigError: a file is missing, ambiguous or malformed; names the file and the field.
    """
    products_file = folder if folder.is_file() else _only(folder, PRODUCTS, label=None)
    label = products_file.stem.removeprefix("items_shuffle")
    attributes_file = _only(products_file.parent, ATTRIBUTES, label)
    human_files = sorted(products_file.parent.glob(HUMAN))
    human_file = _only(products_file.parent, HUMAN, label) if human_files else None
    attributes = _object(_read(attributes_file), attributes_file.name)
    loaded = tuple(_products(products_file, attributes, attributes_file.name, products, seed))
    if not loaded:
        raise ConfigError(f"{products_file.name}: holds no product")
    human = tuple(_human(human_file, loaded)) if human_file else ()
    files = [products_file.name, attributes_file.name, *([human_file.name] if human_file else [])]
    return OfficialData(loaded, human, tuple(files))


def _only(folder: Path, pattern: str, label: str | None) -> Path:
    """The one file of ``pattern``; among several the one that ends like the products file."""
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder of WebShop files")
    found = sorted(folder.glob(pattern))
    if label and len(found) > 1:
        found = [path for path in found if path.stem.endswith(label)] or found
    elif label == "" and len(found) > 1:
        found = [path for path in found if not path.stem.rsplit("_", 1)[-1].isdigit()] or found
    if len(found) == 1:
        return found[0]
    if not found:
        raise ConfigError(f"{folder}: no file {pattern}")
    names = ", ".join(path.name for path in found)
    raise ConfigError(f"{folder}: several files {pattern} ({names}); keep one, or give the products file itself")


def _read(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ConfigError(f"{path.name}: cannot be read as JSON ({error})") from error


def _products(
    path: Path, attributes: Mapping[str, object], attributes_name: str, limit: int | None, seed: int
) -> Iterator[Product]:
    seen: set[str] = set()
    for number, entry in enumerate(itertools.islice(stream_list(path), limit)):
        item = _object(entry, f"{path.name}: product {number}")
        asin = _text(item, "asin", f"{path.name}: product {number}", required=True)
        if asin == "nan" or len(asin) > _MAX_ASIN or asin in seen:
            continue
        seen.add(asin)
        where = f"{path.name}: product {asin}"
        extra = _object(attributes.get(asin, {}), f"{attributes_name}: product {asin}")
        yield _product(item, extra, asin, where, f"{attributes_name}: product {asin}", seed)


def _product(
    item: Mapping[str, object], extra: Mapping[str, object], asin: str, where: str, extra_where: str, seed: int
) -> Product:
    try:
        price, price_text = read_price(_text(item, "pricing", where), random.Random(f"price/{seed}/{asin}"))
    except ArithmeticError as error:
        raise ConfigError(f"{where}: 'pricing' holds no number after a $ sign: {item['pricing']!r}") from error
    return Product(
        asin=asin,
        title=_text(item, "name", where, required=True),
        price=price,
        price_text=price_text,
        options=_options(item.get("customization_options"), where),
        attributes=_texts(extra, "attributes", extra_where) or (DUMMY_ATTRIBUTE,),
        category=_text(item, "category", where),
        query=_text(item, "query", where).lower().strip(),
        product_category=_text(item, "product_category", where),
        description=_text(item, "full_description", where),
        bullets=_texts(item, "small_description", where),
        instruction=_text(extra, "instruction", extra_where),
        instruction_attributes=_texts(extra, "instruction_attributes", extra_where),
    )


def _options(value: object, where: str) -> dict[str, tuple[str, ...]]:
    if value in (None, ""):
        return {}
    groups: dict[str, tuple[str, ...]] = {}
    for group, entries in _object(value, f"{where}: 'customization_options'").items():
        if entries is None:
            continue
        if not isinstance(entries, list):
            raise ConfigError(f"{where}: 'customization_options.{group}' must be a list, not {kind_of(entries)}")
        field = f"{where}: 'customization_options.{group}'"
        values = [_text(_object(entry, field), "value", field, required=True) for entry in entries]
        groups[group.lower()] = tuple(clean_option_value(value) for value in values)
    return groups


def _human(path: Path, products: Sequence[Product]) -> Iterator[HumanInstruction]:
    by_asin = _object(_read(path), path.name)
    for product in products:
        entries = by_asin.get(product.asin, [])
        if not isinstance(entries, list):
            raise ConfigError(f"{path.name}: product {product.asin} must be a list, not {kind_of(entries)}")
        for number, entry in enumerate(entries):
            where = f"{path.name}: product {product.asin}, instruction {number}"
            item = _object(entry, where)
            cap = item.get("price_upper")
            if cap is not None and (isinstance(cap, bool) or not isinstance(cap, int | float)):
                raise ConfigError(f"{where}: 'price_upper' must be dollars or null, not {kind_of(cap)}")
            yield HumanInstruction(
                asin=product.asin,
                instruction=_text(item, "instruction", where, required=True),
                attributes=_texts(item, "instruction_attributes", where),
                options=_texts(item, "instruction_options", where),
                price_known="price_upper" in item,
                price_upper=None if cap is None else float(cap),
            )


def _object(value: object, where: str) -> Mapping[str, object]:
    if isinstance(value, dict):
        return value
    raise ConfigError(f"{where}: must be an object, not {kind_of(value)}")


def _text(item: Mapping[str, object], field: str, where: str, *, required: bool = False) -> str:
    value = item.get(field)
    if isinstance(value, str):
        return value
    if value is None and not required:
        return ""
    state = "is missing" if value is None else f"must be text, not {kind_of(value)}"
    raise ConfigError(f"{where}: {field!r} {state}")


def _texts(item: Mapping[str, object], field: str, where: str) -> tuple[str, ...]:
    """A list of texts; one text stands for a list of one, null and ``""`` for none."""
    value = item.get(field)
    if isinstance(value, str):
        return (value,) if value else ()
    if value is None:
        return ()
    if isinstance(value, list) and all(isinstance(entry, str) for entry in value):
        return tuple(value)
    raise ConfigError(f"{where}: {field!r} must be a list of texts")
