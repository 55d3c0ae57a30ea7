"""SKILL.md: what is written reads back the same, and the reference validator agrees on what is good and bad."""

from __future__ import annotations

from pathlib import Path

import pytest
import skills_ref
import yaml
from hypothesis import example, given, settings
from skills_ref.parser import parse_frontmatter
from strategies import skills

from reskill_agents import Repeat, Skill, Trigger, TriggerKind
from reskill_agents.errors import SkillError
from reskill_agents.skill_md import (
    METADATA_KEYS,
    parse_skill_file,
    parse_skill_md,
    read_skill_folder,
    render_skill_md,
)
from reskill_agents.trigger_phrase import literal_of, use_when

BUY_CHECK = Skill(
    "check-options",
    "Choose the options before buying.",
    "**When to use:** `buy now` is offered.\n**Action:** Before `buy now`, take every option the task names.",
    Trigger(TriggerKind.ACTION_PATTERN, r"^click\[buy now\]$"),
)


def test_the_file_is_plain_front_matter_with_flat_trigger_keys_and_the_trigger_in_words() -> None:
    parent = "sha256-" + "0" * 64
    assert render_skill_md(BUY_CHECK, version=3, parent=parent) == (
        "---\n"
        "name: check-options\n"
        "description: 'Choose the options before buying. Use when your last action is `click[buy now]`.'\n"
        "metadata:\n"
        "  reskill.trigger: action_pattern\n"
        "  reskill.trigger-pattern: '^click\\[buy now\\]$'\n"
        "  reskill.trigger-repeat: after_n_turns\n"
        "  reskill.trigger-cooldown: '3'\n"
        "  reskill.version: '3'\n"
        f"  reskill.parent: {parent}\n"
        "---\n"
        "\n"
        "**When to use:** `buy now` is offered.\n"
        "**Action:** Before `buy now`, take every option the task names.\n"
    )


def test_version_and_parent_come_back() -> None:
    read = parse_skill_file(render_skill_md(BUY_CHECK, version=7, parent=BUY_CHECK.digest))
    assert (read.skill, read.version, read.parent) == (BUY_CHECK, 7, BUY_CHECK.digest)


_SENTENCE = use_when(Trigger())


@given(skills())
@example(Skill("a", _SENTENCE, "b"))
@example(Skill("a", f"x {_SENTENCE}", "b"))
@example(Skill("a", "x" * (1023 - len(_SENTENCE)) + " " + _SENTENCE, "b"))
@example(Skill("null", "a --- b", "---\nname: other\n---\n## Heading\n---"))
@settings(max_examples=120, deadline=None)
def test_import_of_export_is_the_same_skill(skill: Skill) -> None:
    text = render_skill_md(skill, version=2)
    assert parse_skill_md(text) == skill
    assert parse_skill_md(text).digest == skill.digest
    assert render_skill_md(parse_skill_md(text), version=2) == text
    assert parse_skill_md(text.replace("\n", "\r\n")) == skill


@given(skills())
@settings(max_examples=40, deadline=None)
def test_every_other_reader_sees_the_same_front_matter(skill: Skill) -> None:
    text = render_skill_md(skill, version=2)
    reference, body = parse_frontmatter(text)
    assert skills_ref.validator.validate_metadata(reference) == []
    ours = yaml.safe_load(text.split("\n---\n", 1)[0])
    assert ours == reference
    assert body.strip() == skill.body.strip()


GOOD = {
    "minimal": "---\nname: minimal\ndescription: d\n---\nbody\n",
    "other-keys": "---\nname: other-keys\ndescription: d\nlicense: MIT\nallowed-tools: Bash\ncompatibility: c\n---\nb",
    "folded": "---\nname: folded\ndescription: >\n  two\n  lines\nmetadata:\n  author: someone\n  n: 1.0\n---\nb",
    "quoted": "---\nname: \"quoted\"\ndescription: 'it''s # fine: yes'\n---\nb",
    "comments": "---\n# a comment\nname: comments # here too\ndescription: d\n---\nb",
    "crlf": "---\r\nname: crlf\r\ndescription: d\r\n---\r\nb\r\n",
}


