"""Skills in graphs of the user's own, over the live store, and in the examples that show both."""

from __future__ import annotations

import operator
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pytest
from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage, RemoveMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph, add_messages
from langgraph.store.memory import InMemoryStore
from langgraph.types import Command, interrupt
from pydantic import BaseModel, Field
from test_middleware import LIBRARY, Scripted, agent, calls, count, say, seen, thread

from reskill_agents.errors import ConfigError
from reskill_agents.graphs.anchors import AnchoredSkill, fire, merge_anchored
from reskill_agents.graphs.live_skills import LiveSkills
from reskill_agents.graphs.middleware import ReSkillMiddleware
from reskill_agents.graphs.prompt_nodes import (
    SkillChannel,
    SkillState,
    prompt_node_for,
    route_skills,
    skill_node,
    skills_metadata,
    with_skills,
)
from reskill_agents.library import SkillLibrary
from reskill_agents.selection import SkillSelector
from reskill_agents.serving import ServedUnit, SkillServing
from reskill_agents.skill import Skill
from reskill_agents.store import LiveStore, StoreSettings
from reskill_agents.trials.arm import Arm
from reskill_agents.trigger import Repeat, Trigger, TriggerKind

POLITE = Skill("polite", "d", "say please")
ON_RAIN = Skill("on-rain", "d", "take an umbrella", Trigger(TriggerKind.OBSERVATION_PATTERN, "rain"))
TWO = SkillLibrary((POLITE, ON_RAIN))


class Heard:
    """A node that keeps what it would send and answers ``ok``."""

    def __init__(self, channel: str = "skills", messages: Any = None, answer: str = "ok") -> None:
        self.sent: list[list[BaseMessage]] = []
        self.channel, self.messages, self.answer = channel, messages, answer

    def __call__(self, state: Any) -> dict[str, Any]:
        self.sent.append(with_skills(state, messages=self.messages, channel=self.channel))
        return {self.messages if isinstance(self.messages, str) else "messages": [AIMessage(self.answer)]}


class Reads(Heard):
    """The same in a graph over ``MessagesState``: its annotation lets it see the channel."""

    def __call__(self, state: SkillState) -> dict[str, Any]:
        return super().__call__(state)


def test_a_node_that_cannot_see_the_skills_says_so() -> None:
    graph = StateGraph(MessagesState)
    graph.add_node("advise", skill_node(TWO))
    graph.add_node("model", Heard())
    graph.add_edge(START, "advise")
    graph.add_edge("advise", "model")
    with pytest.raises(ConfigError, match="does not see the channel 'skills'"):
        graph.compile().invoke(say("rain"))


def test_a_schema_of_the_users_own_with_messages_of_another_name() -> None:
    class Desk(SkillChannel):
        talk: Annotated[list[AnyMessage], add_messages]
        notes: Annotated[list[str], operator.add]

    model = Heard(messages="talk")
    graph = StateGraph(Desk)
    graph.add_node("advise", skill_node(TWO, messages="talk"))
    graph.add_node("model", model)
    graph.add_edge(START, "advise")
    graph.add_edge("advise", "model")
    app = graph.compile(checkpointer=InMemorySaver())
    app.invoke({"talk": [("user", "rain")], "notes": ["kept"]}, thread())
    state = app.invoke({"talk": [("user", "go on")]}, thread())
    assert count(model.sent[0], "umbrella") == 1
    assert seen(model.sent[1])[: len(model.sent[0])] == seen(model.sent[0])
    assert state["notes"] == ["kept"]


def test_a_schema_without_messages() -> None:
    class Form(SkillChannel, total=False):
        question: str
        answer: str

    def shown(state: Any) -> list[BaseMessage]:
        return [HumanMessage(state["question"])]

    model = Heard(messages=shown)
    graph = StateGraph(Form)
    graph.add_node("advise", skill_node(TWO, messages=shown))
    graph.add_node("model", lambda state: {"answer": str(len(model(state)))})
    graph.add_edge(START, "advise")
    graph.add_edge("advise", "model")
    graph.compile().invoke({"question": "will it rain?"})
    assert seen(model.sent[0]) == [
        ("system", '<skill name="polite">\nsay please\n</skill>'),
        ("human", 'will it rain?\n<skill name="on-rain">\ntake an umbrella\n</skill>'),
    ]


