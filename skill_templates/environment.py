"""One sandboxed Jinja environment for every template of the package. Texts are values here, never templates."""

from __future__ import annotations

from functools import cache
from importlib import resources

from jinja2 import FunctionLoader, StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment


@cache
def environment() -> ImmutableSandboxedEnvironment:
    """Sandboxed, immutable, with strict undefined; loads only templates of this package."""
    return ImmutableSandboxedEnvironment(
        loader=FunctionLoader(_source),
        undefined=StrictUndefined,
        autoescape=False,  # prompts and Markdown; values are fenced or escaped where they are made
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _source(name: str) -> str | None:
    parts = name.split("/")
    if not name.endswith(".jinja") or any(part in ("", ".", "..") for part in parts):
        return None
    path = resources.files("reskill_agents.skill_templates").joinpath(*parts)
    return path.read_text(encoding="utf-8") if path.is_file() else None


def render(name: str, /, **values: object) -> str:
    """The template ``name`` (a path below this package) filled with ``values``.

    Raises:
        jinja2.TemplateError: for an unknown template, a missing value, or a template that leaves the sandbox.
    """
    return environment().get_template(name).render(**values).strip()
