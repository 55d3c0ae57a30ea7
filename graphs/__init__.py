"""LangGraph graphs: the agent, the skill creator, prompt nodes. Names load on first use (langchain costs 0.4 s)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reskill_agents.graphs.agent import Agent, AgentConfig
    from reskill_agents.graphs.chat_model import PolicyChatModel
    from reskill_agents.graphs.chat_templates import ChatTokenizer
    from reskill_agents.graphs.evolver import SkillEvolver
    from reskill_agents.graphs.live_skills import LiveSkills
    from reskill_agents.graphs.middleware import ReSkillMiddleware
    from reskill_agents.graphs.openai_proxy import PolicyProxy
    from reskill_agents.graphs.prompt_nodes import SkillChannel, route_skills, skill_node, with_skills
    from reskill_agents.graphs.recorder import record_calls
    from reskill_agents.graphs.rollout import Rollout, play_episode, play_many

_LAZY = {
    "Agent": "agent",
    "AgentConfig": "agent",
    "ChatTokenizer": "chat_templates",
    "LiveSkills": "live_skills",
    "PolicyChatModel": "chat_model",
    "PolicyProxy": "openai_proxy",
    "ReSkillMiddleware": "middleware",
    "Rollout": "rollout",
    "SkillChannel": "prompt_nodes",
    "SkillEvolver": "evolver",
    "play_episode": "rollout",
    "play_many": "rollout",
    "record_calls": "recorder",
    "route_skills": "prompt_nodes",
    "skill_node": "prompt_nodes",
    "with_skills": "prompt_nodes",
}
__all__ = [
    "Agent",
    "AgentConfig",
    "ChatTokenizer",
    "LiveSkills",
    "PolicyChatModel",
    "PolicyProxy",
    "ReSkillMiddleware",
    "Rollout",
    "SkillChannel",
    "SkillEvolver",
    "play_episode",
    "play_many",
    "record_calls",
    "route_skills",
    "skill_node",
    "with_skills",
]


def __getattr__(name: str) -> object:
    """Load a public name from its module (PEP 562)."""
    if name in _LAZY:
        return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
