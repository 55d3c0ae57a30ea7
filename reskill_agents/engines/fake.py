"""A policy engine without a model: a known distribution, scripted or sampled answers, faults on demand. For tests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from reskill_agents.engine import GenerateRequest, Generation
from reskill_agents.engines.sampling import uniforms
from reskill_agents.errors import EngineError

if TYPE_CHECKING:
    import torch

Script = Callable[[GenerateRequest], Sequence[int]]
_CONTEXT = 4  # tokens that the distribution of the next one depends on
_LOGITS = 0x6C6F67697473  # keeps the draws that make logits apart from those that sample


@dataclass
class FakeEngine:
    """A :class:`~reskill_agents.engine.PolicyEngine` whose distribution is a hash of the last tokens and the version.

    Args:
        vocabulary: number of token ids.
        script: what to answer, as token ids; its log-probs are those of the same distribution. ``None`` samples.
        max_context: tokens of prompt and answer.
        seed: of the distribution.
        requests: every request so far, in order of arrival.
        published: every version published so far, with its weights.
    """

    vocabulary: int
    script: Script | None = None
    max_context: int = 4096
    seed: int = 0
    requests: list[GenerateRequest] = field(default_factory=list)
    published: list[tuple[int, Mapping[str, torch.Tensor] | Path]] = field(default_factory=list)
    sessions: set[str] = field(default_factory=set)

    @property
    def version(self) -> int:
        """The version published last; 0 before the first."""
        return self.published[-1][0] if self.published else 0

    def open(self, session: str) -> None:
        """Announce an episode."""
        self.sessions.add(session)

    def release(self, session: str) -> None:
        """The episode makes no more calls."""
        self.sessions.discard(session)

    async def generate(self, request: GenerateRequest) -> Generation:
        """The script's answer, or one sampled from the distribution.

        Raises:
            EngineError: for an empty prompt, no room for the answer, or whatever the script raises as one.
        """
        await asyncio.sleep(0)
        self.requests.append(request)
        params = request.params
        if not request.prompt_ids:
            raise EngineError("the prompt is empty")
        if len(request.prompt_ids) + params.max_tokens > self.max_context:
            raise EngineError(f"prompt and answer exceed the context of {self.max_context}")
        scripted = None if self.script is None else tuple(self.script(request))[: params.max_tokens]
        draws = uniforms(request.rng_key or (self.seed, len(self.requests)), params.max_tokens)
        tokens: list[int] = []
        logprobs: list[float] = []
        while len(tokens) < (params.max_tokens if scripted is None else len(scripted)):
            distribution = self.logprobs((*request.prompt_ids, *tokens), params.temperature)
            if scripted is not None:
                token = scripted[len(tokens)]
            elif params.temperature == 0:
                token = int(distribution.argmax())
            else:
                cumulative = np.exp(distribution).cumsum()
                token = int(np.searchsorted(cumulative, draws[len(tokens)] * cumulative[-1], side="right"))
            tokens.append(token)
            logprobs.append(float(distribution[token]))
            if token in params.stop_ids:
                break
        finish = "stop" if tokens and tokens[-1] in params.stop_ids else "length"
        return Generation(tuple(tokens), tuple(logprobs), self.version, finish)  # type: ignore[arg-type]

    def logprobs(self, context: Sequence[int], temperature: float = 1.0) -> np.ndarray:
        """Log-probs of the next token after ``context``, (vocabulary,) float64; temperature 0 counts as 1."""
        draws = uniforms((_LOGITS, self.seed, self.version, *context[-_CONTEXT:]), self.vocabulary)
        logits = 4.0 * draws / (temperature or 1.0)
        return np.asarray(logits - np.log(np.exp(logits).sum()))

    async def score(
        self, prompt_ids: Sequence[int], token_ids: Sequence[int], *, temperature: float = 1.0
    ) -> tuple[float, ...]:
        """Log-probs of ``token_ids`` after ``prompt_ids``."""
        whole = (*prompt_ids, *token_ids)
        start = len(prompt_ids)
        return tuple(float(self.logprobs(whole[:i], temperature)[whole[i]]) for i in range(start, len(whole)))

    async def publish(self, weights: Mapping[str, torch.Tensor] | Path, version: int) -> None:
        """Change the distribution to that of ``version``."""
        self.published.append((version, weights))

    async def aclose(self) -> None:
        """Forget every session."""
        self.sessions.clear()
