"""Where skill text goes: a contract over chat templates and over the payloads of two large APIs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from jinja2 import TemplateError
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
    convert_to_openai_messages,
)
from toy import byte_tokenizer

from reskill_agents.graphs.anchors import (
    AnchoredSkill,
    canonical_call,
    fire,
    past_firings,
    render_anchored,
    turn_context,
)
from reskill_agents.graphs.chat_templates import ChatTokenizer
from reskill_agents.graphs.prefix_check import Continuation, Preservation
from reskill_agents.library import SkillLibrary
from reskill_agents.selection import SkillSelector
from reskill_agents.skill import Skill
from reskill_agents.trigger import Trigger, TriggerKind

TEMPLATES = ["qwen3", "qwen3_5", "gemma", "gemma3", "llama3_1", "mistral"]
SKILLS = SkillLibrary(
    (
        Skill("general-one", "d", "always look twice"),
        Skill("begins", "d", "start slowly", Trigger(TriggerKind.BEGINNING)),
        Skill("after-look", "d", "now compare", Trigger(TriggerKind.ACTION_PATTERN, r'^look\(\{"at":"sky"\}\)')),
        Skill("on-rain", "d", "take an umbrella", Trigger(TriggerKind.OBSERVATION_PATTERN, "rain")),
        Skill("on-map", "d", "fold it", Trigger(TriggerKind.TOOL, "map")),
    )
)
SELECTOR = SkillSelector(SKILLS)


def call(name: str, number: int, **arguments: str) -> dict[str, Any]:
    return {"name": name, "args": arguments, "id": f"call0000{number}", "type": "tool_call"}


def talk(*, system: bool) -> list[BaseMessage]:
    """Two user turns."""
    messages: list[BaseMessage] = [SystemMessage("be kind", id="m0")] if system else []
    return [*messages, HumanMessage("hello", id="m1"), AIMessage("hi", id="m2"), HumanMessage("it may rain", id="m3")]


def tools(calls: int) -> list[BaseMessage]:
    """A turn that calls tools, with their results."""
    made = [call("look", 1, at="sky"), call("map", 2)][:calls]
    results = [ToolMessage("rain", tool_call_id="call00001", name="look", id="m3")]
    if calls == 2:
        results.append(ToolMessage("a plan", tool_call_id="call00002", name="map", id="m4"))
    return [
        SystemMessage("be kind", id="m0"),
        HumanMessage("go", id="m1"),
        AIMessage("", id="m2", tool_calls=made),
        *results,
    ]


CONVERSATIONS = {
    "talk": talk(system=True),
    "talk without system": talk(system=False),
    "one call": tools(1),
    "two calls": tools(2),
}


def turns(messages: Sequence[BaseMessage]) -> list[list[BaseMessage]]:
    """What is sent on each model call, skill text included."""
    sent, anchored = [], list[AnchoredSkill]()
    for end in range(1, len(messages) + 1):
        answered = end == len(messages) or isinstance(messages[end], AIMessage)
        if answered and not isinstance(messages[end - 1], AIMessage | SystemMessage):
            fired, _ = fire(SELECTOR, messages[:end], anchored)
            anchored += fired
            sent.append(render_anchored(messages[:end], anchored))
    return sent


def test_start_skills_join_the_system_message_and_later_ones_the_observation() -> None:
    first, second = turns(talk(system=True))
    assert [message.content for message in first] == [
        'be kind\n<skill name="general-one">\nalways look twice\n</skill>\n'
        '<skill name="begins">\nstart slowly\n</skill>',
        "hello",
    ]
    assert [message.content for message in second[:3]] == [*(message.content for message in first), "hi"]
    assert second[3].content == 'it may rain\n<skill name="on-rain">\ntake an umbrella\n</skill>'


def test_after_two_tool_calls_skills_join_the_last_result_of_the_batch() -> None:
    *_, sent = turns(tools(2))
    assert [type(message).__name__ for message in sent[1:]] == [
        "HumanMessage",
        "AIMessage",
        "ToolMessage",
        "ToolMessage",
    ]
    assert sent[3].content == "rain"
    assert sent[4].content == (
        'a plan\n<skill name="after-look">\nnow compare\n</skill>\n<skill name="on-rain">\ntake an umbrella\n</skill>\n'
        '<skill name="on-map">\nfold it\n</skill>'
    )


def test_the_users_messages_stay_untouched() -> None:
    messages = tools(2)
    before = [message.model_copy(deep=True) for message in messages]
    turns(messages)
    assert messages == before


@pytest.mark.parametrize("conversation", CONVERSATIONS)
@pytest.mark.parametrize("template", TEMPLATES)
def test_every_template_takes_what_it_takes_without_skills(template: str, conversation: str) -> None:
    chat = ChatTokenizer(byte_tokenizer(template))
    messages = CONVERSATIONS[conversation]
    try:
        chat.render(messages)
    except TemplateError:
        pytest.skip(f"{template} refuses this conversation without skills too")
    for sent in turns(messages):
        text = chat.render(sent)
        assert text.count("always look twice") == 1
    assert "take an umbrella" in text


@pytest.mark.parametrize("conversation", CONVERSATIONS)
@pytest.mark.parametrize("template", TEMPLATES)
def test_consecutive_prompts_are_prefixes_where_the_template_keeps_history(template: str, conversation: str) -> None:
    chat = ChatTokenizer(byte_tokenizer(template))
    messages = CONVERSATIONS[conversation]
    kind = Continuation.USER if conversation.startswith("talk") else Continuation.TOOL
    if chat.preserves(kind, system=isinstance(messages[0], SystemMessage)) is not Preservation.KEPT:
        pytest.skip(f"{template} rewrites or refuses {kind} turns")
    if conversation == "two calls" and template == "llama3_1":
        pytest.skip("Llama 3.1 takes one call a turn")
    for earlier, later in pairwise(turns(messages)):
        assert chat.render(later).startswith(chat.render(earlier))


def openai_problems(messages: Sequence[BaseMessage]) -> list[str]:
    """What the chat completions API would refuse."""
    problems, waiting = [], set[str]()
    for number, message in enumerate(convert_to_openai_messages(list(messages))):
        assert isinstance(message, dict)
        if message["role"] == "tool":
            if message["tool_call_id"] not in waiting:
                problems.append(f"{number}: a result without its call")
            waiting.discard(message["tool_call_id"])
        elif waiting:
            problems.append(f"{number}: {message['role']} between calls and results")
        waiting |= {made["id"] for made in message.get("tool_calls", [])}
    return problems


def anthropic_payload(messages: Sequence[BaseMessage]) -> tuple[str, list[dict[str, Any]]]:
    """(system, messages) as the messages API takes them; results of tools are the user's content blocks."""
    system, turns_ = "", list[dict[str, Any]]()
    for number, message in enumerate(messages):
        if isinstance(message, SystemMessage):
            if number:
                raise ValueError("a system message after the start has no place in the payload")
            system = str(message.content)
            continue
        role = "assistant" if isinstance(message, AIMessage) else "user"
        blocks: list[dict[str, Any]] = []
        if isinstance(message, ToolMessage):
            blocks = [{"type": "tool_result", "tool_use_id": message.tool_call_id, "content": message.content}]
        elif message.content:
            blocks = [{"type": "text", "text": message.content}]
        if isinstance(message, AIMessage):
            blocks += [{"type": "tool_use", "id": made["id"], "name": made["name"]} for made in message.tool_calls]
        if turns_ and turns_[-1]["role"] == role and not isinstance(message, ToolMessage):
            raise ValueError(f"two {role} turns in a row")
        if turns_ and turns_[-1]["role"] == role:
            turns_[-1]["content"] += blocks
        else:
            turns_.append({"role": role, "content": blocks})
    return system, turns_


