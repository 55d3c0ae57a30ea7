"""Exact model calls of whatever graph runs inside a context: tools, parallel branches, sub-agents and retries included."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables.config import var_child_runnable_config

from reskill_agents.engine import PolicyEngine
from reskill_agents.episodes import ModelCall


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a graph a call was made.

    Args:
        node: the LangGraph node; empty outside a graph.
        branch: the runs of nodes around it, outermost first, e.g. ``tools[1]`` for a sub-agent inside the second run of
            node ``tools``; empty for nodes of the outermost graph. The target of a ``Send`` is a branch of its own.
        attempt: how many calls with the same messages this run of the node made before: 0, or more for retries.
    """

    node: str = ""
    branch: str = ""
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class TracedCall:
    """One model call of a run.

    Args:
        place: node, branch and attempt.
        model: the name of the model or policy.
        call: prompt ids, sampled ids, log-probs and policy version; ``None`` for a model whose tokens nobody knows.
        messages: what was sent.
        answer: what came back.
        frozen: the model is not under training; the call is kept, but never trained.
    """

    place: Place
    model: str
    call: ModelCall | None
    messages: tuple[BaseMessage, ...]
    answer: AIMessage
    frozen: bool = False


@dataclass
class CallRecorder:
    """The calls of one episode, in the order in which they were answered.

    Args:
        session: the episode's id; every :class:`~reskill_agents.graphs.chat_model.PolicyChatModel` called inside the
            context uses it as its session.
        rng_key: prefix of the calls' random keys; call ``n`` samples with ``(*rng_key, n)``.
        calls: the policy's calls, without those of frozen models.
        trace: every call with its place in the graph.
        forks: calls whose prompt did not extend an earlier call of the session although it should have.
    """

    session: str
    rng_key: tuple[int, ...] = ()
    calls: list[ModelCall] = field(default_factory=list)
    trace: list[TracedCall] = field(default_factory=list)
    forks: int = 0
    _started: int = 0
    _runs: dict[tuple[str, str], dict[str, int]] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def next_key(self) -> tuple[int, ...]:
        """The random key of the next call; empty without a prefix."""
        with self._lock:
            number, self._started = self._started, self._started + 1
        return (*self.rng_key, number) if self.rng_key else ()

    def take(
        self,
        messages: Sequence[BaseMessage],
        answer: AIMessage,
        *,
        model: str,
        call: ModelCall | None = None,
        frozen: bool = False,
        place: Place | None = None,
    ) -> None:
        """Note a call. ``place`` defaults to that of the LangGraph node which runs now."""
        sent = tuple(messages)
        with self._lock:
            where = place or self.place(*_running_node())
            attempt = sum(
                one.place.branch == where.branch and one.place.node == where.node and one.messages == sent
                for one in self.trace
                if len(one.messages) == len(sent)
            )
            where = Place(where.node, where.branch, attempt)
            self.trace.append(TracedCall(where, model, call, sent, answer, frozen))
            if call is not None and not frozen:
                self.calls.append(call)

    def place(self, node: str, namespace: str, sent: bool = False) -> Place:
        """The place of a node in LangGraph's checkpoint namespace ``outer:id|inner:id``; ``sent``: target of a Send."""
        around = namespace.split("|")
        branch = ""
        for run in around if sent else around[:-1]:
            name = run.partition(":")[0]
            numbers = self._runs.setdefault((branch, name), {})
            branch += f"{'/' if branch else ''}{name}[{numbers.setdefault(run, len(numbers))}]"
        return Place(node, branch)


_RECORDER: ContextVar[CallRecorder | None] = ContextVar("reskill_call_recorder", default=None)


def current_recorder() -> CallRecorder | None:
    """The recorder of this context, if there is one."""
    return _RECORDER.get()


@contextmanager
def record_calls(
    session: str, *, engine: PolicyEngine | None = None, rng_key: tuple[int, ...] = ()
) -> Iterator[CallRecorder]:
    """Record every policy call made inside, by any graph: ``with record_calls("ep-1"): await graph.ainvoke(...)``.

    With ``engine`` the session is opened before and released after, so that its calls join the rounds of batching and
    its cache is kept between turns.
    """
    if engine is not None:
        engine.open(session)
    try:
        with recording(CallRecorder(session, rng_key)) as recorder:
            yield recorder
    finally:
        if engine is not None:
            engine.release(session)


@contextmanager
def recording(recorder: CallRecorder) -> Iterator[CallRecorder]:
    """Record into a recorder that exists already: calls of one episode that arrive in several contexts."""
    token = _RECORDER.set(recorder)
    try:
        yield recorder
    finally:
        _RECORDER.reset(token)


def _running_node() -> tuple[str, str, bool]:
    """Node, checkpoint namespace, and whether a Send started it, of the LangGraph node that runs in this context."""
    config = var_child_runnable_config.get()
    return node_of(None if config is None else config.get("metadata"))


def node_of(metadata: object) -> tuple[str, str, bool]:
    """The same from a run's metadata."""
    known = metadata if isinstance(metadata, dict) else {}
    path = known.get("langgraph_path") or ("",)
    node, namespace = str(known.get("langgraph_node", "")), str(known.get("langgraph_checkpoint_ns", ""))
    return node, namespace, path[0] == "__pregel_push"
