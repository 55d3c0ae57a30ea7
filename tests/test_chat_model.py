from __future__ import annotations

import asyncio
import operator
from collections.abc import Sequence
from typing import Annotated, TypedDict

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.graph import END, START, StateGraph
from pydantic import BaseModel
from toy import byte_tokenizer

from reskill_agents.engine import GenerateRequest
from reskill_agents.engines.fake import FakeEngine
from reskill_agents.engines.transformers import TransformersEngine
from reskill_agents.errors import ConfigError, ContextOverflow
from reskill_agents.graphs.call_options import CallOptions
from reskill_agents.graphs.chat_model import PolicyChatModel, TemplateWarning
from reskill_agents.graphs.chat_templates import ChatTokenizer
from reskill_agents.graphs.recorder import record_calls

QWEN3 = ChatTokenizer(byte_tokenizer("qwen3"))


def says(*answers: str, chat: ChatTokenizer = QWEN3, ended: bool = True, **settings: object) -> PolicyChatModel:
    """A model that gives these answers in turn."""
    left = list(answers)

    def script(_: GenerateRequest) -> Sequence[int]:
        return (*chat.encode(left.pop(0)), *((chat.end_id,) if ended else ()))

    engine = FakeEngine(len(chat.tokenizer), script, max_context=8192)
    return PolicyChatModel(engine=engine, tokenizer=chat, max_tokens=512, on_gap="extend", **settings)  # type: ignore[arg-type]


def session(name: str = "s") -> CallOptions:
    return CallOptions(session=name)


@tool
def look(place: str, times: int = 1) -> str:
    """Look somewhere."""
    return place * times


async def test_the_next_prompt_is_the_last_one_the_sampled_ids_and_a_suffix() -> None:
    model = says("odd   spelling\t of an answer", "bye")
    messages: list[BaseMessage] = [SystemMessage("s"), HumanMessage("hello")]
    first = await model.complete(messages, session())
    messages += [first.message, HumanMessage("more")]
    second = await model.complete(messages, session())
    known = first.call.prompt_ids + first.call.sampled_ids
    assert second.call.prompt_ids[: len(known)] == known
    assert QWEN3.tokenizer.decode(second.call.prompt_ids[len(known) :]) == (
        "\n<|im_start|>user\nmore<|im_end|>\n<|im_start|>assistant\n"
    )
    assert model.forks == 0


async def test_sampled_ids_are_never_tokenised_again() -> None:
    # "ab" may be spelled with other ids than encode gives; what was sampled must stand
    chat = ChatTokenizer(byte_tokenizer("qwen3"))
    chat.tokenizer.add_tokens(["ab"])
    a, b = chat.encode("a")[0], chat.encode("b")[0]
    assert chat.encode("ab") != (a, b)
    engine = FakeEngine(len(chat.tokenizer), lambda _: (a, b, chat.end_id))
    model = PolicyChatModel(engine=engine, tokenizer=chat, on_gap="extend")
    first = await model.complete([HumanMessage("x")], session())
    assert first.message.content == "ab"
    second = await model.complete([HumanMessage("x"), AIMessage("ab"), HumanMessage("y")], session())
    start = len(first.call.prompt_ids)
    assert second.call.prompt_ids[start : start + 3] == (a, b, chat.end_id)


async def test_log_probs_are_those_of_the_policy_when_rescored() -> None:
    model = says("one", "two")
    first = await model.complete([HumanMessage("x")], session())
    second = await model.complete([HumanMessage("x"), first.message, HumanMessage("y")], session())
    for call in (first.call, second.call):
        assert await model.engine.score(call.prompt_ids, call.sampled_ids) == pytest.approx(call.logprobs)


