from __future__ import annotations

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from toy import byte_tokenizer, word_tokenizer

from reskill_agents.errors import ConfigError
from reskill_agents.graphs.chat_templates import ChatTokenizer
from reskill_agents.graphs.prefix_check import Continuation, Preservation
from reskill_agents.graphs.reasoning import join_reasoning, split_reasoning
from reskill_agents.graphs.tool_calls import ToolStyle

NAMES = ["qwen3", "qwen3_5", "gemma", "gemma3", "llama3_1", "mistral"]
END = {"qwen3": "<|im_end|>", "qwen3_5": "<|im_end|>", "llama3_1": "<|eot_id|>", "mistral": "</s>"}


@pytest.fixture(params=NAMES)
def chat(request: pytest.FixtureRequest) -> ChatTokenizer:
    return ChatTokenizer(byte_tokenizer(request.param))


def named(name: str) -> ChatTokenizer:
    return ChatTokenizer(byte_tokenizer(name))


@pytest.mark.parametrize("name", NAMES)
def test_finds_what_ends_a_turn(name: str) -> None:
    assert named(name).end_text == END.get(name, "<end_of_turn>")


def test_extending_gives_what_rendering_anew_gives_where_the_template_keeps_history(chat: ChatTokenizer) -> None:
    start: list[BaseMessage] = [SystemMessage("be brief"), HumanMessage("first")]
    new = HumanMessage("second\n<skill>\nx\n</skill>")
    if chat.preserves(Continuation.USER) is not Preservation.KEPT:
        pytest.skip("this template rewrites history")
    space = " " if chat.end_text == "</s>" else ""  # Mistral's answers begin with a sampled space
    sampled = (*chat.encode(f"{space}answer"), chat.end_id)
    extended = (*chat.start(start), *sampled, *chat.suffix([new], ended=True))
    anew = chat.start([*start, AIMessage("answer"), new])
    assert chat.decode(extended) == chat.decode(anew)
    assert extended == anew


def test_an_answer_cut_off_by_length_gets_its_turn_ended(chat: ChatTokenizer) -> None:
    ended = chat.suffix([HumanMessage("x")], ended=True)
    assert chat.suffix([HumanMessage("x")], ended=False) == (chat.end_id, *ended)


@pytest.mark.parametrize(
    ("name", "gaps"),
    [
        ("qwen3", {Continuation.USER_AFTER_REASONING}),
        ("qwen3_5", {Continuation.USER, Continuation.USER_AFTER_REASONING}),
        ("gemma", set()),
        ("gemma3", set()),
        ("llama3_1", {Continuation.TOOL_AFTER_REASONING}),
        ("mistral", {Continuation.TOOL_AFTER_REASONING}),
    ],
)
def test_knows_where_a_template_rewrites_history(name: str, gaps: set[Continuation]) -> None:
    chat = named(name)
    assert {kind for kind in Continuation if chat.preserves(kind) is Preservation.BROKEN} == gaps


def test_tools_that_wander_to_the_last_user_message_are_a_gap() -> None:
    assert named("mistral").preserves(Continuation.USER, tools=False) is Preservation.KEPT
    assert named("mistral").preserves(Continuation.USER, tools=True) is Preservation.BROKEN


def test_a_template_without_tools_refuses_them() -> None:
    assert named("gemma").preserves(Continuation.TOOL) is Preservation.REFUSED


@pytest.mark.parametrize(("name", "has_role"), [("qwen3", True), ("gemma", False), ("mistral", False)])
def test_system_text_opens_the_first_user_message_where_it_has_no_place(name: str, has_role: bool) -> None:
    chat = named(name)
    assert chat.has_system_role is has_role
    rendered = chat.render([SystemMessage("be brief"), HumanMessage("hi")])
    assert ("be brief\n\nhi" in rendered) is not has_role


def test_two_results_of_tools_make_one_suffix() -> None:
    chat = named("qwen3")
    results = [ToolMessage("one", tool_call_id="a"), ToolMessage("two", tool_call_id="b")]
    text = chat.decode(chat.suffix(results, ended=True, after_tools=True))
    assert text == (
        "\nuser\n<tool_response>\none\n</tool_response>\n<tool_response>\ntwo\n</tool_response>\nassistant\n"
    )


def test_a_frame_is_learned_once_and_then_only_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        chat = named(name)
        chat.suffix([HumanMessage("learn")], ended=True)

        def refuse(*_: object, **__: object) -> str:
            raise AssertionError("rendered again")

        monkeypatch.setattr(chat, "_render", refuse)
        text = chat.decode(chat.suffix([HumanMessage("  later text \n")], ended=True))
        assert "later text" in text


def test_a_template_that_looks_at_the_text_is_rendered_every_time() -> None:
    tokenizer = byte_tokenizer("qwen3")
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "'\\n' + content + '<|im_end|>' + '\\n' }}", "'\\n' + content|upper + '<|im_end|>' + '\\n' }}"
    )
    chat = ChatTokenizer(tokenizer)
    assert "SHOUT" in chat.decode(chat.suffix([HumanMessage("shout")], ended=True))
    assert "AGAIN" in chat.decode(chat.suffix([HumanMessage("again")], ended=True))


def test_a_word_tokenizer_works_too() -> None:
    chat = ChatTokenizer(word_tokenizer())
    extended = (*chat.start([HumanMessage("press red")]), *chat.encode("3"), chat.end_id)
    extended += chat.suffix([HumanMessage("press blue")], ended=True)
    assert extended == chat.start([HumanMessage("press red"), AIMessage("3"), HumanMessage("press blue")])


def test_no_template_is_an_error_that_says_what_to_do() -> None:
    tokenizer = byte_tokenizer("qwen3")
    tokenizer.chat_template = None
    with pytest.raises(ConfigError, match="pass chat_template"):
        ChatTokenizer(tokenizer)


def test_tool_styles() -> None:
    assert named("qwen3").tool_style is ToolStyle.JSON
    assert named("qwen3_5").tool_style is ToolStyle.XML


@pytest.mark.parametrize(
    ("text", "opened", "expected"),
    [
        ("plain", False, ("", "plain")),
        ("<think>\nwhy\n</think>\n\nanswer", False, ("why", "answer")),
        ("why\n</think>\n\nanswer", True, ("why", "answer")),
        ("\n</think>\n\nanswer", True, ("", "answer")),
        ("<think>\ncut off", False, ("cut off", "")),
        ("cut off", True, ("cut off", "")),
    ],
)
def test_reasoning_is_told_from_the_answer(text: str, opened: bool, expected: tuple[str, str]) -> None:
    assert split_reasoning(text, opened=opened) == expected


def test_reasoning_joined_is_split_again() -> None:
    assert split_reasoning(join_reasoning("why", "answer")) == ("why", "answer")
