"""The contract of ``Environment`` and ``World``: it ships as ``reskill_agents.testing``, for anyone's implementation."""

from __future__ import annotations

from reskill_agents.testing import ContractBroken, check_environment, check_scripted, check_tasks, check_world

__all__ = ["ContractBroken", "check_environment", "check_scripted", "check_tasks", "check_world"]
