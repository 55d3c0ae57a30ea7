"""The text a fired skill puts into the prompt. Skill text is a value here, never a template."""

from __future__ import annotations

from collections.abc import Iterable

from reskill_agents.skill import Skill

FENCE_OPEN = '<skill name="{name}">'
FENCE_CLOSE = "</skill>"
WHEN = "**When to use:** "
ACTION = "**Action:** "


def render_skill(skill: Skill) -> str:
    """One skill as a fenced block. A fence inside the body is defused, so that a body cannot break out."""
    body = _shown(skill.body).replace("</skill", "<\\/skill").replace("<skill ", "<\\skill ")
    return "\n".join((FENCE_OPEN.replace("{name}", skill.name), body, FENCE_CLOSE))


def _shown(body: str) -> str:
    """``body`` without a first line that its action says again: every token of a skill is paid for on each turn that follows."""
    when, _, rest = body.partition("\n")
    if not (when.startswith(WHEN) and rest.startswith(ACTION)):
        return body
    action = rest.removeprefix(ACTION)
    return action if _says(action.partition("\n")[0], when.removeprefix(WHEN).removesuffix(".")) else body


def _says(action: str, when: str) -> bool:
    """Whether ``action`` names the condition ``when``: in its words, or as the closed grammar does for a thing on offer."""
    if when.casefold() in action.casefold():
        return True
    thing = when.removesuffix(" is offered")
    starts = ("Before {},", "After {},", "Do not take {}", "Take {} as soon as it is offered", "Never take {} twice")
    return thing != when and action.startswith(tuple(start.format(thing) for start in starts))


def render_skills(skills: Iterable[Skill]) -> str:
    """Fired skills as consecutive fenced blocks, in the order given."""
    return "\n".join(render_skill(skill) for skill in skills)


def join_blocks(text: str, block: str) -> str:
    """``text`` followed by ``block``; either may be empty. The observation comes first, skills after it."""
    return "\n".join(part for part in (text, block) if part)
