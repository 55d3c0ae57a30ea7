"""Skills as prompt nodes in a hand-written ``StateGraph`` over ``MessagesState``."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Annotated, TypeAlias, TypedDict

from langchain_core.messages import BaseMessage
from langgraph.config import get_config, get_stream_writer
from langgraph.graph import MessagesState
from langgraph.types import Send

from reskill_agents.graphs.anchors import AnchoredSkill, fire, render_anchored
from reskill_agents.graphs.skill_nodes import FiredSkill, run_skill_sync
from reskill_agents.library import SkillLibrary
from reskill_agents.selection import SkillSelector

Skills: TypeAlias = SkillLibrary | SkillSelector


class SkillState(MessagesState):
    """``MessagesState`` and the skills that entered the conversation, by anchor."""

    skills: Annotated[list[AnchoredSkill], operator.add]


class SkillsUpdate(TypedDict):
    """What a prompt node writes."""

    skills: list[AnchoredSkill]


class PromptCall(TypedDict):
    """The input of one ``skill`` node."""

    skill: AnchoredSkill


def skill_node(library: Skills) -> Callable[[SkillState], SkillsUpdate]:
    """One node that executes every fired skill; put it before the node that calls the model.

    It writes firings into the ``skills`` channel (which it adds to the graph's state) and leaves ``messages`` alone;
    the model's node sends ``with_skills(state)`` instead of ``state["messages"]``::

        def call_model(state: SkillState):
            return {"messages": [model.invoke(with_skills(state))]}

        graph = StateGraph(MessagesState)
        graph.add_node("skills", skill_node(library))
        graph.add_node("model", call_model)
        graph.add_edge("skills", "model")

    Each firing is a custom stream event and, where a callback handler listens, a run called ``skill:<name>``.
    """
    selector = _selector(library)

    def skills(state: SkillState) -> SkillsUpdate:
        fired, _ = fire(selector, state["messages"], state.get("skills") or [])
        for skill in fired:
            _run(skill)
        return SkillsUpdate(skills=fired)

    return skills


def route_skills(
    library: Skills, *, then: str = "model", node: str = "skill"
) -> Callable[[SkillState], list[Send] | str]:
    """A conditional edge with one ``Send`` per fired skill, all in one superstep, in library order; else ``then``.

    ``node`` is the name under which :func:`prompt_node` was added; give it an edge to ``then``.
    """
    selector = _selector(library)

    def route(state: SkillState) -> list[Send] | str:
        fired, _ = fire(selector, state["messages"], state.get("skills") or [])
        return [Send(node, PromptCall(skill=skill)) for skill in fired] or then

    return route


def prompt_node(state: PromptCall) -> SkillsUpdate:
    """The generic node behind :func:`route_skills`: executes one skill, visibly by name."""
    _run(state["skill"])
    return SkillsUpdate(skills=[state["skill"]])


def with_skills(state: SkillState) -> list[BaseMessage]:
    """The messages to send to the model: the state's own, with skill text at its anchors."""
    return render_anchored(state["messages"], state.get("skills") or [])


def _run(skill: AnchoredSkill) -> None:
    run_skill_sync(
        FiredSkill(name=skill["name"], digest=skill["digest"], turn=skill["turn"]), get_config(), get_stream_writer()
    )


def _selector(library: Skills) -> SkillSelector:
    return library if isinstance(library, SkillSelector) else SkillSelector(library)
