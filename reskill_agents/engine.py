"""The seam between an agent and whatever samples its tokens.

``tests/contracts/engine.py`` checks any implementation.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How to sample. The plain softmax at ``temperature``; no mask and no top-p, so that log-probs are exact.

    Args:
        temperature: > 0, or 0 for greedy (evaluation only; log-probs are then those at temperature 1).
        max_tokens: at most this many tokens a call, end token included.
        stop_ids: a sampled id in here ends the call and is kept as the last sampled token.
    """

    temperature: float = 1.0
    max_tokens: int = 256
    stop_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """One model call.

    Args:
        session: the episode's id. Consecutive calls of a session extend one prompt; the engine may keep its KV cache.
        prompt_ids: the whole prompt.
        params: how to sample.
        rng_key: counter-based randomness (seed, step, task, rollout, turn): the same key, weights and prompt give the
            same tokens, whatever else is in the batch.
    """

    session: str
    prompt_ids: tuple[int, ...]
    params: SamplingParams
    rng_key: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Generation:
    """What was sampled. ``logprobs[i]`` is log p(token i) in nats at the request's temperature; same length as tokens."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    version: int
    finish: Literal["stop", "length"]


@runtime_checkable
class PolicyEngine(Protocol):
    """Token ids in, token ids and log-probs out. Raises :class:`~reskill_agents.errors.EngineError` when it can't."""

    max_context: int

    @property
    def version(self) -> int:
        """The version of the weights that sample now; 0 before the first publish."""
        ...

    def open(self, session: str) -> None:
        """Announce an episode. Between ``open`` and ``release`` the engine may wait for its next call to fill a batch."""
        ...

    def release(self, session: str) -> None:
        """The episode makes no more calls; frees its cache. Unknown sessions are ignored."""
        ...

    async def generate(self, request: GenerateRequest) -> Generation:
        """Sample one completion."""
        ...

    async def score(
        self, prompt_ids: Sequence[int], token_ids: Sequence[int], *, temperature: float = 1.0
    ) -> tuple[float, ...]:
        """Log-probs of ``token_ids`` after ``prompt_ids`` under the current weights."""
        ...

    async def publish(self, weights: Mapping[str, torch.Tensor] | Path, version: int) -> None:
        """Load new weights (a state dict, or a folder in Hugging Face layout) and drop every cache."""
        ...

    async def aclose(self) -> None:
        """Free what the engine holds."""
        ...


@runtime_checkable
class StreamingEngine(PolicyEngine, Protocol):
    """An engine that can hand out tokens while it samples."""

    def stream(self, request: GenerateRequest) -> AsyncIterator[int | Generation]:
        """The tokens of ``generate(request)`` one by one as they are sampled, then the whole generation."""
        ...
