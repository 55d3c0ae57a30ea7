"""Runs the pairs of a comparison: same task, same seed, both arms, several at once, within a budget."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import isawaitable
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from reskill_agents.ab.answer import AbAnswer, answer
from reskill_agents.ab.budget import Account, Budget
from reskill_agents.ab.injection import ArmAgent, Injection, arm_agent
from reskill_agents.ab.run_log import RunLog, RunRecord, Said
from reskill_agents.ab.tasks import AbTask
from reskill_agents.errors import ConfigError, RunFolderError
from reskill_agents.library import SkillLibrary
from reskill_agents.transcripts import LogError, read_message
from reskill_agents.trials.arm import Arm

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

MANY_FAULTS = 10  # runs in a row without an outcome: something is broken, stop paying for it
_LONGEST_ERROR = 500


@dataclass(frozen=True)
class FinishedRun:
    """What the reward function sees. It does not say which arm ran.

    Args:
        task: the task; ``task.data`` holds the other keys of its line.
        seed: of this pair.
        messages: the final messages of the agent.
        state: the whole final state of the graph.
        cut_short: the graph's step limit ended the run.
    """

    task: AbTask
    seed: int
    messages: tuple[BaseMessage, ...]
    state: Mapping[str, object]
    cut_short: bool = False


Reward: TypeAlias = Callable[[FinishedRun], "float | bool | Awaitable[float | bool | None] | None"]


@dataclass(frozen=True)
class AbPlan:
    """A comparison of two libraries on one agent.

    Args:
        agent: a compiled graph (messages in, messages out), or a factory of one; see ``injection``.
        tasks: in any order; they are run in an order drawn from ``seed`` that more tasks do not change.
        a, b: the libraries; A is usually empty.
        reward: higher is better; ``None`` or an exception is a missing outcome. A plain function runs in a thread.
        injection: how skills reach the agent; ``None``: see :func:`~reskill_agents.ab.injection.arm_agent`.
        repeats: pairs a task. More tasks tell more than more repeats.
        seed: of the order and of the seed that each pair gives both its runs (``config["configurable"]["seed"]``).
        concurrency: agent runs at once.
        budget: what it may cost.
        run_seconds: a run that takes longer has no outcome.
        margin: an effect smaller than this is no difference worth having, in units of reward.
        label: names agent and reward; a folder of runs under another label is refused.
    """

    agent: object
    tasks: Sequence[AbTask]
    a: SkillLibrary
    b: SkillLibrary
    reward: Reward
    injection: Injection | None = None
    repeats: int = 1
    seed: int = 0
    concurrency: int = 8
    budget: Budget = field(default_factory=Budget)
    run_seconds: float | None = None
    margin: float = 0.1
    label: str = ""

    def __post_init__(self) -> None:
        for name in ("repeats", "concurrency"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}: must be at least 1, got {getattr(self, name)}")
        for name in ("run_seconds", "margin"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name}: must be above 0, got {value}")
        if len({task.task_id for task in self.tasks}) != len(self.tasks):
            raise ConfigError("tasks: an id comes twice")


def pair_seed(seed: int, task_id: str, repeat: int) -> int:
    """The seed that both runs of a pair get."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{repeat}/{task_id}".encode()).digest()[:4], "big") >> 1


async def run_ab(plan: AbPlan, folder: Path) -> AbAnswer:
    """Run what is not yet in ``folder`` and answer from everything in it.

    Stops at the end of the tasks, at a limit of the budget, or after ten runs in a row without outcome. Every run is
    on disk when it ends: a call that was killed goes on where it stopped, and runs under way then are run again.

    Raises:
        ConfigError: the agent cannot carry these skills.
        RunFolderError: ``folder`` is in use, or of another comparison, or a task in it has changed.
    """
    agents = {
        Arm.INCUMBENT: arm_agent(plan.agent, plan.a, plan.injection),
        Arm.CANDIDATE: arm_agent(plan.agent, plan.b, plan.injection),
    }
    identity = {
        "a": plan.a.digest,
        "b": plan.b.digest,
        "injection": agents[Arm.CANDIDATE].injection.value,
        "label": plan.label,
        "seed": str(plan.seed),
    }
    with RunLog(folder, identity) as log:
        _check_tasks(log, plan.tasks)
        stopped = await _Race(plan, agents, log).run()
        return answer(
            tuple(log.records.values()),
            margin=plan.margin,
            look=log.look(),
            budget=plan.budget,
            stopped=stopped,
            tasks=len(plan.tasks),
            same_skills=plan.a.digest == plan.b.digest,
        )


def _check_tasks(log: RunLog, tasks: Sequence[AbTask]) -> None:
    known = {task.task_id: task.digest for task in tasks}
    changed = sorted({r.task for r in log.records.values() if known.get(r.task) != r.task_digest})
    if changed:
        raise RunFolderError(
            f"{log.folder} has runs of tasks that were changed or taken out since: {', '.join(changed[:5])};"
            " add tasks, or take another folder"
        )


