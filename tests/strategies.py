"""Hypothesis strategies for skills: any that the types admit, awkward ones included."""

from __future__ import annotations

import re2
from hypothesis import strategies as st

from reskill_agents import Repeat, Skill, SkillLibrary, Trigger, TriggerKind
from reskill_agents.skill import canonical_text, skill_problems
from reskill_agents.trigger import PATTERN_KINDS

_AWKWARD = st.sampled_from(
    [*"'\"\\#{}[]|%@`~é🛒", "---", "--", ": ", "- ", "&a", "*a", "!t", "  ", "null", "1e3", "e\u0301", "\u2028"]
)
_CHARACTERS = st.characters(exclude_categories=("Cc", "Cs"))  # control characters and surrogates are refused anyway
_TEXT = st.lists(st.one_of(_AWKWARD, st.text(_CHARACTERS, max_size=8)), max_size=5).map("".join).filter(bool)
names = st.from_regex(r"[a-z0-9]{1,8}(-[a-z0-9]{1,8}){0,3}", fullmatch=True)
_literal_patterns = _TEXT.map(lambda text: re2.escape(text))
_patterns = st.one_of(
    _literal_patterns.map(lambda text: f"^{text}$"),
    _literal_patterns,
    st.sampled_from([r"^click\[(buy now|b\d+)\]$", r"a|b", r"(?i)price: \$\d+", "x" * 400, r"(?P<kind>s.arch)\["]),
)


@st.composite
def triggers(draw: st.DrawFn) -> Trigger:
    kind = draw(st.sampled_from(TriggerKind))
    pattern = ""
    if kind is TriggerKind.TOOL:
        pattern = draw(_TEXT)
    elif kind in PATTERN_KINDS:
        pattern = draw(_patterns)
    repeat = draw(st.one_of(st.none(), st.sampled_from(Repeat)))
    return Trigger(kind, pattern, repeat, draw(st.integers(1, 999)))


_LINES = str.maketrans("<>\n", "() ")
_descriptions = st.one_of(_TEXT, st.integers(900, 1024).map(lambda size: "d" * size)).map(
    lambda text: canonical_text(text.translate(_LINES)) or "d"
)
_bodies = st.lists(_TEXT, min_size=1, max_size=3).map("\n".join).map(lambda text: canonical_text(text) or "b")


@st.composite
def skills(draw: st.DrawFn) -> Skill:
    description = draw(_descriptions.filter(lambda text: not skill_problems("x", text, "x")))
    body = draw(_bodies.filter(lambda text: not skill_problems("x", "x", text)))
    return Skill(draw(names), description, body, draw(triggers()))


libraries = st.lists(skills(), max_size=4, unique_by=lambda skill: skill.name).map(
    lambda found: SkillLibrary(tuple(found))
)
