"""The nodes of the creator graph and how they follow each other."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime
from langgraph.types import RetryPolicy, Send

from reskill_agents.assertions import Assertion, GradeResult, grade
from reskill_agents.episodes import graded_outcome
from reskill_agents.errors import CreatorError, ProposalError, SkillError
from reskill_agents.graphs.creator_approval import approve
from reskill_agents.graphs.creator_sampling import sampled
from reskill_agents.graphs.creator_state import (
    Author,
    CheckFinding,
    CreationWork,
    CreatorState,
    Diagnosis,
    Draft,
    Insight,
    Recommendation,
)
from reskill_agents.graphs.creator_triggers import replay, trigger_evidence
from reskill_agents.graphs.creator_verify import result_of, verified
from reskill_agents.graphs.offline_author import ROOM, OfflineAuthor
from reskill_agents.induction import induced_assertions
from reskill_agents.induction_advice import advice_check
from reskill_agents.library import Operation, OperationKind, Proposal
from reskill_agents.trigger import Trigger, TriggerKind

_log = logging.getLogger(__name__)
_Answer = TypeVar("_Answer")
_Graph = CompiledStateGraph[CreatorState, CreationWork, CreatorState, CreatorState]
_EXAMPLES = 3  # episode ids shown for each side of a check
_RETRY = RetryPolicy(max_attempts=2, initial_interval=0.2, retry_on=(OSError, TimeoutError))


def creator_graph(checkpointer: BaseCheckpointSaver[str] | None = None) -> _Graph:
    """The compiled graph; the work of a round is its runtime context.

    One ``analyse`` task a sampled task runs at a time (``Send``); nodes that meet a passing fault are tried twice. The last
    node waits for a person (``interrupt``) when the work says so.
    """
    graph = StateGraph(CreatorState, context_schema=CreationWork)
    nodes = {
        "sample": _sample,
        "analyse": _analyse,
        "grade": _grade,
        "diagnose": _diagnose,
        "recommend": _recommend,
        "author": _author,
        "verify": _verify,
        "approve": approve,
    }
    for name, node in nodes.items():
        graph.add_node(name, node, retry_policy=_RETRY)
    graph.add_edge(START, "sample")
    graph.add_conditional_edges("sample", _fan_out, ["analyse", "grade"])
    graph.add_edge("analyse", "grade")
    graph.add_edge("grade", "diagnose")
    graph.add_edge("diagnose", "recommend")
    graph.add_conditional_edges("recommend", lambda state: "author" if state.get("plan") else END, ["author", END])
    graph.add_edge("author", "verify")
    graph.add_conditional_edges("verify", _again, ["author", "approve"])
    graph.add_edge("approve", END)
    return graph.compile(checkpointer=checkpointer, name="skill-creator")


def _fan_out(state: CreatorState) -> list[Send] | str:
    return [Send("analyse", {"sample": sample}) for sample in state.get("samples", ())] or "grade"


def _again(state: CreatorState) -> str:
    return "approve" if state.get("attempt") == -1 else "author"


async def _with_fallback(
    work: CreationWork, node: str, ask: Callable[[Author], Awaitable[_Answer]]
) -> tuple[_Answer, list[str]]:
    """The author's answer, or the offline author's with a note why."""
    try:
        return await ask(work.author), []
    except (CreatorError, SkillError, ProposalError) as error:
        if isinstance(work.author, OfflineAuthor):
            raise
        note = f"{node}: {work.author.name} failed ({error}); the offline author did it"
        _log.warning(note)
        try:
            return await ask(OfflineAuthor()), [note]
        except CreatorError as second:
            raise CreatorError(f"{work.author.name} failed ({error}), so did the offline author ({second})") from error


async def _sample(state: CreatorState, runtime: Runtime[CreationWork]) -> CreatorState:
    return {"samples": sampled(runtime.context)}


async def _analyse(state: CreatorState, runtime: Runtime[CreationWork]) -> CreatorState:
    work = runtime.context
    sample = state.get("sample")
    if sample is None:
        raise ValueError("analyse is sent one sampled task")
    insight, notes = await _with_fallback(work, "analyse", lambda author: author.analyse(work, sample))
    found: list[Insight] = [insight] if insight is not None else []
    return {"insights": found, "notes": notes}


async def _grade(state: CreatorState, runtime: Runtime[CreationWork]) -> CreatorState:
    """Grade all episodes by the live and the induced assertions; pass rates are split by outcome."""
    work = runtime.context
    if not work.config.assertions:
        return {"checks": ()}
    known = {assertion.id: assertion for assertion in (*induced_assertions(work.induction), *work.assertions)}
    asserted = list(known.values())
    owners = {advice_check(live.advice, work.induction.opening): name for name, live in work.live.items()}
    outcomes = [graded_outcome(episode) or 0.0 for episode in work.scored]
    middle = sum(outcomes) / len(outcomes)
    graded = grade(work.scored, asserted)
    findings = []
    for column, assertion in enumerate(asserted):
        sides: dict[bool, list[bool]] = {True: [], False: []}
        named: dict[bool, list[str]] = {True: [], False: []}
        for outcome, entry in zip(outcomes, graded, strict=True):
            result = entry.grades[column].result
            if result is not GradeResult.NOT_APPLICABLE:
                passed = result is GradeResult.PASSED
                sides[outcome > middle].append(passed)
                named[passed].append(entry.episode_id)
        findings.append(_finding(assertion, sides, named, owners.get(assertion.check, "")))
    return {"checks": tuple(findings)}


def _finding(
    assertion: Assertion, sides: dict[bool, list[bool]], named: dict[bool, list[str]], skill: str
) -> CheckFinding:
    good, poor = (sum(side) / len(side) if side else 0.0 for side in (sides[True], sides[False]))
    return CheckFinding(
        assertion.id,
        assertion.text,
        good,
        poor,
        len(sides[True]) + len(sides[False]),
        tuple(named[True][:_EXAMPLES]),
        tuple(named[False][:_EXAMPLES]),
        skill,
    )


async def _diagnose(state: CreatorState, runtime: Runtime[CreationWork]) -> CreatorState:
    work = runtime.context
    insights, checks = state.get("insights", []), state.get("checks", ())
    diagnosis, notes = await _with_fallback(work, "diagnose", lambda author: author.diagnose(work, insights, checks))
    if not work.config.assertions:
        diagnosis = replace(diagnosis, assertions=())
    return {"diagnosis": diagnosis, "notes": notes}


async def _recommend(state: CreatorState, runtime: Runtime[CreationWork]) -> CreatorState:
    work = runtime.context
    insights, diagnosis = state.get("insights", []), state.get("diagnosis") or Diagnosis()
    plan, notes = await _with_fallback(work, "recommend", lambda author: author.recommend(work, insights, diagnosis))
    if not plan:
        notes = [*notes, "nothing is worth trying on this evidence"]
    return {"plan": plan[: work.config.max_operations], "notes": notes}


async def _author(state: CreatorState, runtime: Runtime[CreationWork]) -> CreatorState:
    """Write every recommendation that has no sound draft yet; the verifier's problems are at hand the second time."""
    work = runtime.context
    earlier = state.get("drafts") or tuple(Draft(recommendation) for recommendation in state.get("plan", ()))
    drafts: list[Draft] = []
    notes: list[str] = []
    for draft in earlier:
        if draft.sound:
            drafts.append(draft)
            continue
        problems = (*draft.problems, *draft.quarantine)
        try:
            operation, said = await _with_fallback(
                work, "author", partial(_write, work=work, recommendation=draft.recommendation, problems=problems)
            )
            if work.config.general_triggers:
                operation = _always_on(operation)
        except (CreatorError, SkillError, ProposalError) as error:
            idea = draft.recommendation.idea or draft.recommendation.target
            notes.append(f"dropped ({draft.recommendation.kind} {idea}): {error}")
            continue
        notes += said
        writer = OfflineAuthor.name if said else work.author.name
        drafts.append(Draft(draft.recommendation, operation, writer))
    if not drafts:
        drafts, said = await _offline_drafts(work, state)
        notes += said
    return {"drafts": tuple(drafts), "notes": notes, "attempt": state.get("attempt", 0) + 1}


