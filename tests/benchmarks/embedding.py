"""What skills cost in time: ``python tests/benchmarks/embedding.py`` prints medians, and the same graph without skills.

Selection and middleware are measured on a turn in which skills fire and on one in which none does. The graphs answer one
request with a model that costs nothing; ratios are with over without. Nothing is written but the table.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from langchain.agents import create_agent
from langchain.agents.middleware.types import ModelRequest, ModelResponse
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.store.memory import InMemoryStore
from test_middleware import Scripted

from reskill_agents.graphs.live_skills import LiveSkills
from reskill_agents.graphs.middleware import ReSkillMiddleware
from reskill_agents.graphs.prompt_nodes import SkillState, prompt_node, route_skills, skill_node, with_skills
from reskill_agents.library import SkillLibrary
from reskill_agents.selection import SkillSelector, TurnContext
from reskill_agents.skill import Skill
from reskill_agents.store import LiveStore, StoreSettings
from reskill_agents.trigger import Trigger, TriggerKind

SIZES = (20, 10_000)
ANSWERS = 20  # model calls that the conversation holds already


def library(size: int) -> SkillLibrary:
    """Half observation patterns, half action patterns; two of them match what the turns below show."""
    kinds = (TriggerKind.OBSERVATION_PATTERN, TriggerKind.ACTION_PATTERN)
    words = [f"error code {number}" for number in range(size)]
    return SkillLibrary(
        tuple(
            Skill(
                f"skill-{number}",
                "Use it.",
                f"Advice number {number}. " * 5,
                Trigger(kinds[number % 2], rf"\b{word}\b"),
            )
            for number, word in enumerate(words)
        )
    )


def median(call: Callable[[], object], times: int) -> float:
    """Microseconds a call."""
    for _ in range(max(3, times // 20)):
        call()
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        call()
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken) * 1e6


def selection(size: int) -> tuple[float, float]:
    """Microseconds of one selection: (two skills fire, none fires)."""
    selector = SkillSelector(library(size))
    fires = TurnContext(5, "it says error code 4 here. " * 8, 'look({"at":"error code 5"})')
    quiet = TurnContext(5, "it says nothing of note here. " * 8, 'look({"at":"the sky"})')
    assert [skill.name for skill in selector.select(fires).skills] == ["skill-4", "skill-5"]
    return median(lambda: selector.select(fires), 500), median(lambda: selector.select(quiet), 500)


def conversation(last: str) -> list[AnyMessage]:
    """Requests and answers, and one request more."""
    messages: list[AnyMessage] = []
    for number in range(ANSWERS):
        messages += [
            HumanMessage(f"request {number} " * 20, id=f"h{number}"),
            AIMessage("answer " * 30, id=f"a{number}"),
        ]
    return [*messages, HumanMessage(last, id="last")]


def middleware(skills: Any, last: str) -> float:
    """Microseconds of ``wrap_model_call`` less the model, inside a node of a graph."""
    wrapped = ReSkillMiddleware(skills)
    answer: ModelResponse[Any] = ModelResponse(result=[AIMessage("ok", id="x")])
    messages, model, taken = conversation(last), Scripted(answers=[AIMessage("ok")]), list[float]()

    def node(state: MessagesState, runtime: Any) -> dict[str, Any]:
        served: dict[str, Any] = {"messages": messages, "reskill_served": {"library": "x", "turn": ANSWERS}}
        for _ in range(200):
            request = ModelRequest(
                model=model, messages=messages, system_prompt="be kind", state=served, runtime=runtime
            )
            begun = time.perf_counter()
            wrapped.wrap_model_call(request, lambda _: answer)
            taken.append(time.perf_counter() - begun)
        return {}

    from langgraph.runtime import Runtime

    node.__annotations__["runtime"] = Runtime
    graph = StateGraph(MessagesState)
    graph.add_node("node", node)
    graph.add_edge(START, "node")
    graph.compile().invoke({"messages": []}, {"configurable": {"thread_id": "t"}})
    return statistics.median(taken[20:]) * 1e6


def plain_graph() -> Any:
    """A model's node."""

    def model(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage("ok")]}

    graph = StateGraph(MessagesState)
    graph.add_node("model", model)
    graph.add_edge(START, "model")
    return graph.compile()


def skill_graph(skills: SkillLibrary, *, routed: bool) -> Any:
    """The same with prompt nodes."""

    def model(state: SkillState) -> dict[str, Any]:
        with_skills(state)
        return {"messages": [AIMessage("ok")]}

    graph = StateGraph(MessagesState)
    graph.add_node("model", model)
    if routed:
        graph.add_node("skill", prompt_node)
        graph.add_conditional_edges(START, route_skills(skills), ["skill", "model"])
        graph.add_edge("skill", "model")
    else:
        graph.add_node("skills", skill_node(skills))
        graph.add_edge(START, "skills")
        graph.add_edge("skills", "model")
    return graph.compile()


def with_middleware(skills: SkillLibrary | None) -> Any:
    """An agent with or without."""
    model = Scripted(answers=[AIMessage("ok")])
    return create_agent(model, middleware=[] if skills is None else [ReSkillMiddleware(skills)])


def request_of(graph: Any, text: str) -> Callable[[], object]:
    """One request to a graph."""
    return lambda: graph.invoke({"messages": [HumanMessage(text)]})


def main() -> None:
    """Print the table."""
    for size in SIZES:
        fires, quiet = selection(size)
        print(f"selection, {size:6,} skills: {fires:8.0f} us (two fire) {quiet:8.0f} us (none fires)")
    fires_text, quiet_text = "it says error code 4 here", "nothing of note"
    for size in SIZES:
        skills = SkillSelector(library(size))
        skills.costs  # noqa: B018 (rendered once)
        print(
            f"middleware, {size:5,} skills: {middleware(skills, fires_text):8.0f} us (one fires) "
            f"{middleware(skills, quiet_text):8.0f} us (none fires), after {ANSWERS} answers"
        )
    store = LiveStore.over(InMemoryStore(), settings=StoreSettings(redact=None))
    store.activate(library(20), by="benchmark")
    print(
        f"middleware over a store in memory, recording every turn: {middleware(LiveSkills(store), quiet_text):8.0f} us"
    )
    print(f"middleware, no skills: {middleware(SkillLibrary(), quiet_text):.2f} us")
    skills_20 = library(20)
    graphs = {
        "graph without skills": plain_graph(),
        "skill_node, 20 skills": skill_graph(skills_20, routed=False),
        "route_skills, 20 skills": skill_graph(skills_20, routed=True),
        "create_agent without": with_middleware(None),
        "create_agent, no skills": with_middleware(SkillLibrary()),
        "create_agent, 20 skills": with_middleware(skills_20),
    }
    base = 0.0
    for name, graph in graphs.items():
        quiet, fires = (median(request_of(graph, text), 150) for text in (quiet_text, fires_text))
        base = quiet if "without" in name else base
        print(
            f"{name:24} {quiet:7.0f} us (x{quiet / base:4.2f}) none fires, {fires:7.0f} us (x{fires / base:4.2f}) one fires"
        )


if __name__ == "__main__":
    main()