async def test_calls_of_any_graph_are_recorded_through_the_context() -> None:
    model = says("first", "second", "third")

    class State(TypedDict):
        messages: Annotated[list[BaseMessage], operator.add]

    async def ask(state: State) -> State:
        return {"messages": [await model.ainvoke(state["messages"])]}

    def ask_sync(state: State) -> State:
        return {"messages": [HumanMessage("and?"), model.invoke([*state["messages"], HumanMessage("and?")])]}

    graph = StateGraph(State)
    graph.add_node("ask", ask)
    graph.add_node("ask_sync", ask_sync)
    graph.add_edge(START, "ask")
    graph.add_edge("ask", "ask_sync")
    graph.add_edge("ask_sync", END)
    with record_calls("episode", engine=model.engine, rng_key=(1, 2)) as recorder:
        assert model.engine.sessions == {"episode"}  # type: ignore[attr-defined]
        result = await graph.compile().ainvoke({"messages": [HumanMessage("go")]})
    assert [message.content for message in result["messages"]] == ["go", "first", "and?", "second"]
    one, two = recorder.calls
    assert two.prompt_ids[: len(one.prompt_ids) + len(one.sampled_ids)] == one.prompt_ids + one.sampled_ids
    assert [request.rng_key for request in model.engine.requests] == [(1, 2, 0), (1, 2, 1)]  # type: ignore[attr-defined]
    assert recorder.forks == 0
    assert model.engine.sessions == set()  # type: ignore[attr-defined]


async def test_a_rewritten_history_is_a_counted_fork() -> None:
    model = says("one", "two")
    with record_calls("episode") as recorder:
        first = await model.complete([HumanMessage("a long story")])
        await model.complete([HumanMessage("a summary"), first.message, HumanMessage("go on")])
    assert recorder.forks == model.forks == 1
    before, after = (call.prompt_ids for call in recorder.calls)
    assert after[: len(before)] != before


async def test_two_conversations_of_a_session_each_keep_their_sequence() -> None:
    model = says("a1", "b1", "a2", "b2")
    a: list[BaseMessage] = [HumanMessage("a")]
    b: list[BaseMessage] = [HumanMessage("b")]
    calls = []
    for _ in range(2):
        for messages in (a, b):
            completion = await model.complete(messages, session())
            messages += [completion.message, HumanMessage("on")]
            calls.append(completion.call)
    for earlier, later in ((calls[0], calls[2]), (calls[1], calls[3])):
        known = earlier.prompt_ids + earlier.sampled_ids
        assert later.prompt_ids[: len(known)] == known


async def test_a_template_that_drops_reasoning_warns_and_forks() -> None:
    engine = FakeEngine(300, lambda _: (*QWEN3.encode("<think>\nwhy\n</think>\n\nanswer"), QWEN3.end_id))
    with pytest.warns(TemplateWarning, match="user after reasoning turns"):
        model = PolicyChatModel(engine=engine, tokenizer=QWEN3)
    with record_calls("episode") as recorder:
        first = await model.complete([HumanMessage("x")])
        assert first.message.content == "answer"
        assert first.message.additional_kwargs["reasoning_content"] == "why"
        await model.complete([HumanMessage("x"), first.message, HumanMessage("y")])
    assert recorder.forks == 1
    assert "why" not in QWEN3.decode(recorder.calls[1].prompt_ids)


async def test_extending_instead_keeps_the_reasoning() -> None:
    model = says("<think>\nwhy\n</think>\n\nanswer", "done")
    with record_calls("episode") as recorder:
        first = await model.complete([HumanMessage("x")])
        await model.complete([HumanMessage("x"), first.message, HumanMessage("y")])
    assert recorder.forks == 0
    assert "why" in QWEN3.decode(recorder.calls[1].prompt_ids)


@pytest.mark.filterwarnings("ignore::reskill_agents.graphs.chat_model.TemplateWarning")
async def test_tool_turns_keep_the_reasoning_where_the_template_does() -> None:
    written = '<think>\nwhy\n</think>\n\n<tool_call>\n{"name": "look", "arguments": {"place": "x"}}\n</tool_call>'
    engine = FakeEngine(300, lambda _: (*QWEN3.encode(written), QWEN3.end_id))
    model = PolicyChatModel(engine=engine, tokenizer=QWEN3)
    bound = model.bind_tools([look])
    with record_calls("episode") as recorder:
        first = await bound.ainvoke([HumanMessage("x")])
        result = ToolMessage("seen", tool_call_id=first.tool_calls[0]["id"])
        await bound.ainvoke([HumanMessage("x"), first, result])
    assert recorder.forks == 0


