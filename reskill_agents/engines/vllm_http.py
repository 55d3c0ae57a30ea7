"""vLLM servers as one policy engine: token ids in and out over HTTP, new weights through their development endpoints.

Start each server with ``VLLM_SERVER_DEV_MODE=1 vllm serve MODEL --logprobs-mode processed_logprobs``: else the
log-probs are not those of the sampling temperature, and weights can't be published. For LoRA adapters add
``VLLM_ALLOW_RUNTIME_LORA_UPDATING=1`` and ``--enable-lora --max-lora-rank R``.
"""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from reskill_agents.engine import GenerateRequest, Generation
from reskill_agents.engines import probe
from reskill_agents.engines.fence import Fence
from reskill_agents.engines.loop_thread import LoopThread
from reskill_agents.engines.vllm_server import ServerDown, VLLMServer
from reskill_agents.engines.vllm_wire import check_room
from reskill_agents.engines.weight_folders import WeightFolders, save_tensors
from reskill_agents.errors import EngineError, EngineMismatch

if TYPE_CHECKING:
    import torch

_HEALTH_EVERY_S = 1.0  # how often a lost server is asked whether it is back
_KEEPALIVE_S = 3600.0  # the servers close idle connections themselves


class VLLMEngine:
    """A :class:`~reskill_agents.engine.PolicyEngine` over one or several vLLM servers. :meth:`connect` makes one.

    The servers batch and keep prefixes cached by themselves, so sessions are only announced to spread them: an episode
    stays on one server, because that one has its prefix. A server that can't be reached, does not answer or was restarted
    is taken out; its calls go to another one, or wait up to ``patience_s`` for it to come back. It comes back once it is
    healthy, was given the current weights, and scores the probe as before. So a server may be killed and started again at
    any time: calls under way are asked again (with the same random key), and what a server sampled from other weights is
    never returned.

    A generation is never split over two versions of the weights: publishing waits for the calls under way and holds back new
    ones.

    Args:
        servers: all serve the same model.
        client: their connections.
        thread: the event loop that they live on.
        weights_dir: where to write state dicts for the servers to read (a folder all see); only for :meth:`publish` with
            tensors.
        patience_s: how long a call waits while no server is up.
        tolerance: nats by which two servers may differ on the probe.
    """

    def __init__(
        self,
        servers: Sequence[VLLMServer],
        client: httpx.AsyncClient,
        thread: LoopThread,
        *,
        weights_dir: Path | None = None,
        patience_s: float = 300.0,
        tolerance: float = probe.TOLERANCE,
    ) -> None:
        self.servers = tuple(servers)
        self.model = servers[0].model
        self.max_context = min(server.max_context for server in servers)
        self._client = client
        self._thread = thread
        self._folders = WeightFolders(weights_dir) if weights_dir is not None else None
        self._patience_s = patience_s
        self._tolerance = tolerance
        self._name = f"reskill-{uuid.uuid4().hex[:12]}"
        self._version = 0
        self._weights: Path | None = None
        self._reference: tuple[float, ...] | None = None
        self._fence = Fence()
        self._back = asyncio.Condition()
        self._reviving: dict[VLLMServer, asyncio.Task[None]] = {}
        self._mismatch: EngineMismatch | None = None
        self._sticky: dict[str, VLLMServer] = {}
        self._sessions = threading.Lock()

    @classmethod
    async def connect(
        cls,
        urls: str | Sequence[str],
        *,
        weights_dir: Path | None = None,
        timeout_s: float = 300.0,
        retries: int = 2,
        patience_s: float = 300.0,
        tolerance: float = probe.TOLERANCE,
    ) -> VLLMEngine:
        """The engine over the servers at ``urls`` (one, several separated by commas, or a sequence).

        Args:
            urls, weights_dir, patience_s, tolerance: see above.
            timeout_s: of one HTTP call.
            retries: of one HTTP call, when the server can't be reached, times out or answers 5xx.

        Raises:
            EngineError: when one can't be reached or serves no model, or they serve different ones.
        """
        thread = LoopThread("vllm-http")
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=_KEEPALIVE_S)
        client = httpx.AsyncClient(limits=limits)
        every = [url.strip() for url in urls.split(",")] if isinstance(urls, str) else list(urls)
        servers = [VLLMServer(url, client, timeout_s=timeout_s, retries=retries) for url in every if url]
        try:
            if not servers:
                raise EngineError("no address of a vLLM server was given")
            await thread.run(_greet(servers))
            engine = cls(servers, client, thread, weights_dir=weights_dir, patience_s=patience_s, tolerance=tolerance)
            await thread.run(engine._stamp_all())
        except EngineError:
            await thread.run(client.aclose())
            thread.stop()
            raise
        return engine

    @property
    def run_settings(self) -> Mapping[str, str]:
        """What a run over this engine must have in its config."""
        return {"engine": "vllm", "engine_url": ",".join(server.url for server in self.servers)}

    @property
    def version(self) -> int:
        """The version published last; 0 before the first."""
        return self._version

    def open(self, session: str) -> None:
        """Announce an episode: it goes to the server with the fewest."""
        with self._sessions:
            if session not in self._sticky:
                self._stick(session)

    def release(self, session: str) -> None:
        """The episode makes no more calls."""
        with self._sessions:
            server = self._sticky.pop(session, None)
            if server is not None:
                server.sessions -= 1

    async def generate(self, request: GenerateRequest) -> Generation:
        """Sample one completion.

        Raises:
            EngineError: no server was up within ``patience_s``, or one refused or left out token ids or log-probs.
            EngineMismatch: a server came back with other weights than it was given.
        """
        check_room(request, self.max_context)
        return await self._thread.run(self._generate(request))

    async def score(
        self, prompt_ids: Sequence[int], token_ids: Sequence[int], *, temperature: float = 1.0
    ) -> tuple[float, ...]:
        """Log-probs of ``token_ids`` after ``prompt_ids``.

        Raises:
            EngineError: as :meth:`generate`; at another temperature than 1: vLLM scores prompts before temperature.
        """
        if temperature not in (0.0, 1.0):
            raise EngineError(f"vLLM scores prompts at temperature 1 only, not {temperature}")
        return await self._thread.run(self._score(prompt_ids, token_ids))

    async def publish(self, weights: Mapping[str, torch.Tensor] | Path, version: int) -> None:
        """Hold back calls, pause every server, load, drop the prefix caches, resume, and see that all score alike.

        Servers that are down are given the weights when they are back.

        Args:
            weights: a folder that the servers see, with weights or a LoRA adapter (``adapter_config.json``); or tensors.
            version: their number.

        Raises:
            EngineError: when any of it fails (servers that still answer are resumed), or for tensors without a
                ``weights_dir``.
            EngineMismatch: the servers differ on the probe.
        """
        folder = weights if isinstance(weights, Path) else await asyncio.to_thread(self._save, weights, version)
        await self._thread.run(self._publish(folder, version))

    async def aclose(self) -> None:
        """Close the connections."""
        if not self._client.is_closed:
            await self._thread.run(self._close())
        self._thread.stop()

    # On the engine's own event loop

    async def _generate(self, request: GenerateRequest) -> Generation:
        waited = _Patience(self._patience_s)
        while True:
            if self._mismatch is not None:
                raise self._mismatch
            async with self._fence.passing():
                server = self._server_of(request.session)
                if server.up:
                    try:
                        return await server.generate(request, self._version)
                    except ServerDown as error:
                        waited.problem = error
                        self._lose(server)
            await self._wait_for_any(waited)

    async def _score(self, prompt_ids: Sequence[int], token_ids: Sequence[int]) -> tuple[float, ...]:
        waited = _Patience(self._patience_s)
        while True:
            async with self._fence.passing():
                for server in (server for server in self.servers if server.up):
                    try:
                        return await server.score(prompt_ids, token_ids)
                    except ServerDown as error:
                        waited.problem = error
                        self._lose(server)
            await self._wait_for_any(waited)

    async def _publish(self, folder: Path, version: int) -> None:
        waited = _Patience(self._patience_s)
        async with self._fence.closed():
            while True:
                targets = [server for server in self.servers if server.up]
                outcomes = await asyncio.gather(
                    *(self._load(server, folder, version) for server in targets), return_exceptions=True
                )
                loaded = [server for server, outcome in zip(targets, outcomes, strict=True) if outcome is None]
                for server, outcome in zip(targets, outcomes, strict=True):
                    if isinstance(outcome, ServerDown):
                        waited.problem = outcome
                        self._lose(server)
                    elif outcome is not None:
                        raise outcome
                if loaded:
                    break
                await self._wait_for_any(waited)
            self._weights, self._version, self._reference = folder, version, None
            for server in self.servers:
                if server.up and server not in loaded:  # came back meanwhile, with the weights before
                    self._lose(server)
            await self._compare(loaded)

    async def _load(self, server: VLLMServer, folder: Path | None, version: int) -> None:
        async with server.lock:
            await server.load(folder, self._stamp(version))

    async def _stamp_all(self) -> None:
        for server in self.servers:
            await self._load(server, None, 0)

    async def _compare(self, servers: Sequence[VLLMServer]) -> None:
        """Every server scores the probe like the first; that is what one that comes back will be measured by."""
        for server in servers:
            try:
                await self._examine(server, self._version)
            except ServerDown:
                self._lose(server)

    async def _examine(self, server: VLLMServer, version: int) -> None:
        scores = await server.score(probe.PROMPT, probe.CONTINUATION)
        if version != self._version:
            return  # a publish came between
        gap = probe.largest_gap(self._reference or scores, scores)
        if gap > self._tolerance:
            raise EngineMismatch(
                f"{server.url} scores the probe {gap:.2g} nats off what version {self._version} scored before, over "
                f"{self._tolerance:.2g}: it does not hold the published weights"
            )
        self._reference = self._reference or scores

    def _stamp(self, version: int) -> str:
        return f"{self._name}-{version}"

    def _server_of(self, session: str) -> VLLMServer:
        """The server that an open session sticks to, another one when that is down; for others the least busy one."""
        with self._sessions:
            server = self._sticky.get(session)
            if server is None:
                return self._least_busy()
            if not server.up and any(other.up for other in self.servers):
                server.sessions -= 1
                server = self._stick(session)
            return server

    def _stick(self, session: str) -> VLLMServer:
        server = self._sticky[session] = self._least_busy()
        server.sessions += 1
        return server

    def _least_busy(self) -> VLLMServer:
        return min(self.servers, key=lambda server: (not server.up, server.sessions))

    def _lose(self, server: VLLMServer) -> None:
        server.up = False
        if server not in self._reviving:
            self._reviving[server] = asyncio.get_running_loop().create_task(self._revive(server))

    async def _revive(self, server: VLLMServer) -> None:
        """Wait until a lost server is healthy, give it the current weights, check it, put it back."""
        try:
            while not server.up:
                try:
                    await self._try_to_revive(server)
                except EngineMismatch as error:
                    self._mismatch = error
                    break
                except EngineError:
                    pass  # not yet
                if not server.up:
                    await asyncio.sleep(_HEALTH_EVERY_S)
        finally:
            del self._reviving[server]
            async with self._back:
                self._back.notify_all()

    async def _try_to_revive(self, server: VLLMServer) -> None:
        if not await server.healthy():
            return
        version = self._version
        await self._restore(server, version)
        if self._weights is not None:
            await self._examine(server, version)
        server.up = version == self._version  # else a publish came between: once more

    async def _restore(self, server: VLLMServer, version: int) -> None:
        async with server.lock:
            if not await server.holds(self._stamp(version)):
                await server.load(self._weights, self._stamp(version))

    async def _wait_for_any(self, waited: _Patience) -> None:
        """Until a server is up.

        Raises:
            EngineError: none was within the patience.
        """
        if self._mismatch is not None:
            raise self._mismatch
        if any(server.up for server in self.servers):
            return
        async with self._back:
            try:
                await asyncio.wait_for(
                    self._back.wait_for(lambda: self._mismatch is not None or any(s.up for s in self.servers)),
                    waited.left_s,
                )
            except TimeoutError:
                raise EngineError(
                    f"no vLLM server was up for {self._patience_s:g} s; last problem: {waited.problem}"
                ) from waited.problem
        if self._mismatch is not None:
            raise self._mismatch

    async def _close(self) -> None:
        for task in list(self._reviving.values()):
            task.cancel()
        await asyncio.gather(*self._reviving.values(), return_exceptions=True)
        await self._client.aclose()

    def _save(self, weights: Mapping[str, torch.Tensor], version: int) -> Path:
        if self._folders is None:
            raise EngineError("publishing tensors to a vLLM server needs weights_dir, a folder that it can read")
        return self._folders.write(version, partial(save_tensors, weights))


class _Patience:
    """How long one call may still wait, and what went wrong last."""

    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds
        self.problem: EngineError | None = None

    @property
    def left_s(self) -> float:
        return max(0.0, self._until - time.monotonic())


async def _greet(servers: Sequence[VLLMServer]) -> None:
    await asyncio.gather(*(server.greet() for server in servers))
    models = {server.model for server in servers}
    if len(models) > 1:
        raise EngineError(f"the servers serve different models: {', '.join(sorted(models))}")
