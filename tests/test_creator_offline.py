"""The creator graph with the offline author: what it proposes, what it remembers."""

from __future__ import annotations

import dataclasses

import pytest
from creator_episodes import careless, episode

from reskill_agents import Episode, OperationKind, Proposal, Skill, SkillLibrary, Trigger, TriggerKind
from reskill_agents.directives import ActionClass, Criterion, Directive, Form, body_for
from reskill_agents.graphs.creator import CreationConfig, PastVerdict, create
from reskill_agents.graphs.creator_state import TriggerGate
from reskill_agents.graphs.offline_author import skill_for
from reskill_agents.library import Operation

EMPTY = SkillLibrary()
NO_EXPLORATION = CreationConfig(explore=0)
CRATE = ActionClass("crate")
MOST = Directive(Form.AMONG, CRATE, criterion=Criterion.MOST_TASK_WORDS)
LAST = Directive(Form.AMONG, CRATE, criterion=Criterion.LAST_LISTED)
SEALED = Directive(Form.AVOID, CRATE, mark="sealed")


@pytest.fixture(scope="module")
def episodes() -> list[Episode]:
    return careless(480, seed=1)


def bodies(proposal: Proposal | None) -> set[str]:
    assert proposal is not None
    return {operation.skill.body for operation in proposal.operations if operation.skill}


async def test_the_first_proposal_bundles_the_planted_causes(episodes: list[Episode]) -> None:
    result = await create(episodes, EMPTY, config=NO_EXPLORATION)
    assert result.proposal is not None
    assert {body_for(MOST), body_for(SEALED)} <= bodies(result.proposal)
    assert 1 <= len(result.proposal.operations) <= 3
    assert len(result.proposal.apply(EMPTY)) == len(result.proposal.operations)
    assert result.report.assertions
    assert all(check.passed_good >= check.passed_poor for check in result.report.checks)
    assert all(
        len(o.skill.name + o.skill.description + o.skill.body) <= 500 for o in result.proposal.operations if o.skill
    )


async def test_the_same_inputs_give_the_same_proposal(episodes: list[Episode]) -> None:
    first, second = [await create(episodes, EMPTY, seed=3) for _ in range(2)]
    assert first.proposal == second.proposal


async def test_live_advice_is_not_proposed_again(episodes: list[Episode]) -> None:
    first = await create(episodes, EMPTY, config=NO_EXPLORATION)
    assert first.proposal is not None
    library = first.proposal.apply(EMPTY)
    second = await create(episodes, library, config=NO_EXPLORATION)
    assert not bodies(first.proposal) & bodies(second.proposal)


async def test_a_rejected_bundle_is_tried_in_parts_and_rejected_advice_never_again(episodes: list[Episode]) -> None:
    verdicts: list[PastVerdict] = []
    alone: set[str] = set()
    for step in range(12):
        result = await create(episodes, EMPTY, verdicts=verdicts, seed=step, config=NO_EXPLORATION)
        if result.proposal is None:
            break
        assert not bodies(result.proposal) & alone
        assert not any(result.proposal.operations == past.proposal.operations for past in verdicts)
        if len(result.proposal.operations) == 1:
            alone |= bodies(result.proposal)
        verdicts.append(PastVerdict(result.proposal, accepted=False, step=100))
    assert len(verdicts[0].proposal.operations) == 3
    assert alone


async def test_new_evidence_opens_rejected_advice_again(episodes: list[Episode]) -> None:
    rejected = [
        PastVerdict(Proposal((Operation.add(skill_for(directive, Trigger())),)), accepted=False, step=0)
        for directive in (MOST, SEALED)
    ]
    assert {e.step for e in episodes} == {0, 1, 2, 3}
    later = await create(episodes, EMPTY, verdicts=rejected, config=NO_EXPLORATION)
    assert body_for(MOST) in bodies(later.proposal)
    same = await create(
        episodes, EMPTY, verdicts=[dataclasses.replace(v, step=3) for v in rejected], config=NO_EXPLORATION
    )
    assert not {body_for(MOST), body_for(SEALED)} & bodies(same.proposal)


async def test_pruned_advice_counts_as_rejected(episodes: list[Episode]) -> None:
    added = Proposal((Operation.add(skill_for(MOST, Trigger())),))
    history = [
        PastVerdict(added, accepted=True, step=3),
        PastVerdict(Proposal((Operation.delete(added.operations[0].name),)), accepted=True, step=3),
    ]
    result = await create(episodes, EMPTY, verdicts=history, config=NO_EXPLORATION)
    assert body_for(MOST) not in bodies(result.proposal)


async def test_better_advice_replaces_what_it_contradicts(episodes: list[Episode]) -> None:
    library = SkillLibrary((skill_for(LAST, Trigger()),))
    result = await create(episodes, library, config=NO_EXPLORATION)
    assert result.proposal is not None
    kinds = [operation.kind for operation in result.proposal.operations]
    assert OperationKind.DELETE in kinds
    assert body_for(MOST) in bodies(result.proposal)


async def test_a_live_skill_whose_advice_does_harm_is_deleted() -> None:
    library = SkillLibrary((skill_for(Directive(Form.AVOID, ActionClass("tag")), Trigger()),))
    episodes = careless(480, seed=1, library_digest=library.digest)
    result = await create(episodes, library, config=NO_EXPLORATION)
    assert result.proposal is not None
    assert [(o.kind, o.name) for o in result.proposal.operations] == [(OperationKind.DELETE, library.skills[0].name)]


async def test_a_skill_that_never_arrives_gets_another_trigger() -> None:
    never = Trigger(TriggerKind.OBSERVATION_PATTERN, "no such page")
    library = SkillLibrary((skill_for(MOST, never),))
    episodes = careless(480, seed=1, library_digest=library.digest)
    result = await create(episodes, library, config=NO_EXPLORATION)
    assert result.proposal is not None
    (operation,) = result.proposal.operations
    assert operation.kind is OperationKind.MODIFY
    changed = result.proposal.apply(library).by_name[operation.name]
    assert changed.trigger != never
    assert changed.body == library.skills[0].body  # a modify keeps what it does not name


async def test_a_full_library_makes_room_within_the_proposal(episodes: list[Episode]) -> None:
    fillers = [Skill(f"filler-{n}", "Filler.", f"Filler {n}.") for n in range(7)]
    library = SkillLibrary((*fillers, skill_for(Directive(Form.SOON, ActionClass("button", "back")), Trigger())))
    result = await create(episodes, library, config=NO_EXPLORATION)
    assert result.proposal is not None
    assert len(result.proposal.apply(library)) <= 8


async def test_exploration_tries_what_is_not_confirmed(episodes: list[Episode]) -> None:
    result = await create(episodes, EMPTY, config=CreationConfig(explore=1))
    assert result.proposal is not None
    assert "exploration" in result.proposal.reason


async def test_the_papers_gate_asks_for_frequent_triggers(episodes: list[Episode]) -> None:
    paper = CreationConfig(explore=0, gate=TriggerGate.PAPER)
    result = await create(episodes, EMPTY, config=paper)
    assert result.proposal is not None


async def test_nothing_to_learn_from_is_no_error() -> None:
    assert (await create([], EMPTY)).proposal is None
    fault = episode("a", [("start", "go", [])], score=None)
    assert (await create([fault], EMPTY)).proposal is None
    silent = episode("a", [("start", "", [])])
    assert (await create([silent] * 3, EMPTY)).proposal is None
