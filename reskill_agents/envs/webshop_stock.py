"""What the generated shop can sell: departments, product types, attribute phrases, option groups. Hand-written."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProductType:
    """A category of products: its name, typical price in dollars and the option groups it comes with."""

    name: str
    price: float
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Department:
    """A top category, its attribute phrases and its product types."""

    name: str
    attributes: tuple[str, ...]
    types: tuple[ProductType, ...]


OPTION_VALUES: dict[str, tuple[str, ...]] = {
    "color": (
        "black",
        "white",
        "blue",
        "red",
        "green",
        "pink",
        "purple",
        "yellow",
        "silver",
        "brown",
        "orange",
        "teal",
    ),
    "size": ("small", "medium", "large", "xxl"),
    "scent": ("lavender", "rosemary", "coconut", "jasmine", "sandalwood", "unscented"),
    "flavor": ("vanilla", "strawberry", "peppermint", "hazelnut", "blueberry", "original"),
    "count": ("single", "twin", "triple", "dozen"),
    "length": ("3ft", "6ft", "10ft", "15ft"),
    "finish": ("matte", "glossy", "brushed", "antique"),
    "style": ("classic", "sport", "deluxe", "travel"),
}


def _department(name: str, attributes: str, types: str) -> Department:
    parsed = []
    for line in types.split(";"):
        title, price, groups = (part.strip() for part in line.split(":"))
        parsed.append(ProductType(title, float(price), tuple(groups.split())))
    return Department(name, tuple(phrase.strip() for phrase in attributes.split(",")), tuple(parsed))


DEPARTMENTS: tuple[Department, ...] = (
    _department(
        "women's fashion",
        "washable, long sleeve, quick drying, loose, lined, embroidered, wrinkle free, hemmed, cropped, "
        "stretchy, floral, lightweight",
        "summer dress: 32: color size; knit cardigan: 38: color size; pleated skirt: 27: color size; "
        "yoga leggings: 24: color size; rain jacket: 55: color size",
    ),
    _department(
        "men's fashion",
        "wicking, slim fit, buttoned, tapered, stitched, fleece lined, waterproof, "
        "tagless, striped, breathable, elastic, zipped",
        "polo shirt: 26: color size; cargo pants: 37: color size; hooded sweatshirt: 41: color size; "
        "swim trunks: 22: color size; leather belt: 19: color size",
    ),
    _department(
        "footwear",
        "cushioned, slip resistant, orthotic, steel toe, rubber sole, furry, insulated, ankle high, "
        "vegan, odorless, reflective, laced",
        "running shoes: 62: color size; hiking boots: 88: color size; bedroom slippers: 23: color size; "
        "ballet flats: 34: color size",
    ),
    _department(
        "beauty",
        "cruelty free, paraben free, lasting, hypoallergenic, mineral, tea tree, clinical, "
        "absorbing, refillable, soothing, hydrating, botanical",
        "face cream: 21: scent count; hair conditioner: 14: scent count; body scrub: 17: scent count; "
        "lip balm: 8: flavor count; beard oil: 16: scent count",
    ),
    _department(
        "grocery",
        "gluten free, salted, organic, sugar free, keto, kosher, vegetarian, high protein, fairtrade, "
        "handmade, caffeinated, wholegrain",
        "protein bars: 24: flavor count; ground coffee: 15: flavor count; herbal tea: 11: flavor count; "
        "granola clusters: 9: flavor count; almond cookies: 12: flavor count",
    ),
    _department(
        "electronics",
        "fast charging, noise cancelling, rugged, voice control, wireless, certified, shockproof, "
        "magnetic, solar, ultrathin, foldable, rechargeable",
        "bluetooth speaker: 45: color style; charging cable: 12: color length; tablet case: 25: color style; "
        "gaming headset: 59: color style; security camera: 72: color count",
    ),
    _department(
        "furniture",
        "preassembled, solid wood, space saving, industrial, stainless, adjustable, wall mounted, "
        "scratchproof, marble, upholstered, stackable, rustic",
        "coffee table: 130: color finish; bar stool: 85: color finish; book shelf: 98: color finish; "
        "night stand: 76: color finish; desk chair: 145: color style",
    ),
    _department(
        "lighting",
        "efficient, dimmable, touch control, sensing, remote, flickerless, brass, "
        "linen, battery operated, corded, swivel, warm glow",
        "table lamp: 43: color finish; string lights: 18: color length; pendant light: 67: color finish; "
        "ceiling fan: 120: color finish",
    ),
    _department(
        "kitchen",
        "dishwasher safe, bpa free, ceramic, nonstick, ovenproof, leakproof, heat resistant, insulated, "
        "painted, enamel, microwavable, airtight",
        "water bottle: 22: color size; frying pan: 34: finish size; storage jars: 28: color count; "
        "lunch box: 19: color style; mixing bowls: 31: color count",
    ),
    _department(
        "bedding",
        "bamboo, super soft, washable, fade resistant, cooling, goose down, flannel, dyed, "
        "quilted, weighted, reversible, antiallergic",
        "bed sheets: 47: color size; throw blanket: 29: color size; memory pillow: 36: size count; "
        "duvet cover: 52: color size; shower curtain: 21: color length",
    ),
    _department(
        "pets",
        "chewproof, grain free, crunchy, washable, orthopedic, self cleaning, collapsible, vet approved, "
        "squeaky, escapeproof, padded, glowing",
        "dog harness: 27: color size; cat tree: 79: color style; pet bed: 44: color size; dog treats: 13: flavor count",
    ),
)

BRANDS = tuple(
    """Norvale Kessler Tamrin Oakhollow Zepharo Lumenique Brindlow Castaro Velmoor Juniphy Okarin Solvane Havreux
    Pellano Quistra Rumford Mirano Edgewell Farrowby Glintec Ironbay Larkspar Nimboro Orchella Pinehurst Ravello
    Stavanto Thornec Umbrano Wexley""".split()
)
