"""Threads of a LangGraph app as episodes."""

from __future__ import annotations

import json
from operator import add
from pathlib import Path
from typing import Annotated, TypedDict

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph

from reskill_agents.episode_logs import LogError
from reskill_agents.graphs.checkpoint_logs import read_checkpoints, read_log_files
from reskill_agents.graphs.creator_logs import create_from_logs


class State(TypedDict, total=False):
    messages: Annotated[list[AnyMessage], add]
    score: float


def app(saver: InMemorySaver | SqliteSaver) -> CompiledStateGraph[State, None, State, State]:
    def act(state: State) -> State:
        call = {"name": "look", "args": {"at": "sky"}, "id": "1"}
        return {"messages": [AIMessage("", tool_calls=[call]), ToolMessage("blue", tool_call_id="1", name="look")]}

    def answer(state: State) -> State:
        return {"messages": [AIMessage("Blue.")]}

    graph = StateGraph(State)
    graph.add_node("act", act)
    graph.add_node("answer", answer)
    graph.add_edge(START, "act")
    graph.add_edge("act", "answer")
    graph.add_edge("answer", END)
    return graph.compile(checkpointer=saver)


def run(saver: InMemorySaver | SqliteSaver, thread: str, **state: float) -> None:
    config: RunnableConfig = {"configurable": {"thread_id": thread}}
    app(saver).invoke({"messages": [HumanMessage("what colour?")], **state}, config)  # type: ignore[typeddict-item]


def test_each_thread_is_an_episode_with_its_outcome() -> None:
    saver = InMemorySaver()
    run(saver, "a", score=0.5)
    run(saver, "b")
    reading = read_checkpoints(saver, outcomes={"b": 1.0})
    by_id = {episode.episode_id: episode for episode in reading.episodes}
    assert by_id["a"].score == 0.5
    assert by_id["b"].success
    assert by_id["a"].actions == ('look({"at":"sky"})', "Blue.")
    assert by_id["a"].turns[1].observation == "blue"
    assert by_id["a"].turns[1].tools == ("look",)
    assert by_id["a"].task.text == "what colour?"


def test_a_thread_without_outcome_is_reported_and_the_others_kept(tmp_path: Path) -> None:
    path = tmp_path / "app.sqlite"
    with SqliteSaver.from_conn_string(str(path)) as saver:
        run(saver, "a", score=1.0)
        run(saver, "b")
    log = tmp_path / "more.jsonl"
    log.write_text(json.dumps({"episode_id": "c", "turns": [{"observation": "o", "action": "x"}], "reward": 0.0}))
    reading = read_log_files([path, log])
    assert {episode.episode_id for episode in reading.episodes} == {"a", "c"}
    assert "thread 'b': there is no outcome" in str(reading.problems[0])
    assert len(read_log_files([path], need_outcome=False).episodes) == 2


async def test_create_reads_checkpoints(tmp_path: Path) -> None:
    path = tmp_path / "app.sqlite"
    with SqliteSaver.from_conn_string(str(path)) as saver:
        run(saver, "a", score=1.0)
    assert (await create_from_logs([path], tmp_path / "out")).episodes == 1


def test_what_is_no_database_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.sqlite").write_text("no database at all, only text that goes on for a while")
    with pytest.raises(LogError, match="not a database"):
        read_log_files([tmp_path / "x.sqlite"])
    with pytest.raises(LogError, match="no such file"):
        read_log_files([tmp_path / "none.sqlite"])
