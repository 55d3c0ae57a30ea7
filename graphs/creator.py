"""The skill creator: analyse -> grade -> diagnose -> recommend -> author -> verify, as a LangGraph graph.

``await create(episodes, library, author=OfflineAuthor())`` reads episodes and gives a proposal to put on trial.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import cache, partial
from typing import TypeVar

from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime

from reskill_agents.directives import sentence
from reskill_agents.episodes import Episode
from reskill_agents.errors import CreatorError, ProposalError, SkillError
from reskill_agents.graphs.creator_state import (
    Author,
    CheckFinding,
    CreationConfig,
    CreationReport,
    CreationResult,
    CreationWork,
    CreatorState,
    PastVerdict,
    Recommendation,
)
from reskill_agents.graphs.creator_verify import draft_problems
from reskill_agents.graphs.offline_author import OfflineAuthor
from reskill_agents.library import Operation, OperationKind, Proposal, SkillLibrary

__all__ = ["Author", "CreationConfig", "CreationResult", "OfflineAuthor", "PastVerdict", "create", "creator_graph"]

_log = logging.getLogger(__name__)
_Answer = TypeVar("_Answer")
_EXAMPLES = 3  # episode ids shown for each side of a check


async def create(
    episodes: Sequence[Episode],
    library: SkillLibrary,
    *,
    author: Author | None = None,
    verdicts: Sequence[PastVerdict] = (),
    seed: int = 0,
    config: CreationConfig | None = None,
) -> CreationResult:
    """One creation round.

    Args:
        episodes: what to learn from; faults are ignored. 200 will do; several hundred, in groups of the same task in
            the same step above all, find weaker causes.
        library: the library in force.
        author: who writes (default: the offline author). Where it fails, the offline author does that node.
        verdicts: all earlier verdicts, oldest first, prunings included (as accepted proposals that delete).
        seed: of everything random here; the same inputs and seed give the same proposal.
        config: how proposals are made.

    Returns:
        A proposal that applies to ``library``, or none when nothing is worth trying. What episodes hold never raises.
    """
    started = time.perf_counter()
    author = author or OfflineAuthor()
    work = CreationWork(tuple(episodes), library, tuple(verdicts), seed, config or CreationConfig(), author)
    if not any(episode.score is not None for episode in work.episodes):
        return CreationResult(None, CreationReport(author.name, notes=("there are no episodes with an outcome",)))
    state = await creator_graph().ainvoke({"attempt": 0, "notes": []}, context=work)
    report = CreationReport(
        author=author.name,
        insights=state.get("insights", ()),
        checks=state.get("checks", ()),
        diagnosis=state.get("diagnosis", ()),
        assertions=tuple(found.evidence for found in work.induction.confirmed),
        notes=tuple(state.get("notes", ())),
        seconds=time.perf_counter() - started,
    )
    return CreationResult(state.get("proposal"), report)


@cache
def creator_graph() -> CompiledStateGraph[CreatorState, CreationWork, CreatorState, CreatorState]:
    """The compiled graph; the work of a round is its runtime context."""
    graph = StateGraph(CreatorState, context_schema=CreationWork)
    graph.add_node("analyse", _analyse)
    graph.add_node("grade", _grade)
    graph.add_node("diagnose", _diagnose)
    graph.add_node("recommend", _recommend)
    graph.add_node("author", _author)
    graph.add_node("verify", _verify)
    graph.add_edge(START, "analyse")
    graph.add_edge("analyse", "grade")
    graph.add_edge("grade", "diagnose")
    graph.add_edge("diagnose", "recommend")
    graph.add_conditional_edges("recommend", lambda state: "author" if state.get("plan") else END, ["author", END])
    graph.add_edge("author", "verify")
    graph.add_conditional_edges("verify", lambda state: "author" if state.get("problems") else END, ["author", END])
    return graph.compile(name="skill-creator")


async def _with_fallback(
    work: CreationWork, node: str, ask: Callable[[Author], Awaitable[_Answer]]
) -> tuple[_Answer, list[str]]:
    """The author's answer, or the offline author's with a note why."""
    try:
        return await ask(work.author), []
    except CreatorError as error:
        if isinstance(work.author, OfflineAuthor):
            raise
        note = f"{node}: {work.author.name} failed ({error}); the offline author did it"
        _log.warning(note)
        return await ask(OfflineAuthor()), [note]


async def _analyse(state: CreatorState, runtime: Runtime[CreationWork]) -> CreatorState:
    work = runtime.context
    insights, notes = await _with_fallback(work, "analyse", lambda author: author.analyse(work))
    return {"insights": insights, "notes": notes}


async def _grade(state: CreatorState, runtime: Runtime[CreationWork]) -> CreatorState:
    work = runtime.context
    owners = {live.directive: name for name, live in work.live.items()}
    directives = [found.directive for found in work.induction.confirmed]
    directives += [directive for directive in owners if directive not in directives]
    scored = [episode for episode in work.episodes if episode.score is not None]
    good = work.induction.outcomes > float(work.induction.outcomes.mean())
    checks = []
    for directive in directives:
        dose = work.induction.table.dose(directive)
        passing = [e.episode_id for e, d in zip(scored, dose, strict=True) if d == 1]
        failing = [e.episode_id for e, d in zip(scored, dose, strict=True) if d < 1]
        in_good, in_poor = dose[good & (dose >= 0)], dose[~good & (dose >= 0)]
        checks.append(
            CheckFinding(
                sentence(directive),
                float(in_good.mean()) if len(in_good) else 0.0,
                float(in_poor.mean()) if len(in_poor) else 0.0,
                len(passing) + len(failing),
                tuple(passing[:_EXAMPLES]),
                tuple(failing[:_EXAMPLES]),
                owners.get(directive, ""),
            )
        )
    return {"checks": tuple(checks)}


async def _diagnose(state: CreatorState, runtime: Runtime[CreationWork]) -> CreatorState:
    work = runtime.context
    insights, checks = state.get("insights", ()), state.get("checks", ())
    diagnosis, notes = await _with_fallback(work, "diagnose", lambda author: author.diagnose(work, insights, checks))
    return {"diagnosis": diagnosis, "notes": notes}


async def _recommend(state: CreatorState, runtime: Runtime[CreationWork]) -> CreatorState:
    work = runtime.context
    diagnosis = state.get("diagnosis", ())
    plan, notes = await _with_fallback(work, "recommend", lambda author: author.recommend(work, diagnosis))
    if not plan:
        notes = [*notes, "nothing is worth trying on this evidence"]
    return {"plan": plan[: work.config.max_operations], "notes": notes}


async def _author(state: CreatorState, runtime: Runtime[CreationWork]) -> CreatorState:
    """Write every recommendation; after a refusal only with the verifier's problems at hand."""
    work = runtime.context
    problems, kept, drafts, notes = state.get("problems", ()), list[Recommendation](), list[Operation](), list[str]()
    for recommendation in state.get("plan", ()):
        try:
            draft, said = await _with_fallback(
                work, "author", partial(_write, work=work, recommendation=recommendation, problems=problems)
            )
        except (CreatorError, SkillError) as error:
            notes.append(f"dropped ({recommendation.kind} {recommendation.idea or recommendation.target}): {error}")
            continue
        kept.append(recommendation)
        drafts.append(draft)
        notes += said
    return {"plan": tuple(kept), "drafts": tuple(drafts), "notes": notes, "attempt": state.get("attempt", 0) + 1}


