"""Executing a skill as a prompt node: visible by name wherever somebody listens, cheap where nobody does."""

from __future__ import annotations

from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langgraph.types import StreamWriter
from typing_extensions import TypedDict


class FiredSkill(TypedDict):
    """A skill entering the prompt: what a ``skill`` node writes into the state; plain data for checkpointers."""

    name: str
    digest: str
    turn: int


class SkillCall(TypedDict):
    """The input of one ``skill`` node."""

    skill: FiredSkill


class SkillUpdate(TypedDict):
    """The update of one ``skill`` node."""

    skills: list[FiredSkill]


def skill_event(fired: FiredSkill) -> dict[str, str | int]:
    """The custom stream event of a firing."""
    return {"event": "skill", "skill": fired["name"], "digest": fired["digest"], "turn": fired["turn"]}


def _fire(call: SkillCall) -> SkillUpdate:
    return SkillUpdate(skills=[call["skill"]])


async def run_skill(fired: FiredSkill, config: RunnableConfig, writer: StreamWriter) -> SkillUpdate:
    """Execute one skill: its custom event, and a run with its name and tags when a callback handler listens."""
    writer(skill_event(fired))
    call = SkillCall(skill=fired)
    return await _named(fired).ainvoke(call, config) if has_listeners(config) else _fire(call)


def run_skill_sync(fired: FiredSkill, config: RunnableConfig, writer: StreamWriter) -> SkillUpdate:
    """:func:`run_skill` for nodes that are not async."""
    writer(skill_event(fired))
    call = SkillCall(skill=fired)
    return _named(fired).invoke(call, config) if has_listeners(config) else _fire(call)


def _named(fired: FiredSkill) -> Runnable[SkillCall, SkillUpdate]:
    tags = ["skill", f"skill:{fired['name']}", fired["digest"]]
    return RunnableLambda(_fire).with_config(run_name=f"skill:{fired['name']}", tags=tags)


def has_listeners(config: RunnableConfig) -> bool:
    """Whether any callback handler (a tracer, a message stream) would see a child run."""
    callbacks = config.get("callbacks")
    return bool(callbacks if isinstance(callbacks, list) else getattr(callbacks, "handlers", None))