@pytest.mark.parametrize("name", GOOD)
def test_what_the_reference_accepts_is_accepted(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    folder.mkdir()
    (folder / "SKILL.md").write_bytes(GOOD[name].encode())
    assert skills_ref.validate(folder) == []
    assert read_skill_folder(folder).skill.name == name


BAD = {
    "no-front-matter": ("body", "must start with"),
    "not-closed": ("---\nname: not-closed\ndescription: d\n", "not closed"),
    "bom": ("\ufeff---\nname: bom\ndescription: d\n---\nb", "byte order mark"),
    "unknown-key": ("---\nname: unknown-key\ndescription: d\ntrigger_type: general\n---\nb", "unknown top-level keys"),
    "no-description": ("---\nname: no-description\n---\nb", "description: missing"),
    "empty-description": ("---\nname: empty-description\ndescription: ''\n---\nb", "description is empty"),
    "list-description": ("---\nname: list-description\ndescription:\n  - a\n---\nb", "description: must be a string"),
    "no-name": ("---\ndescription: d\n---\nb", "name: missing"),
    "Upper": ("---\nname: Upper\ndescription: d\n---\nb", "lower-case"),
    "double--hyphen": ("---\nname: double--hyphen\ndescription: d\n---\nb", "'---'|single hyphens"),
    "-lead": ("---\nname: -lead\ndescription: d\n---\nb", "single hyphens"),
    "under_score": ("---\nname: under_score\ndescription: d\n---\nb", "single hyphens"),
    "l" * 65: (f"---\nname: {'l' * 65}\ndescription: d\n---\nb", "65 characters"),
    "folder": ("---\nname: other\ndescription: d\n---\nb", "folder"),
    "long": (f"---\nname: long\ndescription: {'d' * 1025}\n---\nb", "1025 characters"),
    "flow": ("---\nname: flow\ndescription: d\nmetadata: {a: b}\n---\nb", "flow style"),
    "anchor": ("---\nname: anchor\ndescription: &a d\n---\nb", "anchors"),
    "tag": ("---\nname: tag\ndescription: !!str d\n---\nb", "tags"),
    "twice": ("---\nname: twice\nname: twice\ndescription: d\n---\nb", "duplicate key"),
    "broken": ("---\nname: broken\ndescription: 'd\n---\nb", "invalid YAML"),
    "tab": ("---\nname: tab\ndescription: d\nmetadata:\n\ta: b\n---\nb", "invalid YAML"),
    "scalar": ("---\njust text\n---\nb", "must be a mapping"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_the_reference_refuses_is_refused_with_the_file_and_the_reason(name: str, tmp_path: Path) -> None:
    text, reason = BAD[name]
    folder = tmp_path / name
    folder.mkdir()
    (folder / "SKILL.md").write_bytes(text.encode())
    assert skills_ref.validate(folder) != []
    with pytest.raises(SkillError, match=reason) as caught:
        read_skill_folder(folder)
    assert caught.value.source == str(folder / "SKILL.md")


def test_every_problem_is_listed_not_the_first() -> None:
    text = (
        "---\nname: Bad Name\ntitle: x\nmetadata:\n  reskill.trigger: sometimes\n  reskill.trigger-cooldown: '0'\n"
        "  reskill.trgger: general\n  nested:\n    a: b\n---\n"
    )
    with pytest.raises(SkillError) as caught:
        parse_skill_md(text, source="pack/bad/SKILL.md")
    found = "\n".join(caught.value.problems)
    for expected in (
        "title",
        "metadata.nested",
        "metadata.reskill.trgger: unknown",
        "'sometimes' is none of general, beginning",
        "metadata.reskill.trigger-cooldown: '0'",
        "description: missing",
        "name 'Bad Name'",
        "body is empty",
    ):
        assert expected in found
    assert caught.value.source == "pack/bad/SKILL.md"


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ("reskill.trigger-pattern: x", "without reskill.trigger"),
        ("reskill.trigger: action_pattern", "needs a pattern"),
        ("reskill.trigger: general\n  reskill.trigger-pattern: x", "takes no pattern"),
        ("reskill.trigger: action_pattern\n  reskill.trigger-pattern: 'a(?=b)'", "no look-around"),
        ("reskill.trigger: general\n  reskill.parent: abc", "64 hex digits"),
        ("reskill.trigger: general\n  reskill.version: '1.5'", "whole number"),
        ("reskill.trigger: general\n  reskill.use-when: maybe", "only value"),
        ("reskill.trigger: general\n  reskill.trigger-repeat: always", "none of once"),
    ],
)
def test_a_malformed_trigger_is_refused_although_the_reference_does_not_look(metadata: str, reason: str) -> None:
    with pytest.raises(SkillError, match=reason):
        parse_skill_md(f"---\nname: a\ndescription: d\nmetadata:\n  {metadata}\n---\nb")


def test_skills_of_other_tools_become_general_skills_and_their_keys_are_kept() -> None:
    read = parse_skill_file(GOOD["other-keys"])
    assert read.skill.trigger == Trigger()
    assert read.extra == {"license": "MIT", "allowed-tools": "Bash", "compatibility": "c"}
    assert parse_skill_file(GOOD["folded"]).extra == {"metadata.author": "someone", "metadata.n": "1.0"}


def test_a_description_without_room_for_the_sentence_says_so_in_the_metadata() -> None:
    skill = Skill("long", "d" * 1010, "b")
    text = render_skill_md(skill)
    assert "reskill.use-when: omitted" in text
    assert parse_skill_md(text) == skill


@pytest.mark.parametrize(
    ("trigger", "sentence"),
    [
        (Trigger(), "Use when working on any task of this kind."),
        (Trigger(TriggerKind.BEGINNING), "Use when a task begins, before the first action."),
        (Trigger(TriggerKind.ACTION_PATTERN, r"^search\["), "Use when your last action contains `search[`."),
        (Trigger(TriggerKind.OBSERVATION_PATTERN, "a|b"), "Use when what you see matches `a|b`."),
        (Trigger(TriggerKind.OBSERVATION_PATTERN, "a<b"), "Use when what you see matches the pattern in the metadata."),
        (Trigger(TriggerKind.TOOL, "query_db"), "Use when the tool `query_db` has just answered."),
    ],
)
def test_triggers_read_as_an_imperative_sentence(trigger: Trigger, sentence: str) -> None:
    assert use_when(trigger) == sentence


@pytest.mark.parametrize(
    ("pattern", "literal", "whole"),
    [(r"^a\.b$", "a.b", True), (r"a\$", "a$", False), (r"a\d", "", False), ("a.b", "", False), ("^$", "", True)],
)
def test_a_pattern_without_operators_is_shown_as_the_text_it_matches(pattern: str, literal: str, whole: bool) -> None:
    assert literal_of(pattern) == (literal, whole)


def test_the_reskill_keys_are_a_closed_set() -> None:
    assert all(key.startswith("reskill.") for key in METADATA_KEYS)
    assert Trigger(repeat=Repeat.EVERY_FIRING).repeat is Repeat.EVERY_FIRING
