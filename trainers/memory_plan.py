"""What a run will need on its device, from a config alone: nothing is downloaded but ``config.json``, no weight is made.

Parameters are counted on a model without storage, so they are exact, like weights, gradients and optimizer states. Keys and
values follow from the shape. Activations are an estimate (marked so), from the formula beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from reskill_agents.errors import ConfigError
from reskill_agents.trainers.config import EngineName, RunConfig

GB = 1e9
_ADAM = 8  # bytes a trained parameter: two moments in float32
_ENGINE_EXTRA_GB = 2.0  # CUDA context, graphs and workspace of vLLM (its own profile run says the real number)
_TRAINER_EXTRA_GB = 1.0  # CUDA context and the allocator's slack
_LAYER_BYTES = (
    34  # bytes a token, layer and hidden unit of one block in 16 bits with fused attention (Korthikanti et al. 2022)
)
_HEAD_TILE = (4096, 32768)  # trained tokens x vocabulary: TRL's head holds logits of no more than these at a time
_TILE_COPIES = 2  # scores and what becomes of them, in float32
_BLOCKS_AT_ONCE = 2  # FSDP gathers the next layer while one computes


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What memory depends on. ``adaptable``: (inputs, outputs) of every linear layer but the head; ``block``: parameters
    of the largest layer, which FSDP wraps; ``outside``: those in no layer, such as embeddings."""

    parameters: int
    layers: int
    hidden: int
    vocabulary: int
    kv_width: int
    max_context: int
    adaptable: tuple[tuple[int, int], ...]
    block: int = 0
    outside: int = 0

    def adapter_parameters(self, rank: int) -> int:
        """Of LoRA adapters on every linear layer but the head."""
        return rank * sum(inputs + outputs for inputs, outputs in self.adaptable)


