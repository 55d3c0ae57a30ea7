"""Folders through which weights go to engines that load from disk: one a version, the older ones removed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_PREFIX = "version-"
_KEPT = 2  # a server that was down may still read the last one while the next is written


class WeightFolders:
    """``version-0``, ``version-1``, ... in a folder that trainer and engine both see (``/dev/shm`` on one machine)."""

    def __init__(self, parent: Path) -> None:
        self.parent = parent

    def write(self, version: int, save: Callable[[Path], None]) -> Path:
        """The folder of ``version``, complete or not there at all; ``save`` fills the folder that it is given."""
        folder, unfinished = self.parent / f"{_PREFIX}{version}", self.parent / f"unfinished-{version}"
        for old in (unfinished, folder):
            shutil.rmtree(old, ignore_errors=True)
        unfinished.mkdir(parents=True)
        save(unfinished)
        unfinished.rename(folder)
        self._remove_old()
        return folder

    def _remove_old(self) -> None:
        """Keep the folders written last."""
        folders = sorted(self.parent.glob(f"{_PREFIX}*"), key=lambda folder: folder.stat().st_mtime_ns)
        for folder in folders[:-_KEPT]:
            shutil.rmtree(folder, ignore_errors=True)


def save_tensors(weights: Mapping[str, torch.Tensor], folder: Path) -> None:
    """A state dict as ``model.safetensors``."""
    from safetensors.torch import save_file

    contiguous = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in weights.items()}
    save_file(contiguous, folder / "model.safetensors")
