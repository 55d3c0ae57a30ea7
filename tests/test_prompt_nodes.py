from __future__ import annotations

import warnings
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph

import reskill_agents
from reskill_agents.graphs.prompt_nodes import SkillState, prompt_node, route_skills, skill_node, with_skills
from reskill_agents.library import SkillLibrary
from reskill_agents.skill import Skill
from reskill_agents.trigger import Trigger, TriggerKind

LIBRARY = SkillLibrary(
    (
        Skill("polite", "d", "say please"),
        Skill("on-red", "d", "red means stop", Trigger(TriggerKind.OBSERVATION_PATTERN, "red")),
        Skill("on-light", "d", "lights are bright", Trigger(TriggerKind.OBSERVATION_PATTERN, "light")),
    )
)


def echo(state: SkillState) -> dict[str, Any]:
    """A model that says what it was sent."""
    return {"messages": [AIMessage(" | ".join(f"{m.type}: {m.content}" for m in with_skills(state)))]}


def one_node() -> Any:
    graph = StateGraph(MessagesState)
    graph.add_node("skills", reskill_agents.skill_node(LIBRARY))
    graph.add_node("model", echo)
    graph.add_edge(START, "skills")
    graph.add_edge("skills", "model")
    return graph.compile(checkpointer=InMemorySaver())


def node_a_skill() -> Any:
    graph = StateGraph(MessagesState)
    graph.add_node("skill", prompt_node)
    graph.add_node("model", echo)
    graph.add_conditional_edges(START, route_skills(LIBRARY), ["skill", "model"])
    graph.add_edge("skill", "model")
    return graph.compile(checkpointer=InMemorySaver())


THREAD = {"configurable": {"thread_id": "1"}}


@pytest.mark.parametrize("build", [one_node, node_a_skill])
def test_the_model_sees_skills_and_the_users_messages_stay_as_they_are(build: Any) -> None:
    graph = build()
    graph.invoke({"messages": [SystemMessage("sys"), HumanMessage("hello")]}, THREAD)
    state = graph.invoke({"messages": [HumanMessage("a red light")]}, THREAD)
    said = state["messages"][-1].content
    assert said.startswith('system: sys\n<skill name="polite">\nsay please\n</skill> | human: hello | ai: ')
    assert said.endswith(
        'human: a red light\n<skill name="on-red">\nred means stop\n</skill>\n'
        '<skill name="on-light">\nlights are bright\n</skill>'
    )
    assert [message.content for message in state["messages"] if message.type != "ai"] == ["sys", "hello", "a red light"]


@pytest.mark.parametrize("build", [one_node, node_a_skill])
def test_firings_are_events_in_library_order(build: Any) -> None:
    events = list(build().stream({"messages": [HumanMessage("a red light")]}, THREAD, stream_mode="custom"))
    assert [event["skill"] for event in events] == ["polite", "on-red", "on-light"]
    assert events[1] == {"event": "skill", "skill": "on-red", "digest": LIBRARY.by_name["on-red"].digest, "turn": 0}


async def test_each_skill_is_a_run_of_its_name_where_somebody_listens() -> None:
    names = [
        event["name"]
        async for event in node_a_skill().astream_events({"messages": [HumanMessage("red")]}, THREAD, version="v2")
        if event["event"] == "on_chain_start" and event["name"].startswith("skill:")
    ]
    assert sorted(names) == ["skill:on-red", "skill:polite"]


def test_without_a_match_the_model_is_next() -> None:
    library = LIBRARY.without("polite")
    state: SkillState = {"messages": [HumanMessage("nothing", id="a")], "skills": []}
    assert route_skills(library)(state) == "model"
    assert skill_node(library)(state) == {"skills": []}


def test_what_is_checkpointed_is_plain_data() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        graph = one_node()
        graph.invoke({"messages": [HumanMessage("a red light")]}, THREAD)
        skills = graph.get_state(THREAD).values["skills"]
    assert [type(skill) for skill in skills] == [dict, dict, dict]
