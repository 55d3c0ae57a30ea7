"""A vLLM server as policy engine: token ids in and out over HTTP, new weights through its development endpoints.

Start the server with ``VLLM_SERVER_DEV_MODE=1 vllm serve MODEL --logprobs-mode processed_logprobs``: else the
log-probs are not those of the sampling temperature, and weights can't be published.
"""

from __future__ import annotations

import asyncio
import hashlib
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError

from reskill_agents.engine import GenerateRequest, Generation
from reskill_agents.engines.loop_thread import LoopThread
from reskill_agents.errors import EngineError

if TYPE_CHECKING:
    import torch

M = TypeVar("M", bound=BaseModel)
_BACKOFF_S = 0.2  # before the first retry; doubles
_PLAIN_SOFTMAX: dict[str, float] = {  # sent always: the server would take a model's generation_config.json otherwise
    "top_p": 1.0,
    "top_k": -1,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
}


class _Logprobs(BaseModel):
    token_logprobs: list[float]


class _PromptLogprob(BaseModel):
    model_config = ConfigDict(extra="ignore")
    logprob: float


class _Choice(BaseModel):
    model_config = ConfigDict(extra="ignore")
    token_ids: list[int] | None = None
    prompt_token_ids: list[int] | None = None
    logprobs: _Logprobs | None = None
    prompt_logprobs: list[dict[str, _PromptLogprob] | None] | None = None


class _Completion(BaseModel):
    model_config = ConfigDict(extra="ignore")
    choices: list[_Choice]


class _Model(BaseModel):
    model_config = ConfigDict(extra="ignore")
    id: str
    max_model_len: int


class _Models(BaseModel):
    model_config = ConfigDict(extra="ignore")
    data: list[_Model]


