"""Traces: every model call of a run of any graph, with its place, exact to the token."""

from __future__ import annotations

import operator
from typing import Annotated, TypedDict

from langchain.agents import create_agent
from langchain_core.messages import BaseMessage, HumanMessage
from langchain_core.tools import tool
from langgraph.graph import END, START, StateGraph
from langgraph.types import RetryPolicy, Send
from toy import byte_tokenizer

from reskill_agents.engine import GenerateRequest
from reskill_agents.engines.fake import FakeEngine
from reskill_agents.environment import Task
from reskill_agents.episodes import Episode, Turn
from reskill_agents.graphs.chat_model import PolicyChatModel
from reskill_agents.graphs.chat_templates import ChatTokenizer
from reskill_agents.graphs.recorder import CallRecorder, record_calls
from reskill_agents.trainers.rows import rows_of

CHAT = ChatTokenizer(byte_tokenizer("qwen3"))


def policy(*answers: str, frozen: bool = False, name: str = "policy") -> PolicyChatModel:
    """Gives these answers in turn."""
    left = list(answers)

    def script(_: GenerateRequest) -> tuple[int, ...]:
        return (*CHAT.encode(left.pop(0)), CHAT.end_id)

    engine = FakeEngine(len(CHAT.tokenizer), script, max_context=8192)
    return PolicyChatModel(
        engine=engine, tokenizer=CHAT, max_tokens=512, on_gap="extend", frozen=frozen, name_of_policy=name
    )


def trained_tokens(recorder: CallRecorder) -> int:
    turns = tuple(Turn(n, "", "", call=call) for n, call in enumerate(recorder.calls))
    return sum(row.trained_tokens for row in rows_of(Episode("e", Task("t", "t"), turns, 1.0)))


def sampled(recorder: CallRecorder) -> int:
    return sum(len(call.sampled_ids) for call in recorder.calls)


def calls_clerk(number: int) -> str:
    return f'<tool_call>\n{{"name": "clerk", "arguments": {{"question": "{number}"}}}}\n</tool_call>'


async def test_sub_agents_in_tools_are_branches_and_frozen_models_are_kept_but_not_trained() -> None:
    clerk_model = policy("yes", "no")
    judge = policy("fine", frozen=True, name="judge")
    clerk_agent = create_agent(clerk_model, [])

    @tool
    async def clerk(question: str) -> str:
        """Ask the clerk."""
        result = await clerk_agent.ainvoke({"messages": [HumanMessage(question)]})
        return str(result["messages"][-1].content)

    main = policy(calls_clerk(1) + "\n" + calls_clerk(2), "done")
    agent = create_agent(main, [clerk])
    with record_calls("e") as recorder:
        await agent.ainvoke({"messages": [HumanMessage("go")]})
        await judge.ainvoke("was it good?")
    places = [(one.place.node, one.place.branch, one.model) for one in recorder.trace]
    assert sorted(places) == [
        ("", "", "judge"),
        ("model", "", "policy"),
        ("model", "", "policy"),
        ("model", "tools[0]", "policy"),
        ("model", "tools[1]", "policy"),
    ]
    assert [one.frozen for one in recorder.trace].count(True) == 1
    assert len(recorder.calls) == 4
    assert trained_tokens(recorder) == sampled(recorder)


async def test_parallel_branches_and_retries_are_told_apart() -> None:
    model = policy(*"abcd")
    failures = [OSError("once")]

    class State(TypedDict):
        seen: Annotated[list[BaseMessage], operator.add]

    async def work(state: State) -> State:
        answer = await model.ainvoke([HumanMessage("same question")])
        if failures:
            raise failures.pop()
        return {"seen": [answer]}

    graph = StateGraph(State)
    graph.add_node("work", work, retry_policy=RetryPolicy(initial_interval=0.0, jitter=False, retry_on=OSError))
    graph.add_conditional_edges(START, lambda _: [Send("work", {"seen": []}) for _ in range(3)], ["work"])
    graph.add_edge("work", END)
    with record_calls("e") as recorder:
        await graph.compile().ainvoke({"seen": []})
    assert len(recorder.trace) == 4
    assert {one.place.branch for one in recorder.trace} == {"work[0]", "work[1]", "work[2]"}
    assert sorted(one.place.attempt for one in recorder.trace) == [0, 0, 0, 1]
    assert trained_tokens(recorder) == sampled(recorder) == 8


async def test_a_call_that_offers_other_tools_does_not_extend_a_prompt_without_them() -> None:
    @tool
    def look(place: str) -> str:
        """Look."""
        return place

    model = policy("one", "two")
    with record_calls("e") as recorder:
        first = await model.ainvoke([HumanMessage("x")])
        await model.bind_tools([look]).ainvoke([HumanMessage("x"), first, HumanMessage("y")])
    assert "look" in CHAT.decode(recorder.calls[1].prompt_ids)