@pytest.mark.parametrize("conversation", CONVERSATIONS)
def test_the_openai_payload_is_accepted(conversation: str) -> None:
    for sent in turns(CONVERSATIONS[conversation]):
        assert openai_problems(sent) == []


@pytest.mark.parametrize("conversation", CONVERSATIONS)
def test_the_anthropic_payload_is_accepted(conversation: str) -> None:
    for sent in turns(CONVERSATIONS[conversation]):
        system, payload = anthropic_payload(sent)
        assert "always look twice" in system
        for user, assistant in pairwise(payload):
            assert {user["role"], assistant["role"]} == {"user", "assistant"}
        for used, answered in pairwise(payload):
            wanted = [block["id"] for block in used["content"] if block["type"] == "tool_use"]
            given = [block["tool_use_id"] for block in answered["content"] if block["type"] == "tool_result"]
            assert wanted == given[: len(wanted)]


@pytest.mark.parametrize("conversation", CONVERSATIONS)
def test_anthropics_own_client_builds_the_same_shape(conversation: str) -> None:
    anthropic = pytest.importorskip("langchain_anthropic")
    client = anthropic.ChatAnthropic(model="claude-sonnet-4-5", api_key="none")
    for sent in turns(CONVERSATIONS[conversation]):
        made = client._get_request_payload(list(sent))
        system, payload = anthropic_payload(sent)
        assert made["system"] == system
        assert [turn["role"] for turn in made["messages"]] == [turn["role"] for turn in payload]
        assert sum("<skill name=" in str(turn) for turn in made["messages"]) == sum(
            "<skill name=" in str(turn) for turn in payload
        )


