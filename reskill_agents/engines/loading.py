"""Models and weights from names and folders in Hugging Face layout."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from reskill_agents.errors import EngineError

_WEIGHTS = ("*.safetensors", "*.bin", "*.index.json")


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


def read_weights(folder: Path) -> dict[str, Tensor]:
    if not folder.is_dir():
        raise EngineError(f"no folder of weights at {folder}")
    return dict(load_model(folder).state_dict())


def load_weights(model: PreTrainedModel, weights: Mapping[str, Tensor] | Path) -> None:
    """Put a state dict, or the weights in a folder, into ``model``. Tied weights may be left out.

    Raises:
        EngineError: when names or shapes do not fit; ``model`` is then as it was.
    """
    state = dict(weights) if isinstance(weights, Mapping) else read_weights(weights)
    own = model.state_dict()
    tied = set(getattr(model, "all_tied_weights_keys", None) or ())
    problems = [f"missing {name}" for name in own.keys() - state.keys() - tied]
    problems += [f"unknown {name}" for name in state.keys() - own.keys()]
    problems += [
        f"{name} has shape {tuple(state[name].shape)}, not {tuple(own[name].shape)}"
        for name in own.keys() & state.keys()
        if state[name].shape != own[name].shape
    ]
    if problems:
        raise EngineError(f"the weights do not fit the model: {'; '.join(sorted(problems)[:5])}")
    model.load_state_dict(state, strict=False)
