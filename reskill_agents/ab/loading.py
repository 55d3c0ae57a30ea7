"""Objects by name: ``pkg.module:name``."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

from reskill_agents.errors import ConfigError


def load_object(spec: str, option: str) -> object:
    """The object ``name`` of the module ``pkg.module``; the working directory is searched too.

    Raises:
        ConfigError: naming ``option`` and what is wrong.
    """
    module_name, colon, name = spec.partition(":")
    if not colon or not module_name or not name:
        raise ConfigError(f"{option}: {spec!r} is not of the form pkg.module:name")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: object = import_module(module_name)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{option}: {spec!r} cannot be loaded: {error}") from error
    return found
