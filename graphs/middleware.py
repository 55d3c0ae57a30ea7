"""Skills inside ``langchain.agents.create_agent``: one middleware, the user's messages untouched.

Needs ``langchain>=1.2.11``. The skills that entered live in a private state channel by anchor; each model call renders
them at the same anchors, so the prompts of consecutive calls are prefixes of one another.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Annotated, Any, NotRequired, cast

from langchain.agents.middleware import AgentMiddleware, AgentState
from langchain.agents.middleware.types import (
    ExtendedModelResponse,
    ModelRequest,
    ModelResponse,
    PrivateStateAttr,
)
from langchain_core.messages import AIMessage, AnyMessage, SystemMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config
from langgraph.config import get_config
from langgraph.types import Command
from typing_extensions import TypedDict

from reskill_agents.episodes import Firing, Turn
from reskill_agents.graphs.anchors import (
    AnchoredSkill,
    fire,
    merge_anchored,
    render_anchored,
    replay,
    still_there,
    turn_context,
)
from reskill_agents.graphs.served import (
    Metadata,
    NamespaceOf,
    ServedSkills,
    call_usage,
    run_metadata,
    skill_cost,
    turn_record,
)
from reskill_agents.graphs.skill_nodes import FiredSkill, run_skill, run_skill_sync
from reskill_agents.library import SkillLibrary
from reskill_agents.selection import SkillSelector, TurnContext, words_as_tokens
from reskill_agents.serving import RunNote, RunRecorder, ServedUnit, SkillProvider, SkillServing


class Served(TypedDict):
    """What a conversation was served last; plain data for checkpointers. ``turn``: its model calls so far."""

    library: str
    turn: int


class ReSkillState(AgentState[Any]):
    """The agent's state with two private channels: neither input nor output, kept by checkpointers."""

    reskill_skills: NotRequired[Annotated[list[AnchoredSkill], PrivateStateAttr]]
    reskill_served: NotRequired[Annotated[Served, PrivateStateAttr]]


class ReSkillMiddleware(AgentMiddleware[ReSkillState, Any, Any]):
    """Gives an agent the skills that its situation calls for::

        agent = create_agent(model, tools, middleware=[ReSkillMiddleware(library)])

    Put it last, so that it is the innermost: middleware that rewrites history (summaries, context editing) is then seen.
    Give every sub-agent a middleware with a library of its own. In a conversation that several agents share, name them
    (``create_agent(name=...)``): only an agent's own answers count as its turns.

    Each firing is a custom stream event and, where a callback handler listens, a run called ``skill:<name>``; the model's
    run carries the metadata of :func:`~reskill_agents.graphs.served.run_metadata`.

    Args:
        skills: one library, or a provider that decides for every thread (what a live evolver is).
        recorder: takes notes of every model call, so that outcomes can be recorded under run or thread ids; default: the
            provider, where it takes them (``LiveSkills`` does).
        namespace: the tenant, or a function of the run's config and context.
        max_skill_tokens_turn: budget of skill text a model call, in tokens.
        max_skill_tokens_episode: budget of skill text in one context.
        count_tokens: text -> tokens; default: characters / 4.
        system_role: ``False`` where the model's template has no system message; start skills join the first human one.
    """

    state_schema = ReSkillState

    def __init__(
        self,
        skills: SkillLibrary | SkillSelector | SkillProvider,
        *,
        recorder: RunRecorder | None = None,
        namespace: tuple[str, ...] | NamespaceOf = (),
        max_skill_tokens_turn: int = SkillSelector.max_skill_tokens_turn,
        max_skill_tokens_episode: int = SkillSelector.max_skill_tokens_episode,
        count_tokens: Callable[[str], int] = words_as_tokens,
        system_role: bool = True,
    ) -> None:
        super().__init__()
        self.served = ServedSkills(
            skills, recorder, namespace, max_skill_tokens_turn, max_skill_tokens_episode, count_tokens
        )
        self.system_role = system_role

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any] | ExtendedModelResponse[Any]:
        """Send the request with the text of its skills."""
        if self.served.idle:
            return handler(request)
        config = get_config()
        about = self._about(request, config)
        call = self._prepare(request, about, self.served.serving(about.unit))
        for skill in call.fired:
            run_skill_sync(_fired(skill), config, request.runtime.stream_writer)
        with _metadata(call.metadata):
            response = handler(call.request)
        if self.served.recorder is not None:
            self.served.note(*call.noted(response))
        return call.answered(response)

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> ModelResponse[Any] | ExtendedModelResponse[Any]:
        """:meth:`wrap_model_call` for asynchronous agents."""
        if self.served.idle:
            return await handler(request)
        config = get_config()
        about = self._about(request, config)
        call = self._prepare(request, about, await self.served.aserving(about.unit))
        for skill in call.fired:
            await run_skill(_fired(skill), config, request.runtime.stream_writer)
        with _metadata(call.metadata):
            response = await handler(call.request)
        if self.served.recorder is not None:
            await self.served.anote(*call.noted(response))
        return call.answered(response)

    def _about(self, request: ModelRequest[Any], config: RunnableConfig) -> _About:
        """Whose call it is, and which of the thread's."""
        state, agent = cast("ReSkillState", request.state), _agent_name(config)
        before = state.get("reskill_served")
        turn = turn_context(request.messages, agent=agent).turn if before is None else before["turn"]
        execution = request.runtime.execution_info
        unit = self.served.unit(
            request.messages,
            config,
            turn=turn,
            context=request.runtime.context,
            run_id=(execution.run_id if execution is not None else None) or "",
            model=_model_name(request.model),
            pinned="" if before is None else before["library"],
        )
        return _About(unit, turn, agent, first=before is None)

    def _prepare(self, request: ModelRequest[Any], about: _About, serving: SkillServing) -> _Call:
        state, messages, agent = cast("ReSkillState", request.state), request.messages, about.agent
        selector = self.served.selector(serving.library)
        anchored = list(state.get("reskill_skills") or ())
        if about.first and about.turn:
            anchored = replay(selector, messages, agent=agent)
        context = turn_context(messages, turn=about.turn, agent=agent)
        fired, selection = fire(selector, messages, anchored, turn=about.turn, agent=agent)
        present = [*still_there(messages, anchored), *fired]
        metadata = run_metadata(serving, about.unit, selector, fired, present)
        return _Call(
            request=self._with_skills(request, present) if present else request,
            fired=fired,
            kept=[*still_there([*state["messages"], *messages], anchored), *fired],
            serving=serving,
            note=RunNote(
                about.unit,
                serving.library.digest,
                serving.arm,
                serving.trial,
                skills=tuple(skill["name"] for skill in present),
                skill_tokens=sum(skill_cost(selector, skill) for skill in present),
            ),
            context=context,
            firings=selection.firings,
            metadata=metadata,
        )

    def _with_skills(self, request: ModelRequest[Any], present: Sequence[AnchoredSkill]) -> ModelRequest[Any]:
        system = request.system_message
        if system is None:
            messages = render_anchored(request.messages, present, system_role=self.system_role)
            if isinstance(messages[0], SystemMessage) and len(messages) > len(request.messages):
                return request.override(system_message=messages[0], messages=cast("list[AnyMessage]", messages[1:]))
            return request.override(messages=cast("list[AnyMessage]", messages))
        messages = render_anchored([system, *request.messages], present, system_role=self.system_role)
        return request.override(
            system_message=cast("SystemMessage", messages[0]), messages=cast("list[AnyMessage]", messages[1:])
        )


