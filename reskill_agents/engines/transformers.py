"""The embedded engine: any Hugging Face causal language model in this process."""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from reskill_agents.engine import GenerateRequest, Generation
from reskill_agents.engines.padded import PaddedForward
from reskill_agents.engines.rounds import RoundScheduler
from reskill_agents.engines.row_cache import ATTENTION, RowForward
from reskill_agents.engines.sampling import uniforms
from reskill_agents.errors import EngineError

_WEIGHTS = ("*.safetensors", "*.bin", "*.index.json")
_PROBE = (1, 2, 3, 2, 1, 3)
_PROBE_TOLERANCE = 1e-3  # logits of the two ways to run a model, float32; a wrong mask is off by far more


@dataclass(slots=True)
class EngineStats:
    """What the engine did so far. ``diverged``: calls whose prompt did not extend what their session had cached."""

    rounds: int = 0
    calls: int = 0
    diverged: int = 0
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
        self._listeners: dict[GenerateRequest, Callable[[int], None]] = {}
        self._rows: dict[str, _Row] = {}
        self._free_rows: list[int] = []
        self._forward = _row_forward(self.model)
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

        def listen(token: int) -> None:
            loop.call_soon_threadsafe(tokens.put_nowait, token)

        self._listeners[request] = listen
        answer = asyncio.ensure_future(self.generate(request))
        answer.add_done_callback(lambda _: tokens.put_nowait(None))
        try:
            while (token := await tokens.get()) is not None:
                yield token
            yield await answer
        finally:
            del self._listeners[request]
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

    def _run_round(self, requests: Sequence[GenerateRequest]) -> list[Generation]:
        started = time.perf_counter()
        listeners = [self._listeners.get(request) for request in requests] if self._listeners else []
        sampler = _Sampler(requests, [self._key(request) for request in requests], listeners)
        if self._forward is None:
            self._sample_padded(requests, sampler)
        else:
            self._sample_rows(self._forward, requests, sampler)
        self.stats.rounds += 1
        self.stats.calls += len(requests)
        self.stats.sampled_tokens += sum(len(tokens) for tokens in sampler.tokens)
        self.stats.wall_s += time.perf_counter() - started
        return sampler.generations(self._version)

    def _sample_rows(self, forward: RowForward, requests: Sequence[GenerateRequest], sampler: _Sampler) -> None:
        rows = [self._row(request.session) for request in requests]
        starts = [self._common(row, request.prompt_ids) for row, request in zip(rows, requests, strict=True)]
        new = [request.prompt_ids[start:] for request, start in zip(requests, starts, strict=True)]
        self.stats.cached_tokens += sum(starts)
        self.stats.prefilled_tokens += sum(map(len, new))
        logits = forward([row.index for row in rows], starts, new)
        active = sampler.sample(logits, range(len(requests)))
        while active:
            lengths = [len(requests[i].prompt_ids) + len(sampler.tokens[i]) - 1 for i in active]
            last = [sampler.tokens[i][-1:] for i in active]
            active = sampler.sample(forward([rows[i].index for i in active], lengths, last), active)
        for row, request, tokens in zip(rows, requests, sampler.tokens, strict=True):
            row.cached = request.prompt_ids + tuple(tokens[:-1])  # the last token was never fed
            if not self._rounds.is_open(request.session):
                self._free(request.session)

    def _sample_padded(self, requests: Sequence[GenerateRequest], sampler: _Sampler) -> None:
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
        state = dict(weights) if isinstance(weights, Mapping) else _read_weights(weights)
        own = self.model.state_dict()
        tied = set(getattr(self.model, "all_tied_weights_keys", None) or ())
        problems = [f"missing {name}" for name in own.keys() - state.keys() - tied]
        problems += [f"unknown {name}" for name in state.keys() - own.keys()]
        problems += [
            f"{name} has shape {tuple(state[name].shape)}, not {tuple(own[name].shape)}"
            for name in own.keys() & state.keys()
            if state[name].shape != own[name].shape
        ]
        if problems:
            raise EngineError(f"weights version {version} do not fit the model: {'; '.join(sorted(problems)[:5])}")
        self.model.load_state_dict(state, strict=False)
        self._version = version
        for row in list(self._rows.values()):
            row.cached = ()