class VLLMEngine:
    """A :class:`~reskill_agents.engine.PolicyEngine` over one vLLM server. :meth:`connect` asks it for its model.

    The server batches and keeps prefixes cached by itself, so sessions need no announcing. A generation is never split
    over two versions of the weights: publishing waits for the calls under way and holds back new ones.

    Args:
        url: e.g. ``http://127.0.0.1:8000``.
        model: the name under which the server serves.
        max_context: tokens of prompt and answer.
        weights_dir: where to write state dicts for the server to read (a folder both see); only for :meth:`publish`
            with tensors.
        timeout_s: of one HTTP call.
        retries: after the first attempt, when the server can't be reached, times out or answers 5xx.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str,
        max_context: int,
        weights_dir: Path | None = None,
        timeout_s: float = 300.0,
        retries: int = 2,
    ) -> None:
        self.url = url.rstrip("/")
        self.model = model
        self.max_context = max_context
        self._weights_dir = weights_dir
        self._timeout_s = timeout_s
        self._retries = retries
        self._version = 0
        self._thread = LoopThread("vllm-http")
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        self._client = httpx.AsyncClient(timeout=timeout_s, limits=limits)
        self._publishing = asyncio.Lock()
        self._idle = asyncio.Condition()
        self._under_way = 0

    @classmethod
    async def connect(
        cls, url: str, *, weights_dir: Path | None = None, timeout_s: float = 300.0, retries: int = 2
    ) -> VLLMEngine:
        """The engine for the first model that the server at ``url`` serves.

        Raises:
            EngineError: when it can't be reached or serves none.
        """
        engine = cls(url, model="", max_context=0, weights_dir=weights_dir, timeout_s=timeout_s, retries=retries)
        try:
            models = _parse(_Models, await engine._thread.run(engine._call("GET", "/v1/models")), "/v1/models")
            if not models.data:
                raise EngineError(f"{engine.url} serves no model")
        except EngineError:
            await engine.aclose()
            raise
        engine.model, engine.max_context = models.data[0].id, models.data[0].max_model_len
        return engine

    @property
    def version(self) -> int:
        """The version published last; 0 before the first."""
        return self._version

    def open(self, session: str) -> None:
        """Nothing to do: the server batches whatever arrives."""

    def release(self, session: str) -> None:
        """Nothing to do: the server evicts prefixes by itself."""

    async def generate(self, request: GenerateRequest) -> Generation:
        """Sample one completion.

        Raises:
            EngineError: the server is down, timed out, refused, or left out token ids or log-probs.
        """
        params = request.params
        if not request.prompt_ids:
            raise EngineError(f"session {request.session}: the prompt is empty")
        if len(request.prompt_ids) + params.max_tokens > self.max_context:
            raise EngineError(
                f"session {request.session}: {len(request.prompt_ids)} prompt tokens and up to {params.max_tokens} new"
                f" ones exceed the context of {self.max_context}"
            )
        body = {
            "model": self.model,
            "prompt": list(request.prompt_ids),
            "max_tokens": params.max_tokens,
            "temperature": params.temperature,
            "stop_token_ids": list(params.stop_ids),
            "ignore_eos": True,  # the stop ids say what ends a call
            "logprobs": 0,  # of the sampled token only
            "return_token_ids": True,
            "skip_special_tokens": False,
            "seed": _seed(request.rng_key) if request.rng_key else None,
            **_PLAIN_SOFTMAX,
        }
        answer, version = await self._thread.run(self._complete(body))
        choice = answer.choices[0] if answer.choices else _Choice()
        if choice.token_ids is None or choice.logprobs is None:
            raise EngineError(f"{self.url} returned no token ids or log-probs: it needs a vLLM with return_token_ids")
        tokens, logprobs = tuple(choice.token_ids), tuple(choice.logprobs.token_logprobs)
        if len(tokens) != len(logprobs) or not tokens:
            raise EngineError(f"{self.url} returned {len(tokens)} tokens with {len(logprobs)} log-probs")
        if choice.prompt_token_ids is not None and tuple(choice.prompt_token_ids) != request.prompt_ids:
            raise EngineError(f"{self.url} changed the prompt: {len(choice.prompt_token_ids)} tokens came back")
        finish: Literal["stop", "length"] = "stop" if tokens[-1] in params.stop_ids else "length"
        return Generation(tokens, logprobs, version, finish)

    async def score(
        self, prompt_ids: Sequence[int], token_ids: Sequence[int], *, temperature: float = 1.0
    ) -> tuple[float, ...]:
        """Log-probs of ``token_ids`` after ``prompt_ids``.

        Raises:
            EngineError: at another temperature than 1: the server scores prompts before temperature.
        """
        if temperature not in (0.0, 1.0):
            raise EngineError(f"vLLM scores prompts at temperature 1 only, not {temperature}")
        whole = [*prompt_ids, *token_ids]
        body = {
            "model": self.model,
            "prompt": whole,
            "max_tokens": 1,
            "temperature": 1.0,
            "prompt_logprobs": 0,
            **_PLAIN_SOFTMAX,
        }
        answer, _ = await self._thread.run(self._complete(body))
        given = answer.choices[0].prompt_logprobs if answer.choices else None
        if given is None or len(given) != len(whole):
            raise EngineError(f"{self.url} returned no log-probs for the prompt")
        scores = []
        for token, entry in list(zip(whole, given, strict=True))[len(prompt_ids) :]:
            if entry is None or str(token) not in entry:
                raise EngineError(f"{self.url} returned no log-prob for token {token}")
            scores.append(entry[str(token)].logprob)
        return tuple(scores)

    async def publish(self, weights: Mapping[str, torch.Tensor] | Path, version: int) -> None:
        """Pause, load new weights, drop the prefix cache, resume.

        Raises:
            EngineError: when any of it fails (the server is resumed if it still answers), or for tensors without a
                ``weights_dir``.
        """
        folder = weights if isinstance(weights, Path) else await asyncio.to_thread(self._save, weights, version)
        await self._thread.run(self._reload(folder, version))

    async def aclose(self) -> None:
        """Close the connections."""
        if not self._client.is_closed:
            await self._thread.run(self._client.aclose())
        self._thread.stop()

    async def _complete(self, body: Mapping[str, object]) -> tuple[_Completion, int]:
        """The server's answer and the version of the weights that gave it."""
        async with self._publishing:
            self._under_way += 1
        try:
            version = self._version
            return _parse(_Completion, await self._call("POST", "/v1/completions", body), "/v1/completions"), version
        finally:
            self._under_way -= 1
            async with self._idle:
                self._idle.notify_all()

    async def _reload(self, folder: Path, version: int) -> None:
        async with self._publishing:
            async with self._idle:
                await self._idle.wait_for(lambda: self._under_way == 0)
            await self._call("POST", "/pause?mode=keep")
            try:
                reload = {"method": "reload_weights", "kwargs": {"weights_path": str(folder)}}
                await self._call("POST", "/collective_rpc", reload)
                await self._call("POST", "/reset_prefix_cache")
                self._version = version
            finally:
                await self._call("POST", "/resume")

    def _save(self, weights: Mapping[str, torch.Tensor], version: int) -> Path:
        if self._weights_dir is None:
            raise EngineError("publishing tensors to a vLLM server needs weights_dir, a folder that it can read")
        from safetensors.torch import save_file

        folder = self._weights_dir / f"version-{version}"
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = folder / "model.safetensors.part"
        save_file({name: tensor.detach().contiguous().cpu() for name, tensor in weights.items()}, unfinished)
        unfinished.rename(folder / "model.safetensors")
        return folder

    async def _call(self, method: str, path: str, body: Mapping[str, object] | None = None) -> bytes:
        problem = ""
        for attempt in range(self._retries + 1):
            if attempt:
                await asyncio.sleep(_BACKOFF_S * 2 ** (attempt - 1))
            try:
                response = await self._client.request(method, self.url + path, json=body)
            except httpx.TimeoutException:
                problem = f"no answer within {self._timeout_s} s"
            except httpx.HTTPError as error:
                problem = f"{type(error).__name__}: {error}"
            else:
                if response.is_success:
                    return response.content
                problem = f"status {response.status_code}: {response.text[:500]}"
                if response.status_code < 500:
                    break
        raise EngineError(f"{method} {self.url}{path}: {problem}")


def _parse(kind: type[M], content: bytes, path: str) -> M:
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        raise EngineError(f"{path} answered something else than a vLLM server does: {error}") from error


def _seed(rng_key: Sequence[int]) -> int:
    packed = struct.pack(f"<{len(rng_key)}Q", *(part % (1 << 64) for part in rng_key))
    return int.from_bytes(hashlib.blake2b(packed, digest_size=8).digest(), "little") >> 1