class Typed(BaseModel):
    """A state that is a pydantic model."""

    talk: Annotated[list[AnyMessage], add_messages]
    skills: Annotated[list[AnchoredSkill], merge_anchored] = Field(default_factory=list)


@dataclass
class Plain:
    """A state that is a dataclass."""

    talk: Annotated[list[AnyMessage], add_messages]
    skills: Annotated[list[AnchoredSkill], merge_anchored] = field(default_factory=list)


@pytest.mark.parametrize("schema", [Typed, Plain])
def test_a_schema_that_is_no_dict(schema: Any) -> None:
    model = Heard(messages="talk")
    graph = StateGraph(schema)
    graph.add_node("advise", skill_node(TWO, messages="talk"))
    graph.add_node("model", model)
    graph.add_edge(START, "advise")
    graph.add_edge("advise", "model")
    app = graph.compile(checkpointer=InMemorySaver())
    app.invoke({"talk": [("user", "rain")]}, thread())
    app.invoke({"talk": [("user", "go on")]}, thread())
    assert [count(messages, "umbrella") for messages in model.sent] == [1, 1]


def test_messages_without_ids_are_anchored_by_place_and_text() -> None:
    messages: list[BaseMessage] = [HumanMessage("rain"), AIMessage("ok"), HumanMessage("go on")]
    state: dict[str, Any] = {"messages": messages[:1], "skills": fire(SkillSelector(TWO), messages[:1])[0]}
    first = with_skills(state)
    assert seen(with_skills({**state, "messages": messages}))[:2] == seen(first)
    assert count(with_skills({**state, "messages": messages[1:]}), "umbrella") == 0


def test_two_agents_of_one_graph_have_channels_of_their_own() -> None:
    class Both(MessagesState):
        left: Annotated[list[AnchoredSkill], merge_anchored]
        right: Annotated[list[AnchoredSkill], merge_anchored]

    models = {name: Heard(channel=name, answer=name) for name in ("left", "right")}
    graph = StateGraph(Both)
    for name, model in models.items():
        library = SkillLibrary((Skill(f"is-{name}", "d", f"you are {name}"), ON_RAIN))
        graph.add_node(f"{name} model", model)
        graph.add_node(f"{name} skill", prompt_node_for(name))
        route = route_skills(library, then=f"{name} model", node=f"{name} skill", channel=name)
        graph.add_conditional_edges(START, route, [f"{name} model", f"{name} skill"])
        graph.add_edge(f"{name} skill", f"{name} model")
    app = graph.compile(checkpointer=InMemorySaver())
    app.invoke(say("rain"), thread())
    app.invoke(say("go on"), thread())
    for name, other in (("left", "right"), ("right", "left")):
        for messages in models[name].sent:
            assert [count(messages, text) for text in (f"are {name}", f"are {other}", "umbrella")] == [1, 0, 1]


def test_parallel_branches_over_one_channel_show_a_skill_once() -> None:
    model = Reads()
    graph = StateGraph(SkillState)
    for name in ("a", "b"):
        graph.add_node(name, skill_node(TWO))
        graph.add_edge(START, name)
    graph.add_node("model", model)
    graph.add_edge(["a", "b"], "model")
    graph.compile().invoke(say("rain"))
    assert [count(model.sent[0], text) for text in ("say please", "umbrella")] == [1, 1]


@pytest.mark.parametrize("outer_state", [SkillState, MessagesState])
def test_a_subgraph_neither_repeats_nor_loses_a_skill(outer_state: Any) -> None:
    model = Reads()
    inner = StateGraph(MessagesState)
    inner.add_node("advise", skill_node(TWO))
    inner.add_node("model", model)
    inner.add_edge(START, "advise")
    inner.add_edge("advise", "model")
    outer = StateGraph(outer_state)
    outer.add_node("inner", inner.compile())
    outer.add_edge(START, "inner")
    app = outer.compile(checkpointer=InMemorySaver())
    for text in ("rain", "go on", "bye"):
        app.invoke(say(text), thread())
    for earlier, later in zip(model.sent, model.sent[1:], strict=False):
        assert seen(later)[: len(earlier)] == seen(earlier)
    assert [count(model.sent[-1], text) for text in ("say please", "umbrella")] == [1, 1]


