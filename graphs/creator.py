"""The skill creator: analyse -> grade -> diagnose -> recommend -> author -> verify, as a LangGraph graph.

``await create(episodes, library, author=OfflineAuthor())`` reads episodes and gives a proposal to put on trial.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver

from reskill_agents.assertions import Assertion
from reskill_agents.episodes import Episode
from reskill_agents.errors import ConfigError
from reskill_agents.graphs.creator_approval import creation_thread, exact
from reskill_agents.graphs.creator_graph import creator_graph
from reskill_agents.graphs.creator_state import (
    Author,
    CreationConfig,
    CreationReport,
    CreationResult,
    CreationWork,
    CreatorState,
    PastVerdict,
)
from reskill_agents.graphs.offline_author import OfflineAuthor
from reskill_agents.library import SkillLibrary

__all__ = ["Author", "CreationConfig", "CreationResult", "OfflineAuthor", "PastVerdict", "create", "creator_graph"]

_log = logging.getLogger(__name__)


async def create(
    episodes: Sequence[Episode],
    library: SkillLibrary,
    *,
    author: Author | None = None,
    verdicts: Sequence[PastVerdict] = (),
    assertions: Sequence[Assertion] = (),
    seed: int = 0,
    config: CreationConfig | None = None,
    checkpointer: BaseCheckpointSaver[str] | None = None,
    thread: str = "",
    approve: bool = False,
) -> CreationResult:
    """One creation round.

    Args:
        episodes: what to learn from; faults are ignored. 200 will do; several hundred, in groups of the same task in
            the same step above all, find weaker causes.
        library: the library in force.
        author: who writes (default: the offline author). Where it fails, the offline author does that node.
        verdicts: all earlier verdicts, oldest first, prunings included (as accepted proposals that delete).
        assertions: those the last creation handed on.
        seed: of everything random here; the same inputs and seed give the same proposal.
        config: how proposals are made.
        checkpointer: keeps the state after every node under ``thread``; a killed creation that is called again with the
            same inputs goes on where it was.
        thread: name of this creation in the checkpointer.
        approve: pause before the end (``interrupt``) until a person decides; needs a checkpointer. The result then says
            ``waiting``, and :func:`~reskill_agents.graphs.creator_approval.answer_creation` goes on with the decision.

    Raises:
        ConfigError: ``approve`` without a checkpointer.

    Returns:
        A proposal that applies to ``library``, or none when nothing is worth trying. What episodes hold never raises,
        and whatever fails inside ends in a result with a note: a creation never stops training or an app.
    """
    started = time.perf_counter()
    if approve and checkpointer is None:
        raise ConfigError("approve=True needs a checkpointer: a creation that waits must be kept somewhere")
    work = CreationWork(
        tuple(episodes),
        library,
        tuple(verdicts),
        tuple(assertions),
        seed,
        config or CreationConfig(),
        author or OfflineAuthor(),
        approve,
    )
    if not work.scored:
        report = CreationReport(work.author.name, notes=("there are no episodes with an outcome",))
        return CreationResult(None, report, work.assertions)
    try:
        state = await _run(work, checkpointer, thread)
    except Exception as error:
        note = f"the creation failed ({type(error).__name__}: {error}); the offline author did all of it"
        _log.warning(note, exc_info=True)
        state = await _run_offline(replace(work, author=OfflineAuthor(), approve=False), note)
    result = _result(work, state, time.perf_counter() - started)
    if approve and (result.proposal or result.quarantine):  # it failed on the way: a person is asked all the same
        return replace(result, proposal=None, waiting=True)
    return result


async def _run(work: CreationWork, checkpointer: BaseCheckpointSaver[str] | None, thread: str) -> CreatorState:
    graph = creator_graph(checkpointer)
    start: CreatorState | None = {"attempt": 0, "notes": [], "insights": []}
    settings: RunnableConfig = {"recursion_limit": 100}
    if checkpointer is not None:
        name = thread or f"creation-{work.seed}"
        settings = creation_thread(name)
        state = await graph.aget_state(settings)
        if state.next:
            start = None  # unfinished: go on
        elif state.values:
            await checkpointer.adelete_thread(name)  # finished: what it found is not to be counted twice
    return await graph.ainvoke(start, settings, context=work)  # type: ignore[return-value]


async def _run_offline(work: CreationWork, note: str) -> CreatorState:
    try:
        state = await _run(work, None, "")
    except Exception as error:
        _log.warning("the offline creation failed as well", exc_info=True)
        return {"notes": [note, f"and failed ({type(error).__name__}: {error})"]}
    return {**state, "notes": [note, *state.get("notes", [])]}


def _result(work: CreationWork, state: CreatorState, seconds: float) -> CreationResult:
    drafts = state.get("drafts", ())
    quarantine = tuple(draft for draft in drafts if draft.quarantine and not draft.problems)
    diagnosis = state.get("diagnosis")
    report = CreationReport(
        author=work.author.name,
        insights=tuple(insight.text for insight in state.get("insights", [])),
        checks=state.get("checks", ()),
        diagnosis=diagnosis.problems if diagnosis else (),
        assertions=tuple(found.evidence for found in work.induction.confirmed),
        notes=tuple(state.get("notes", [])),
        quarantined=tuple(reason for draft in quarantine for reason in draft.quarantine),
        seconds=seconds,
    )
    handed_on = diagnosis.assertions if diagnosis else work.assertions
    proposed, waiting = exact(state.get("proposal")), "__interrupt__" in state
    return CreationResult(None if waiting else proposed, report, handed_on, quarantine, waiting, proposed)