async def test_tool_calls_are_parsed_and_results_extend_the_sequence() -> None:
    written = (
        'Let me see.\n<tool_call>\n{"name": "look", "arguments": {"place": "left", "times": 2}}\n</tool_call>\n'
        '<tool_call>\n{"name": "look", "arguments": {"place": "right"}}\n</tool_call>'
    )
    model = says(written, "done")
    bound = model.bind_tools([look])
    with record_calls("episode") as recorder:
        answer = await bound.ainvoke([HumanMessage("go")])
        assert answer.content == "Let me see."
        assert [(call["name"], call["args"]) for call in answer.tool_calls] == [
            ("look", {"place": "left", "times": 2}),
            ("look", {"place": "right"}),
        ]
        results = [ToolMessage(f"seen {n}", tool_call_id=call["id"]) for n, call in enumerate(answer.tool_calls)]
        await bound.ainvoke([HumanMessage("go"), answer, *results])
    one, two = recorder.calls
    known = one.prompt_ids + one.sampled_ids
    assert two.prompt_ids[: len(known)] == known
    assert '"name": "look"' in QWEN3.decode(one.prompt_ids)  # the tools were offered
    assert recorder.forks == 0


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("<tool_call>\n{not json}\n</tool_call>", "not JSON"),
        ('<tool_call>\n{"name": "fly", "arguments": {}}\n</tool_call>', "no tool is called 'fly'; there are: look"),
        ('<tool_call>\n{"name": "look", "arguments": 3}\n</tool_call>', "an object"),
        ('<tool_call>\n["look"]\n</tool_call>', "an object"),
    ],
)
async def test_a_malformed_call_is_an_invalid_tool_call_with_the_reason(written: str, reason: str) -> None:
    answer = await says(written).bind_tools([look]).ainvoke([HumanMessage("go")])
    assert answer.tool_calls == []
    assert reason in str(answer.invalid_tool_calls[0]["error"])


async def test_calls_in_xml_are_parsed_with_the_types_of_the_tool() -> None:
    chat = ChatTokenizer(byte_tokenizer("qwen3_5"))
    written = (
        "hm\n</think>\n\n<tool_call>\n<function=look>\n<parameter=place>\n007\n</parameter>\n"
        "<parameter=times>\n2\n</parameter>\n</function>\n</tool_call>"
    )
    answer = await says(written, chat=chat).bind_tools([look]).ainvoke([HumanMessage("go")])
    assert answer.tool_calls[0]["args"] == {"place": "007", "times": 2}
    assert answer.additional_kwargs["reasoning_content"] == "hm"


class Weather(BaseModel):
    """Today's weather."""

    sky: str
    degrees: int


@pytest.mark.parametrize("how", ["async", "sync"])
async def test_structured_output_opens_the_call_in_the_prompt(how: str) -> None:
    model = says('Weather", "arguments": {"sky": "blue", "degrees": 20}}\n</tool_call>')
    structured = model.with_structured_output(Weather)
    with record_calls("episode") as recorder:
        weather = await structured.ainvoke("weather?") if how == "async" else structured.invoke("weather?")
    assert weather == Weather(sky="blue", degrees=20)
    (call,) = recorder.calls
    assert QWEN3.tokenizer.decode(call.prompt_ids).endswith('assistant\n<tool_call>\n{"name": "')
    assert QWEN3.decode(call.sampled_ids).startswith('Weather"')  # what was forced is not trained


async def test_a_named_tool_choice_forces_the_name_too() -> None:
    model = says('{"place": "up"}}\n</tool_call>')
    answer = await model.bind_tools([look], tool_choice="look").ainvoke("go")
    assert answer.tool_calls[0]["args"] == {"place": "up"}


async def test_stop_strings_cut_text_and_tokens() -> None:
    model = says("one two STOP three", "next")
    with record_calls("episode") as recorder:
        answer = await model.ainvoke([HumanMessage("x")], stop=["STOP", "never"])
        assert answer.content == "one two"
        await model.ainvoke([HumanMessage("x"), answer, HumanMessage("y")])
    one, two = recorder.calls
    assert QWEN3.decode(one.sampled_ids) == "one two STOP"
    assert len(one.sampled_ids) == len(one.logprobs)
    known = (*one.prompt_ids, *one.sampled_ids, QWEN3.end_id)  # the cut turn is ended by the template, untrained
    assert two.prompt_ids[: len(known)] == known


async def test_a_stop_of_one_token_stops_the_engine() -> None:
    model = says("ab")
    await model.ainvoke([HumanMessage("x")], stop=["!"])
    (request,) = model.engine.requests  # type: ignore[attr-defined]
    assert QWEN3.encode("!")[0] in request.params.stop_ids


