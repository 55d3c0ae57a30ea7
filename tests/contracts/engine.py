"""The contract of ``PolicyEngine``: await :func:`check_engine` on any implementation."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from reskill_agents.engine import GenerateRequest, Generation, PolicyEngine, SamplingParams
from reskill_agents.errors import EngineError

if TYPE_CHECKING:
    import torch

TOLERANCE = 1e-4  # nats, invariant 1


async def check_engine(
    engine: PolicyEngine,
    vocabulary: int,
    *,
    weights: Mapping[str, torch.Tensor] | Path,
    scores_any_temperature: bool = True,
) -> None:
    """Everything the docstrings of ``reskill_agents.engine`` promise.

    Args:
        engine: freshly made, version 0.
        vocabulary: how many token ids it knows.
        weights: something it can publish.
        scores_any_temperature: ``score`` takes temperatures other than 1.
    """
    assert isinstance(engine, PolicyEngine)
    assert engine.version == 0
    prompt = tuple(token % vocabulary for token in (5, 3, 9, 1, 4))
    await check_generation(engine, prompt)
    await check_randomness(engine, prompt)
    await check_log_probs(engine, prompt, scores_any_temperature)
    await check_stopping(engine, prompt)
    await check_sessions(engine, prompt, vocabulary)
    await check_refusals(engine, prompt)
    await check_publishing(engine, prompt, weights)
    await engine.aclose()


def request(
    prompt: tuple[int, ...],
    *,
    session: str = "single",
    key: tuple[int, ...] = (7,),
    temperature: float = 1.0,
    max_tokens: int = 6,
    stop_ids: tuple[int, ...] = (),
) -> GenerateRequest:
    """A request with small defaults."""
    return GenerateRequest(session, prompt, SamplingParams(temperature, max_tokens, stop_ids), key)


async def check_generation(engine: PolicyEngine, prompt: tuple[int, ...]) -> None:
    """One log-prob a token, none above 0, as many tokens as asked for, the version."""
    generation = await engine.generate(request(prompt))
    assert len(generation.token_ids) == len(generation.logprobs) == 6
    assert all(logprob <= 0 and math.isfinite(logprob) for logprob in generation.logprobs)
    assert generation.finish == "length"
    assert generation.version == 0


async def check_randomness(engine: PolicyEngine, prompt: tuple[int, ...]) -> None:
    """The key decides the tokens, whatever else is asked at the same time; keys of any size are taken."""
    alone = await engine.generate(request(prompt, key=(1, 2)))
    crowd = [request(prompt[: 1 + n % 5], session=f"crowd-{n}", key=(n,)) for n in range(5)]
    answers = await asyncio.gather(engine.generate(request(prompt, key=(1, 2))), *map(engine.generate, crowd))
    assert answers[0].token_ids == alone.token_ids
    assert answers[0].logprobs == pytest.approx(alone.logprobs, abs=TOLERANCE)
    others = [await engine.generate(request(prompt, key=(1, n))) for n in range(3, 9)]
    assert len({other.token_ids for other in others}) > 1
    await engine.generate(request(prompt, key=(2**63, -(2**63), 0)))


async def check_log_probs(engine: PolicyEngine, prompt: tuple[int, ...], any_temperature: bool) -> None:
    """Sampled and re-scored log-probs agree at the temperature of sampling; greedy ones are those at 1."""
    for temperature in (1.0, 0.5, 2.0, 0.0):
        generation = await engine.generate(request(prompt, temperature=temperature))
        if temperature in (0.0, 1.0) or any_temperature:
            scores = await engine.score(prompt, generation.token_ids, temperature=temperature or 1.0)
            assert scores == pytest.approx(generation.logprobs, abs=TOLERANCE)
    greedy = [await engine.generate(request(prompt, temperature=0.0, key=(n,))) for n in range(3)]
    assert len({generation.token_ids for generation in greedy}) == 1


async def check_stopping(engine: PolicyEngine, prompt: tuple[int, ...]) -> None:
    """A stop id ends the call and is the last token."""
    whole = await engine.generate(request(prompt, key=(11,)))
    stop = whole.token_ids[2]
    first = whole.token_ids.index(stop)
    cut = await engine.generate(request(prompt, key=(11,), stop_ids=(stop,)))
    assert cut.token_ids == whole.token_ids[: first + 1]
    assert cut.finish == "stop"


async def check_sessions(engine: PolicyEngine, prompt: tuple[int, ...], vocabulary: int) -> None:
    """Turns of concurrent sessions, some shorter than others, give what single calls give."""

    async def play(session: str, turns: int) -> list[tuple[tuple[int, ...], Generation]]:
        grown, calls = prompt, []
        for turn in range(turns):
            generation = await engine.generate(request(grown, session=session, key=(turns, turn)))
            calls.append((grown, generation))
            grown = (*grown, *generation.token_ids, *((turns + turn + n) % vocabulary for n in range(turns)))
        if turns == 2:  # goes on with another history
            calls.append((prompt[1:], await engine.generate(request(prompt[1:], session=session))))
        engine.release(session)
        return calls

    names = [f"episode-{number}" for number in range(4)]
    for name in names:
        engine.open(name)
    played = await asyncio.wait_for(
        asyncio.gather(*(play(name, number + 1) for number, name in enumerate(names))), timeout=30
    )
    for calls in played:
        for whole, generation in calls:
            scores = await engine.score(whole, generation.token_ids)
            assert scores == pytest.approx(generation.logprobs, abs=TOLERANCE)
    engine.release("never opened")


async def check_refusals(engine: PolicyEngine, prompt: tuple[int, ...]) -> None:
    """An empty prompt and one without room for the answer are engine errors."""
    with pytest.raises(EngineError, match="empty"):
        await engine.generate(request(()))
    long = prompt * (engine.max_context // len(prompt) + 1)
    with pytest.raises(EngineError, match="context"):
        await engine.generate(request(long[: engine.max_context - 5]))


async def check_publishing(
    engine: PolicyEngine, prompt: tuple[int, ...], weights: Mapping[str, torch.Tensor] | Path
) -> None:
    """New weights answer with their version, in sessions that are under way too."""
    engine.open("under way")
    before = await engine.generate(request(prompt, session="under way"))
    await engine.publish(weights, 3)
    assert engine.version == 3
    longer = (*prompt, *before.token_ids, prompt[0])
    after = await engine.generate(request(longer, session="under way"))
    assert after.version == 3
    assert await engine.score(longer, after.token_ids) == pytest.approx(after.logprobs, abs=TOLERANCE)
    engine.release("under way")
