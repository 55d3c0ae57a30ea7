"""What ``langgraph dev`` shows: the graphs that ``langgraph.json`` names load by those names, draw, and run offline."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from creator_episodes import careless
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command
from live_stores import library, sqlite_store

from reskill_agents.episode_logs import episode_to_json
from reskill_agents.graphs import studio
from reskill_agents.packs import export_pack
from reskill_agents.skill import Skill

ROOT = Path(__file__).parent.parent
CONFIG = json.loads((ROOT / "langgraph.json").read_text())


@pytest.mark.parametrize("name", ["agent", "creator"])
def test_the_file_names_graphs_by_modules_and_they_load(name: str) -> None:
    module, variable = CONFIG["graphs"][name].split(":")
    assert module.startswith("reskill_agents.")
    assert "/" not in module
    graph = getattr(import_module(module), variable)
    assert isinstance(graph, CompiledStateGraph)
    assert graph.name == name
    assert graph.get_input_jsonschema()["properties"]


def test_the_environment_of_the_file_gives_the_agent_skills_with_nodes_of_their_names() -> None:
    code = (
        "import asyncio\nfrom reskill_agents.graphs.studio import agent\n"
        "print(sorted(agent.nodes))\n"
        "async def run():\n"
        "    said = {'messages': [('user', 'It says status: delayed')]}\n"
        "    return [event['skill'] async for event in agent.astream(said, stream_mode='custom')]\n"
        "print(asyncio.run(run()))"
    )
    environment = {**os.environ, **CONFIG["env"], "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=True
    )
    nodes, fired = done.stdout.splitlines()
    assert "'skill-delayed-orders'" in nodes
    assert fired == "['delayed-orders']"


async def test_a_live_store_serves_the_agent_and_hears_of_its_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sqlite_store(tmp_path) as store:
        store.activate(library("be-brief"), by="me")
        monkeypatch.setenv("RESKILL_STORE", str(tmp_path / "live.db"))
        graph = studio.build_agent()
        assert "skill-be-brief" in graph.nodes
        result = await graph.ainvoke(
            {"messages": [HumanMessage("hello")]}, {"configurable": {"thread_id": "t"}, "callbacks": []}
        )
        assert result["messages"][-1].content == studio.CANNED
        assert [run.thread_id for run in store.runs()] == ["t"]


async def test_the_creator_works_on_the_logs_it_is_given_and_waits_for_a_person(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text("\n".join(json.dumps(episode_to_json(episode)) for episode in careless(240)))
    export_pack(type(library("x"))((Skill("kept", "d", "b"),)), tmp_path / "pack")
    monkeypatch.setenv("RESKILL_LOGS", str(log))
    monkeypatch.setenv("RESKILL_PACK", str(tmp_path / "pack"))
    graph = studio.build_creator().copy({"checkpointer": InMemorySaver()})
    thread: Any = {"configurable": {"thread_id": "1"}}
    waiting = await graph.ainvoke({"seed": 3, "approve": True}, thread)
    [asked] = waiting["__interrupt__"]
    names = [operation["name"] for operation in asked.value["proposal"]["operations"]]
    assert names
    done = await graph.ainvoke(Command(resume={"ruling": "approve"}), thread)
    assert [operation["name"] for operation in done["proposal"]["operations"]] == names


async def test_without_logs_the_creator_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RESKILL_LOGS", raising=False)
    done = await studio.build_creator().ainvoke({"seed": 1})
    assert done["proposal"] is None
    assert "RESKILL_LOGS" in done["notes"][0]
