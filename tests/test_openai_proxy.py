"""The OpenAI-compatible proxy, spoken to by OpenAI's own client."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator

import openai
import pytest
from jinja2 import TemplateError
from toy import byte_tokenizer

from reskill_agents.engine import GenerateRequest
from reskill_agents.engines.fake import FakeEngine
from reskill_agents.errors import ConfigError, EngineError
from reskill_agents.graphs.chat_model import PolicyChatModel
from reskill_agents.graphs.chat_templates import ChatTokenizer
from reskill_agents.graphs.openai_proxy import PolicyProxy
from reskill_agents.trainers.trie import paths_of

CHAT = ChatTokenizer(byte_tokenizer("qwen3"))
LOOK = {
    "type": "function",
    "function": {"name": "look", "parameters": {"type": "object", "properties": {"at": {"type": "string"}}}},
}
CALL = '<tool_call>\n{"name": "look", "arguments": {"at": "door"}}\n</tool_call>'


@pytest.fixture
def answers() -> list[str]:
    return []


@pytest.fixture
def proxy(answers: list[str]) -> Iterator[PolicyProxy]:
    def script(_: GenerateRequest) -> tuple[int, ...]:
        if answers[0] == "down":
            raise EngineError("the engine is down")
        return (*CHAT.encode(answers.pop(0)), CHAT.end_id)

    engine = FakeEngine(len(CHAT.tokenizer), script, max_context=4096)
    model = PolicyChatModel(engine=engine, tokenizer=CHAT, max_tokens=256, on_gap="extend")
    with PolicyProxy(model) as server:
        yield server


def client(proxy: PolicyProxy, rollout: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=proxy.url(rollout), api_key="none", max_retries=0)


def ask(one: openai.OpenAI, messages: list[dict[str, object]], **settings: object):  # type: ignore[no-untyped-def]
    return one.chat.completions.create(model="policy", messages=messages, **settings)  # type: ignore[call-overload]


@pytest.mark.parametrize("streamed", [False, True])
def test_a_tool_loop_through_the_client_is_one_exact_token_sequence(
    proxy: PolicyProxy, answers: list[str], streamed: bool
) -> None:
    answers += [CALL, "it is   open"]
    messages: list[dict[str, object]] = [{"role": "user", "content": "look!"}]
    with proxy.rollout("a/b 1") as recorder, client(proxy, "a/b 1") as one:
        for _ in range(2):
            if streamed:
                text, calls, finish = "", [], None
                options = {"include_usage": True}
                for chunk in ask(one, messages, tools=[LOOK], stream=True, stream_options=options):
                    for choice in chunk.choices:
                        text += choice.delta.content or ""
                        calls += [call.model_dump(exclude={"index"}) for call in choice.delta.tool_calls or []]
                        finish = choice.finish_reason or finish
                    usage = chunk.usage
                assert usage.completion_tokens == len(recorder.calls[-1].sampled_ids)
            else:
                choice = ask(one, messages, tools=[LOOK]).choices[0]
                text, finish = choice.message.content, choice.finish_reason
                calls = [call.model_dump() for call in choice.message.tool_calls or []]
            messages.append({"role": "assistant", "content": text, **({"tool_calls": calls} if calls else {})})
            if calls:
                assert finish == "tool_calls"
                assert json.loads(calls[0]["function"]["arguments"]) == {"at": "door"}
                messages.append({"role": "tool", "tool_call_id": calls[0]["id"], "content": "open"})
    assert messages[-1] == {"role": "assistant", "content": "it is   open"}
    (path,) = paths_of(recorder.calls)
    assert sum(path.trained) == sum(len(call.sampled_ids) for call in recorder.calls)
    assert len(recorder.trace) == 2


def test_rollouts_are_told_apart_by_their_url_and_unknown_ones_refused(proxy: PolicyProxy, answers: list[str]) -> None:
    answers += ["one", "two"]
    hello: list[dict[str, object]] = [{"role": "user", "content": "hello"}]
    with proxy.rollout("a") as first, proxy.rollout("b") as second, client(proxy, "a") as a, client(proxy, "b") as b:
        assert ask(a, hello).choices[0].message.content == "one"
        assert ask(b, hello).choices[0].message.content == "two"
        assert a.models.list().data[0].id == "policy"
        with pytest.raises(ConfigError, match="under way"), proxy.rollout("a"):
            pass
    assert [len(recorder.calls) for recorder in (first, second)] == [1, 1]
    with client(proxy, "a") as late, pytest.raises(openai.NotFoundError):
        ask(late, hello)


def test_what_would_change_the_distribution_is_refused_and_faults_keep_their_kind(
    proxy: PolicyProxy, answers: list[str]
) -> None:
    hello: list[dict[str, object]] = [{"role": "user", "content": "hello"}]
    with proxy.rollout("a") as recorder, client(proxy, "a") as one:
        for wrong in ({"top_p": 0.9}, {"temperature": 0.2}, {"n": 2}, {"logit_bias": {"1": 5}}):
            with pytest.raises(openai.BadRequestError, match="not offered here"):
                ask(one, hello, **wrong)
        with pytest.raises(openai.BadRequestError) as long:
            ask(one, [{"role": "user", "content": "x" * 5000}])
        assert long.value.code == "context_length_exceeded"
        answers.append("down")
        for stream in (False, True):
            with pytest.raises(openai.InternalServerError, match="down"):
                ask(one, hello, stream=stream)
        answers[:] = ["fine"]
        assert ask(one, hello, temperature=1.0, top_p=1).choices[0].message.content == "fine"
    assert len(recorder.trace) == 1


def test_a_page_that_points_its_own_name_at_this_machine_is_refused(proxy: PolicyProxy) -> None:
    with proxy.rollout("a"):
        request = urllib.request.Request(f"{proxy.url('a')}/models", headers={"host": "evil.example:80"})
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request)


@pytest.mark.parametrize(
    ("wrong", "status", "said"),
    [
        ({"messages": []}, 400, "messages must be a list"),
        ({"messages": [{"role": "nobody", "content": "x"}]}, 400, "messages cannot be read"),
        ({"max_tokens": "x"}, 400, "max_tokens must be a whole number"),
        ({"max_tokens": -5}, 400, "max_tokens must be a whole number"),
        ({"stop": [5]}, 400, "stop must be a text"),
        ({"tools": "x"}, 400, "tools must be a list"),
        ({"tool_choice": 3}, 400, "tool_choice must be a text"),
        ({"stream_options": "x"}, 400, "stream_options must be an object"),
    ],
)
def test_a_body_of_another_shape_is_answered_with_what_is_wrong(
    proxy: PolicyProxy, wrong: dict[str, object], status: int, said: str
) -> None:
    body = {"model": "policy", "messages": [{"role": "user", "content": "hello"}], **wrong}
    with proxy.rollout("a"):
        found, answer = post(proxy, body)
    assert found == status
    assert said in answer["error"]["message"]


def test_what_nobody_foresaw_is_answered_as_well_and_neutral_settings_pass(
    proxy: PolicyProxy, answers: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"messages": [{"role": "user", "content": "hello"}], "response_format": {"type": "text"}, "logit_bias": {}}
    answers.append("fine")
    with proxy.rollout("a"):
        assert post(proxy, body)[0] == 200

        odd = TemplateError("roles must alternate")
        for error, status, said in ((odd, 400, "chat template"), (KeyError("x"), 500, "KeyError")):

            async def fails(*_: object, error: Exception = error, **__: object) -> None:
                raise error

            monkeypatch.setattr(PolicyChatModel, "complete", fails)
            found, answer = post(proxy, body)
            assert found == status
            assert said in answer["error"]["message"]


def post(proxy: PolicyProxy, body: dict[str, object]) -> tuple[int, dict[str, dict[str, str]]]:
    """Status and JSON of an answer."""
    request = urllib.request.Request(
        f"{proxy.url('a')}/chat/completions", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)
