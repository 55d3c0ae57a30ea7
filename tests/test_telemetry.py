"""What OpenTelemetry sees of skills: library, arm, firings and tokens, and never a message."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk")

from langchain_core.messages import AIMessage
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from test_middleware import LIBRARY, Halves, Scripted, agent, say, thread
from test_skill_account import metered

from reskill_agents.graphs.middleware import ReSkillMiddleware
from reskill_agents.graphs.telemetry import SkillTelemetry


class Watched:
    """A telemetry whose spans and counters a test can read."""

    def __init__(self) -> None:
        self.spans, self.reader = InMemorySpanExporter(), InMemoryMetricReader()
        tracers = TracerProvider(shutdown_on_exit=False)
        tracers.add_span_processor(SimpleSpanProcessor(self.spans))
        meters = MeterProvider([self.reader], shutdown_on_exit=False)
        self.handler = SkillTelemetry(tracers, meters)

    def attributes(self) -> list[dict[str, Any]]:
        return [dict(span.attributes or {}) for span in self.spans.get_finished_spans()]

    def counted(self, name: str) -> dict[tuple[tuple[str, Any], ...], float]:
        data = self.reader.get_metrics_data()
        assert data is not None
        every = [m for resource in data.resource_metrics for scope in resource.scope_metrics for m in scope.metrics]
        points = [point for metric in every if metric.name == name for point in metric.data.data_points]
        return {tuple(sorted(dict(point.attributes or {}).items())): point.value for point in points}


def watching(watched: Watched, name: str = "1") -> Any:
    return {**thread(name), "callbacks": [watched.handler]}


def test_a_model_call_is_a_span_with_its_library_skills_and_tokens() -> None:
    watched = Watched()
    skills = ReSkillMiddleware(LIBRARY, count_tokens=lambda text: 10)
    app = agent(Scripted(answers=[metered(AIMessage("hi"), 70, 7, cached=20)]), skills)
    app.invoke(say("rain and a secret"), watching(watched))
    [span] = watched.spans.get_finished_spans()
    assert span.name.startswith("chat")
    found = dict(span.attributes or {})
    assert found["reskill.library"] == LIBRARY.digest
    assert found["reskill.fired"] == ("polite", "begins", "on-rain")
    assert (found["reskill.skill_tokens"], found["reskill.fired_tokens"]) == (30, 30)
    assert (found["gen_ai.usage.input_tokens"], found["gen_ai.usage.output_tokens"]) == (70, 7)
    assert found["gen_ai.usage.cache_read.input_tokens"] == 20
    assert "secret" not in span.to_json()
    assert "umbrella" not in span.to_json()
    library = ("reskill.library", LIBRARY.digest)
    assert watched.counted("reskill.skill_tokens") == {(library,): 30}
    assert watched.counted("reskill.firings")[library, ("reskill.skill", "on-rain")] == 1


def test_the_arm_and_the_trial_are_there_while_one_runs() -> None:
    watched = Watched()
    app = agent(Scripted(answers=[AIMessage("ok")]), ReSkillMiddleware(Halves()))
    for name in ("0", "1"):
        app.invoke(say("hello"), watching(watched, name))
    assert [(one["reskill.trial"], one["reskill.arm"]) for one in watched.attributes()] == [
        ("trial-1", "incumbent"),
        ("trial-1", "candidate"),
    ]


def test_a_failing_model_ends_its_span_without_the_errors_text() -> None:
    watched = Watched()
    with pytest.raises(ConnectionError):
        agent(Scripted(answers=[AIMessage("hi")], fails=[0])).invoke(say("rain"), watching(watched))
    [span] = watched.spans.get_finished_spans()
    assert not span.status.is_ok
    assert dict(span.attributes or {})["error.type"] == "ConnectionError"
    assert "down" not in span.to_json()


async def test_asynchronous_agents_too() -> None:
    watched = Watched()
    await agent(Scripted(answers=[AIMessage("hi")])).ainvoke(say("rain"), watching(watched))
    assert len(watched.attributes()) == 1


def test_without_skills_there_is_no_span() -> None:
    watched = Watched()
    app = agent(Scripted(answers=[AIMessage("hi")]), type(LIBRARY)())
    app.invoke(say("rain"), watching(watched))
    assert watched.attributes() == []