async def _offline_drafts(work: CreationWork, state: CreatorState) -> tuple[list[Draft], list[str]]:
    """What the offline author would have recommended, when nothing of the model's plan could be written."""
    offline = OfflineAuthor()
    plan = await offline.recommend(work, state.get("insights", []), state.get("diagnosis") or Diagnosis())
    drafts = [Draft(change, await offline.write(work, change, ()), offline.name) for change in plan]
    return drafts, ["nothing of the plan could be written; the offline author's own plan is tried"] if drafts else []


async def _write(
    author: Author, *, work: CreationWork, recommendation: Recommendation, problems: Sequence[str]
) -> Operation:
    return await author.write(work, recommendation, problems)


def _always_on(operation: Operation) -> Operation:
    """The same change with the trigger ``general``.

    Raises:
        ProposalError: only the trigger was to change.
    """
    if operation.skill is not None:
        return replace(operation, skill=replace(operation.skill, trigger=Trigger(TriggerKind.GENERAL)))
    if operation.trigger is not None and operation.description is None and operation.body is None:
        raise ProposalError("every skill is always on; a change of the trigger changes nothing")
    return replace(operation, trigger=None)


async def _verify(state: CreatorState, runtime: Runtime[CreationWork]) -> CreatorState:
    """Send back what has problems while that may help; leave it out, with a note, when it does not. -1 ends it."""
    work = runtime.context
    drafts = verified(work, state.get("drafts", ()))
    refused = [draft for draft in drafts if not draft.sound]
    if refused and work.author.rewrites and state.get("attempt", 0) < work.config.attempts:
        notes = [f"sent back: {problem}" for draft in refused for problem in (*draft.problems, *draft.quarantine)]
        return {"drafts": drafts, "notes": notes}
    notes = [f"left out: {problem}" for draft in refused for problem in draft.problems]
    notes += [f"quarantined: {reason}" for draft in refused for reason in draft.quarantine if not draft.problems]
    proposal, refusal = _propose(work, [draft for draft in drafts if draft.sound])
    return {"drafts": drafts, "proposal": proposal, "notes": notes + refusal, "attempt": -1}


