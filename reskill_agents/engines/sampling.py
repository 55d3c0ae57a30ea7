"""Counter-based randomness for sampling: the draws of a call depend on its key alone, not on its batch."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence

import numpy as np


def uniforms(rng_key: Sequence[int], count: int) -> np.ndarray:
    """``count`` float64 draws in [0, 1) from a Philox generator keyed by a hash of ``rng_key`` (64-bit integers)."""
    packed = struct.pack(f"<{len(rng_key)}q", *(_signed(part) for part in rng_key))
    digest = hashlib.blake2b(packed, digest_size=16, person=b"reskill-sample").digest()
    return np.random.Generator(np.random.Philox(key=np.frombuffer(digest, dtype=np.uint64))).random(count)


def _signed(part: int) -> int:
    """``part`` modulo 2**64 as a signed 64-bit integer."""
    return ((part + (1 << 63)) & ((1 << 64) - 1)) - (1 << 63)
