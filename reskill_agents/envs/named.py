"""Worlds by name, for command lines: ``webshop``, ``webshop-renamed:seed=3``, or ``package.module:factory``."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path

from reskill_agents.environment import World
from reskill_agents.errors import ConfigError

Options = dict[str, str]
HELP = "World: webshop, webshop-renamed or search-qa with options (webshop:catalogue_seed=9), or module:factory."
_CATALOGUE = "7"


def open_world(spec: str) -> World:
    """The world that ``spec`` names: a name with options ``key=value``, or a factory without arguments.

    ``webshop[:data=DIR,products=N,catalogue_seed=N,mode=compact|text|text_rich]``, ``webshop-renamed[:...,seed=N]``,
    ``search-qa[:corpus=FILE,questions=FILE,seed=N]``.

    Raises:
        ConfigError: saying which names and options there are.
    """
    name, _, rest = spec.partition(":")
    if name not in _WORLDS:
        if rest.isidentifier():
            return _made(name, rest)
        raise ConfigError(f"{spec!r} names no world; there are {', '.join(_WORLDS)}, or package.module:factory")
    parts = (part.partition("=") for part in rest.split(",") if part)
    options = {name: value for name, _, value in parts}
    world = _WORLDS[name](options)
    if options:
        raise ConfigError(f"{name} has no option {', '.join(options)}")
    return world


def spec_of(description: Mapping[str, object]) -> str | None:
    """The spec of the world that ``World.describe`` described (``world.json`` of a run); ``None``: it can't be told."""
    name = str(description.get("world", ""))
    if name not in ("webshop", "webshop-renamed") or description.get("data") != "generated":
        return None
    seed = f",seed={description['renamed_seed']}" if name == "webshop-renamed" else ""
    return f"{name}:catalogue_seed={description['catalogue_seed']},mode={description['mode']}{seed}"


def _made(module: str, factory: str) -> World:
    try:
        world = getattr(importlib.import_module(module), factory)()
    except (ImportError, AttributeError, TypeError) as error:
        raise ConfigError(f"{module}:{factory}: {error}") from error
    if not isinstance(world, World):
        raise ConfigError(f"{module}:{factory} made a {type(world).__name__}, which is no World")
    return world


def _webshop(options: Options) -> World:
    from reskill_agents.envs.webshop import ObservationMode, WebShopWorld

    mode = options.pop("mode", ObservationMode.COMPACT.value)
    if mode not in list(ObservationMode):
        raise ConfigError(f"mode {mode!r} is none of {', '.join(ObservationMode)}")
    data, seed = options.pop("data", ""), options.pop("catalogue_seed", _CATALOGUE)
    products = _whole(options.pop("products")) if "products" in options else None
    return WebShopWorld(
        Path(data) if data else None, catalogue_seed=_whole(seed), mode=ObservationMode(mode), products=products
    )


def _renamed(options: Options) -> World:
    from reskill_agents.environment import ScriptedWorld
    from reskill_agents.envs.renamed import RenamedWorld

    seed = _whole(options.pop("seed", options.get("catalogue_seed", _CATALOGUE)))
    world = _webshop(options)
    if not isinstance(world, ScriptedWorld):
        raise ConfigError("only a world with a closed vocabulary can be renamed")
    return RenamedWorld(world, seed)


def _search_qa(options: Options) -> World:
    from reskill_agents.envs.search_qa import SearchQAWorld

    files = [Path(options.pop(name)) if name in options else None for name in ("corpus", "questions")]
    return SearchQAWorld(*files, seed=_whole(options.pop("seed", "7")))


def _whole(text: str) -> int:
    if not text.isdecimal():
        raise ConfigError(f"{text!r} is not a whole number")
    return int(text)


_WORLDS: dict[str, Callable[[Options], World]] = {
    "webshop": _webshop,
    "webshop-renamed": _renamed,
    "search-qa": _search_qa,
}