def _fires(work: CreationWork, draft: Draft) -> list[str]:
    """Where the trigger of what would enter a prompt fires on the logged episodes."""
    if draft.operation is None or draft.operation.kind is OperationKind.DELETE:
        return []
    skill = result_of(draft.operation, work.library)
    if skill is None:
        return []
    seen = replay(skill, work.episodes)
    by_model = draft.author != OfflineAuthor.name
    return [
        f"{skill.name} would have fired in {seen.poor:.0%} of the poorer and {seen.good:.0%} of the better episodes, "
        f"on {seen.turns:.0%} of the turns",
        *([trigger_evidence(skill, draft.recommendation, work)] if by_model else []),
    ]


def _propose(work: CreationWork, sound: Sequence[Draft]) -> tuple[Proposal | None, list[str]]:
    """The sound drafts as one proposal; deletions that only made room for a dropped draft are no proposal."""
    operations = [draft.operation for draft in sound if draft.operation is not None]
    if not operations:
        return None, []
    made_room = [draft for draft in sound if draft.recommendation.reason.startswith(ROOM)]
    if made_room and not any(o.kind is not OperationKind.DELETE for o in operations):
        return None, ["the skill that was to replace another fell out; nothing is deleted for it"]
    proposal = Proposal(
        tuple(operations),
        reason="; ".join(dict.fromkeys(draft.recommendation.reason for draft in sound)),
        evidence=tuple(line for draft in sound for line in (*draft.recommendation.evidence, *_fires(work, draft))),
    )
    try:
        proposal.apply(work.library, capacity=work.config.capacity)
    except ProposalError as error:
        return None, [f"the proposal does not apply: {error}"]
    return proposal, []