async def _write(
    author: Author, *, work: CreationWork, recommendation: Recommendation, problems: Sequence[str]
) -> Operation:
    return await author.write(work, recommendation, problems)


async def _verify(state: CreatorState, runtime: Runtime[CreationWork]) -> CreatorState:
    """Drop nothing silently: drafts with problems go back, and are left out after the last attempt."""
    work = runtime.context
    drafts, plan = state.get("drafts", ()), state.get("plan", ())
    found = [draft_problems(work, draft) for draft in drafts]
    problems = tuple(problem for some in found for problem in some)
    if problems and state.get("attempt", 0) < work.config.attempts:
        rewritable = not isinstance(work.author, OfflineAuthor)
        if rewritable:
            return {"problems": problems, "notes": [f"sent back: {problem}" for problem in problems]}
    sound = [(r, d) for r, d, some in zip(plan, drafts, found, strict=True) if not some]
    notes = [f"left out: {problem}" for problem in problems]
    proposal, refusal = _propose(work, sound)
    return {"problems": (), "proposal": proposal, "notes": notes + refusal}


def _propose(
    work: CreationWork, sound: Sequence[tuple[Recommendation, Operation]]
) -> tuple[Proposal | None, list[str]]:
    additions = [pair for pair in sound if pair[1].kind is not OperationKind.DELETE]
    if not additions and any(r.kind is not OperationKind.DELETE for r, _ in sound):
        return None, []
    if not sound:
        return None, []
    proposal = Proposal(
        tuple(operation for _, operation in sound),
        reason="; ".join(dict.fromkeys(recommendation.reason for recommendation, _ in sound)),
        evidence=tuple(line for recommendation, _ in sound for line in recommendation.evidence),
    )
    try:
        proposal.apply(work.library, capacity=work.config.capacity)
    except ProposalError as error:
        return None, [f"the proposal does not apply: {error}"]
    return proposal, []
