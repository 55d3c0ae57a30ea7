"""Two graphs to look at and run in LangGraph Studio: ``langgraph dev`` at the repository's root (see ``langgraph.json``).

Nothing of them comes from a request: what they work with is named by the environment.

    RESKILL_PACK    a skill pack, default none
    RESKILL_STORE   a live store (SQLite file or postgresql://) instead: threads carry what it serves, runs are recorded
    RESKILL_MODEL   a chat model of ``langchain.chat_models.init_chat_model``; default: a canned answer, offline
    RESKILL_LOGS    logs for the creator, several joined by the path separator
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Send
from typing_extensions import TypedDict

from reskill_agents.episodes import Episode
from reskill_agents.graphs.checkpoint_logs import read_log_files
from reskill_agents.graphs.creator_graph import creator_graph
from reskill_agents.graphs.creator_state import CreationConfig, CreationWork, CreatorState
from reskill_agents.graphs.live_skills import LiveSkills
from reskill_agents.graphs.offline_author import OfflineAuthor
from reskill_agents.graphs.prompt_nodes import SkillState, prompt_node, route_skills, skills_metadata, with_skills
from reskill_agents.library import SkillLibrary
from reskill_agents.packs import read_pack
from reskill_agents.skill_json import proposal_to_json
from reskill_agents.store import LiveStore

CANNED = "No model is set. RESKILL_MODEL names one, such as openai:gpt-5-mini."


def build_agent() -> CompiledStateGraph[Any, Any, Any, Any]:
    """A chat agent whose skills are nodes: ``skill-<name>`` for each skill in force now, ``skill`` for later ones.

    Raises:
        ReSkillError: the pack or the store cannot be read.
    """
    skills = _skills()
    known = skills.store.active().library if isinstance(skills, LiveSkills) else skills
    model = _model()
    names = {skill.name: f"skill-{skill.name}" for skill in known}
    route = route_skills(skills, then="model")

    def advise(state: SkillState) -> list[Send] | str:
        routed = route(state)
        if isinstance(routed, str):
            return routed
        return [Send(names.get(send.arg["skill"]["name"], send.node), send.arg) for send in routed]

    async def call(state: SkillState) -> dict[str, Any]:
        metadata = await asyncio.to_thread(skills_metadata, state, skills)  # a store may block now and then
        answer = await model.ainvoke(with_skills(state), {"metadata": metadata})
        return {"messages": [answer]}

    graph = StateGraph(SkillState)
    for node in (*names.values(), "skill"):
        graph.add_node(node, prompt_node)
        graph.add_edge(node, "model")
    graph.add_node("model", call)
    graph.add_conditional_edges(START, advise, [*names.values(), "skill", "model"])
    graph.add_edge("model", END)
    return graph.compile(name="agent")


class CreationOrder(TypedDict, total=False):
    """What Studio asks for. ``approve``: wait for a person before the proposal counts (an interrupt)."""

    seed: int
    approve: bool


class Creation(CreationOrder, total=False):
    """The state: the order, and what came of it as JSON values."""

    proposal: dict[str, Any] | None
    notes: list[str]


def build_creator() -> CompiledStateGraph[Any, Any, Any, Any]:
    """The skill creator over the logs of ``RESKILL_LOGS``, without a model (the offline author)."""
    inner, library = creator_graph(), _pack()

    async def create(state: Creation) -> Creation:
        episodes = await asyncio.to_thread(_episodes)
        if not any(episode.score is not None for episode in episodes):
            return {"proposal": None, "notes": ["there are no episodes with an outcome; RESKILL_LOGS names the logs"]}
        work = CreationWork(
            episodes,
            library,
            (),
            (),
            state.get("seed", 0),
            CreationConfig(),
            OfflineAuthor(),
            state.get("approve", False),
        )
        start: CreatorState = {"attempt": 0, "notes": [], "insights": []}
        done = await inner.ainvoke(start, {"recursion_limit": 100}, context=work)
        proposal = done.get("proposal")
        return {"proposal": proposal_to_json(proposal) if proposal else None, "notes": done.get("notes", [])}

    graph = StateGraph(Creation, input_schema=CreationOrder)
    graph.add_node("create", create)
    graph.add_edge(START, "create")
    graph.add_edge("create", END)
    return graph.compile(name="creator")


def _episodes() -> tuple[Episode, ...]:
    files = [Path(name) for name in os.environ.get("RESKILL_LOGS", "").split(os.pathsep) if name]
    return tuple(read_log_files(files).episodes) if files else ()


def _skills() -> SkillLibrary | LiveSkills:
    store = os.environ.get("RESKILL_STORE", "")
    return LiveSkills(LiveStore.open(store)) if store else _pack()


def _pack() -> SkillLibrary:
    pack = os.environ.get("RESKILL_PACK", "")
    return read_pack(Path(pack)).library if pack else SkillLibrary()


def _model() -> BaseChatModel:
    name = os.environ.get("RESKILL_MODEL", "")
    if not name:
        return FakeListChatModel(responses=[CANNED])
    from langchain.chat_models import init_chat_model

    return init_chat_model(name)


agent = build_agent()
creator = build_creator()

__all__ = ["agent", "build_agent", "build_creator", "creator"]
