"""The embedded engine: any Hugging Face causal language model in this process."""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from reskill_agents.engine import GenerateRequest, Generation
from reskill_agents.engines.loading import load_model, load_weights
from reskill_agents.engines.padded import PaddedForward
from reskill_agents.engines.rounds import RoundScheduler
from reskill_agents.engines.row_cache import RowForward, row_forward
from reskill_agents.engines.sampler import RoundSampler
from reskill_agents.errors import EngineError


@dataclass(slots=True)
class EngineStats:
    """What the engine did so far.

    ``diverged``: calls whose prompt did not extend what their session had cached; ``uncached_rounds``: rounds for which
    the cache had no room.
    """

    rounds: int = 0
    calls: int = 0
    diverged: int = 0
    uncached_rounds: int = 0
    cached_tokens: int = 0
    prefilled_tokens: int = 0
    sampled_tokens: int = 0
    wall_s: float = 0.0


@dataclass(slots=True)
class _Row:
    index: int
    cached: tuple[int, ...] = ()


class TransformersEngine:
    """A :class:`~reskill_agents.engine.PolicyEngine` over an in-process model.

    Calls of concurrent episodes are answered in rounds (:class:`~reskill_agents.engines.rounds.RoundScheduler`); open
    sessions keep their keys and values between calls, so each turn pays only for its new tokens. A prompt that does
    not extend its session's cache is computed again from the first token that differs (counted in ``stats``). The
    log-probs are float32 whatever the model's type.

    Args:
        model_or_path: Hugging Face name or folder (a folder without weights starts from random ones), or a model,
            which is copied.
        dtype: of the weights.
        threads: intra-op threads; process-wide in torch. ``None`` leaves them.
        device: ``cpu``, ``cuda``, ...
        max_context: tokens of prompt and answer; default: the model's own limit.
        cache_gb: memory for the keys and values of open sessions, in GB; a round that needs more is answered in parts
            that keep nothing.
        cohorts, max_wait_s, max_batch: see :class:`~reskill_agents.engines.rounds.RoundScheduler`.
        seed: for random weights, and for requests without an ``rng_key``.

    Raises:
        EngineError: when the model can't be loaded.
    """

    def __init__(
        self,
        model_or_path: str | Path | PreTrainedModel,
        *,
        dtype: torch.dtype = torch.float32,
        threads: int | None = None,
        device: str = "cpu",
        max_context: int | None = None,
        cache_gb: float = 8.0,
        cohorts: int = 1,
        max_wait_s: float | None = None,
        max_batch: int = 512,
        seed: int = 0,
    ) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        if isinstance(model_or_path, PreTrainedModel):
            model = copy.deepcopy(model_or_path)
        else:
            model = load_model(model_or_path, dtype=dtype, seed=seed)
        nn.Module.to(model, device=device, dtype=dtype)  # the subclass's own wrapper is untyped
        self.model: PreTrainedModel = model
        self.model.train(False)
        self.max_context: int = max_context or int(getattr(self.model.config, "max_position_embeddings", 0) or 4096)
        self.stats = EngineStats()
        self._version = 0
        self._seed = seed
        self._keyless = 0
        self._listeners: dict[int, Callable[[int], None]] = {}  # by identity of the request: two may be equal
        self._rows: dict[str, _Row] = {}
        self._free_rows: list[int] = []
        self._forward = row_forward(self.model)
        self._cache_bytes = cache_gb * 1e9
        start = partial(torch.set_num_threads, threads) if threads is not None else None
        self._rounds = RoundScheduler(
            self._run_round, cohorts=cohorts, max_wait_s=max_wait_s, max_batch=max_batch, on_thread_start=start
        )

    @property
    def version(self) -> int:
        """The version of the weights that sample now."""
        return self._version

    @property
    def reuses_cache(self) -> bool:
        """Whether this architecture keeps its keys and values between the turns of a session."""
        return self._forward is not None

    def open(self, session: str) -> None:
        """Announce an episode: rounds wait for its calls."""
        self._rounds.open(session)

    def release(self, session: str) -> None:
        """The episode makes no more calls; its row is free for the next one."""
        self._rounds.release(session)
        self._free(session)

    async def generate(self, request: GenerateRequest) -> Generation:
        """Sample one completion.

        Raises:
            EngineError: for an empty prompt, or one that leaves no room for ``max_tokens`` of answer.
        """
        if not request.prompt_ids:
            raise EngineError(f"session {request.session}: the prompt is empty")
        if request.params.max_tokens < 1:
            raise EngineError(f"max_tokens must be at least 1, got {request.params.max_tokens}")
        if len(request.prompt_ids) + request.params.max_tokens > self.max_context:
            raise EngineError(
                f"session {request.session}: {len(request.prompt_ids)} prompt tokens and up to"
                f" {request.params.max_tokens} new ones exceed the context of {self.max_context}"
            )
        return await self._rounds.submit(request)

    async def stream(self, request: GenerateRequest) -> AsyncIterator[int | Generation]:
        """The tokens of :meth:`generate` as they are sampled, then the generation."""
        loop, tokens = asyncio.get_running_loop(), asyncio.Queue[int | None]()
        request = replace(request)  # one of its own

        def listen(token: int) -> None:
            loop.call_soon_threadsafe(tokens.put_nowait, token)

        self._listeners[id(request)] = listen
        answer = asyncio.ensure_future(self.generate(request))
        answer.add_done_callback(lambda _: tokens.put_nowait(None))
        try:
            while (token := await tokens.get()) is not None:
                yield token
            yield await answer
        finally:
            del self._listeners[id(request)]
            answer.cancel()

    async def score(
        self, prompt_ids: Sequence[int], token_ids: Sequence[int], *, temperature: float = 1.0
    ) -> tuple[float, ...]:
        """Log-probs of ``token_ids`` after ``prompt_ids``, by one forward pass without any cache."""
        return await self._rounds.call(partial(self._score, tuple(prompt_ids), tuple(token_ids), temperature))

    async def publish(self, weights: Mapping[str, Tensor] | Path, version: int) -> None:
        """Load new weights between two rounds and drop every cache.

        Raises:
            EngineError: when names or shapes do not fit; the old weights then stay.
        """
        await self._rounds.call(partial(self._publish, weights, version))

    async def aclose(self) -> None:
        """Stop the worker thread and free the cache."""
        self._rounds.close()
        self._rows.clear()
        if self._forward is not None:
            self._forward.cache.clear()

    @torch.inference_mode()
    def _run_round(self, requests: Sequence[GenerateRequest]) -> list[Generation]:
        started = time.perf_counter()
        listeners = [self._listeners.get(id(request)) for request in requests] if self._listeners else []
        sampler = RoundSampler(requests, [self._key(request) for request in requests], listeners)
        if self._forward is None:
            self._sample_padded(requests, sampler)
        else:
            self._sample_rows(self._forward, requests, sampler)
        self.stats.rounds += 1
        self.stats.calls += len(requests)
        self.stats.sampled_tokens += sum(len(tokens) for tokens in sampler.tokens)
        self.stats.wall_s += time.perf_counter() - started
        return sampler.generations(self._version)

    def _sample_rows(self, forward: RowForward, requests: Sequence[GenerateRequest], sampler: RoundSampler) -> None:
        rows = [self._row(request.session) for request in requests]
        slots = max(len(request.prompt_ids) + request.params.max_tokens for request in requests)
        fitting = forward.cache.rows_in(self._cache_bytes, slots)
        if max(row.index for row in rows) >= fitting:
            self._sample_in_parts(forward, requests, sampler, max(1, fitting))
        else:
            indices = [row.index for row in rows]
            starts = [self._common(row, request.prompt_ids) for row, request in zip(rows, requests, strict=True)]
            self._advance(forward, requests, sampler, range(len(requests)), indices, starts)
            for row, request, tokens in zip(rows, requests, sampler.tokens, strict=True):
                row.cached = request.prompt_ids + tuple(tokens[:-1])  # the last token was never fed
        for request in requests:
            if not self._rounds.is_open(request.session):
                self._free(request.session)

    def _sample_in_parts(
        self, forward: RowForward, requests: Sequence[GenerateRequest], sampler: RoundSampler, size: int
    ) -> None:
        self.stats.uncached_rounds += 1
        for row in list(self._rows.values()):
            row.cached = ()
        for first in range(0, len(requests), size):
            forward.cache.clear()
            part = range(first, min(first + size, len(requests)))
            self._advance(forward, requests, sampler, part, list(range(len(part))), [0] * len(part))
        forward.cache.clear()

    def _advance(
        self,
        forward: RowForward,
        requests: Sequence[GenerateRequest],
        sampler: RoundSampler,
        calls: Sequence[int],
        rows: Sequence[int],
        starts: Sequence[int],
    ) -> None:
        """Sample the answers to ``calls``, given the row of each and how many tokens of the prompt it holds."""
        row_of = dict(zip(calls, rows, strict=True))
        prompts = [requests[call].prompt_ids for call in calls]
        active = sampler.sample(self._prefill(forward, prompts, rows, starts), calls)
        while active:
            lengths = [len(requests[call].prompt_ids) + len(sampler.tokens[call]) - 1 for call in active]
            last = [sampler.tokens[call][-1:] for call in active]
            active = sampler.sample(forward([row_of[call] for call in active], lengths, last), active)

    def _prefill(
        self, forward: RowForward, prompts: Sequence[tuple[int, ...]], rows: Sequence[int], starts: Sequence[int]
    ) -> Tensor:
        """Feed what the rows do not hold yet; the logits after each prompt.

        Members of a group start with equal prompts: such a prompt is fed once and its row copied.
        """
        fed: list[int] = []
        feeds: list[int] = []  # for each prompt the place of its row among those fed
        first: dict[tuple[int, ...], int] = {}
        for place, (prompt, start) in enumerate(zip(prompts, starts, strict=True)):
            feeds.append(len(fed) if start else first.setdefault(prompt, len(fed)))
            if feeds[-1] == len(fed):
                fed.append(place)
        new = [prompts[place][starts[place] :] for place in fed]
        logits = forward([rows[place] for place in fed], [starts[place] for place in fed], new)
        self.stats.prefilled_tokens += sum(map(len, new))
        self.stats.cached_tokens += sum(map(len, prompts)) - sum(map(len, new))
        copies = [(rows[fed[feed]], rows[place]) for place, feed in enumerate(feeds) if fed[feed] != place]
        if not copies:
            return logits
        forward.cache.copy_rows(copies, max(len(prompts[place]) for place in fed))
        return logits[feeds]

    def _sample_padded(self, requests: Sequence[GenerateRequest], sampler: RoundSampler) -> None:
        padded = PaddedForward(self.model)
        self.stats.prefilled_tokens += sum(len(request.prompt_ids) for request in requests)
        active = sampler.sample(padded.start([request.prompt_ids for request in requests]), range(len(requests)))
        while active:
            logits = padded.extend([tokens[-1] for tokens in sampler.tokens])
            active = sampler.sample(logits[active], active)

    def _row(self, session: str) -> _Row:
        row = self._rows.get(session)
        if row is None:
            index = self._free_rows.pop() if self._free_rows else len(self._rows)
            row = self._rows[session] = _Row(index)
        return row

    def _free(self, session: str) -> None:
        row = self._rows.pop(session, None)
        if row is not None:
            self._free_rows.append(row.index)

    def _common(self, row: _Row, prompt: tuple[int, ...]) -> int:
        """How many tokens of ``prompt`` the row holds; at least the last one is left to be fed."""
        held = len(row.cached)
        if held < len(prompt) and prompt[:held] == row.cached:
            return held
        self.stats.diverged += 1
        pairs = zip(prompt[:-1], row.cached, strict=False)
        return next((i for i, (a, b) in enumerate(pairs) if a != b), min(held, len(prompt) - 1))

    def _key(self, request: GenerateRequest) -> tuple[int, ...]:
        if request.rng_key:
            return request.rng_key
        self._keyless += 1
        return (self._seed, self._keyless, 0x6B65796C657373)

    @torch.inference_mode()
    def _score(self, prompt: tuple[int, ...], tokens: tuple[int, ...], temperature: float) -> tuple[float, ...]:
        ids = torch.tensor([prompt + tokens], device=self.model.device)
        logits = self.model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1].float()
        logprobs = torch.log_softmax(logits / (temperature or 1.0), dim=-1)
        picked = logprobs.gather(1, ids[0, len(prompt) :, None])[:, 0]
        return tuple(picked.tolist())

    def _publish(self, weights: Mapping[str, Tensor] | Path, version: int) -> None:
        load_weights(self.model, weights)
        self._version = version
        for row in list(self._rows.values()):
            row.cached = ()
