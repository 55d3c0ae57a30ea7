"""Version trials: does the new library beat the old one? Usable without any trainer."""

from __future__ import annotations

from reskill_agents.trials.arm import Arm

__all__ = ["Arm"]
