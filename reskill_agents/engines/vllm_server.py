"""One vLLM server over HTTP: calls with time-out and retries, loading weights, and noticing that it was restarted.

Weights carry a stamp (``/update_weight_version``) that a restarted server has lost. A restart can only hide behind a new
connection, so the stamp is read again whenever a call opened one; an idle connection costs nothing.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path

import httpx

from reskill_agents.engine import GenerateRequest, Generation
from reskill_agents.engines.vllm_wire import (
    Body,
    Completion,
    Models,
    WeightInfo,
    completion_body,
    parse,
    read_generation,
    read_scores,
    scoring_body,
)
from reskill_agents.errors import EngineError

ADAPTER_FILE = "adapter_config.json"  # PEFT's; a folder with it holds a LoRA adapter
_BACKOFF_S = 0.2  # before the first retry; doubles
_HEALTH_TIMEOUT_S = 5.0


class ServerDown(EngineError):
    """The server can't be reached, does not answer, or was restarted and holds other weights."""


class _Refused(EngineError):
    """The server is up and said no."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class VLLMServer:
    """A server as :class:`~reskill_agents.engines.vllm_http.VLLMEngine` uses it; everything on one event loop.

    Args:
        url: e.g. ``http://127.0.0.1:8000``.
        client: shared by the servers of an engine.
        timeout_s: of one HTTP call.
        retries: after the first attempt, when the server can't be reached, times out or answers 5xx.

    Attributes:
        model: the name of the base model.
        serving: what is asked for now: the base model, or an adapter over it.
        max_context: tokens of prompt and answer.
        up: takes calls.
        sessions: episodes that stick to it.
        lock: held while weights are loaded.
    """

    def __init__(self, url: str, client: httpx.AsyncClient, *, timeout_s: float, retries: int) -> None:
        self.url = url.rstrip("/")
        self.model = self.serving = ""
        self.max_context = 0
        self.up = True
        self.sessions = 0
        self.lock = asyncio.Lock()
        self._client = client
        self._timeout_s = timeout_s
        self._retries = retries
        self._adapters = 0
        self._stamp: str | None = None  # None: a server that keeps none
        self._checking = asyncio.Lock()
        self._connections = 0  # opened by calls so far
        self._checked = 0  # of these, opened before the stamp was last read

    async def greet(self) -> None:
        """Ask for the model that it serves.

        Raises:
            EngineError: it can't be reached or serves none.
        """
        models = parse(Models, await self._call("GET", "/v1/models"), "/v1/models")
        base = next((model for model in models.data if model.parent is None), None)
        if base is None:
            raise EngineError(f"{self.url} serves no model")
        self.model = self.serving = base.id
        self.max_context = base.max_model_len or 0

    async def healthy(self) -> bool:
        """Whether it says so."""
        try:
            response = await self._client.get(self.url + "/health", timeout=min(self._timeout_s, _HEALTH_TIMEOUT_S))
        except httpx.HTTPError:
            return False
        return response.is_success

    async def generate(self, request: GenerateRequest, version: int) -> Generation:
        """Sample; ``version`` is what the caller knows to be loaded.

        Raises:
            ServerDown: see there; what it sampled, if anything, is thrown away.
            EngineError: it refused, or left out token ids or log-probs.
        """
        answer = await self._complete(completion_body(self.serving, request))
        return read_generation(answer, request, version, self.url)

    async def score(self, prompt_ids: Sequence[int], token_ids: Sequence[int]) -> tuple[float, ...]:
        """Log-probs at temperature 1. Raises as :meth:`generate`."""
        answer = await self._complete(scoring_body(self.serving, prompt_ids, token_ids))
        return read_scores(answer, prompt_ids, token_ids, self.url)

    async def holds(self, stamp: str) -> bool:
        """Whether it still has the weights stamped so; false where it keeps no stamps."""
        return self._stamp is not None and await self._read_stamp() == stamp

    async def load(self, weights: Path | None, stamp: str) -> None:
        """Pause, load, drop the prefix cache, resume; the weights are called ``stamp`` from then on.

        Args:
            weights: a folder that the server can read, with weights or a LoRA adapter in Hugging Face layout; ``None``
                leaves it as it is.
            stamp: unique.

        Raises:
            EngineError: any of it failed; the server is resumed if it still answers.
        """
        if weights is not None:
            await self._call("POST", "/pause?mode=keep")
            try:
                await self._load(weights, stamp)
                await self._reset_prefix_cache()
            finally:
                await self._call("POST", "/resume")
        await self._write_stamp(stamp)

    async def _load(self, weights: Path, stamp: str) -> None:
        before = self.serving
        if (weights / ADAPTER_FILE).is_file():
            self._adapters += 1
            name = f"{stamp}-{self._adapters}"  # a fresh one: cached prefixes are kept by it
            try:
                await self._call("POST", "/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(weights)})
            except _Refused as error:
                if error.status == HTTPStatus.NOT_FOUND:
                    raise EngineError(
                        f"{error}; start it with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 where it sees that folder, "
                        "or set serving.lora_rank to 0, so that merged weights are sent"
                    ) from error
                if "already been loaded" not in str(
                    error
                ):  # by an attempt without an answer: nobody else uses the name
                    raise
            self.serving = name
        else:
            await self._call(
                "POST", "/collective_rpc", {"method": "reload_weights", "kwargs": {"weights_path": str(weights)}}
            )
            self.serving = self.model
        if before not in (self.model, self.serving):
            with suppress(_Refused):  # a restarted server never had it
                await self._call("POST", "/v1/unload_lora_adapter", {"lora_name": before})

    async def _reset_prefix_cache(self) -> None:
        content = await self._call("POST", "/reset_prefix_cache?reset_running_requests=true")
        if json.loads(content or b"{}").get("success") is False:
            raise EngineError(f"{self.url} kept its prefix cache, which holds keys and values of older weights")

    async def _write_stamp(self, stamp: str) -> None:
        opened = self._connections
        try:
            await self._call("POST", "/update_weight_version", {"new_version": stamp}, traced=False)
        except _Refused:
            self._stamp = None
        else:
            self._stamp, self._checked = stamp, opened

    async def _read_stamp(self) -> str:
        content = await self._call("GET", "/weight_info", traced=False)
        return parse(WeightInfo, content, "/weight_info").weight_version

    async def _complete(self, body: Body) -> Completion:
        try:
            content = await self._call("POST", "/v1/completions", body)
        except _Refused:  # a restarted server does not know the adapter, say
            await self._check_stamp()
            raise
        await self._check_stamp()
        return parse(Completion, content, "/v1/completions")

    async def _check_stamp(self) -> None:
        """Read the stamp if a connection was opened since it was read last."""
        async with self._checking:
            opened = self._connections
            if self._stamp is None or opened == self._checked:
                return
            found = await self._read_stamp()
            if found != self._stamp:
                raise ServerDown(f"{self.url} was restarted: it holds the weights {found!r}, not {self._stamp!r}")
            self._checked = opened

    async def _call(
        self, method: str, path: str, body: Mapping[str, object] | None = None, *, traced: bool = True
    ) -> bytes:
        problem, down, status = "", False, 0
        extensions = {"trace": self._note_connection} if traced else {}
        for attempt in range(self._retries + 1):
            if attempt:
                await asyncio.sleep(_BACKOFF_S * 2 ** (attempt - 1))
            down = True
            try:
                response = await self._client.request(
                    method, self.url + path, json=body, timeout=self._timeout_s, extensions=extensions
                )
            except httpx.TimeoutException:
                problem = f"no answer within {self._timeout_s} s"
            except httpx.HTTPError as error:
                problem = f"{type(error).__name__}: {error}"
            else:
                if response.is_success:
                    return response.content
                problem = f"status {response.status_code}: {response.text[:500]}"
                down, status = False, response.status_code
                if status < 500:
                    break
        message = f"{method} {self.url}{path}: {problem}"
        if down or (status >= 500 and not await self.healthy()):
            raise ServerDown(message)
        raise _Refused(message, status)

    async def _note_connection(self, event: str, info: Mapping[str, object]) -> None:
        if event in ("connection.connect_tcp.started", "connection.connect_unix_socket.started"):
            self._connections += 1
