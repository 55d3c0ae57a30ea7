"""How pages are rendered: our own templates, every value escaped, only our own drawings are markup."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from jinja2 import PackageLoader, StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

from reskill_agents.progress_text import share
from reskill_agents.run_lines import Scalar


@lru_cache(maxsize=1)
def page_environment() -> ImmutableSandboxedEnvironment:
    """The templates of ``skill_templates/report``; filters: ``drawing``, ``share``, ``fact``, ``capitalize_first``."""
    environment = ImmutableSandboxedEnvironment(
        loader=PackageLoader("reskill_agents.skill_templates", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["drawing"] = Markup
    environment.filters["share"] = share
    environment.filters["fact"] = show_fact
    environment.filters["capitalize_first"] = lambda text: text[:1].upper() + text[1:]
    return environment


def show_fact(value: Scalar) -> str:
    """A setting or figure for people."""
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def write_page(target: Path, text: str) -> Path:
    """Write ``text`` whole or not at all; returns ``target``."""
    temporary = target.with_name(f".{target.name}.tmp")
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, target)  # noqa: PTH105 (atomic on every platform)
    return target