def test_the_checks_would_notice() -> None:
    between = [*tools(2)[:4], HumanMessage("skill"), tools(2)[4]]
    assert openai_problems(between) == ["4: user between calls and results"]
    with pytest.raises(ValueError, match="after the start"):
        anthropic_payload([*talk(system=False), SystemMessage("skill")])
    late = [*talk(system=True), AIMessage("x"), SystemMessage("skill"), HumanMessage("y")]
    with pytest.raises(TemplateError):
        ChatTokenizer(byte_tokenizer("qwen3_5")).render(late)
    with pytest.raises(TemplateError):
        ChatTokenizer(byte_tokenizer("gemma")).render([*talk(system=False), HumanMessage("skill")])


def test_content_blocks_get_one_more_text_block() -> None:
    messages: list[BaseMessage] = [
        HumanMessage([{"type": "text", "text": "rain"}, {"type": "image", "url": "x"}], id="a")
    ]
    fired, _ = fire(SELECTOR, messages)
    sent = render_anchored(messages, fired)
    assert sent[1].content == [
        {"type": "text", "text": "rain"},
        {"type": "image", "url": "x"},
        {"type": "text", "text": '<skill name="on-rain">\ntake an umbrella\n</skill>'},
    ]


def test_triggers_see_the_raw_observation_and_canonical_calls() -> None:
    fired, _ = fire(SELECTOR, tools(2))
    context = turn_context(render_anchored(tools(2), fired))
    assert context.observation == "rain\na plan"
    assert context.last_action == 'look({"at":"sky"})\nmap({})'
    assert context.last_tools == ("look", "map")
    assert context.turn == 1
    assert canonical_call("f", {"b": 1, "a": "ü"}) == 'f({"a":"ü","b":1})'


def test_after_history_is_rewritten_active_skills_fire_again() -> None:
    messages = talk(system=True)
    fired, _ = fire(SELECTOR, messages[:2])
    assert [skill["name"] for skill in fired] == ["general-one", "begins"]
    again, _ = fire(SELECTOR, messages[:2], fired)
    assert again == []
    rain, _ = fire(SELECTOR, messages, fired)
    assert [skill["name"] for skill in rain] == ["on-rain"]
    summarised: list[BaseMessage] = [HumanMessage("so far: talk of rain", id="m9")]
    fresh, _ = fire(SELECTOR, summarised, rain)  # its anchor m3 is gone
    assert "on-rain" in [skill["name"] for skill in fresh]


def test_what_is_already_in_the_messages_counts_as_present() -> None:
    messages = render_anchored(talk(system=True), fire(SELECTOR, talk(system=True)[:2])[0])
    assert [firing.skill for firing in past_firings(messages)] == ["general-one", "begins"]
    assert [skill["name"] for skill in fire(SELECTOR, messages)[0]] == ["on-rain"]
