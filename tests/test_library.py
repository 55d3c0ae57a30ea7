"""Libraries are immutable and ordered; a proposal applies wholly or not at all."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from strategies import libraries, skills

from reskill_agents import Operation, Proposal, Repeat, Skill, SkillLibrary, Trigger, TriggerKind
from reskill_agents.errors import ProposalError, SkillError
from reskill_agents.skill import canonical_text

A, B, C = (Skill(name, f"About {name}.", f"Do {name}.") for name in "abc")


def test_the_digest_is_the_content_not_the_object() -> None:
    assert Skill("a", "About a.", "Do a.").digest == A.digest
    assert A.digest.startswith("sha256-")
    assert len(A.digest) == 71
    changed = [
        dataclasses.replace(A, name="z"),
        dataclasses.replace(A, description="z"),
        dataclasses.replace(A, body="z"),
        dataclasses.replace(A, trigger=Trigger(TriggerKind.BEGINNING)),
        dataclasses.replace(A, trigger=Trigger(repeat=Repeat.EVERY_FIRING)),
    ]
    assert len({skill.digest for skill in [A, *changed]}) == 6


def test_line_ends_trailing_space_and_unicode_form_do_not_change_a_skill() -> None:
    one = Skill("a", "Caf\u00e9.", "x\ny")
    other = Skill("a", "Cafe\u0301. ", "x  \r\ny\r\n\r\n")
    assert one == other
    assert one.digest == other.digest


@given(skills())
@settings(max_examples=25, deadline=None)
def test_canonical_text_is_stable(skill: Skill) -> None:
    assert canonical_text(skill.body) == skill.body
    assert canonical_text(skill.description) == skill.description


def test_order_is_part_of_a_library_and_a_rollback_gives_the_old_digest() -> None:
    library = SkillLibrary((A, B))
    assert library.digest != SkillLibrary((B, A)).digest
    grown = Proposal((Operation.add(C),)).apply(library)
    assert grown.digest != library.digest
    assert Proposal((Operation.delete("c"),)).apply(grown).digest == library.digest


def test_a_library_holds_each_name_once() -> None:
    with pytest.raises(ProposalError, match="twice: a"):
        SkillLibrary((A, A))


def test_modify_keeps_what_it_does_not_name() -> None:
    trigger = Trigger(TriggerKind.ACTION_PATTERN, "^go")
    start = SkillLibrary((A, dataclasses.replace(B, trigger=trigger)))
    changed = Proposal((Operation.modify("b", body="Do b well."),)).apply(start).by_name["b"]
    assert changed == Skill("b", "About b.", "Do b well.", trigger)
    moved = Proposal((Operation.modify("b", trigger=Trigger()),)).apply(start).by_name["b"]
    assert moved == B


@pytest.mark.parametrize(
    ("operations", "reason"),
    [
        ((Operation.delete("a"), Operation.add(A), Operation.delete("z")), r"operation 3 \(delete 'z'\): no such"),
        ((Operation.delete("a"), Operation.add(B)), "exists; modify"),
        ((Operation.add(C), Operation.modify("a", body="Do a.")), "changes nothing"),
        ((), "one to three"),
        ((Operation.delete("a"), Operation.delete("b"), Operation.add(A), Operation.add(B)), "one to three"),
    ],
)
def test_a_proposal_that_fails_anywhere_applies_nowhere(operations: tuple[Operation, ...], reason: str) -> None:
    library = SkillLibrary((A, B))
    before = library.digest
    with pytest.raises(ProposalError, match=reason):
        Proposal(operations).apply(library)
    assert library.skills == (A, B)
    assert library.digest == before


def test_capacity_counts_after_all_operations() -> None:
    library = SkillLibrary((A, B))
    with pytest.raises(ProposalError, match="limit is 2"):
        Proposal((Operation.add(C),)).apply(library, capacity=2)
    swapped = Proposal((Operation.add(C), Operation.delete("a"))).apply(library, capacity=2)
    assert swapped.skills == (B, C)


@given(libraries)
@settings(max_examples=10, deadline=None)
def test_without_removes_by_name_and_keeps_the_order(library: SkillLibrary) -> None:
    for skill in library:
        assert library.without(skill.name).skills == tuple(s for s in library if s is not skill)
    with pytest.raises(ProposalError, match="no such skill"):
        library.without("Not-A-Name")


@pytest.mark.parametrize(
    ("fields", "problems"),
    [
        (("A b", "<x>", ""), ["lower-case", "'<'", "body is empty"]),
        (("a" * 65, "", "b"), ["65 characters", "description is empty"]),
        (("a", "two\nlines", "b"), ["one line"]),
        (("a", "d" * 1025, "b"), ["1025 characters"]),
        (("a", "d", "bell \x07 and \ud800"), ["U+0007, U+D800"]),
    ],
)
def test_a_malformed_skill_lists_every_problem(fields: tuple[str, str, str], problems: list[str]) -> None:
    with pytest.raises(SkillError) as caught:
        Skill(*fields)
    assert len(caught.value.problems) == len(problems)
    for found, expected in zip(caught.value.problems, problems, strict=True):
        assert expected in found


def test_triggers_refuse_what_cannot_be_matched_in_linear_time() -> None:
    with pytest.raises(SkillError, match="no look-around"):
        Trigger(TriggerKind.ACTION_PATTERN, "a(?=b)")
    with pytest.raises(SkillError, match="no back-references"):
        Trigger(TriggerKind.OBSERVATION_PATTERN, r"(a)\1")
    with pytest.raises(SkillError, match="invalid pattern"):
        Trigger(TriggerKind.OBSERVATION_PATTERN, "(")
    with pytest.raises(SkillError) as caught:
        Trigger(TriggerKind.GENERAL, "x", cooldown=0)
    assert len(caught.value.problems) == 2
    with pytest.raises(SkillError, match="needs a pattern"):
        Trigger(TriggerKind.TOOL)
    with pytest.raises(SkillError, match="surrogate"):
        Trigger(TriggerKind.TOOL, "\ud800")


def test_repeat_defaults_follow_the_contract() -> None:
    assert Trigger().repeat is Repeat.ONCE
    assert Trigger(TriggerKind.BEGINNING).repeat is Repeat.ONCE
    assert Trigger(TriggerKind.TOOL, "query").repeat is Repeat.AFTER_N_TURNS
    assert Trigger(TriggerKind.ACTION_PATTERN, "x", Repeat.ONCE).repeat is Repeat.ONCE
