"""Playing any LangGraph on tasks: groups of concurrent, exactly recorded runs."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

from langchain_core.messages import HumanMessage
from langgraph.errors import GraphRecursionError

from reskill_agents.environment import Task
from reskill_agents.episodes import Group, StopReason
from reskill_agents.errors import ConfigError, ContextOverflow, EngineError, EngineMismatch, EnvironmentFault
from reskill_agents.graphs.chat_model import PolicyChatModel
from reskill_agents.graphs.foreign_calls import ForeignCalls
from reskill_agents.graphs.recorder import CallRecorder, record_calls
from reskill_agents.library import SkillLibrary
from reskill_agents.trainers.graph_episode import GraphEpisode, RewardFunction, reward_of, turns_of
from reskill_agents.trainers.groups import GroupPlan, Member, PlayedGroup
from reskill_agents.trials.arm import Arm

_BLOCKED_THREADS = 4  # synchronous tools of one run that may wait for the policy at the same time


@runtime_checkable
class CompiledGraph(Protocol):
    """What ``StateGraph.compile()`` and ``create_agent`` give: anything with this ``astream``."""

    def astream(self, input: Any, config: Any = None, *, stream_mode: Any = None) -> Any:
        """States of a run."""
        ...


GraphInput = Callable[[Task], Any]


def as_message(task: Task) -> Mapping[str, Any]:
    """The default input: the task's text as the user's message."""
    return {"messages": [HumanMessage(task.text)]}


@dataclass(frozen=True)
class GraphRun:
    """One run to be: task, library, id, trial arm, step and the prefix of its random keys."""

    task: Task
    library: SkillLibrary
    episode_id: str
    rng_key: tuple[int, ...]
    arm: Arm | None = None
    step: int = -1


@dataclass
class GraphPlayer:
    """Runs a graph on tasks.

    Args:
        graph_with: the graph for a library; called once for each.
        policy: the model under training.
        reward: of a finished run.
        inputs: the graph's input for a task.
        recursion_limit: LangGraph's; a run that reaches it is scored as it stands.
    """

    graph_with: Callable[[SkillLibrary], CompiledGraph]
    policy: PolicyChatModel
    reward: RewardFunction
    inputs: GraphInput = as_message
    recursion_limit: int = 50
    _graphs: dict[str, CompiledGraph] = field(default_factory=dict, repr=False)

    async def play(self, runs: Sequence[GraphRun], *, concurrency: int | None = None) -> list[GraphEpisode]:
        """Play all, up to ``concurrency`` at a time (default: all), in the order of ``runs``.

        A fault of engine or environment, or an exception in the graph or its reward, is an episode without a score.
        Synchronous tools that call the policy block a thread each while the engine gathers a batch, so the loop's pool is
        widened.

        Raises:
            Exception: the first one of the graph, when no run at all came through.
            EngineMismatch: engine and trainer disagree about the weights.
        """
        count = min(concurrency or len(runs), len(runs)) or 1
        limit, faults = asyncio.Semaphore(count), list[Exception]()

        async def admitted(run: GraphRun) -> GraphEpisode:
            async with limit:
                return await self._play(run, faults)

        with ThreadPoolExecutor(_BLOCKED_THREADS * count, "graph-tools") as pool:
            asyncio.get_running_loop().set_default_executor(pool)
            try:
                played = list(await asyncio.gather(*(admitted(run) for run in runs)))
            finally:
                asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(thread_name_prefix="asyncio"))
        if faults and len(faults) == len(runs):
            raise faults[0]
        return played

    async def _play(self, run: GraphRun, faults: list[Exception]) -> GraphEpisode:
        stop, error, output = StopReason.DONE, "", dict[str, Any]()
        with record_calls(run.episode_id, engine=self.policy.engine, rng_key=run.rng_key) as recorder:
            try:
                await asyncio.sleep(0)  # let every run of a batch open its session first
                async for state in self._graph(run.library).astream(
                    self.inputs(run.task), self._config(run, recorder), stream_mode="values"
                ):
                    output = dict(state) if isinstance(state, Mapping) else {"output": state}
            except EngineMismatch:
                raise
            except ContextOverflow:
                stop = StopReason.CONTEXT_LIMIT
            except GraphRecursionError:
                stop = StopReason.TURN_LIMIT
            except (EnvironmentFault, EngineError) as fault:
                stop, error = StopReason.FAULT, f"{type(fault).__name__}: {fault}"
                faults.append(fault)
            except Exception as fault:  # a tool or node of somebody else's graph: data, not a crash of the run
                stop, error = StopReason.FAULT, f"{type(fault).__name__}: {fault}"
                faults.append(fault)
            finally:
                self.policy.forget(run.episode_id)
        return await self._episode(run, recorder, output, stop, error, faults)

    def _config(self, run: GraphRun, recorder: CallRecorder) -> dict[str, Any]:
        thread = f"{run.episode_id}-{uuid.uuid4().hex}"  # a checkpointer must never continue an earlier run
        return {
            "recursion_limit": self.recursion_limit,
            "configurable": {"thread_id": thread},
            "callbacks": [ForeignCalls(recorder)],
        }

    def _graph(self, library: SkillLibrary) -> CompiledGraph:
        if library.digest not in self._graphs:
            while len(self._graphs) >= 32:
                self._graphs.pop(next(iter(self._graphs)))
            self._graphs[library.digest] = self.graph_with(library)
        return self._graphs[library.digest]

    async def _episode(
        self,
        run: GraphRun,
        recorder: CallRecorder,
        output: Mapping[str, Any],
        stop: StopReason,
        error: str,
        faults: list[Exception],
    ) -> GraphEpisode:
        episode = GraphEpisode(
            episode_id=run.episode_id,
            task=run.task,
            turns=turns_of(recorder.trace),
            score=None,
            stop=stop,
            arm=run.arm,
            library_digest=run.library.digest,
            model=self.policy.name_of_policy,
            step=run.step,
            error=error,
            trace=tuple(recorder.trace),
            output=output,
        )
        if stop is StopReason.FAULT:
            return episode
        try:
            reward = await reward_of(self.reward, episode)
        except ConfigError:
            raise
        except Exception as fault:  # a judge that timed out, say: this run teaches nothing
            faults.append(fault)
            return replace(episode, stop=StopReason.FAULT, error=f"reward: {type(fault).__name__}: {fault}")
        score = None if reward is None else min(max(reward, 0.0), 1.0)
        return replace(episode, reward=reward, score=score)


@dataclass
class GraphCollector:
    """Plays planned groups with a graph: what :class:`~reskill_agents.trainers.groups.Collector` is to a world."""

    player: GraphPlayer
    seed: int
    concurrency: int | None = None

    async def collect(self, plans: Sequence[GroupPlan], step: int, first: int = 0) -> list[PlayedGroup]:
        """Play groups of a step concurrently, numbered from ``first``."""
        runs = [
            self._run(plan.task, member, step, number, place)
            for number, plan in enumerate(plans, first)
            for place, member in enumerate(plan.members)
        ]
        episodes = iter(await self.player.play(runs, concurrency=self.concurrency))
        return [PlayedGroup(plan, Group(plan.task, tuple(next(episodes) for _ in plan.members))) for plan in plans]

    def _run(self, task: Task, member: Member, step: int, number: int, place: int) -> GraphRun:
        key = (self.seed, step, number, place)
        return GraphRun(task, member.library, f"s{step}-g{number}-r{place}", key, member.arm, step)
