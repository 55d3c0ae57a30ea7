"""A cloning that was killed goes on where it stood: weights, both optimizers, the teacher's state, updates and time used.

Where updates end it (:attr:`CloneBudget.max_steps`), a clone that went on ends with the weights of one that was never
killed, bit for bit.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import torch

if TYPE_CHECKING:
    from transformers import Qwen3ForCausalLM


EVERY = 100  # updates: some 20 s of cloning on a core, for 6 MB and less than 0.1 s of writing


class Stateful(Protocol):
    """The optimizers, or whatever else remembers."""

    def state_dict(self) -> dict[str, Any]:
        """Everything that is remembered, in tensors and plain values."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse."""
        ...


class ResumableSource(Protocol):
    """A source of batches that can be put back to where it was."""

    def state(self) -> str:
        """Everything that decides which batches come next, as JSON."""
        ...

    def restore(self, state: str) -> None:
        """Go on from ``state``."""
        ...


@dataclass(frozen=True)
class CloneCheckpoint:
    """Where a cloning's state is kept, and how often.

    Args:
        path: the file; written beside its place and renamed, so that it is whole or absent.
        source: whose state is kept too: the one that batches are taken from.
        key: of what is being cloned; a file with another key is not used.
        every: updates.
    """

    path: Path
    source: ResumableSource
    key: str = ""
    every: int = EVERY

    def save(self, model: Qwen3ForCausalLM, optimizers: Stateful, progress: Mapping[str, float]) -> None:
        """Write the state; ``progress``: the fields of a ``CloneProgress``."""
        content = {
            "key": self.key,
            "progress": dict(progress),
            "model": model.state_dict(),
            "optimizers": optimizers.state_dict(),
            "source": self.source.state(),
        }
        beside = self.path.with_suffix(".tmp")
        with beside.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self.path)

    def load(self, model: Qwen3ForCausalLM, optimizers: Stateful) -> Mapping[str, float] | None:
        """Put everything back and return the fields of the progress; ``None``: there is nothing to go on from."""
        if not self.path.is_file():
            return None
        content = torch.load(self.path, weights_only=True)
        if content["key"] != self.key:
            return None
        model.load_state_dict(content["model"])
        optimizers.load_state_dict(content["optimizers"])
        self.source.restore(content["source"])
        return cast("Mapping[str, float]", content["progress"])