def test_an_interrupted_graph_goes_on_with_the_same_prompt() -> None:
    model = Reads()

    def asks(state: SkillState) -> dict[str, Any]:
        interrupt("go on?")
        return model(state)

    graph = StateGraph(SkillState)
    graph.add_node("advise", skill_node(TWO))
    graph.add_node("model", asks)
    graph.add_edge(START, "advise")
    graph.add_edge("advise", "model")
    app = graph.compile(checkpointer=InMemorySaver())
    events = list(app.stream(say("rain"), thread(), stream_mode="custom"))
    events += list(app.stream(Command(resume=True), thread(), stream_mode="custom"))
    assert [event["skill"] for event in events] == ["polite", "on-rain"]
    assert [count(model.sent[0], text) for text in ("say please", "umbrella")] == [1, 1]


def test_active_skills_whose_carrier_was_removed_enter_again() -> None:
    rule = Skill("house-rule", "d", "no shoes", Trigger(TriggerKind.OBSERVATION_PATTERN, "house", Repeat.ONCE))
    model = Reads()
    graph = StateGraph(MessagesState)
    graph.add_node("advise", skill_node(SkillLibrary((POLITE, rule))))
    graph.add_node("model", model)
    graph.add_edge(START, "advise")
    graph.add_edge("advise", "model")
    app = graph.compile(checkpointer=InMemorySaver())
    app.invoke({"messages": [HumanMessage("the house", id="m1")]}, thread())
    app.invoke({"messages": [RemoveMessage(id="m1"), HumanMessage("so far: a building", id="m2")]}, thread())
    assert [count(model.sent[1], text) for text in ("say please", "no shoes")] == [1, 1]


def test_metadata_for_the_models_run() -> None:
    messages = [HumanMessage("rain", id="m1")]
    state = {"messages": messages, "skills": fire(SkillSelector(TWO), messages)[0]}
    assert skills_metadata(state, TWO, count_tokens=lambda text: 5) == {
        "reskill.in_context": ["polite", "on-rain"],
        "reskill.skill_tokens": 10,
        "reskill.library": TWO.digest,
        "reskill.run": "m1",
    }


def test_metadata_has_the_arm_of_a_thread_on_trial() -> None:
    class Tried:
        def serve(self, unit: ServedUnit) -> SkillServing:
            return SkillServing(TWO, Arm.CANDIDATE, f"trial-{unit.thread_id}")

    noted: list[dict[str, Any]] = []

    def model(state: SkillState) -> dict[str, Any]:
        noted.append(skills_metadata(state, Tried()))
        return {"messages": [AIMessage("ok")]}

    graph = StateGraph(MessagesState)
    graph.add_node("advise", skill_node(Tried()))
    graph.add_node("model", model)
    graph.add_edge(START, "advise")
    graph.add_edge("advise", "model")
    graph.compile(checkpointer=InMemorySaver()).invoke(say("rain"), thread("t"))
    [found] = noted
    assert (found["reskill.arm"], found["reskill.trial"], found["reskill.run"]) == ("candidate", "trial-t", "t/0")
    assert found["reskill.in_context"] == ["polite", "on-rain"]


def opened(library: SkillLibrary = TWO) -> LiveStore:
    store = LiveStore.over(InMemoryStore(), settings=StoreSettings(redact=None))
    store.activate(library, by="me")
    return store


