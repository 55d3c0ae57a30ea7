"""A LangGraph agent that plays an environment; triggered skills execute as prompt nodes.

``observe -> skill (one for each fired skill) -> model -> act -> observe ...``. Fused, the same functions run inside
one node, one superstep a turn: ``act -> act -> ...``.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import Annotated, TypeAlias, TypedDict

from langchain_core.messages import BaseMessage
from langchain_core.runnables import RunnableConfig
from langgraph.config import get_config
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime
from langgraph.types import Command, Send

from reskill_agents.action_format import ActionFormat
from reskill_agents.episodes import ModelCall, StopReason
from reskill_agents.errors import ConfigError, ContextOverflow
from reskill_agents.graphs.call_options import CallOptions
from reskill_agents.graphs.chat_model import PolicyChatModel
from reskill_agents.graphs.messages import text_of
from reskill_agents.graphs.play import Play
from reskill_agents.graphs.skill_nodes import FiredSkill, SkillCall, SkillUpdate, has_listeners, run_skill
from reskill_agents.library import SkillLibrary
from reskill_agents.selection import SkillSelector


class Overflow(StrEnum):
    """What happens when the context is full.

    ``end``: the episode is over and scored as it stands. ``fork``: the older half of the observations is left out, skills
    whose text was in them may fire again, and a new token sequence starts (a new training row, counted by the recorder).
    """

    END = "end"
    FORK = "fork"


@dataclass(frozen=True)
class AgentConfig:
    """Settings of the agent graph.

    Args:
        action_format: how the agent sees its choices and writes its action.
        max_turns: model calls an episode; then it is scored as it stands.
        temperature: > 0, or 0 for greedy (evaluation).
        max_tokens: of one answer.
        max_context: tokens of prompt and answer; ``None``: the policy's limit.
        on_overflow: what happens when a prompt leaves no room for an answer.
        max_skill_tokens_turn: budget of skill text a turn.
        max_skill_tokens_episode: budget of skill text an episode.
        fused: observe, run the skills, ask and act inside one node: the same functions, events and runs, one superstep
            a turn instead of three or four.
        static_nodes: compile a node with its own name for every skill of one library (to look at in Studio).

    Raises:
        ConfigError: with every problem found.
    """

    action_format: ActionFormat = ActionFormat.TAGGED
    max_turns: int = 30
    temperature: float = 1.0
    max_tokens: int = 256
    max_context: int | None = None
    on_overflow: Overflow = Overflow.END
    max_skill_tokens_turn: int = 1000
    max_skill_tokens_episode: int = 4000
    fused: bool = True
    static_nodes: bool = False

    def __post_init__(self) -> None:
        positive = ("max_turns", "max_tokens", "max_skill_tokens_turn", "max_skill_tokens_episode")
        problems = [
            f"{name} must be at least 1, got {getattr(self, name)}" for name in positive if getattr(self, name) < 1
        ]
        if self.temperature < 0:
            problems.append(f"temperature must be at least 0, got {self.temperature}")
        if self.fused and self.static_nodes:
            problems.append("static_nodes needs fused=False: a fused skill has no node of its own")
        if problems:
            raise ConfigError("; ".join(problems))


class AgentState(TypedDict, total=False):
    """The graph's state: the conversation, the skills that entered it, the turn about to be taken."""

    messages: Annotated[list[BaseMessage], operator.add]
    skills: Annotated[list[FiredSkill], operator.add]
    turn: int


AgentGraph: TypeAlias = CompiledStateGraph[AgentState, Play, AgentState, AgentState]


@dataclass(frozen=True)
class Agent:
    """A policy in a compiled agent graph. Build it once; it plays any number of episodes at a time.

    Args:
        model: the policy.
        config: settings.
        system_prompt: what the agent is told about the world.
        library: only with ``static_nodes``: the library whose skills get nodes.
    """

    model: PolicyChatModel
    config: AgentConfig = AgentConfig()
    system_prompt: str = ""
    library: SkillLibrary | None = None

    @cached_property
    def graph(self) -> AgentGraph:
        """The compiled graph; its context is a :class:`~reskill_agents.graphs.play.Play`."""
        return build_agent_graph(self.model, self.config, self.library)

    def selector(self, library: SkillLibrary) -> SkillSelector:
        """The compiled triggers of ``library`` under this agent's budgets, counted in the policy's tokens."""
        return SkillSelector(
            library,
            self.config.max_skill_tokens_turn,
            self.config.max_skill_tokens_episode,
            self.model.tokenizer.count,
        )


def build_agent_graph(
    model: PolicyChatModel, config: AgentConfig | None = None, library: SkillLibrary | None = None
) -> AgentGraph:
    """Compile the agent graph.

    Raises:
        ConfigError: ``static_nodes`` without a library.
    """
    config = config or AgentConfig()
    if config.static_nodes and library is None:
        raise ConfigError("static_nodes needs the library whose skills get nodes")
    nodes = _Nodes(model, config)
    names = [f"skill-{skill.name}" for skill in library or ()] if config.static_nodes else ["skill"]
    graph = StateGraph(AgentState, context_schema=Play)
    if config.fused:
        graph.add_node("act", nodes.turn, destinations=("act", END))
        graph.add_edge(START, "act")
        return graph.compile(name="agent")
    graph.add_node("observe", nodes.observe, destinations=("model", *names))
    graph.add_node("model", nodes.model, destinations=("act", END))
    graph.add_node("act", nodes.act, destinations=("observe", END))
    graph.add_edge(START, "observe")
    for name in names:
        graph.add_node(name, nodes.skill)
        graph.add_edge(name, "model")
    return graph.compile(name="agent")


