"""The creator with one part switched off, for the study: triggers, assertions."""

from __future__ import annotations

import pytest
from creator_episodes import careless
from creator_models import RecordedModel

from reskill_agents import Episode, SkillLibrary, TriggerKind
from reskill_agents.graphs.creator import CreationConfig, CreationResult, create
from reskill_agents.graphs.creator_author import author_of

EMPTY = SkillLibrary()


@pytest.fixture(scope="module")
def episodes() -> list[Episode]:
    return careless(480, seed=1)


def triggers(result: CreationResult) -> set[TriggerKind]:
    assert result.proposal is not None
    return {operation.skill.trigger.kind for operation in result.proposal.operations if operation.skill}


async def test_without_triggers_the_same_advice_is_always_on(episodes: list[Episode]) -> None:
    usual = await create(episodes, EMPTY, config=CreationConfig(explore=0))
    always = await create(episodes, EMPTY, config=CreationConfig(explore=0, general_triggers=True))
    assert triggers(usual) != {TriggerKind.GENERAL}
    assert triggers(always) == {TriggerKind.GENERAL}
    assert usual.proposal is not None
    assert always.proposal is not None
    assert [o.name for o in usual.proposal.operations] == [o.name for o in always.proposal.operations]


async def test_a_model_author_cannot_choose_a_trigger_either(episodes: list[Episode]) -> None:
    author = author_of(RecordedModel())
    assert triggers(await create(episodes, EMPTY, author=author)) == {TriggerKind.BEGINNING}
    always = await create(episodes, EMPTY, author=author, config=CreationConfig(general_triggers=True))
    assert triggers(always) == {TriggerKind.GENERAL}


async def test_without_assertions_nothing_is_graded_or_handed_on_and_chance_findings_pass(
    episodes: list[Episode],
) -> None:
    few = episodes[:48]  # too few tasks to confirm anything
    usual = await create(few, EMPTY, config=CreationConfig(explore=0))
    unchecked = await create(few, EMPTY, config=CreationConfig(explore=0, assertions=False))
    assert len(unchecked.assertions) == len(unchecked.report.checks) == 0
    assert unchecked.proposal is not None
    reasons = unchecked.proposal.evidence
    assert any("not confirmed" in line for line in reasons)
    assert len(unchecked.proposal.operations) == 3
    assert usual.proposal is None or len(usual.proposal.operations) == 1  # one doubtful idea at a time, for a trial


async def test_a_model_author_without_assertions_sees_and_leaves_none(episodes: list[Episode]) -> None:
    author = author_of(RecordedModel())
    assert (await create(episodes, EMPTY, author=author)).assertions
    unchecked = await create(episodes, EMPTY, author=author, config=CreationConfig(assertions=False))
    assert not unchecked.assertions
    assert not unchecked.report.checks
