"""The text a fired skill puts into the prompt. Skill text is a value here, never a template."""

from __future__ import annotations

from collections.abc import Iterable

from reskill_agents.skill import Skill

FENCE_OPEN = '<skill name="{name}">'
FENCE_CLOSE = "</skill>"


def render_skill(skill: Skill) -> str:
    """One skill as a fenced block. A fence inside the body is defused, so that a body cannot break out."""
    body = skill.body.replace("</skill", "<\\/skill").replace("<skill ", "<\\skill ")
    return "\n".join((FENCE_OPEN.replace("{name}", skill.name), body, FENCE_CLOSE))


def render_skills(skills: Iterable[Skill]) -> str:
    """Fired skills as consecutive fenced blocks, in the order given."""
    return "\n".join(render_skill(skill) for skill in skills)


def join_blocks(text: str, block: str) -> str:
    """``text`` followed by ``block``; either may be empty. The observation comes first, skills after it."""
    return "\n".join(part for part in (text, block) if part)