class _Race:
    """The pairs that are still to run, and the workers that run them."""

    def __init__(self, plan: AbPlan, agents: Mapping[Arm, ArmAgent], log: RunLog) -> None:
        self.plan, self.agents, self.log = plan, agents, log
        self.account = Account(plan.budget)
        for record in log.records.values():
            self.account.add(record.tokens)
        self.pairs = self._open_pairs()
        self.stopped = ""
        self.faults = 0
        self.started = time.monotonic()
        self.ended = asyncio.Condition()
        self.slots = asyncio.Semaphore(plan.concurrency)

    def _open_pairs(self) -> Iterator[tuple[AbTask, int, list[Arm]]]:
        """Every task once, then every task again; the arm that goes first alternates by seed."""
        for repeat in range(self.plan.repeats):
            seeds = {task.task_id: pair_seed(self.plan.seed, task.task_id, repeat) for task in self.plan.tasks}
            for task in sorted(self.plan.tasks, key=lambda task: (seeds[task.task_id], task.task_id)):
                order = [Arm.INCUMBENT, Arm.CANDIDATE][:: 1 if seeds[task.task_id] % 2 else -1]
                arms = [arm for arm in order if (task.task_id, repeat, arm) not in self.log.records]
                if arms:
                    yield task, repeat, arms

    async def run(self) -> str:
        """Run to the end; why it stopped early, or the empty string."""
        workers = max(1, (self.plan.concurrency + 1) // 2)
        try:
            async with asyncio.timeout(self.plan.budget.seconds):
                async with asyncio.TaskGroup() as group:
                    for _ in range(workers):
                        group.create_task(self._work())
        except TimeoutError:
            return f"{self.plan.budget.seconds:g} seconds"
        return self.stopped

    async def _work(self) -> None:
        while not self.stopped:
            async with self.ended:
                await self.ended.wait_for(lambda: not self.account.must_wait())
            pair = next(self.pairs, None)
            if pair is None or self.stopped:
                return
            task, repeat, arms = pair
            limit = self.account.limit_reached(len(arms), time.monotonic() - self.started)
            if limit:
                self.stopped = self.stopped or limit
                return
            self.account.start(len(arms))
            await asyncio.gather(*(self._one(task, repeat, arm) for arm in arms))

    async def _one(self, task: AbTask, repeat: int, arm: Arm) -> None:
        async with self.slots:
            record = await self._record(task, repeat, arm)
        self.log.append(record)
        self.account.end(record.tokens)
        self.faults = self.faults + 1 if record.outcome is None else 0
        if self.faults >= MANY_FAULTS:
            self.stopped = f"{self.faults} runs in a row without an outcome; the last: {record.error}"
        async with self.ended:
            self.ended.notify_all()

    async def _record(self, task: AbTask, repeat: int, arm: Arm) -> RunRecord:
        from langgraph.errors import GraphRecursionError

        from reskill_agents.ab.usage import UsageCounter

        counter, started = UsageCounter(), time.monotonic()
        seed = pair_seed(self.plan.seed, task.task_id, repeat)
        thread = hashlib.sha256(f"{seed}/{task.task_id}/{repeat}/{arm}".encode()).hexdigest()[:24]  # names no arm
        state: object = None
        outcome, error, cut_short = None, "", False
        try:
            async with asyncio.timeout(self.plan.run_seconds):
                try:
                    async for step in self.agents[arm].states(task, seed, thread, [counter]):
                        state = step
                except GraphRecursionError:
                    cut_short = True  # a turn limit is an outcome of the agent, not a fault
                outcome = await self._outcome(task, seed, state, cut_short)
                error = "" if outcome is not None else "the reward is None"
        except Exception as caught:
            error = f"{type(caught).__name__}: {caught}"[:_LONGEST_ERROR]
        return RunRecord(
            task=task.task_id,
            task_digest=task.digest,
            repeat=repeat,
            arm=arm,
            seed=seed,
            outcome=outcome,
            error=error.encode("utf-8", "replace").decode(),
            cut_short=cut_short,
            prompt_tokens=counter.tokens.prompt,
            answer_tokens=counter.tokens.answer,
            estimated=counter.tokens.estimated,
            seconds=round(time.monotonic() - started, 3),
            transcript=transcript_of(state),
        )

    async def _outcome(self, task: AbTask, seed: int, state: object, cut_short: bool) -> float | None:
        if not isinstance(state, Mapping) or not isinstance(state.get("messages"), list):
            raise TypeError("the agent's state has no list of messages")
        run = FinishedRun(task, seed, tuple(state["messages"]), state, cut_short)
        given = self.plan.reward(run) if _is_async(self.plan.reward) else await asyncio.to_thread(self.plan.reward, run)
        value = await given if isawaitable(given) else given
        if value is None:
            return None
        number = float(value)
        if not isfinite(number):
            raise ValueError(f"the reward is {number}")
        return number


def _is_async(function: object) -> bool:
    from inspect import iscoroutinefunction

    return iscoroutinefunction(function) or iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def transcript_of(state: object) -> tuple[Said, ...]:
    """The messages of a graph's state as plain text; what is no message is left out."""
    messages = state.get("messages") if isinstance(state, Mapping) else None
    said: list[Said] = []
    for message in messages if isinstance(messages, list) else []:
        fields = {name: getattr(message, name, None) for name in ("type", "content", "tool_calls", "name")}
        try:
            read = read_message(fields)
        except LogError:
            continue
        text = read.text.encode("utf-8", "replace").decode()
        said.append(Said(role=read.role, text=text, calls=tuple(call.action for call in read.calls)))
    return tuple(said)
