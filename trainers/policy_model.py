"""The policy's weights on their way in and out: full ones or adapters (LoRA), in Hugging Face and peft layout.

A folder written from full weights loads with ``AutoModelForCausalLM.from_pretrained``, one written from adapters with
``PeftModel.from_pretrained`` over the start policy.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch.distributed.fsdp import FSDPModule
from transformers import AutoModelForCausalLM, PreTrainedModel

from reskill_agents.errors import ConfigError
from reskill_agents.trainers.config import LoraConfig, UpdateConfig
from reskill_agents.trainers.sharding import cut_like, gathered, is_sharded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from peft import LoraConfig as PeftLoraConfig
    from peft import PeftModel

_ADAPTER = "default"  # peft's own name for the first one


def load_policy(folder: Path, settings: UpdateConfig) -> PreTrainedModel:
    """The start policy; in bfloat16 only where its weights stay frozen, so that no update is lost to rounding."""
    frozen = settings.lora is not None and settings.precision == "bfloat16"
    dtype = torch.bfloat16 if frozen else torch.float32
    return cast("PreTrainedModel", AutoModelForCausalLM.from_pretrained(folder, dtype=dtype))


def adapters_of(settings: LoraConfig | None) -> PeftLoraConfig | None:
    """What peft is told.

    Raises:
        ConfigError: peft is not installed.
    """
    if settings is None:
        return None
    try:
        from peft import LoraConfig as PeftLoraConfig
    except ImportError as error:
        raise ConfigError("update.lora needs peft; install reskill-agents[train]") from error
    return PeftLoraConfig(
        r=settings.rank,
        lora_alpha=cast("int", settings.alpha),
        target_modules=list(settings.targets) or "all-linear",
        lora_dropout=0.0,
        bias="none",
        task_type="CAUSAL_LM",
    )


def full_weights(model: torch.nn.Module, *, keep: bool = True) -> Mapping[str, torch.Tensor]:
    """The weights under the start policy's names, adapters merged into them; the model stays as it is.

    Without adapters the tensors are the model's own, so whoever keeps them must copy. Those of a sharded model are put
    together on the CPU; every process must ask, and only one with ``keep`` gets them.
    """
    if is_sharded(model):
        return _gathered_weights(model, keep)
    if not is_adapted(model):
        return model.state_dict()
    from peft.tuners.lora import LoraLayer

    base = cast("PeftModel", model).get_base_model()
    weights = {
        name.replace(".base_layer.", "."): tensor for name, tensor in base.state_dict().items() if ".lora_" not in name
    }
    with torch.no_grad():
        for name, layer in base.named_modules():
            if isinstance(layer, LoraLayer):
                delta = cast("Any", layer).get_delta_weight(_ADAPTER)
                weight = weights[f"{name}.weight"]
                weights[f"{name}.weight"] = (weight.float() + delta.float()).to(weight.dtype)
    return weights


def _gathered_weights(model: torch.nn.Module, keep: bool) -> Mapping[str, torch.Tensor]:
    """The same as :func:`full_weights` for a sharded model, whose layers cannot merge by themselves."""
    if not is_adapted(model):
        return gathered(model.state_dict(), keep=keep)
    from peft.tuners.lora import LoraLayer

    base = cast("PeftModel", model).get_base_model()
    state = gathered(base.state_dict(), keep=keep)
    if not keep:
        return state
    weights = {name.replace(".base_layer.", "."): tensor for name, tensor in state.items() if ".lora_" not in name}
    for name, layer in base.named_modules():
        if isinstance(layer, LoraLayer):
            up, down = (state[f"{name}.lora_{side}.{_ADAPTER}.weight"].float() for side in "BA")
            weight = weights[f"{name}.weight"]
            weights[f"{name}.weight"] = (weight.float() + layer.scaling[_ADAPTER] * (up @ down)).to(weight.dtype)
    return weights


def is_adapted(model: torch.nn.Module) -> bool:
    """Whether ``model`` carries adapters of peft."""
    return hasattr(model, "peft_config")


def save_full(model: torch.nn.Module, folder: Path, *, write: bool = True) -> None:
    """Full weights in Hugging Face layout, adapters merged; without ``write`` this process only takes part."""
    if not (is_adapted(model) or is_sharded(model)):
        if write:
            cast("PreTrainedModel", model).save_pretrained(folder)
        return
    weights = full_weights(model, keep=write)
    if not write:
        return
    base = cast("PreTrainedModel", cast("PeftModel", model).get_base_model() if is_adapted(model) else model)
    kind = next(one for one in type(base).__mro__ if not issubclass(one, FSDPModule))
    with torch.device("meta"):
        plain = cast("Callable[[object], PreTrainedModel]", kind)(base.config)
    plain.load_state_dict(weights, assign=True)
    plain.generation_config = base.generation_config
    plain.save_pretrained(folder)


def save_trained(model: torch.nn.Module, folder: Path, start: Path, *, write: bool = True) -> None:
    """What is trained: full weights, or the adapters alone, with the place of the ``start`` policy beside them."""
    if not is_adapted(model):
        save_full(model, folder, write=write)
        return
    adapted = cast("PeftModel", model)
    whole = gathered(adapted.state_dict(), keep=write) if is_sharded(model) else None
    if not write:
        return
    adapted.peft_config[_ADAPTER].base_model_name_or_path = str(start.resolve() if start.is_dir() else start)
    if whole is None:
        adapted.save_pretrained(str(folder))
    else:
        adapted.save_pretrained(str(folder), state_dict=whole)


def load_trained(model: torch.nn.Module, folder: Path) -> None:
    """The inverse of :func:`save_trained`, bit for bit.

    Raises:
        ConfigError: the folder holds another architecture, or other adapters.
    """
    try:
        if is_adapted(model):
            _load_adapters(cast("PeftModel", model), folder)
        else:
            saved = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
            own = model.state_dict()
            model.load_state_dict(
                {
                    name: cut_like(tensor, own[name]) if name in own else tensor
                    for name, tensor in saved.state_dict().items()
                }
            )
    except (RuntimeError, ValueError, OSError) as error:
        raise ConfigError(f"{folder} holds another architecture than the policy: {error}") from error


def _load_adapters(model: PeftModel, folder: Path) -> None:
    from peft.utils.save_and_load import load_peft_weights, set_peft_model_state_dict

    weights = load_peft_weights(str(folder), device="cpu")
    wanted = {name.replace(f".{_ADAPTER}.", ".") for name in model.state_dict() if ".lora_" in name}
    if set(weights) != wanted:
        raise ValueError(f"its adapters are for other layers ({', '.join(sorted(set(weights) ^ wanted)[:3])})")
    if is_sharded(model):
        own = {name.replace(f".{_ADAPTER}.", "."): tensor for name, tensor in model.state_dict().items()}
        weights = {name: cut_like(tensor, own[name]) for name, tensor in weights.items()}
    set_peft_model_state_dict(model, weights)
