"""Skills as prompt nodes in a hand-written ``StateGraph``, over ``MessagesState`` or a schema of the user's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Protocol, TypeAlias, cast

from langchain_core.messages import BaseMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config
from langgraph.config import get_config, get_stream_writer
from langgraph.graph import MessagesState
from langgraph.runtime import get_runtime
from langgraph.types import Send
from typing_extensions import TypedDict

from reskill_agents.episodes import Firing
from reskill_agents.errors import ConfigError
from reskill_agents.graphs.anchors import (
    AnchoredSkill,
    fire,
    last_answer,
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
    serving_metadata,
    skill_cost,
    turn_record,
)
from reskill_agents.graphs.skill_nodes import FiredSkill, run_skill_sync
from reskill_agents.library import SkillLibrary
from reskill_agents.selection import SkillSelector, words_as_tokens
from reskill_agents.serving import RunNote, RunRecorder, SkillProvider

Skills: TypeAlias = SkillLibrary | SkillSelector | SkillProvider
MessagesOf: TypeAlias = str | Callable[[Any], Sequence[BaseMessage]]
CHANNEL = "skills"


class SkillChannel(TypedDict, total=False):
    """What a schema of the user's own adds: ``class MyState(SkillChannel): ...``.

    With another channel name write the annotation out: ``advice: Annotated[list[AnchoredSkill], merge_anchored]``.
    """

    skills: Annotated[list[AnchoredSkill], merge_anchored]


class SkillState(MessagesState):
    """``MessagesState`` and the skills that entered the conversation, by anchor."""

    skills: Annotated[list[AnchoredSkill], merge_anchored]


class SkillsUpdate(TypedDict):
    """What a prompt node writes."""

    skills: list[AnchoredSkill]


class SkillNode(Protocol):
    """A node that executes the skills that fire."""

    def __call__(self, state: Any) -> dict[str, list[AnchoredSkill]]:
        """The firings, for the channel."""
        ...


class PromptCall(TypedDict):
    """The input of one ``skill`` node."""

    skill: AnchoredSkill


def skill_node(
    skills: Skills,
    *,
    messages: MessagesOf | None = None,
    channel: str = CHANNEL,
    agent: str | None = None,
    recorder: RunRecorder | None = None,
    namespace: tuple[str, ...] | NamespaceOf = (),
) -> SkillNode:
    """One node that executes every fired skill; put it before the node that calls the model.

    It writes firings into the ``skills`` channel and leaves ``messages`` alone; the model's node sends
    ``with_skills(state)`` instead of ``state["messages"]``::

        def call_model(state: SkillState):
            return {"messages": [model.invoke(with_skills(state))]}

        graph = StateGraph(MessagesState)
        graph.add_node("skills", skill_node(library))
        graph.add_node("model", call_model)
        graph.add_edge("skills", "model")

    Each firing is a custom stream event and, where a callback handler listens, a run called ``skill:<name>``.

    Args:
        skills: one library, or a provider that decides for every thread.
        messages: for a schema of the user's own: the name of its messages, or a function from the state to them. Without
            it the graph's state is ``MessagesState`` and gets the channel by itself; with it the schema declares the
            channel (:class:`SkillChannel`).
        channel: where firings are kept. Agents with libraries of their own that share a state take one each.
        agent: whose answers count as turns where several agents share the messages.
        recorder: takes notes; default: the provider, where it takes them (``LiveSkills`` does). An answer is known when the
            node runs again, so a run's last turn has no action.
        namespace: the tenant, or a function of the run's config.
    """
    served = ServedSkills(skills, recorder, namespace)

    def run(state: Any) -> dict[str, list[AnchoredSkill]]:
        recovered, fired = _Turn(served, messages, channel, agent, state).execute()
        for skill in fired:
            _run(skill)
        return {channel: [*recovered, *fired]}

    def run_messages(state: SkillState) -> dict[str, list[AnchoredSkill]]:
        return run(cast("Mapping[str, Any]", state))

    return run_messages if messages is None and channel == CHANNEL else run


def route_skills(
    skills: Skills,
    *,
    then: str = "model",
    node: str = "skill",
    messages: MessagesOf | None = None,
    channel: str = CHANNEL,
    agent: str | None = None,
    recorder: RunRecorder | None = None,
    namespace: tuple[str, ...] | NamespaceOf = (),
) -> Callable[[Any], list[Send] | str]:
    """A conditional edge with one ``Send`` per fired skill, all in one superstep, in library order; else ``then``.

    ``node`` is the name under which :func:`prompt_node` (or, for another channel, :func:`prompt_node_for`) was added; give
    it an edge to ``then``. The other arguments are those of :func:`skill_node`.
    """
    served = ServedSkills(skills, recorder, namespace)

    def route(state: Any) -> list[Send] | str:
        recovered, fired = _Turn(served, messages, channel, agent, state).execute()
        return [Send(node, PromptCall(skill=skill)) for skill in (*recovered, *fired)] or then

    route.__name__ = f"{node} or {then}"  # several agents may branch off at one node
    return route


def prompt_node(state: PromptCall) -> SkillsUpdate:
    """The generic node behind :func:`route_skills`: executes one skill, visibly by name."""
    _run(state["skill"])
    return SkillsUpdate(skills=[state["skill"]])


def prompt_node_for(channel: str) -> Callable[[PromptCall], dict[str, list[AnchoredSkill]]]:
    """:func:`prompt_node` for a channel of another name."""

    def run(state: PromptCall) -> dict[str, list[AnchoredSkill]]:
        _run(state["skill"])
        return {channel: [state["skill"]]}

    return run


def with_skills(
    state: Any, *, messages: MessagesOf | None = None, channel: str = CHANNEL, system_role: bool = True
) -> list[BaseMessage]:
    """The messages to send to the model: the state's own, with skill text at its anchors.

    ``system_role=False`` puts start skills into the first human message, for templates without a system message.

    Raises:
        ConfigError: the node does not see the channel.
    """
    anchored = _read(state, channel)
    if anchored is None:
        raise ConfigError(
            f"this node does not see the channel {channel!r}: annotate its state (with SkillState), or declare the channel in "
            "the graph's schema"
        )
    return render_anchored(_messages(state, messages), anchored, system_role=system_role)


def skills_metadata(
    state: Any,
    skills: Skills | None = None,
    *,
    messages: MessagesOf | None = None,
    channel: str = CHANNEL,
    agent: str | None = None,
    namespace: tuple[str, ...] | NamespaceOf = (),
    count_tokens: Callable[[str], int] = words_as_tokens,
) -> Metadata:
    """Attributes for the model's run: ``model.invoke(with_skills(state), {"metadata": skills_metadata(state, skills)})``.

    With the ``skills`` that the skill node has, the library's digest is among them, and the run, arm and trial of a live
    store. The other arguments are those of the skill node.
    """
    anchored: Sequence[AnchoredSkill] = _read(state, channel) or []
    metadata: Metadata = {
        "reskill.in_context": [skill["name"] for skill in anchored],
        "reskill.skill_tokens": sum(count_tokens(skill["text"]) for skill in anchored),
    }
    if skills is None:
        return metadata
    served = ServedSkills(skills, namespace=namespace, count_tokens=count_tokens)
    found = _messages(state, messages)
    turn = turn_context(found, agent=agent).turn
    config = var_child_runnable_config.get() or RunnableConfig()
    unit = served.unit(found, config, turn=turn, run_id=_run_id())
    return {**serving_metadata(served.serving(unit), unit), **metadata}


class _Turn:
    """One visit of a node or an edge."""

    def __init__(
        self,
        served: ServedSkills,
        messages: MessagesOf | None,
        channel: str,
        agent: str | None,
        state: Any,
    ) -> None:
        self._served, self._agent = served, agent
        self._messages = _messages(state, messages)
        self._known: list[AnchoredSkill] = list(_read(state, channel) or ())

    def execute(self) -> tuple[list[AnchoredSkill], list[AnchoredSkill]]:
        """(skills of earlier turns whose anchors were not kept, skills that enter now)."""
        if self._served.idle:
            return [], []
        context = turn_context(self._messages, agent=self._agent)
        config = var_child_runnable_config.get() or RunnableConfig()
        unit = self._served.unit(self._messages, config, turn=context.turn, run_id=_run_id())
        serving = self._served.serving(unit)
        selector = self._served.selector(serving.library)
        lacking = context.turn > 0 and not self._known
        recovered = replay(selector, self._messages, agent=self._agent) if lacking else []
        known = [*self._known, *recovered]
        fired, selection = fire(selector, self._messages, known, agent=self._agent)
        if self._served.recorder is not None:
            present = [*still_there(self._messages, known), *fired]
            note = RunNote(
                unit,
                serving.library.digest,
                serving.arm,
                serving.trial,
                skills=tuple(skill["name"] for skill in present),
                skill_tokens=sum(skill_cost(selector, skill) for skill in present),
            )
            self._note_answer(note, known)
            self._served.note(note, turn_record(context, selection.firings, None))
        return recovered, fired

    def _note_answer(self, note: RunNote, known: Sequence[AnchoredSkill]) -> None:
        """The turn before, whose answer is known by now."""
        last = last_answer(self._messages, self._agent)
        if last < 1:
            return
        context, answer = turn_context(self._messages[:last], agent=self._agent), self._messages[last]
        shown = [Firing(s["name"], s["digest"], s["turn"]) for s in known if s["turn"] == context.turn]
        unit = self._served.same_request(note.unit, self._messages, last, context.turn)
        note = replace(note, unit=unit, answer_id=answer.id or "", usage=call_usage(answer))
        self._served.note(note, turn_record(context, shown, answer))


def _run(skill: AnchoredSkill) -> None:
    run_skill_sync(
        FiredSkill(name=skill["name"], digest=skill["digest"], turn=skill["turn"]), get_config(), get_stream_writer()
    )


def _messages(state: Any, messages: MessagesOf | None) -> Sequence[BaseMessage]:
    found = messages(state) if callable(messages) else _read(state, messages or "messages")
    return cast("Sequence[BaseMessage]", found)


def _read(state: Any, key: str) -> Any:
    """A channel of a state that is a dict, a dataclass or a pydantic model; ``None`` where there is none."""
    return state.get(key) if isinstance(state, Mapping) else getattr(state, key, None)


def _run_id() -> str:
    if var_child_runnable_config.get() is None:
        return ""
    execution = get_runtime().execution_info
    return (execution.run_id if execution is not None else None) or ""