@dataclass(frozen=True)
class _Nodes:
    policy: PolicyChatModel
    settings: AgentConfig

    @cached_property
    def options(self) -> CallOptions:
        settings = self.settings
        return CallOptions(
            temperature=settings.temperature, max_tokens=settings.max_tokens, max_context=settings.max_context
        )

    async def turn(self, state: AgentState, *, runtime: Runtime[Play]) -> Command[str]:
        """A whole turn, fused; the skills of the next one enter at its end, when its observation is there."""
        play, turn = runtime.context, state.get("turn", 0)
        known = list(state.get("skills", ()))
        entered = await self._observe(turn, runtime) if turn == 0 else []
        new, again = await self._answer(turn, [*known, *entered], state.get("messages", ()), runtime)
        update = AgentState(messages=new, skills=[*entered, *again])
        if play.stop is None:
            self._take(turn, new[-1], play)
            update["turn"] = turn + 1
        if play.stop is not None:
            return Command(goto=END, update=update)
        update["skills"] = [*entered, *again, *await self._observe(turn + 1, runtime)]
        return Command(goto="act", update=update)

    async def observe(self, state: AgentState, *, runtime: Runtime[Play]) -> Command[str]:
        turn = state.get("turn", 0)
        if turn == 0:
            runtime.context.reset()
        fired = runtime.context.select(turn)
        sends = [Send(self._node(skill), SkillCall(skill=skill)) for skill in fired]
        return Command(goto=sends or "model")

    async def skill(self, state: SkillCall, *, runtime: Runtime[Play]) -> SkillUpdate:
        return await run_skill(state["skill"], get_config(), runtime.stream_writer)

    async def model(self, state: AgentState, *, runtime: Runtime[Play]) -> Command[str]:
        new, again = await self._answer(
            state.get("turn", 0), state.get("skills", ()), state.get("messages", ()), runtime
        )
        goto = "act" if runtime.context.stop is None else END
        return Command(goto=goto, update=AgentState(messages=new, skills=again))

    async def act(self, state: AgentState, *, runtime: Runtime[Play]) -> Command[str]:
        play, turn = runtime.context, state.get("turn", 0)
        self._take(turn, state.get("messages", [])[-1], play)
        return Command(goto="observe" if play.stop is None else END, update=AgentState(turn=turn + 1))

    async def _observe(self, turn: int, runtime: Runtime[Play]) -> list[FiredSkill]:
        if turn == 0:
            runtime.context.reset()
        return await _run_skills(runtime.context.select(turn), runtime)

    async def _answer(
        self, turn: int, skills: Sequence[FiredSkill], messages: Sequence[BaseMessage], runtime: Runtime[Play]
    ) -> tuple[list[BaseMessage], list[FiredSkill]]:
        """The turn's new messages, the answer last, and skills that entered again; ``stop`` is set when there is none."""
        play = runtime.context
        fired = [skill for skill in skills if skill["turn"] == turn]
        again: list[FiredSkill] = []
        while True:
            new = play.compose(turn, [*fired, *again], self.settings.action_format)
            try:
                answer = await self._ask(play.view([*messages, *new]), get_config())
            except ContextOverflow:
                if self.settings.on_overflow is Overflow.END or not play.leave_out(turn):
                    play.stop = StopReason.CONTEXT_LIMIT
                    return new, again
                again += await _run_skills(play.select_again(turn), runtime)
            else:
                return [*new, answer], again

    def _take(self, turn: int, answer: BaseMessage, play: Play) -> None:
        settings = self.settings
        call = _with_skill_tokens(play, turn)
        play.take(turn, text_of(answer), call, settings.action_format, settings.max_turns)

    async def _ask(self, messages: Sequence[BaseMessage], config: RunnableConfig) -> BaseMessage:
        """The policy's answer; through LangChain's callbacks only when somebody listens to them."""
        if not has_listeners(config):
            return (await self.policy.complete(messages, self.options)).message
        options = self.options
        return await self.policy.ainvoke(
            list(messages),
            config,
            temperature=options.temperature,
            max_tokens=options.max_tokens,
            max_context=options.max_context,
        )

    def _node(self, skill: FiredSkill) -> str:
        return f"skill-{skill['name']}" if self.settings.static_nodes else "skill"


async def _run_skills(fired: Sequence[FiredSkill], runtime: Runtime[Play]) -> list[FiredSkill]:
    if not fired:
        return []
    config = get_config()
    updates = [await run_skill(skill, config, runtime.stream_writer) for skill in fired]
    return [skill for update in updates for skill in update["skills"]]


def _with_skill_tokens(play: Play, turn: int) -> ModelCall:
    shown = [firing.skill for firing in play.firings if firing.turn == turn and firing.suppressed is None]
    call = play.recorder.calls[-1]
    return replace(call, skill_tokens=sum(play.selector.costs[name] for name in shown)) if shown else call
