"""Exact model calls of whatever graph runs inside a context."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from reskill_agents.engine import PolicyEngine
from reskill_agents.episodes import ModelCall


@dataclass
class CallRecorder:
    """The calls of one episode, in the order in which they were answered.

    Args:
        session: the episode's id; every :class:`~reskill_agents.graphs.chat_model.PolicyChatModel` called inside the
            context uses it as its session.
        rng_key: prefix of the calls' random keys; call ``n`` samples with ``(*rng_key, n)``.
        calls: what was recorded.
        forks: calls whose prompt did not extend an earlier call of the session although it should have.
    """

    session: str
    rng_key: tuple[int, ...] = ()
    calls: list[ModelCall] = field(default_factory=list)
    forks: int = 0
    _started: int = 0

    def next_key(self) -> tuple[int, ...]:
        """The random key of the next call; empty without a prefix."""
        number, self._started = self._started, self._started + 1
        return (*self.rng_key, number) if self.rng_key else ()


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
    recorder = CallRecorder(session, rng_key)
    token = _RECORDER.set(recorder)
    if engine is not None:
        engine.open(session)
    try:
        yield recorder
    finally:
        _RECORDER.reset(token)
        if engine is not None:
            engine.release(session)
