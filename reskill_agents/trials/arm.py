"""The two arms of a trial."""

from __future__ import annotations

from enum import StrEnum


class Arm(StrEnum):
    """Which library a rollout carries: the one in force, or the one on trial."""

    INCUMBENT = "incumbent"
    CANDIDATE = "candidate"