class _Sampler:
    """The sampled tokens of one round and their log-probs."""

    def __init__(
        self,
        requests: Sequence[GenerateRequest],
        keys: Sequence[tuple[int, ...]],
        listeners: Sequence[Callable[[int], None] | None] = (),
    ) -> None:
        self._listeners = listeners
        self._params = [request.params for request in requests]
        self._draws = np.zeros((len(requests), max(params.max_tokens for params in self._params)))
        for i, (params, key) in enumerate(zip(self._params, keys, strict=True)):
            if params.temperature > 0:
                self._draws[i, : params.max_tokens] = uniforms(key, params.max_tokens)
        self._temperatures = torch.tensor([params.temperature or 1.0 for params in self._params])[:, None]
        self._greedy = torch.tensor([params.temperature == 0 for params in self._params])
        self.tokens: list[list[int]] = [[] for _ in requests]
        self.logprobs: list[list[float]] = [[] for _ in requests]

    def sample(self, logits: Tensor, calls: Sequence[int]) -> list[int]:
        """One token for each of ``calls`` from its row of ``logits``; the calls that go on.

        Inverts the cumulative distribution at a draw that belongs to (call, position): the plain softmax.
        """
        index = torch.tensor(calls)
        logprobs = torch.log_softmax(logits.float() / self._temperatures[index].to(logits.device), dim=-1)
        draw = torch.from_numpy(self._draws[list(calls), [len(self.tokens[i]) for i in calls]]).to(logits.device)
        cumulative = logprobs.double().exp().cumsum(-1)
        picked = torch.searchsorted(cumulative, draw[:, None] * cumulative[:, -1:], right=True)
        picked = picked.clamp(max=logprobs.shape[-1] - 1)
        greedy = self._greedy[index].to(logits.device)
        if greedy.any():
            picked = torch.where(greedy[:, None], logprobs.argmax(-1, keepdim=True), picked)
        values = logprobs.gather(1, picked)[:, 0].tolist()
        going = []
        for call, token, value in zip(calls, picked[:, 0].tolist(), values, strict=True):
            self.tokens[call].append(token)
            self.logprobs[call].append(value)
            if self._listeners and (listener := self._listeners[call]) is not None:
                listener(token)
            params = self._params[call]
            if token not in params.stop_ids and len(self.tokens[call]) < params.max_tokens:
                going.append(call)
        return going

    def generations(self, version: int) -> list[Generation]:
        """The finished calls, in the order of the requests."""
        return [
            Generation(tuple(tokens), tuple(logprobs), version, "stop" if tokens[-1] in params.stop_ids else "length")
            for tokens, logprobs, params in zip(self.tokens, self.logprobs, self._params, strict=True)
        ]


def load_model(name_or_path: str | Path, *, dtype: torch.dtype = torch.float32, seed: int = 0) -> PreTrainedModel:
    """A causal language model by Hugging Face name or folder; random weights when the folder holds none.

    Raises:
        EngineError: when there is no such model or it can't be read.
    """
    folder = Path(name_or_path)
    try:
        if folder.is_dir() and not any(next(folder.glob(pattern), None) for pattern in _WEIGHTS):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                config = AutoConfig.from_pretrained(folder)
                model: PreTrainedModel = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
        else:
            model = AutoModelForCausalLM.from_pretrained(name_or_path, dtype=dtype)
        nn.Module.to(model, dtype=dtype)
    except (OSError, ValueError) as error:
        raise EngineError(f"cannot load a causal language model from {str(name_or_path)!r}: {error}") from error
    return model


def _read_weights(folder: Path) -> dict[str, Tensor]:
    if not folder.is_dir():
        raise EngineError(f"no folder of weights at {folder}")
    return dict(load_model(folder).state_dict())


def _row_forward(model: PreTrainedModel) -> RowForward | None:
    """Packed forward passes over a row cache, if this model gives the same logits that way; checked, not assumed."""
    before = model.config._attn_implementation or "eager"
    vocabulary = int(model.config.get_text_config().vocab_size)
    probe = [token % vocabulary for token in _PROBE]
    with torch.inference_mode():
        expected = model(input_ids=torch.tensor([probe], device=model.device), use_cache=False).logits[0, -1]
    try:
        model.set_attn_implementation(ATTENTION)
        forward = RowForward(model)
        forward([0, 1], [0, 0], [probe[:2], probe[:4]])
        logits = forward([1, 0], [4, 2], [probe[4:], probe[2:]])
        tolerance = _PROBE_TOLERANCE if model.dtype == torch.float32 else 0.1
        if torch.allclose(logits.float(), expected.float().expand(2, -1), atol=tolerance, rtol=tolerance):
            forward.cache.clear()
            return forward
    except (AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError):
        pass
    model.set_attn_implementation(before)
    return None
