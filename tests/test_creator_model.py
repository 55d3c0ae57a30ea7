"""The client keeps a model within bounds: valid answers, budgets, time-outs, back-off, cache, transcripts."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path

import pytest
from creator_models import Endpoint, RecordedModel, completion, openai_server, recorded_reply
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from pydantic import BaseModel

from reskill_agents.creator_model import (
    Budget,
    BudgetError,
    ClientConfig,
    CreatorClient,
    CreatorModel,
    ModelAnswer,
    ModelRequest,
    RateLimitError,
    TransientModelError,
)
from reskill_agents.creator_openai import OpenAIModel, openai_model
from reskill_agents.errors import ConfigError, CreatorError
from reskill_agents.graphs.creator_langchain import LangChainModel


class Pick(BaseModel):
    number: int


class Waits:
    """Instead of sleeping."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


def answering(*texts: str | Exception) -> RecordedModel:
    """A model that gives these answers in order."""
    left = list(texts)

    def answer(request: ModelRequest) -> str:
        given = left.pop(0)
        if isinstance(given, Exception):
            raise given
        return given

    return RecordedModel(answer=answer)


async def ask(client: CreatorClient) -> int:
    return (await client.ask("node", "system", "prompt", Pick)).number


async def test_an_answer_is_found_inside_prose_and_fences() -> None:
    assert await ask(CreatorClient(answering('Sure!\n```json\n{"number": 3}\n```'))) == 3


async def test_the_validators_messages_are_told_to_the_model() -> None:
    model = answering('{"number": "many"}', "no json", '{"number": 4}')
    assert await ask(CreatorClient(model)) == 4
    assert "number: Input should be a valid integer" in model.requests[1].prompt
    assert "no json" in model.requests[2].prompt


async def test_a_further_check_is_told_as_well() -> None:
    model = answering('{"number": 1}', '{"number": 2}')
    client = CreatorClient(model)
    found = await client.ask("node", "s", "p", Pick, check=lambda given: ["must be even"] if given.number % 2 else [])
    assert found.number == 2
    assert "must be even" in model.requests[1].prompt


async def test_after_the_last_attempt_it_is_a_creator_error() -> None:
    with pytest.raises(CreatorError, match="3 attempts"):
        await ask(CreatorClient(answering("a", "b", "c")))


async def test_backoff_doubles_and_keeps_to_what_the_endpoint_asks() -> None:
    waits = Waits()
    busy = RateLimitError("busy", retry_after=7.5)
    client = CreatorClient(answering(TransientModelError("lost"), busy, '{"number": 1}'), sleep=waits)
    assert await ask(client) == 1
    assert waits.seconds == [1.0, 7.5]


async def test_retries_end() -> None:
    waits = Waits()
    config = ClientConfig(retries=2, backoff_s=1, longest_wait_s=1.5)
    client = CreatorClient(answering(*[TransientModelError("lost")] * 3), config=config, sleep=waits)
    with pytest.raises(TransientModelError, match="3 calls"):
        await ask(client)
    assert waits.seconds == [1.0, 1.5]


async def test_a_call_that_takes_too_long_is_given_up() -> None:
    class Slow:
        name = "slow"

        async def complete(self, request: ModelRequest) -> ModelAnswer:
            await asyncio.sleep(60)
            return ModelAnswer("")

    client = CreatorClient(Slow(), config=ClientConfig(timeout_s=0.02, retries=0))
    with pytest.raises(TransientModelError, match=r"0\.02 s"):
        await ask(client)


async def test_foreign_exceptions_are_contained() -> None:
    with pytest.raises(CreatorError, match="KeyError"):
        await ask(CreatorClient(answering(KeyError("x"))))


@pytest.mark.parametrize(
    "budget", [Budget(calls=1), Budget(tokens=2), Budget(money=1e-6, input_price=1.0, output_price=1.0)]
)
async def test_no_call_beyond_the_budget(budget: Budget) -> None:
    model = answering('{"number": 1}', '{"number": 2}')
    client = CreatorClient(model, budget)
    await client.ask("node", "s", "a prompt of some length", Pick)
    with pytest.raises(BudgetError):
        await client.ask("node", "s", "another prompt", Pick)
    assert len(model.requests) == 1


async def test_valid_answers_are_cached_by_prompt_across_clients(tmp_path: Path) -> None:
    first = CreatorClient(answering('{"number": 5}'), cache=tmp_path / "cache")
    assert await ask(first) == await ask(first) == 5
    silent = answering()
    second = CreatorClient(silent, cache=tmp_path / "cache")
    assert await ask(second) == 5
    assert silent.requests == []
    assert second.exchanges[0].cached
    assert second.spent.calls == 0


async def test_full_transcripts_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "transcript.jsonl"
    await ask(CreatorClient(answering("nonsense", '{"number": 5}'), transcript=path))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line.get("answer") for line in lines] == ["nonsense", None, '{"number": 5}']
    assert lines[0]["prompt"] == "prompt"
    assert "not JSON" in lines[1]["refused"][0] or "Invalid JSON" in lines[1]["refused"][0]


async def test_a_huge_answer_is_cut_and_refused() -> None:
    client = CreatorClient(answering(*['{"number": ' + "9" * 300_000] * 3))
    with pytest.raises(CreatorError):
        await ask(client)
    assert max(len(exchange.answer) for exchange in client.exchanges) <= 100_000


