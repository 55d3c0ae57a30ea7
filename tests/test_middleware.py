"""``ReSkillMiddleware`` in ``create_agent``: what the model is sent, what is kept, what is noted."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from jinja2 import TemplateError
from langchain.agents import create_agent
from langchain.agents.middleware import (
    AgentMiddleware,
    HumanInTheLoopMiddleware,
    ModelRetryMiddleware,
    SummarizationMiddleware,
)
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Command, interrupt
from pydantic import Field
from test_placement import TEMPLATES, anthropic_payload, openai_problems
from toy import byte_tokenizer

from reskill_agents.episodes import Turn
from reskill_agents.graphs.chat_templates import ChatTokenizer
from reskill_agents.graphs.middleware import ReSkillMiddleware
from reskill_agents.graphs.prefix_check import Continuation, Preservation
from reskill_agents.library import SkillLibrary
from reskill_agents.serving import RunNote, ServedUnit, SkillServing
from reskill_agents.skill import Skill
from reskill_agents.trials.arm import Arm
from reskill_agents.trigger import Repeat, Trigger, TriggerKind

POLITE = Skill("polite", "d", "say please")
BEGINS = Skill("begins", "d", "start slowly", Trigger(TriggerKind.BEGINNING))
ON_RAIN = Skill("on-rain", "d", "take an umbrella", Trigger(TriggerKind.OBSERVATION_PATTERN, "rain"))
AFTER_LOOK = Skill("after-look", "d", "now compare", Trigger(TriggerKind.ACTION_PATTERN, r'look\(\{"at":"sky"\}\)'))
ON_MAP = Skill("on-map", "d", "fold it", Trigger(TriggerKind.TOOL, "map_of"))
LIBRARY = SkillLibrary((POLITE, BEGINS, ON_RAIN, AFTER_LOOK, ON_MAP))


class Scripted(BaseChatModel):
    """Answers from a list, over and over; keeps what it was sent and the metadata of its runs."""

    answers: list[AIMessage]
    sent: list[list[BaseMessage]] = Field(default_factory=list)
    metadata_seen: list[dict[str, Any]] = Field(default_factory=list)
    fails: list[int] = Field(default_factory=list)  # calls that raise

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _next(self, messages: list[BaseMessage], run_manager: Any) -> AIMessage:
        self.sent.append(list(messages))
        self.metadata_seen.append(dict(run_manager.metadata) if run_manager else {})
        if len(self.sent) - 1 in self.fails:
            raise ConnectionError("down")
        answer = self.answers[(len(self.sent) - 1) % len(self.answers)]
        return answer.model_copy(update={"id": None})

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._next(messages, run_manager))])

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self


class Streaming(Scripted):
    """The same, word by word."""

    def _stream(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        for word in str(self._next(messages, run_manager).content).split(" "):
            yield ChatGenerationChunk(message=AIMessageChunk(content=word))


def calls(*made: tuple[str, dict[str, str]]) -> AIMessage:
    return AIMessage(
        "",
        tool_calls=[
            {"name": name, "args": args, "id": f"call0000{number}", "type": "tool_call"}
            for number, (name, args) in enumerate(made, 1)
        ],
    )


LOOK = ("look", {"at": "sky"})
MAP = ("map_of", {"place": "town"})


@tool
def look(at: str) -> str:
    """Look at something."""
    return "it may rain"


@tool
def map_of(place: str) -> str:
    """A map."""
    return "a plan"


def agent(model: BaseChatModel, library: Any = LIBRARY, *before: AgentMiddleware[Any, Any, Any], **options: Any) -> Any:
    settings = {"system_prompt": "be kind", "tools": [look, map_of], **options}
    skills = library if isinstance(library, ReSkillMiddleware) else ReSkillMiddleware(library)
    return create_agent(model, middleware=[*before, skills], **settings)


def thread(name: str = "1") -> Any:
    return {"configurable": {"thread_id": name}}


def say(text: str) -> Any:
    return {"messages": [HumanMessage(text)]}


def seen(messages: Sequence[BaseMessage]) -> list[tuple[str, Any]]:
    return [(message.type, message.content) for message in messages]


def count(messages: Sequence[BaseMessage], text: str) -> int:
    return sum(str(message.content).count(text) for message in messages)


def extends(earlier: Sequence[BaseMessage], later: Sequence[BaseMessage]) -> bool:
    return seen(later)[: len(earlier)] == seen(earlier)


def test_start_skills_join_the_system_message_and_later_ones_the_observation() -> None:
    model = Scripted(answers=[AIMessage("hi"), AIMessage("ok")])
    app = agent(model, checkpointer=InMemorySaver())
    app.invoke(say("hello"), thread())
    app.invoke(say("it may rain"), thread())
    assert seen(model.sent[0]) == [
        (
            "system",
            'be kind\n<skill name="polite">\nsay please\n</skill>\n<skill name="begins">\nstart slowly\n</skill>',
        ),
        ("human", "hello"),
    ]
    assert seen(model.sent[1]) == [
        *seen(model.sent[0]),
        ("ai", "hi"),
        ("human", 'it may rain\n<skill name="on-rain">\ntake an umbrella\n</skill>'),
    ]


def test_without_a_system_prompt_one_is_made_and_without_the_role_the_first_human_message_carries() -> None:
    model = Scripted(answers=[AIMessage("hi")])
    agent(model, SkillLibrary((POLITE,)), system_prompt=None).invoke(say("hello"))
    no_role = ReSkillMiddleware(SkillLibrary((POLITE,)), system_role=False)
    agent(model, no_role, system_prompt=None).invoke(say("hello"))
    assert seen(model.sent[0]) == [("system", '<skill name="polite">\nsay please\n</skill>'), ("human", "hello")]
    assert seen(model.sent[1]) == [("human", 'hello\n<skill name="polite">\nsay please\n</skill>')]


def test_after_parallel_tool_calls_skills_join_the_last_result() -> None:
    model = Scripted(answers=[calls(LOOK, MAP), AIMessage("done")])
    agent(model).invoke(say("go"))
    assert seen(model.sent[1])[2:] == [
        ("ai", ""),
        ("tool", "it may rain"),
        (
            "tool",
            'a plan\n<skill name="on-rain">\ntake an umbrella\n</skill>\n<skill name="after-look">\nnow compare\n</skill>\n'
            '<skill name="on-map">\nfold it\n</skill>',
        ),
    ]
    assert openai_problems(model.sent[1]) == []


def test_the_users_messages_and_the_agents_output_hold_no_skill() -> None:
    model = Scripted(answers=[calls(LOOK, MAP), AIMessage("done")])
    result = agent(model, checkpointer=InMemorySaver()).invoke(say("it may rain"), thread())
    assert seen(result["messages"]) == [
        ("human", "it may rain"),
        ("ai", ""),
        ("tool", "it may rain"),
        ("tool", "a plan"),
        ("ai", "done"),
    ]
    assert set(result) == {"messages"}


CONVERSATION = [
    AIMessage("hi"),
    calls(LOOK),
    calls(LOOK, MAP),
    AIMessage("wet"),
    AIMessage("bye"),
]


def conversation(
    library: SkillLibrary = LIBRARY, answers: Sequence[AIMessage] = CONVERSATION
) -> list[list[BaseMessage]]:
    """Five model calls in three requests."""
    model = Scripted(answers=list(answers))
    app = agent(model, library, checkpointer=InMemorySaver())
    for text in ("hello", "and the weather? rain?", "thanks"):
        app.invoke(say(text), thread())
    return model.sent


def test_consecutive_prompts_are_prefixes_of_one_another() -> None:
    every = Skill("each", "d", "every time", Trigger(TriggerKind.OBSERVATION_PATTERN, ".", Repeat.EVERY_FIRING))
    sent = conversation(SkillLibrary((*LIBRARY.skills, every)))
    assert len(sent) == 5
    assert all(extends(earlier, later) for earlier, later in pairwise(sent))
    assert [count(messages, "every time") for messages in sent] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("template", TEMPLATES)
def test_local_templates_take_the_prompts_and_keep_their_prefix(template: str) -> None:
    chat = ChatTokenizer(byte_tokenizer(template))
    calling = [calls(LOOK), AIMessage("wet")]
    plain = [AIMessage("hi"), AIMessage("ok"), AIMessage("bye")]
    for answers, kind in ((plain, Continuation.USER), (calling, Continuation.TOOL)):
        sent = conversation(answers=answers)[:3]
        try:
            bare = chat.render(conversation(SkillLibrary(), answers)[-1])
        except TemplateError:
            continue  # it refuses this conversation without skills too
        texts = [chat.render(messages) for messages in sent]
        assert texts[0].count("say please") == 1 > bare.count("say please")
        if kind is Continuation.USER and chat.preserves(kind, system=True) is Preservation.KEPT:
            assert all(later.startswith(earlier) for earlier, later in pairwise(texts))


def test_the_large_apis_take_the_payloads() -> None:
    for messages in conversation():
        assert openai_problems(messages) == []
        system, payload = anthropic_payload(messages)
        assert "say please" in system
        assert all({one["role"], other["role"]} == {"user", "assistant"} for one, other in pairwise(payload))


def test_cached_system_blocks_stay_in_front() -> None:
    cached = SystemMessage([{"type": "text", "text": "be kind", "cache_control": {"type": "ephemeral"}}])
    model = Scripted(answers=[AIMessage("hi")])
    agent(model, SkillLibrary((POLITE,)), system_prompt=cached).invoke(say("hello"))
    assert model.sent[0][0].content == [
        {"type": "text", "text": "be kind", "cache_control": {"type": "ephemeral"}},
        {"type": "text", "text": '<skill name="polite">\nsay please\n</skill>'},
    ]


def test_zero_skills_change_nothing() -> None:
    model = Scripted(answers=[AIMessage("hi")])
    app = agent(model, SkillLibrary(), checkpointer=InMemorySaver())
    app.invoke(say("hello"), thread())
    assert seen(model.sent[0]) == [("system", "be kind"), ("human", "hello")]
    assert "reskill_served" not in app.get_state(thread()).values
    assert not [name for name in model.metadata_seen[0] if name.startswith("reskill")]


async def test_async_sends_the_same() -> None:
    def played() -> Scripted:
        return Scripted(answers=[calls(LOOK, MAP), AIMessage("done")])

    sync, later = played(), played()
    agent(sync).invoke(say("rain"))
    await agent(later).ainvoke(say("rain"))
    assert [seen(messages) for messages in sync.sent] == [seen(messages) for messages in later.sent]


def test_streaming_shows_firings_by_name_and_tokens_with_metadata() -> None:
    app = agent(Streaming(answers=[AIMessage("one two")]))
    chunks = list(app.stream(say("rain"), stream_mode=["custom", "messages"]))
    events = [event for mode, event in chunks if mode == "custom"]
    assert [event["skill"] for event in events] == ["polite", "begins", "on-rain"]
    assert events[0] == {"event": "skill", "skill": "polite", "digest": POLITE.digest, "turn": 0}
    tokens = [(chunk[0].content, chunk[1]) for mode, chunk in chunks if mode == "messages" and chunk[0].content]
    assert [text for text, _ in tokens] == ["one", "two"]
    assert tokens[0][1]["reskill.library"] == LIBRARY.digest


async def test_async_streams_have_events_and_runs_of_the_skills_names() -> None:
    app = agent(Streaming(answers=[AIMessage("one two")]))
    names = [
        event["name"]
        async for event in app.astream_events(say("rain"), version="v2")
        if event["event"] == "on_chain_start" and event["name"].startswith("skill:")
    ]
    assert names == ["skill:polite", "skill:begins", "skill:on-rain"]


def test_the_models_run_carries_what_skills_it_had_and_cost() -> None:
    model = Scripted(answers=[AIMessage("hi"), AIMessage("ok")])
    skills = ReSkillMiddleware(LIBRARY, count_tokens=lambda text: 10)
    app = agent(model, skills, checkpointer=InMemorySaver())
    app.invoke(say("hello"), thread())
    app.invoke(say("rain"), thread())
    ours = {key: value for key, value in model.metadata_seen[1].items() if key.startswith("reskill.")}
    assert ours == {
        "reskill.library": LIBRARY.digest,
        "reskill.run": "1/1",
        "reskill.fired": ["on-rain"],
        "reskill.in_context": ["polite", "begins", "on-rain"],
        "reskill.fired_tokens": 10,
        "reskill.skill_tokens": 30,
    }


def test_resuming_after_an_approval_neither_repeats_nor_loses_a_skill() -> None:
    def play(*before: AgentMiddleware[Any, Any, Any]) -> list[list[BaseMessage]]:
        model = Scripted(answers=[calls(LOOK, MAP), AIMessage("done")])
        app = agent(model, LIBRARY, *before, checkpointer=InMemorySaver())
        result = app.invoke(say("rain"), thread())
        while "__interrupt__" in result:
            result = app.invoke(Command(resume={"decisions": [{"type": "approve"}]}), thread())
        return model.sent

    approved = play(HumanInTheLoopMiddleware(interrupt_on={"look": True}))
    assert [seen(messages) for messages in approved] == [seen(messages) for messages in play()]


def test_resuming_inside_one_of_two_parallel_tools_sends_the_same_prompt() -> None:
    @tool("look")
    def asks(at: str) -> str:
        """Look at something."""
        return str(interrupt("may I?"))

    model = Scripted(answers=[calls(LOOK, MAP), AIMessage("done")])
    app = agent(model, checkpointer=InMemorySaver(), tools=[asks, map_of])
    app.invoke(say("go"), thread())
    app.invoke(Command(resume="it may rain"), thread())
    straight = Scripted(answers=[calls(LOOK, MAP), AIMessage("done")])
    agent(straight).invoke(say("go"))
    assert [seen(messages) for messages in model.sent] == [seen(messages) for messages in straight.sent]


def test_a_fork_from_an_earlier_checkpoint_has_the_skills_of_that_point() -> None:
    model = Scripted(answers=[AIMessage("hi")])
    app = agent(model, checkpointer=InMemorySaver())
    app.invoke(say("hello"), thread())
    before = app.get_state(thread()).config
    app.invoke(say("rain"), thread())
    app.invoke(say("more rain"), before)
    assert extends(model.sent[0], model.sent[2])
    assert [count(messages, "take an umbrella") for messages in model.sent] == [0, 1, 1]


def test_a_retried_call_sends_the_same_and_keeps_one_firing() -> None:
    model = Scripted(answers=[AIMessage("hi")], fails=[0])
    retry = ModelRetryMiddleware(max_retries=1, initial_delay=0.0, jitter=False)
    app = agent(model, LIBRARY, retry, checkpointer=InMemorySaver())
    app.invoke(say("rain"), thread())
    app.invoke(say("go on"), thread())
    assert seen(model.sent[0]) == seen(model.sent[1])
    assert extends(model.sent[1], model.sent[2])
    assert count(model.sent[2], "take an umbrella") == 1


def summaries(keep: int, trigger: int = 6) -> SummarizationMiddleware[Any, Any]:
    return SummarizationMiddleware(
        Scripted(answers=[AIMessage("so far so good")]), trigger=("messages", trigger), keep=("messages", keep)
    )


def test_a_summary_loses_no_active_skill_and_repeats_none() -> None:
    once = Skill("house-rule", "d", "no shoes", Trigger(TriggerKind.OBSERVATION_PATTERN, "house", Repeat.ONCE))
    model = Scripted(answers=[AIMessage("ok")])
    app = agent(model, SkillLibrary((POLITE, BEGINS, once)), summaries(2), checkpointer=InMemorySaver())
    for text in ("hello", "enter the house", *"abcdefghij"):
        app.invoke(say(text), thread())
    assert any("so far so good" in str(message.content) for message in model.sent[-1])
    for messages in model.sent[1:]:
        assert [count(messages, text) for text in ("say please", "start slowly", "no shoes")] == [1, 1, 1]


def test_after_a_summary_a_skill_past_its_cooldown_stays_away_until_it_fires() -> None:
    model = Scripted(answers=[AIMessage("ok")])
    app = agent(model, SkillLibrary((ON_RAIN,)), summaries(2, trigger=9), checkpointer=InMemorySaver())
    for text in ("rain", *"abcdef"):
        app.invoke(say(text), thread())
    assert [count(messages, "umbrella") for messages in model.sent] == [1, 1, 1, 1, 0, 0, 0]
    app.invoke(say("rain again"), thread())
    assert count(model.sent[-1], "umbrella") == 1


def test_between_summaries_prompts_stay_prefixes() -> None:
    model = Scripted(answers=[AIMessage("ok")])
    app = agent(model, LIBRARY, summaries(2), checkpointer=InMemorySaver())
    for text in ("rain", *"abcdefghij"):
        app.invoke(say(text), thread())
    rewritten = [not extends(earlier, later) for earlier, later in pairwise(model.sent)]
    summarised = [count(b, "so far") > 0 and len(b) <= len(a) for a, b in pairwise(model.sent)]
    assert rewritten == summarised
    assert sum(rewritten) >= 2


def test_deleting_messages_lets_their_skills_fire_again() -> None:
    model = Scripted(answers=[AIMessage("ok")])
    app = agent(model, SkillLibrary((ON_RAIN,)), checkpointer=InMemorySaver())
    app.invoke({"messages": [HumanMessage("rain", id="m1")]}, thread())
    app.invoke({"messages": [RemoveMessage(id="m1"), HumanMessage("rain again")]}, thread())
    assert count(model.sent[1], "umbrella") == 1
    kept = app.get_state(thread()).values["reskill_skills"]
    assert [skill["name"] for skill in kept] == ["on-rain"]


def test_what_is_kept_is_plain_data() -> None:
    app = agent(Scripted(answers=[AIMessage("ok")]), checkpointer=InMemorySaver())
    app.invoke(say("rain"), thread())
    values = app.get_state(thread()).values
    assert [type(skill) for skill in values["reskill_skills"]] == [dict] * 3
    assert values["reskill_served"] == {"library": LIBRARY.digest, "turn": 1}


def test_an_agent_in_a_subgraph_keeps_its_skills_from_request_to_request() -> None:
    model = Scripted(answers=[calls(LOOK), AIMessage("wet"), AIMessage("bye")])
    graph = StateGraph(MessagesState)
    graph.add_node("helper", agent(model))
    graph.add_edge(START, "helper")
    app = graph.compile(checkpointer=InMemorySaver())
    app.invoke(say("rain"), thread())
    app.invoke(say("thanks"), thread())
    assert len(model.sent) == 3
    assert all(extends(earlier, later) for earlier, later in pairwise(model.sent))
    assert count(model.sent[2], "start slowly") == 1


def test_a_client_that_sends_the_whole_conversation_gets_the_same_skills() -> None:
    model = Scripted(answers=[AIMessage("hi")])
    app = agent(model)
    told: list[BaseMessage] = [HumanMessage("rain")]
    app.invoke({"messages": told})
    app.invoke({"messages": [*told, AIMessage("hi"), HumanMessage("and now?")]})
    assert extends(model.sent[0], model.sent[1])


def test_parallel_agents_have_their_own_skills_and_leave_the_shared_messages_alone() -> None:
    models = {name: Scripted(answers=[AIMessage(name)]) for name in ("left", "right")}
    graph = StateGraph(MessagesState)
    for name, model in models.items():
        skill = Skill(f"is-{name}", "d", f"you are {name}")
        graph.add_node(name, agent(model, SkillLibrary((skill, ON_RAIN)), name=name))
        graph.add_edge(START, name)
    app = graph.compile(checkpointer=InMemorySaver())
    app.invoke(say("rain"), thread())
    result = app.invoke(say("go on"), thread())
    assert seen(result["messages"])[0] == ("human", "rain")
    for name, other in (("left", "right"), ("right", "left")):
        for messages in models[name].sent:
            assert [count(messages, text) for text in (f"are {name}", f"are {other}", "umbrella")] == [1, 0, 1]
        assert seen(models[name].sent[1])[:2] == seen(models[name].sent[0])


def test_a_sub_agent_called_as_a_tool_has_its_own_library() -> None:
    inner = Scripted(answers=[AIMessage("an answer about rain")])
    helper = agent(inner, SkillLibrary((Skill("inner", "d", "inner advice"),)), tools=[])

    @tool("look")
    def ask(at: str) -> str:
        """Ask the helper."""
        return str(helper.invoke(say(at))["messages"][-1].content)

    outer = Scripted(answers=[calls(LOOK), AIMessage("done")])
    agent(outer, LIBRARY, tools=[ask], checkpointer=InMemorySaver()).invoke(say("go"), thread())
    assert seen(inner.sent[0]) == [
        ("system", 'be kind\n<skill name="inner">\ninner advice\n</skill>'),
        ("human", "sky"),
    ]
    assert count(outer.sent[1], "inner advice") == 0
    assert [count(outer.sent[1], text) for text in ("say please", "umbrella", "now compare")] == [1, 1, 1]


def test_an_agent_that_takes_over_begins_at_its_own_first_turn() -> None:
    first, second = Scripted(answers=[AIMessage("over to you")]), Scripted(answers=[AIMessage("mine")])
    graph = StateGraph(MessagesState)
    graph.add_node("first", agent(first, SkillLibrary(), name="first"))
    graph.add_node("second", agent(second, SkillLibrary((BEGINS,)), name="second"))
    graph.add_edge(START, "first")
    graph.add_edge("first", "second")
    graph.add_edge("second", END)
    graph.compile().invoke(say("hello"))
    assert count(second.sent[0], "start slowly") == 1


@dataclass
class Notes:
    """A recorder in memory."""

    taken: list[tuple[RunNote, Turn]] = field(default_factory=list)

    def note_turn(self, note: RunNote, turn: Turn) -> None:
        self.taken.append((note, turn))


def test_every_call_is_noted_under_ids_by_which_it_is_found_again() -> None:
    notes = Notes()
    model = Scripted(answers=[calls(LOOK), AIMessage("wet")])
    skills = ReSkillMiddleware(LIBRARY, recorder=notes, namespace=("acme",))
    app = agent(model, skills, checkpointer=InMemorySaver())
    result = app.invoke(say("go"), thread("t"))
    app.invoke(say("again"), thread("t"))
    units = [note.unit for note, _ in notes.taken]
    assert [unit.run_id for unit in units] == ["t/0", "t/0", "t/2", "t/2"]
    assert units[0] == ServedUnit("t/0", "t", ("acme",), "Scripted")
    assert units[1].pinned == LIBRARY.digest
    note, turn = notes.taken[1]
    assert note.library == LIBRARY.digest
    assert note.answer_id == result["messages"][-1].id
    assert (turn.index, turn.observation, turn.action, turn.tools) == (1, "it may rain", "wet", ("look",))
    assert [firing.skill for firing in turn.firings] == ["on-rain", "after-look"]
    assert notes.taken[0][1].action == 'look({"at":"sky"})'


def test_the_apps_run_id_is_the_runs_id() -> None:
    notes = Notes()
    run = "11111111-1111-4111-8111-111111111111"
    app = agent(Scripted(answers=[AIMessage("ok")]), ReSkillMiddleware(LIBRARY, recorder=notes))
    app.invoke(say("go"), {"run_id": run})
    app.invoke({"messages": [HumanMessage("go", id="m7")]})
    assert [note.unit.run_id for note, _ in notes.taken] == [run, "m7"]


async def test_async_notes_are_the_same_and_a_slow_store_does_not_stall_the_loop() -> None:
    notes = Notes()
    app = agent(Scripted(answers=[AIMessage("ok")]), ReSkillMiddleware(LIBRARY, recorder=notes))
    await asyncio.gather(*(app.ainvoke(say("rain"), thread(str(number))) for number in range(5)))
    assert sorted(note.unit.thread_id for note, _ in notes.taken) == list("01234")


@dataclass
class Halves:
    """Odd threads carry the candidate."""

    def serve(self, unit: ServedUnit) -> SkillServing:
        if int(unit.thread_id) % 2:
            return SkillServing(SkillLibrary((POLITE,)), Arm.CANDIDATE, "trial-1")
        return SkillServing(SkillLibrary(), Arm.INCUMBENT, "trial-1")


def test_a_provider_decides_by_thread_and_the_arm_is_in_note_and_metadata() -> None:
    notes, model = Notes(), Scripted(answers=[AIMessage("ok")])
    app = agent(model, ReSkillMiddleware(Halves(), recorder=notes), checkpointer=InMemorySaver())
    for number in range(2):
        app.invoke(say("hello"), thread(str(number)))
    assert [count(messages, "say please") for messages in model.sent] == [0, 1]
    assert [note.arm for note, _ in notes.taken] == [Arm.INCUMBENT, Arm.CANDIDATE]
    assert [seen_["reskill.arm"] for seen_ in model.metadata_seen] == ["incumbent", "candidate"]
    assert model.metadata_seen[1]["reskill.trial"] == "trial-1"


class Broken:
    def serve(self, unit: ServedUnit) -> SkillServing:
        raise OSError("no store")

    def note_turn(self, note: RunNote, turn: Turn) -> None:
        raise OSError("no store")


def test_faults_of_provider_and_recorder_are_logged_and_the_app_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    model = Scripted(answers=[AIMessage("ok")])
    with caplog.at_level(logging.ERROR):
        result = agent(model, ReSkillMiddleware(Broken(), recorder=Broken())).invoke(say("hello"))
    assert result["messages"][-1].content == "ok"
    assert [record.message for record in caplog.records] == [
        "no skills are served: the provider failed",
        "the recorder failed on turn 0 of run " + repr(result["messages"][0].id),
    ]


def test_a_new_version_in_a_running_thread_adds_without_rewriting() -> None:
    @dataclass
    class Moving:
        library: SkillLibrary

        def serve(self, unit: ServedUnit) -> SkillServing:
            return SkillServing(self.library)

    model, provider = Scripted(answers=[AIMessage("ok")]), Moving(SkillLibrary((POLITE,)))
    app = agent(model, ReSkillMiddleware(provider), checkpointer=InMemorySaver())
    app.invoke(say("hello"), thread())
    provider.library = SkillLibrary((POLITE, Skill("brief", "d", "be brief")))
    app.invoke(say("go on"), thread())
    assert extends(*model.sent)
    assert seen(model.sent[1])[-1] == ("human", 'go on\n<skill name="brief">\nbe brief\n</skill>')


def test_the_namespace_comes_from_the_runs_config() -> None:
    notes = Notes()
    skills = ReSkillMiddleware(
        LIBRARY, recorder=notes, namespace=lambda config, context: (config["configurable"]["tenant"],)
    )
    app = agent(Scripted(answers=[AIMessage("ok")]), skills)
    app.invoke(say("hello"), {"configurable": {"tenant": "acme"}})
    assert notes.taken[0][0].unit.namespace == ("acme",)


async def test_one_middleware_serves_many_threads_at_once() -> None:
    model = Scripted(answers=[AIMessage("ok")])
    app = agent(model, checkpointer=InMemorySaver())

    async def texts() -> AsyncIterator[None]:
        for text in ("rain", "go on"):
            await asyncio.gather(*(app.ainvoke(say(text), thread(str(number))) for number in range(8)))
            yield

    async for _ in texts():
        pass
    assert [count(messages, "umbrella") for messages in model.sent] == [1] * 16


def test_a_tool_message_of_content_blocks_gets_one_block_more() -> None:
    @tool("look")
    def picture(at: str) -> list[dict[str, str]]:
        """Look at something."""
        return [{"type": "text", "text": "rain"}]

    model = Scripted(answers=[calls(LOOK), AIMessage("done")])
    agent(model, SkillLibrary((ON_RAIN,)), tools=[picture]).invoke(say("go"))
    assert isinstance(model.sent[1][-1], ToolMessage)
    assert model.sent[1][-1].content == [
        {"type": "text", "text": "rain"},
        {"type": "text", "text": '<skill name="on-rain">\ntake an umbrella\n</skill>'},
    ]


def test_a_deep_agent_and_its_sub_agent_have_libraries_of_their_own() -> None:
    deepagents = pytest.importorskip("deepagents")
    task = ("task", {"description": "look at the rain", "subagent_type": "helper"})
    model = Scripted(answers=[calls(task), AIMessage("it is about to rain"), AIMessage("done")])
    helper = {
        "name": "helper",
        "description": "d",
        "system_prompt": "you help",
        "tools": [look],
        "middleware": [ReSkillMiddleware(SkillLibrary((Skill("inner", "d", "inner advice"),)))],
    }
    app = deepagents.create_deep_agent(
        model,
        tools=[look],
        system_prompt="be kind",
        subagents=[helper],
        middleware=[ReSkillMiddleware(LIBRARY)],
        checkpointer=InMemorySaver(),
    )
    for text in ("hello", "thanks"):
        app.invoke(say(text), thread())
    outer, inner = [model.sent[i] for i in (0, 2, 3, 5)], [model.sent[i] for i in (1, 4)]
    assert [[count(messages, text) for text in ("say please", "inner advice")] for messages in outer] == [[1, 0]] * 4
    assert [[count(messages, text) for text in ("say please", "inner advice")] for messages in inner] == [[0, 1]] * 2
    assert [count(messages, "umbrella") for messages in outer] == [0, 1, 1, 1]
    assert all(extends(earlier, later) for earlier, later in pairwise(outer))
