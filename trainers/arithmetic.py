"""How torch computes in a run: on how many threads, and on a GPU whether twice the same gives the same bits."""

from __future__ import annotations

import os
import warnings

import torch

from reskill_agents.trainers.config import RunConfig

_CUBLAS = "CUBLAS_WORKSPACE_CONFIG"  # read by cuBLAS at its first call
_ONE_WORKSPACE = ":4096:8"


def settle_arithmetic(config: RunConfig) -> None:
    """Set the threads; with ``reproducible`` on a GPU also kernels that add in the same order every time.

    Process-wide, as everything of the kind in torch is. A kernel without such a twin runs as it is.
    """
    torch.set_num_threads(config.threads)
    if config.device != "cuda":
        return
    torch.use_deterministic_algorithms(config.reproducible, warn_only=True)
    if config.reproducible:
        os.environ.setdefault(_CUBLAS, _ONE_WORKSPACE)
        warnings.filterwarnings(
            "ignore", message=".*does not have a deterministic implementation", category=UserWarning
        )
