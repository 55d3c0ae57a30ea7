"""The pause before a proposal leaves the creator: a person approves, edits or rejects it."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.runtime import Runtime
from langgraph.types import Command, interrupt

from reskill_agents.errors import ConfigError
from reskill_agents.graphs.creator_state import CreationWork, CreatorState, Draft
from reskill_agents.library import Proposal
from reskill_agents.review import Decision, Quarantined, decided, decision_from_json, decision_to_json
from reskill_agents.skill_json import proposal_to_json


def quarantined(drafts: Sequence[Draft]) -> tuple[Quarantined, ...]:
    """The drafts that nothing but their wording speaks against: a person may let them in."""
    return tuple(
        Quarantined(draft.operation, tuple(draft.quarantine))
        for draft in drafts
        if draft.operation is not None and draft.quarantine and not draft.problems
    )


async def approve(state: CreatorState, runtime: Runtime[CreationWork]) -> CreatorState:
    """Wait for a person when the work says so and there is something to decide; give what they want."""
    proposal, held = state.get("proposal"), quarantined(state.get("drafts", ()))
    if not runtime.context.approve or (proposal is None and not held):
        return {}
    answer = interrupt(
        {
            "proposal": proposal_to_json(proposal) if proposal else None,
            "quarantine": [
                {"change": proposal_to_json(Proposal((item.operation,))), "reasons": list(item.reasons)}
                for item in held
            ],
        }
    )
    decision = decision_from_json(answer)
    final = decided(decision, proposal, runtime.context.library, held)
    said = f"a person said: {decision.ruling.value}" + (f" ({decision.reason})" if decision.reason else "")
    return {"proposal": final, "notes": [said]}


def exact(proposal: Proposal | None) -> Proposal | None:
    """``proposal`` with tuples where a checkpoint made lists of them."""
    if proposal is None:
        return None
    return Proposal(tuple(proposal.operations), proposal.reason, tuple(proposal.evidence))


def creation_thread(thread: str) -> RunnableConfig:
    """Where a creation lives in its checkpointer."""
    return {"recursion_limit": 100, "configurable": {"thread_id": thread}}


async def answer_creation(
    work: CreationWork, decision: Decision, checkpointer: BaseCheckpointSaver[str], thread: str
) -> Proposal | None:
    """Resume the creation that waits under ``thread`` with ``decision``; what a person wants to be tried.

    ``work`` needs the library only; what was proposed is in the checkpoint. A decision that does not fit raises and the
    creation goes on waiting.

    Raises:
        ConfigError: no creation waits there.
        ReSkillError: from :func:`reskill_agents.review.decided`.
    """
    from reskill_agents.graphs.creator_graph import creator_graph

    graph, settings = creator_graph(checkpointer), creation_thread(thread)
    state = await graph.aget_state(settings)
    if state.next != ("approve",):
        raise ConfigError(f"thread={thread!r}: no creation waits for a decision there")
    drafts = quarantined(state.values.get("drafts", ()))
    decided(decision, exact(state.values.get("proposal")), work.library, drafts)  # refuse before anything is consumed
    ended = await graph.ainvoke(Command(resume=decision_to_json(decision)), settings, context=work)
    return exact(ended.get("proposal"))


__all__ = ["answer_creation", "approve", "creation_thread", "exact", "quarantined"]
