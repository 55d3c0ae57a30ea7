"""LangGraph agents whose skills evolve: written from failures, tested against the old version, kept on evidence."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from reskill_agents.episodes import Episode, Firing, Group, Turn
from reskill_agents.errors import ReSkillError
from reskill_agents.library import Operation, OperationKind, Proposal, SkillLibrary
from reskill_agents.methods import Method
from reskill_agents.selection import Selection, SkillSelector, TurnContext
from reskill_agents.skill import Skill
from reskill_agents.trials import Arm
from reskill_agents.trigger import Repeat, Trigger, TriggerKind

if TYPE_CHECKING:
    from reskill_agents.graphs.evolver import SkillEvolver
    from reskill_agents.graphs.middleware import ReSkillMiddleware
    from reskill_agents.graphs.prompt_nodes import skill_node
    from reskill_agents.store import LiveStore
    from reskill_agents.trainers.graph_episode import trl_reward
    from reskill_agents.trainers.graph_training import train_graph
    from reskill_agents.trainers.training import train
    from reskill_agents.trainers.trl_rollouts import skill_reward, skill_rollout_func
    from reskill_agents.trials import VersionTrial

_LAZY = {
    "LiveStore": "reskill_agents.store",
    "ReSkillMiddleware": "reskill_agents.graphs.middleware",
    "SkillEvolver": "reskill_agents.graphs.evolver",
    "VersionTrial": "reskill_agents.trials",
    "skill_node": "reskill_agents.graphs.prompt_nodes",
    "skill_reward": "reskill_agents.trainers.trl_rollouts",
    "skill_rollout_func": "reskill_agents.trainers.trl_rollouts",
    "train": "reskill_agents.trainers.training",
    "train_graph": "reskill_agents.trainers.graph_training",
    "trl_reward": "reskill_agents.trainers.graph_episode",
}

__version__ = "0.1.0"
__all__ = [
    "Arm",
    "Episode",
    "Firing",
    "Group",
    "LiveStore",
    "Method",
    "Operation",
    "OperationKind",
    "Proposal",
    "ReSkillError",
    "ReSkillMiddleware",
    "Repeat",
    "Selection",
    "Skill",
    "SkillEvolver",
    "SkillLibrary",
    "SkillSelector",
    "Trigger",
    "TriggerKind",
    "Turn",
    "TurnContext",
    "VersionTrial",
    "skill_node",
    "skill_reward",
    "skill_rollout_func",
    "train",
    "train_graph",
    "trl_reward",
]


def __getattr__(name: str) -> object:
    """Load the names that need langchain or torch on first use (PEP 562)."""
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