@dataclass(frozen=True)
class _About:
    unit: ServedUnit
    turn: int
    agent: str | None
    first: bool


@dataclass(frozen=True)
class _Call:
    """One model call with its skills."""

    request: ModelRequest[Any]
    fired: list[AnchoredSkill]
    kept: list[AnchoredSkill]
    serving: SkillServing
    note: RunNote
    context: TurnContext
    firings: tuple[Firing, ...]
    metadata: Metadata

    def noted(self, response: ModelResponse[Any]) -> tuple[RunNote, Turn]:
        answer = next((message for message in response.result if isinstance(message, AIMessage)), None)
        note = replace(self.note, answer_id=(answer and answer.id) or "", usage=call_usage(answer))
        return note, turn_record(self.context, self.firings, answer)

    def answered(self, response: ModelResponse[Any]) -> ModelResponse[Any] | ExtendedModelResponse[Any]:
        served = Served(library=self.serving.library.digest, turn=self.context.turn + 1)
        update = {"reskill_skills": merge_anchored((), self.kept), "reskill_served": served}
        return ExtendedModelResponse(model_response=response, command=Command(update=update))


@contextmanager
def _metadata(metadata: Metadata) -> Iterator[None]:
    """Metadata for the runs inside: the model's, not the tools'."""
    config = var_child_runnable_config.get() or RunnableConfig()
    token = var_child_runnable_config.set({**config, "metadata": {**(config.get("metadata") or {}), **metadata}})
    try:
        yield
    finally:
        var_child_runnable_config.reset(token)


def _fired(skill: AnchoredSkill) -> FiredSkill:
    return FiredSkill(name=skill["name"], digest=skill["digest"], turn=skill["turn"])


def _agent_name(config: RunnableConfig) -> str | None:
    name = (config.get("metadata") or {}).get("lc_agent_name")
    return name if isinstance(name, str) else None


def _model_name(model: object) -> str:
    for attribute in ("model_name", "model"):
        name = getattr(model, attribute, None)
        if isinstance(name, str) and name:
            return name
    return type(model).__name__


__all__ = ["ReSkillMiddleware", "ReSkillState", "Served"]
