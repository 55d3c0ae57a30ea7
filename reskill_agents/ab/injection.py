"""How an arm's skills get into an agent.

``factory``: the target is a function ``(SkillLibrary) -> compiled graph``; every kind of trigger works.
``config``: the graph reads ``config["configurable"]["skill_library"]`` (:func:`current_library` in a node or tool).
``context``: the same through a field ``skill_library`` of the graph's ``context_schema``.
``input``: the graph knows nothing of skills; general and beginning skills join the system message of its input. Other
triggers cannot fire there, so a pack with such a skill is refused.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, cast

from reskill_agents.ab.tasks import AbTask, JsonValue
from reskill_agents.errors import ConfigError
from reskill_agents.library import SkillLibrary
from reskill_agents.rendering import join_blocks, render_skills
from reskill_agents.trigger import PATTERN_KINDS

if TYPE_CHECKING:
    from langchain_core.callbacks import BaseCallbackHandler
    from langchain_core.runnables import RunnableConfig
    from langgraph.pregel import Pregel

LIBRARY_KEY = "skill_library"
SEED_KEY = "seed"


class Injection(StrEnum):
    """See the module."""

    FACTORY = "factory"
    CONFIG = "config"
    CONTEXT = "context"
    INPUT = "input"


def current_library() -> SkillLibrary:
    """The library of the run that the calling node or tool is part of; empty outside a comparison."""
    from langgraph.config import get_config

    found = get_config().get("configurable", {}).get(LIBRARY_KEY)
    return found if isinstance(found, SkillLibrary) else SkillLibrary()


@dataclass(frozen=True)
class ArmAgent:
    """One arm: a graph and the library it carries."""

    graph: Pregel[Any, Any, Any, Any]
    library: SkillLibrary
    injection: Injection

    def states(
        self, task: AbTask, seed: int, thread: str, callbacks: list[BaseCallbackHandler]
    ) -> AsyncIterator[object]:
        """Run the agent on a task; yields its state after every step, so that a run cut short leaves its last one."""
        configurable: dict[str, object] = {"thread_id": thread, SEED_KEY: seed}
        if self.injection is Injection.CONFIG:
            configurable[LIBRARY_KEY] = self.library
        config = cast("RunnableConfig", {"configurable": configurable, "callbacks": callbacks, "tags": ["reskill-ab"]})
        context: dict[str, object] | None = None
        if self.injection is Injection.CONTEXT:
            names = _field_names(self.graph.context_schema)
            context = {LIBRARY_KEY: self.library}
            if SEED_KEY in names:
                context[SEED_KEY] = seed
        messages = [dict(message) for message in task.messages]
        if self.injection is Injection.INPUT:
            messages = _with_system(messages, render_skills(self.library))
        return self.graph.astream({"messages": messages}, config, context=context, stream_mode="values")


def _with_system(messages: list[dict[str, JsonValue]], block: str) -> list[dict[str, JsonValue]]:
    if not block:
        return messages
    first = messages[0]
    content = first.get("content")
    if first.get("role") in ("system", "developer") and isinstance(content, str):
        return [{**first, "content": join_blocks(content, block)}, *messages[1:]]
    return [{"role": "system", "content": block}, *messages]


def arm_agent(target: object, library: SkillLibrary, injection: Injection | None) -> ArmAgent:
    """``target`` carrying ``library``.

    Args:
        injection: default: ``factory`` for a function, ``context`` where the graph's context has a field
            ``skill_library``, else ``input``. ``config`` cannot be seen from outside: name it.

    Raises:
        ConfigError: the target is no graph (and makes none), or the skills cannot reach it this way.
    """
    from langgraph.pregel import Pregel

    if injection is None:
        injection = Injection.INPUT
        if not isinstance(target, Pregel):
            injection = Injection.FACTORY
        elif LIBRARY_KEY in _field_names(target.context_schema):
            injection = Injection.CONTEXT
    if injection is Injection.FACTORY:
        if isinstance(target, Pregel) or not callable(target):
            raise ConfigError(f"agent: a factory takes a SkillLibrary and gives a compiled graph; got {_kind(target)}")
        target = cast("Callable[[SkillLibrary], object]", target)(library)
    if not isinstance(target, Pregel):
        raise ConfigError(f"agent: must be a compiled LangGraph graph or a factory of one, got {_kind(target)}")
    if injection is Injection.CONTEXT and LIBRARY_KEY not in _field_names(target.context_schema):
        raise ConfigError(f"agent: its context_schema has no field {LIBRARY_KEY!r}")
    late = [skill.name for skill in library if skill.trigger.kind in PATTERN_KINDS]
    if injection is Injection.INPUT and late:
        raise ConfigError(
            f"agent: {', '.join(late)} fire in mid-conversation, which a graph that knows nothing of skills cannot show;"
            f" give a factory (SkillLibrary) -> graph, or a graph that reads {LIBRARY_KEY!r} from config or context"
        )
    return ArmAgent(target, library, injection)


def _kind(target: object) -> str:
    return type(target).__name__


def _field_names(schema: object) -> frozenset[str]:
    if schema is None:
        return frozenset()
    if is_dataclass(schema):
        return frozenset(field.name for field in fields(schema))
    known = getattr(schema, "model_fields", None) or getattr(schema, "__annotations__", {})
    return frozenset(known) if isinstance(known, Mapping) else frozenset()
