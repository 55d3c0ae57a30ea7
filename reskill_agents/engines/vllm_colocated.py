"""vLLM inside the training job, on the same device as the update: its public ``AsyncLLM``, no server, no ports.

vLLM keeps its model in a worker process of its own; ``memory_share`` says how much of the device that may take, the rest is
for the trainer. Needs the package ``vllm``, which is imported when an engine is started.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from reskill_agents.engine import GenerateRequest, Generation
from reskill_agents.engines.fence import Fence
from reskill_agents.engines.loop_thread import LoopThread
from reskill_agents.engines.vllm_server import ADAPTER_FILE
from reskill_agents.engines.vllm_wire import PLAIN_SOFTMAX, check_room, finish_of, seed_of
from reskill_agents.engines.weight_folders import WeightFolders, save_tensors
from reskill_agents.errors import ConfigError, EngineError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class ColocatedSettings:
    """How vLLM is started.

    Args:
        dtype: of weights and cache.
        max_context: tokens of prompt and answer; ``None``: the model's limit.
        memory_share: of the device's memory for weights and KV cache, 0..1.
        lora_rank: largest rank of the adapters that will be published; 0: whole weights only.
        eager: no CUDA graphs and no compilation.
        seed: of requests without a key.
    """

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "bfloat16"
    max_context: int | None = None
    memory_share: float = 0.4
    lora_rank: int = 0
    eager: bool = False
    seed: int = 0


class ColocatedVLLM:
    """A :class:`~reskill_agents.engine.PolicyEngine` over a vLLM engine of this process. :meth:`start` makes one.

    Args:
        llm: an ``AsyncLLM``.
        thread: the event loop that it lives on.
        max_context: tokens of prompt and answer.
        weights_dir: where to write state dicts for its worker to read; only for :meth:`publish` with tensors.
    """

    def __init__(
        self, llm: Any, thread: LoopThread, *, max_context: int, weights_dir: Path | None = None
    ) -> None:  # AsyncLLM is untyped here: the package is optional
        self.max_context = max_context
        self._llm = llm
        self._thread = thread
        self._folders = WeightFolders(weights_dir) if weights_dir is not None else None
        self._fence = Fence()
        self._numbers = itertools.count(1)
        self._adapter: Any = None
        self._version = 0
        self._closed = False

    @classmethod
    async def start(
        cls, model: str | Path, settings: ColocatedSettings | None = None, *, weights_dir: Path | None = None
    ) -> ColocatedVLLM:
        """Start vLLM with ``model`` (a name or a folder in Hugging Face layout).

        Raises:
            ConfigError: vLLM is not installed.
            EngineError: it does not start.
        """
        settings = settings or ColocatedSettings()
        try:
            from vllm import AsyncEngineArgs  # pyright: ignore[reportMissingImports]
            from vllm.v1.engine.async_llm import AsyncLLM  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise ConfigError(f"engine vllm-colocated needs the package vllm ({error})") from error
        adapters: dict[str, object] = {"enable_lora": True, "max_lora_rank": settings.lora_rank, "max_loras": 1}
        arguments = AsyncEngineArgs(
            model=str(model),
            dtype=settings.dtype,
            max_model_len=settings.max_context,
            gpu_memory_utilization=settings.memory_share,
            enforce_eager=settings.eager,
            seed=settings.seed,
            enable_prefix_caching=True,
            logprobs_mode="processed_logprobs",
            disable_log_stats=True,
            **(adapters if settings.lora_rank else {}),
        )
        thread = LoopThread("vllm-colocated")

        async def launch() -> Any:
            return AsyncLLM.from_engine_args(arguments)

        try:
            llm = await thread.run(launch())
        except Exception as error:
            thread.stop()
            raise EngineError(f"vLLM does not start with {str(model)!r}: {error}") from error
        return cls(llm, thread, max_context=int(llm.model_config.max_model_len), weights_dir=weights_dir)

    @property
    def run_settings(self) -> Mapping[str, str]:
        """What a run over this engine must have in its config."""
        return {"engine": "vllm-colocated"}

    @property
    def version(self) -> int:
        """The version published last; 0 before the first."""
        return self._version

    def open(self, session: str) -> None:
        """Nothing to do: vLLM batches whatever arrives."""

    def release(self, session: str) -> None:
        """Nothing to do: vLLM evicts prefixes by itself."""

    async def generate(self, request: GenerateRequest) -> Generation:
        """Sample one completion.

        Raises:
            EngineError: for an empty prompt, no room for the answer, or when vLLM fails.
        """
        check_room(request, self.max_context)
        return await self._thread.run(self._generate(request))

    async def score(
        self, prompt_ids: Sequence[int], token_ids: Sequence[int], *, temperature: float = 1.0
    ) -> tuple[float, ...]:
        """Log-probs of ``token_ids`` after ``prompt_ids``.

        Raises:
            EngineError: at another temperature than 1: vLLM scores prompts before temperature.
        """
        if temperature not in (0.0, 1.0):
            raise EngineError(f"vLLM scores prompts at temperature 1 only, not {temperature}")
        return await self._thread.run(self._score(tuple(prompt_ids), tuple(token_ids)))

    async def publish(self, weights: Mapping[str, torch.Tensor] | Path, version: int) -> None:
        """Hold back calls, pause, load, drop the prefix cache, resume.

        Args:
            weights: a folder with weights or a LoRA adapter (``adapter_config.json``); or tensors.
            version: their number.

        Raises:
            EngineError: when any of it fails, or for tensors without a ``weights_dir``.
        """
        folder = weights if isinstance(weights, Path) else await asyncio.to_thread(self._save, weights, version)
        await self._thread.run(self._publish(folder, version))

    async def aclose(self) -> None:
        """Stop vLLM and its worker."""
        if not self._closed:
            self._closed = True
            await self._thread.run(self._shut_down())
        self._thread.stop()

    async def _generate(self, request: GenerateRequest) -> Generation:
        params = request.params
        async with self._fence.passing():
            version = self._version
            output = await self._last(
                request.prompt_ids,
                temperature=params.temperature,
                max_tokens=params.max_tokens,
                stop_token_ids=list(params.stop_ids),
                ignore_eos=True,
                logprobs=0,
                seed=seed_of(request.rng_key) if request.rng_key else None,
            )
        choice = output.outputs[0]
        tokens = tuple(int(token) for token in choice.token_ids)
        if not tokens or choice.logprobs is None or len(choice.logprobs) != len(tokens):
            raise EngineError(f"session {request.session}: vLLM returned no tokens or no log-probs")
        logprobs = tuple(float(entry[token].logprob) for entry, token in zip(choice.logprobs, tokens, strict=True))
        return Generation(tokens, logprobs, version, finish_of(tokens, request))

    async def _score(self, prompt: tuple[int, ...], tokens: tuple[int, ...]) -> tuple[float, ...]:
        whole = prompt + tokens
        async with self._fence.passing():
            output = await self._last(whole, temperature=1.0, max_tokens=1, prompt_logprobs=0)
        given = output.prompt_logprobs
        if given is None or len(given) != len(whole):
            raise EngineError("vLLM returned no log-probs for the prompt")
        places = range(len(prompt), len(whole))
        return tuple(float(given[place][whole[place]].logprob) for place in places)

    async def _last(self, prompt: Sequence[int], **options: Any) -> Any:
        """The finished output of one request."""
        from vllm import SamplingParams  # pyright: ignore[reportMissingImports]
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError  # pyright: ignore[reportMissingImports]

        sampling = SamplingParams(detokenize=False, **PLAIN_SOFTMAX, **options)
        outputs: AsyncIterator[Any] = self._llm.generate(
            {"prompt_token_ids": list(prompt)},
            sampling,
            f"reskill-{next(self._numbers)}",
            lora_request=self._adapter,
        )
        last = None
        try:
            async for output in outputs:
                last = output
        except (EngineDeadError, EngineGenerateError, ValueError) as error:
            raise EngineError(f"vLLM failed: {error!r}") from error
        if last is None:
            raise EngineError("vLLM ended a request without an output")
        return last

    async def _publish(self, folder: Path, version: int) -> None:
        async with self._fence.closed():
            await self._llm.pause_generation(mode="keep")
            try:
                await self._load(folder)
                if not await self._llm.reset_prefix_cache():
                    raise EngineError("vLLM kept its prefix cache, which holds keys and values of older weights")
                self._version = version
            except EngineError:
                raise
            except Exception as error:  # whatever the worker raised, by way of a remote call
                raise EngineError(f"vLLM does not load {folder}: {error!r}") from error
            finally:
                await self._llm.resume_generation()

    async def _load(self, folder: Path) -> None:
        before = self._adapter
        if (folder / ADAPTER_FILE).is_file():
            from vllm.lora.request import LoRARequest  # pyright: ignore[reportMissingImports]

            number = next(self._numbers)  # a fresh name and number: cached prefixes are kept by them
            adapter = LoRARequest(f"reskill-{number}", number, str(folder))
            await self._llm.add_lora(adapter)
            self._adapter = adapter
        else:
            await self._llm.collective_rpc("reload_weights", kwargs={"weights_path": str(folder)})
            self._adapter = None
        if before is not None:
            await self._llm.remove_lora(before.lora_int_id)

    async def _shut_down(self) -> None:
        self._llm.shutdown()

    def _save(self, weights: Mapping[str, torch.Tensor], version: int) -> Path:
        if self._folders is None:
            raise EngineError("publishing tensors to vLLM needs weights_dir")
        return self._folders.write(version, partial(save_tensors, weights))