def test_the_middleware_over_a_store_serves_and_records_runs_and_episodes() -> None:
    store = opened(LIBRARY)
    model = Scripted(answers=[calls(("look", {"at": "sky"})), AIMessage("wet"), AIMessage("bye")])
    skills = ReSkillMiddleware(LiveSkills(store), count_tokens=lambda text: 10)
    app = agent(model, skills, checkpointer=InMemorySaver())
    app.invoke(say("go"), thread("t"))
    app.invoke(say("thanks"), thread("t"))
    first, second = store.runs()
    assert (first.run_id, first.thread_id, first.library, first.model) == ("t/0", "t", LIBRARY.digest, "Scripted")
    assert first.skills == ("polite", "begins", "on-rain", "after-look")
    assert first.skill_tokens == 20 + 40
    assert second.run_id == "t/2"
    episode = next(episode for episode in store.episodes() if episode.episode_id == "t/0")
    assert [(turn.index, turn.observation, turn.action) for turn in episode.turns] == [
        (0, "go", 'look({"at":"sky"})'),
        (1, "it may rain", "wet"),
    ]
    assert store.record_outcome("t", success=True).run_id == "t/0"
    assert store.record_outcome("t/2", score=0.5).score == 0.5


def test_a_graph_of_the_users_own_over_a_store_records_them_too() -> None:
    store, model = opened(), Reads()
    graph = StateGraph(MessagesState)
    graph.add_node("advise", skill_node(LiveSkills(store)))
    graph.add_node("model", model)
    graph.add_edge(START, "advise")
    graph.add_edge("advise", "model")
    app = graph.compile(checkpointer=InMemorySaver())
    app.invoke(say("rain"), thread("t"))
    app.invoke(say("go on"), thread("t"))
    assert [(run.run_id, run.skills) for run in store.runs()] == [
        ("t/0", ("polite", "on-rain")),
        ("t/1", ("polite", "on-rain")),
    ]
    first = next(episode for episode in store.episodes() if episode.episode_id == "t/0")
    assert [(turn.observation, turn.action) for turn in first.turns] == [("rain", "ok")]
    assert store.record_outcome("t", success=False).run_id == "t/0"


def test_a_run_that_goes_on_in_another_process_keeps_its_earlier_turns() -> None:
    store = opened()
    model = Scripted(answers=[calls(("look", {"at": "sky"})), AIMessage("wet")])
    saver = InMemorySaver()
    app = agent(model, ReSkillMiddleware(LiveSkills(store)), checkpointer=saver, interrupt_before=["tools"])
    app.invoke(say("go"), thread("t"))
    other = agent(model, ReSkillMiddleware(LiveSkills(store)), checkpointer=saver)
    other.invoke(None, thread("t"))
    [run], [episode] = store.runs(), store.episodes()
    assert run.run_id == "t/0"
    assert [turn.action for turn in episode.turns] == ['look({"at":"sky"})', "wet"]


def test_a_thread_keeps_its_library_and_tenants_are_apart() -> None:
    store = opened()
    live = LiveSkills(store)
    before = live.serve(ServedUnit("r1", "t"))
    store.activate(SkillLibrary((POLITE,)), by="me")
    assert before.library == live.serve(ServedUnit("r2", "t")).library == TWO
    assert live.serve(ServedUnit("r3", "new")).library == SkillLibrary((POLITE,))
    assert live.serve(ServedUnit("r4", "t", ("other",))).library == SkillLibrary()


EXAMPLES = Path(__file__).parent.parent / "examples"


def without_marked(source: str) -> str:
    """An example as it was before embedding."""
    kept = [line for line in source.splitlines() if "  # +" not in line]
    return "\n".join(line.replace("# - ", "", 1) if line.lstrip().startswith("# - ") else line for line in kept)


def run(file: Path) -> str:
    paths = os.pathsep.join([str(EXAMPLES), str(EXAMPLES.parent)])
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", str(file)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(("name", "lines"), [("embed_create_agent.py", 10), ("embed_stategraph.py", 12)])
def test_an_example_embeds_in_few_lines_and_its_app_ran_before(name: str, lines: int, tmp_path: Path) -> None:
    source = (EXAMPLES / name).read_text()
    assert sum("  # +" in line for line in source.splitlines()) <= lines
    evolving = run(EXAMPLES / name)
    assert "skill  delayed-orders" in evolving
    assert "happy  False" not in evolving
    plain = tmp_path / name
    plain.write_text(without_marked(source))
    before = run(plain)
    assert "skill " not in before
    assert "happy  False" in before
