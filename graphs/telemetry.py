"""Skills in OpenTelemetry: a span and two counters for each model call, from the same run metadata that LangSmith shows.

Needs ``opentelemetry-api`` (``pip install 'reskill-agents[otel]'``); where no SDK is set up by the app, nothing happens.
LangSmith needs none of this: it shows the metadata of :func:`~reskill_agents.graphs.served.run_metadata` as it is.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGeneration, LLMResult

from reskill_agents.errors import ConfigError
from reskill_agents.graphs.served import call_usage

try:
    from opentelemetry import metrics, trace
except ImportError as error:  # pragma: no cover - the message is the behaviour
    raise ConfigError("skills in OpenTelemetry need: pip install 'reskill-agents[otel]'") from error

SCOPE = "reskill_agents"
_OURS = "reskill."


class SkillTelemetry(BaseCallbackHandler):
    """A LangChain callback handler; give it to the app, once for all of its runs::

        agent.invoke(inputs, {"callbacks": [SkillTelemetry()], "configurable": {"thread_id": thread}})

    Each model call with skills in reach is a span ``chat <model>`` under the current one, with ``reskill.library``,
    ``reskill.run``, ``reskill.trial`` and ``reskill.arm`` (while one runs), ``reskill.fired``, ``reskill.in_context``,
    ``reskill.fired_tokens``, ``reskill.skill_tokens``, and the ``gen_ai`` conventions' model and usage. The counters
    ``reskill.skill_tokens`` (tokens) and ``reskill.firings`` (by skill) have the library and the arm as attributes. No
    message text is ever exported. A span that has not ended when the process dies is not exported.

    Args:
        tracer_provider, meter_provider: default: the app's global ones.
    """

    def __init__(
        self,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
    ) -> None:
        self._tracer = trace.get_tracer(SCOPE, tracer_provider=tracer_provider)
        meter = metrics.get_meter(SCOPE, meter_provider=meter_provider)
        self._tokens = meter.create_counter(
            "reskill.skill_tokens", unit="{token}", description="Skill text in prompts."
        )
        self._firings = meter.create_counter("reskill.firings", unit="{firing}", description="Skills that fired.")
        self._open: dict[UUID, trace.Span] = {}
        self._lock = threading.Lock()

    def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Open the span of a call that the middleware (or ``skills_metadata``) gave metadata."""
        ours = {key: value for key, value in (metadata or {}).items() if key.startswith(_OURS)}
        if not ours:
            return
        model = str((metadata or {}).get("ls_model_name") or "")
        named = {"gen_ai.operation.name": "chat", **({"gen_ai.request.model": model} if model else {})}
        span = self._tracer.start_span(
            f"chat {model}".rstrip(), kind=trace.SpanKind.CLIENT, attributes={**named, **ours}
        )
        with self._lock:
            self._open[run_id] = span
        self._count(ours)

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        """End the span with what the model reported."""
        span = self._close(run_id)
        if span is None:
            return
        generations = [one for batch in response.generations for one in batch]
        message = generations[0].message if generations and isinstance(generations[0], ChatGeneration) else None
        usage = call_usage(message)
        if usage is not None:
            span.set_attribute("gen_ai.usage.input_tokens", usage.prompt)
            span.set_attribute("gen_ai.usage.output_tokens", usage.answer)
            span.set_attribute("gen_ai.usage.cache_read.input_tokens", usage.cached)
        span.end()

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """End the span with the error's type; its text may hold what a user said."""
        span = self._close(run_id)
        if span is not None:
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(trace.Status(trace.StatusCode.ERROR))
            span.end()

    def _close(self, run_id: UUID) -> trace.Span | None:
        with self._lock:
            return self._open.pop(run_id, None)

    def _count(self, ours: Mapping[str, Any]) -> None:
        place = {key: str(ours[key]) for key in ("reskill.library", "reskill.arm") if key in ours}
        self._tokens.add(int(ours.get("reskill.skill_tokens", 0)), place)
        for name in ours.get("reskill.fired", ()):
            self._firings.add(1, {**place, "reskill.skill": name})


__all__ = ["SkillTelemetry"]
