"""Tensors that are cut over several processes (FSDP's DTensors): put together to be saved, cut again when loaded.

Saved files are the same whoever wrote them, so that a run goes on with another number of processes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.distributed.tensor import DTensor, distribute_tensor


def is_sharded(model: torch.nn.Module) -> bool:
    """Whether this process holds only a part of some parameter."""
    return any(isinstance(parameter, DTensor) for parameter in model.parameters())


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """The full tensor. Every process must ask for a cut one."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def gathered(tensors: Mapping[str, torch.Tensor], *, keep: bool) -> dict[str, torch.Tensor]:
    """Full tensors on the CPU, one after another, so that only one at a time is whole on the device.

    Args:
        tensors: the same names on every process.
        keep: off: take part and keep nothing.
    """
    found: dict[str, torch.Tensor] = {}
    seen: dict[int, torch.Tensor] = {}  # tied weights stay one tensor
    for name, tensor in tensors.items():
        if id(tensor) not in seen:
            full = whole(tensor).detach()
            seen[id(tensor)] = full.cpu() if keep else full.new_empty(0)
        if keep:
            found[name] = seen[id(tensor)]
    return found


def cut_like(full: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """``full``, which every process holds, cut and placed as ``like`` is."""
    if not isinstance(like, DTensor):
        return full
    return distribute_tensor(full.to(like.device, like.dtype), like.device_mesh, like.placements)


def gathered_optimizer(optimizer: torch.optim.Optimizer, *, keep: bool) -> dict[str, Any]:
    """The optimizer's state dict with full tensors; empty without ``keep``. Every process must ask."""
    state = optimizer.state_dict()
    for number, entry in state["state"].items():
        for name, value in entry.items():
            if isinstance(value, DTensor):
                full = value.full_tensor()
                state["state"][number] = {**state["state"][number], name: full.cpu() if keep else full.new_empty(0)}
    return state if keep else {}


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """The inverse of :func:`gathered_optimizer`, for parameters cut in any way."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    numbers = [number for group in state["param_groups"] for number in group["params"]]
    by_number = dict(zip(numbers, parameters, strict=True))
    cut = {
        number: {
            name: cut_like(value, by_number[number]) if value.shape == by_number[number].shape else value
            for name, value in entry.items()
        }
        for number, entry in state["state"].items()
    }
    optimizer.load_state_dict({**state, "state": cut})
