"""What is said to a vLLM server over HTTP and what it answers: requests and responses as values."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from reskill_agents.engine import GenerateRequest, Generation
from reskill_agents.errors import EngineError

M = TypeVar("M", bound=BaseModel)
Body = dict[str, object]
PLAIN_SOFTMAX: dict[str, float] = {  # sent always: the server would take a model's generation_config.json otherwise
    "top_p": 1.0,
    "top_k": -1,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
}


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore")


class Logprobs(_Answer):
    """Log-probs of sampled tokens."""

    token_logprobs: list[float]


class PromptLogprob(_Answer):
    """The log-prob of one token of a prompt."""

    logprob: float


class Choice(_Answer):
    """One completion."""

    token_ids: list[int] | None = None
    prompt_token_ids: list[int] | None = None
    logprobs: Logprobs | None = None
    prompt_logprobs: list[dict[str, PromptLogprob] | None] | None = None


class Completion(_Answer):
    """The answer of ``/v1/completions``."""

    choices: list[Choice]


class Model(_Answer):
    """A model or adapter that is served; ``root`` is what it was loaded from."""

    id: str
    max_model_len: int | None = None
    parent: str | None = None


class Models(_Answer):
    """The answer of ``/v1/models``."""

    data: list[Model]


class WeightInfo(_Answer):
    """The answer of ``/weight_info``: what the last to load weights called them; ``default`` after a start."""

    weight_version: str


def completion_body(model: str, request: GenerateRequest) -> Body:
    """The body that samples ``request`` from the plain softmax, with exact ids in and out."""
    params = request.params
    return {
        "model": model,
        "prompt": list(request.prompt_ids),
        "max_tokens": params.max_tokens,
        "temperature": params.temperature,
        "stop_token_ids": list(params.stop_ids),
        "ignore_eos": True,  # the stop ids say what ends a call
        "logprobs": 0,  # of the sampled token only
        "return_token_ids": True,
        "skip_special_tokens": False,
        "seed": seed_of(request.rng_key) if request.rng_key else None,
        **PLAIN_SOFTMAX,
    }


def scoring_body(model: str, prompt_ids: Sequence[int], token_ids: Sequence[int]) -> Body:
    """The body that scores ``token_ids`` after ``prompt_ids`` at temperature 1."""
    return {
        "model": model,
        "prompt": [*prompt_ids, *token_ids],
        "max_tokens": 1,
        "temperature": 1.0,
        "prompt_logprobs": 0,
        **PLAIN_SOFTMAX,
    }


def parse(kind: type[M], content: bytes, path: str) -> M:
    """The answer of ``path`` as ``kind``.

    Raises:
        EngineError: it is something else.
    """
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        raise EngineError(f"{path} answered something else than a vLLM server does: {error}") from error


def read_generation(answer: Completion, request: GenerateRequest, version: int, url: str) -> Generation:
    """The generation in an answer.

    Raises:
        EngineError: token ids or log-probs are missing, or the prompt was changed.
    """
    choice = answer.choices[0] if answer.choices else Choice()
    if choice.token_ids is None or choice.logprobs is None:
        raise EngineError(f"{url} returned no token ids or log-probs: it needs a vLLM with return_token_ids")
    tokens, logprobs = tuple(choice.token_ids), tuple(choice.logprobs.token_logprobs)
    if len(tokens) != len(logprobs) or not tokens:
        raise EngineError(f"{url} returned {len(tokens)} tokens with {len(logprobs)} log-probs")
    if choice.prompt_token_ids is not None and tuple(choice.prompt_token_ids) != request.prompt_ids:
        raise EngineError(f"{url} changed the prompt: {len(choice.prompt_token_ids)} tokens came back")
    return Generation(tokens, logprobs, version, finish_of(tokens, request))


def finish_of(tokens: Sequence[int], request: GenerateRequest) -> Literal["stop", "length"]:
    """Why a call ended."""
    return "stop" if tokens[-1] in request.params.stop_ids else "length"


def read_scores(answer: Completion, prompt_ids: Sequence[int], token_ids: Sequence[int], url: str) -> tuple[float, ...]:
    """The log-probs of ``token_ids`` in the answer to a :func:`scoring_body`.

    Raises:
        EngineError: some are missing.
    """
    whole = [*prompt_ids, *token_ids]
    given = answer.choices[0].prompt_logprobs if answer.choices else None
    if given is None or len(given) != len(whole):
        raise EngineError(f"{url} returned no log-probs for the prompt")
    scores = []
    for token, entry in list(zip(whole, given, strict=True))[len(prompt_ids) :]:
        if entry is None or str(token) not in entry:
            raise EngineError(f"{url} returned no log-prob for token {token}")
        scores.append(entry[str(token)].logprob)
    return tuple(scores)


def seed_of(rng_key: Sequence[int]) -> int:
    """A seed of 63 bits from a counter-based key."""
    packed = struct.pack(f"<{len(rng_key)}Q", *(part % (1 << 64) for part in rng_key))
    return int.from_bytes(hashlib.blake2b(packed, digest_size=8).digest(), "little") >> 1


def check_room(request: GenerateRequest, max_context: int) -> None:
    """Refuse an empty prompt, and one that leaves no room for the answer.

    Raises:
        EngineError: for these.
    """
    if not request.prompt_ids:
        raise EngineError(f"session {request.session}: the prompt is empty")
    if len(request.prompt_ids) + request.params.max_tokens > max_context:
        raise EngineError(
            f"session {request.session}: {len(request.prompt_ids)} prompt tokens and up to {request.params.max_tokens} new"
            f" ones exceed the context of {max_context}"
        )