def test_the_adapters_are_creator_models() -> None:
    assert isinstance(OpenAIModel("m"), CreatorModel)
    assert isinstance(LangChainModel(GenericFakeChatModel(messages=iter([]))), CreatorModel)


async def test_a_langchain_model_answers() -> None:
    chat = GenericFakeChatModel(messages=iter([AIMessage('{"number": 6}')]))
    client = CreatorClient(LangChainModel(chat))
    assert client.model.name == "langchain:GenericFakeChatModel"
    assert await ask(client) == 6


async def test_a_langchain_models_errors_are_sorted() -> None:
    class ProviderRateLimitError(Exception):
        status_code = 429

    class Failing(GenericFakeChatModel):
        def _generate(self, *args: object, **kwargs: object) -> None:  # type: ignore[override]
            raise self.metadata["error"]  # type: ignore[index]

    request = ModelRequest("n", "s", "p", "Pick", {})
    errors = {
        ProviderRateLimitError("x"): RateLimitError,
        ConnectionError("x"): TransientModelError,
        KeyError("x"): CreatorError,
    }
    for raised, expected in errors.items():
        chat = Failing(messages=iter([]), metadata={"error": raised})
        with pytest.raises(CreatorError) as caught:
            await LangChainModel(chat).complete(request)
        assert type(caught.value) is expected


class TestOpenAIEndpoint:
    """Against a real server on loopback."""

    async def complete(self, endpoint: Endpoint) -> ModelAnswer:
        model = openai_model(f"openai:m@{endpoint.base_url}")
        return await model.complete(ModelRequest("n", "sys", "p", "Pick", Pick.model_json_schema()))

    async def test_schema_messages_and_usage(self) -> None:
        with openai_server() as endpoint:
            endpoint.reply = lambda body: (200, {}, completion('{"number": 1}'))
            assert await self.complete(endpoint) == ModelAnswer('{"number": 1}', 11, 7)
            (body,) = endpoint.bodies
            assert body["response_format"]["json_schema"]["name"] == "Pick"  # type: ignore[index]
            assert body["messages"] == [{"role": "system", "content": "sys"}, {"role": "user", "content": "p"}]

    async def test_an_endpoint_without_schemas_is_asked_in_plain_text_from_then_on(self) -> None:
        def reply(body: dict[str, object]) -> tuple[int, dict[str, str], str]:
            if "response_format" in body:
                return 400, {}, '{"error": {"message": "response_format is not supported"}}'
            return 200, {}, completion('{"number": 2}')

        with openai_server() as endpoint:
            endpoint.reply = reply
            model = openai_model(f"openai:m@{endpoint.base_url}")
            request = ModelRequest("n", "s", "p", "Pick", Pick.model_json_schema())
            assert (await model.complete(request)).text == (await model.complete(request)).text
            assert ["response_format" in body for body in endpoint.bodies] == [True, False, False]

    async def test_rate_limits_carry_the_wait(self) -> None:
        with openai_server() as endpoint:
            endpoint.reply = lambda body: (429, {"retry-after": "3"}, '{"error": {"message": "slow down"}}')
            with pytest.raises(RateLimitError) as caught:
                await self.complete(endpoint)
            assert caught.value.retry_after == 3.0

    @pytest.mark.parametrize(
        ("status", "error"), [(500, TransientModelError), (503, TransientModelError), (401, CreatorError)]
    )
    async def test_statuses_become_creator_errors(self, status: int, error: type[CreatorError]) -> None:
        with openai_server() as endpoint:
            endpoint.reply = lambda body: (status, {}, '{"error": {"message": "no"}}')
            with pytest.raises(error):
                await self.complete(endpoint)

    @pytest.mark.parametrize("body", ["", "not json", "{}", '{"choices": []}', '{"choices": [{"message": {}}]}'])
    async def test_broken_bodies_become_creator_errors_or_empty_answers(self, body: str) -> None:
        with openai_server() as endpoint:
            endpoint.reply = lambda _: (200, {}, body)
            with contextlib.suppress(CreatorError):
                assert (await self.complete(endpoint)).text == ""

    async def test_a_dead_endpoint_is_transient(self) -> None:
        with openai_server() as endpoint:
            url = endpoint.base_url
        with pytest.raises(TransientModelError):
            await openai_model(f"openai:m@{url}").complete(ModelRequest("n", "s", "p", "Pick", {}))

    async def test_the_recorded_pipeline_can_be_served(self) -> None:
        assert recorded_reply({"response_format": {"json_schema": {"name": "SkillAnswer"}}})[0] == 200


@pytest.mark.parametrize("spec", ["openai:", "gpt", "openai:m@localhost:1", "anthropic:x"])
def test_a_wrong_spec_says_what_is_right(spec: str) -> None:
    with pytest.raises(ConfigError, match=r"openai:MODEL|http"):
        openai_model(spec)


def test_the_spec_names_model_and_endpoint() -> None:
    assert openai_model("openai:org/model@http://127.0.0.1:1/v1").name == "openai:org/model@http://127.0.0.1:1/v1"
    assert openai_model("openai:gpt").base_url == ""