def model_shape(name_or_path: str | Path) -> ModelShape:
    """The shape of a causal language model, by Hugging Face name or folder with a ``config.json``.

    Raises:
        ConfigError: there is none.
    """
    try:
        config = AutoConfig.from_pretrained(name_or_path)
        with torch.device("meta"):
            model: PreTrainedModel = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise ConfigError(f"no config of a causal language model at {str(name_or_path)!r}: {error}") from error
    text: PretrainedConfig = config.get_text_config()
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    head_dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    output = getattr(model, "get_output_embeddings", None)
    head = output() if callable(output) else None
    linear = [module for module in model.modules() if isinstance(module, nn.Linear) and module is not head]
    wrapped = set(getattr(model, "_no_split_modules", None) or ())
    blocks = [_size(module) for module in model.modules() if type(module).__name__ in wrapped]
    return ModelShape(
        parameters=_size(model),
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        vocabulary=text.vocab_size,
        kv_width=2 * heads * head_dim,
        max_context=int(getattr(text, "max_position_embeddings", 0) or 4096),
        adaptable=tuple((module.in_features, module.out_features) for module in linear),
        block=max(blocks, default=0),
        outside=_size(model) - sum(blocks),
    )


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes of one thing, and how they came about."""

    what: str
    bytes: float
    because: str
    estimate: bool = False


@dataclass(frozen=True, slots=True)
class TrainerNeeds:
    """How the update holds the model.

    Args:
        weight_bytes: of a frozen (LoRA) or trained parameter.
        lora_rank: 0 trains all weights.
        checkpointing: activations are computed twice instead of kept.
        batch_tokens: padded tokens of a micro-batch.
        reference: a second copy for a KL term.
        processes: that share the update, each on a device of its own.
        sharded: each holds its share of the model (FSDP); else a copy (DDP).
    """

    weight_bytes: int = 4
    lora_rank: int = 0
    checkpointing: bool = False
    batch_tokens: int = 6000
    reference: bool = False
    processes: int = 1
    sharded: bool = False


def trainer_parts(shape: ModelShape, needs: TrainerNeeds) -> list[Part]:
    """What each process of the update keeps: weights, gradients, optimizer, activations."""
    trained = shape.adapter_parameters(needs.lora_rank) if needs.lora_rank else shape.parameters
    share = needs.processes if needs.sharded else 1
    over = f" / {share}" if share > 1 else ""

    def kept(what: str, count: int, size: int, because: str = "") -> Part:
        return Part(what, count * size / share, f"{count:,}{because} x {size} B{over}")

    parts = [kept("weights", shape.parameters, needs.weight_bytes)]
    if needs.lora_rank:
        parts.append(kept("adapters", trained, 4, f" of rank {needs.lora_rank}"))
    if needs.reference and not needs.lora_rank:
        parts.append(kept("reference", shape.parameters, needs.weight_bytes, " for the KL term"))
    parts += [kept("gradients", trained, 4), kept("optimizer", trained, _ADAM, " (AdamW)")]
    if share > 1:
        at_once = shape.outside + _BLOCKS_AT_ONCE * shape.block
        size = needs.weight_bytes + (0 if needs.lora_rank else 4)
        why = f"{at_once:,} x {size} B: {_BLOCKS_AT_ONCE} layers, embeddings and head"
        parts.append(Part("whole at a time", at_once * size, why, estimate=True))
    elif needs.processes > 1:
        parts.append(Part("gradients sent", 4 * trained, f"{trained:,} x 4 B: DDP's own copy"))
    wide = _LAYER_BYTES * needs.weight_bytes // 2 * shape.hidden * needs.batch_tokens
    entry = needs.weight_bytes * shape.hidden * needs.batch_tokens
    activations = wide + shape.layers * entry if needs.checkpointing else shape.layers * wide
    how = "checkpointed" if needs.checkpointing else "kept"
    parts.append(Part("activations", activations, f"{needs.batch_tokens:,} tokens, {how}", estimate=True))
    tokens, words = min(needs.batch_tokens, _HEAD_TILE[0]), min(shape.vocabulary, _HEAD_TILE[1])
    logits = _TILE_COPIES * 4 * tokens * words
    parts.append(Part("logits", logits, f"tiles of {tokens:,} x {words:,} x {_TILE_COPIES} x 4 B", estimate=True))
    parts.append(Part("context", _TRAINER_EXTRA_GB * GB, "CUDA and allocator", estimate=True))
    return parts


def kv_bytes(shape: ModelShape, element_bytes: int) -> int:
    """Of the keys and values of one token."""
    return shape.layers * shape.kv_width * element_bytes


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """What goes where.

    Args:
        trainer, engine: the parts of each.
        budget: bytes that the engine may take on the device (vLLM takes all of it; what is left is KV cache); ``None``
            where it is elsewhere or takes what it needs.
        kv_token: bytes of keys and values a token.
        device: bytes of the card.
    """

    trainer: tuple[Part, ...]
    engine: tuple[Part, ...]
    budget: float | None
    kv_token: int
    device: float

    @property
    def trainer_bytes(self) -> float:
        """Of the update."""
        return sum(part.bytes for part in self.trainer)

    @property
    def engine_bytes(self) -> float:
        """Of what samples, on the update's device."""
        return self.budget if self.budget is not None else sum(part.bytes for part in self.engine)

    @property
    def kv_tokens(self) -> int:
        """Tokens that the KV cache holds; 0 where the engine takes what it needs."""
        if self.budget is None:
            return 0
        return max(0, int((self.budget - sum(part.bytes for part in self.engine)) // self.kv_token))

    @property
    def total(self) -> float:
        """Bytes on the device."""
        return self.trainer_bytes + self.engine_bytes

    @property
    def fits(self) -> bool:
        """Whether it is less than the card has."""
        return self.total <= self.device


def plan_memory(
    shape: ModelShape, config: RunConfig, needs: TrainerNeeds, *, device_gb: float, episode_tokens: int
) -> MemoryPlan:
    """The plan of a run.

    Args:
        shape: of the policy.
        config: engine, rollouts.
        needs: of the update.
        device_gb: of the card, in GB (10^9 bytes).
        episode_tokens: longest sequence expected.
    """
    device, budget = device_gb * GB, None
    engine: Sequence[Part] = ()
    size = 2 if config.engine is EngineName.VLLM_COLOCATED and config.serving.dtype != "float32" else 4
    weights = Part("weights", size * shape.parameters, f"{shape.parameters:,} x {size} B")
    if config.engine is EngineName.VLLM_COLOCATED:
        budget = config.serving.memory_share * device
        engine = (weights, Part("context", _ENGINE_EXTRA_GB * GB, "CUDA, graphs, workspace", estimate=True))
    elif config.engine is EngineName.TRANSFORMERS:
        at_once = max(config.rollout.groups * config.rollout.group_size, config.evaluation.concurrency)
        cache = at_once * episode_tokens * kv_bytes(shape, size)
        engine = (weights, Part("keys and values", cache, f"{at_once} episodes x {episode_tokens:,} tokens", True))
    return MemoryPlan(tuple(trainer_parts(shape, needs)), tuple(engine), budget, kv_bytes(shape, size), device)