async def gather(model: PolicyChatModel, **options: object) -> tuple[list[str], AIMessageChunk]:
    texts, total = [], None
    async for chunk in model.astream([HumanMessage("x")], **options):  # type: ignore[arg-type]
        texts.append(str(chunk.content))
        total = chunk if total is None else total + chunk
    assert isinstance(total, AIMessageChunk)
    return texts, total


async def test_streams_the_text_as_it_comes_and_records_the_exact_call() -> None:
    model = says("Grüße, dear world ")
    with record_calls("episode") as recorder:
        texts, total = await gather(model)
    assert "".join(texts) == total.content == "Grüße, dear world"
    assert len(texts) > 10
    assert QWEN3.decode(recorder.calls[0].sampled_ids) == "Grüße, dear world "
    assert total.usage_metadata is not None


async def test_streaming_holds_back_stop_strings_and_tool_calls() -> None:
    texts, total = await gather(says("one STop STOP two"), stop=["STOP"])
    assert "".join(texts) == "one STop"
    model = says('see\n<tool_call>\n{"name": "look", "arguments": {"place": "x"}}\n</tool_call>')
    tools = model.bind_tools([look]).kwargs["tools"]  # type: ignore[attr-defined]
    texts, total = await gather(model, tools=tools)
    assert "".join(texts) == "see"
    assert total.tool_calls[0]["args"] == {"place": "x"}


async def test_a_streamed_answer_can_be_continued() -> None:
    model = says("one", "two")
    with record_calls("episode") as recorder:
        _, total = await gather(model)
        await model.complete([HumanMessage("x"), total, HumanMessage("y")])
    assert recorder.forks == 0


async def test_streams_from_an_engine_that_hands_out_tokens() -> None:
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=len(QWEN3.tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=1, num_key_value_heads=1, head_dim=16, max_position_embeddings=512,
    )  # fmt: skip
    engine = TransformersEngine(Qwen3ForCausalLM(config))
    model = PolicyChatModel(engine=engine, tokenizer=QWEN3, max_tokens=12, on_gap="extend")
    with record_calls("episode", rng_key=(3,)) as recorder:
        _, total = await gather(model)
    with record_calls("again", rng_key=(3,)) as again:
        answer = await model.ainvoke([HumanMessage("x")])
    assert answer.content == total.content
    assert again.calls[0].sampled_ids == recorder.calls[0].sampled_ids
    await engine.aclose()


@pytest.mark.parametrize("option", ["top_p", "top_k", "logit_bias", "min_p"])
async def test_masks_and_cut_distributions_are_refused(option: str) -> None:
    with pytest.raises(ConfigError, match=f"{option}: no such option; .* without top_p or masks"):
        await says("x").ainvoke("hi", **{option: 1})


async def test_a_prompt_without_room_for_an_answer_overflows_the_context() -> None:
    model = says("x", max_context=20)
    with pytest.raises(ContextOverflow, match="exceed the context of 20"):
        await model.complete([HumanMessage("a" * 30)])


def test_works_without_a_running_loop_and_inside_one() -> None:
    model = says("one", "two")
    assert model.invoke("x").content == "one"

    async def inside() -> str:
        return str(model.invoke("y").content)

    assert asyncio.run(inside()) == "two"


async def test_errors_of_the_engine_reach_sync_callers() -> None:
    with pytest.raises(ContextOverflow):
        says("x", max_context=5).invoke("hello")


async def test_concurrent_sessions_do_not_mix() -> None:
    def answers(asked: GenerateRequest) -> Sequence[int]:
        return (*QWEN3.encode(asked.session), QWEN3.end_id)

    model = PolicyChatModel(engine=FakeEngine(300, answers), tokenizer=QWEN3, on_gap="extend")

    async def play(name: str) -> str:
        with record_calls(name):
            messages: list[BaseMessage] = [HumanMessage(f"i am {name}")]
            for _ in range(3):
                messages += [await model.ainvoke(messages), HumanMessage("on")]
            return QWEN3.decode(model.prompt_ids(messages, CallOptions(session=name)))

    for name, transcript in zip("abc", await asyncio.gather(*map(play, "abc")), strict=True):
        assert transcript.count(f"assistant\n{name}") == 3
    assert model.forks == 0
