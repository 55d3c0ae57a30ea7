"""What a model author is asked to answer: pydantic models whose JSON schema goes with the prompt."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from reskill_agents.assertions import Check
from reskill_agents.library import OperationKind
from reskill_agents.trigger import TriggerKind

_Line = Annotated[str, Field(max_length=400)]


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore")


class AnalysisAnswer(_Answer):
    """Of one task."""

    insight: Annotated[str, Field(min_length=1, max_length=1200)]
    succeeding: Annotated[list[_Line], Field(max_length=6)] = []
    failing: Annotated[list[_Line], Field(max_length=6)] = []
    trigger_actions: Annotated[list[_Line], Field(max_length=6)] = []
    skills: _Line = ""


class NewAssertion(_Answer):
    """An assertion to add: a check and what it means."""

    text: _Line
    check: Check


class DiagnosisAnswer(_Answer):
    """Of all tasks."""

    problems: Annotated[list[Annotated[str, Field(min_length=1, max_length=800)]], Field(min_length=1, max_length=5)]
    add_assertions: Annotated[list[NewAssertion], Field(max_length=5)] = []
    drop_assertions: list[str] = []
    found_in: Annotated[list[Annotated[list[int], Field(max_length=100)]], Field(max_length=5)] = []


class TriggerAnswer(_Answer):
    """When a skill should arrive; ``pattern`` for the kinds that have one."""

    kind: TriggerKind
    pattern: Annotated[str, Field(max_length=300)] = ""


class RecommendedChange(_Answer):
    """One change."""

    kind: OperationKind
    target: Annotated[str, Field(max_length=64)] = ""
    idea: Annotated[str, Field(max_length=800)] = ""
    reason: Annotated[str, Field(max_length=800)] = ""
    trigger: TriggerAnswer | None = None
    problems: Annotated[list[int], Field(max_length=5)] = []


class RecommendationAnswer(_Answer):
    """One to three changes; none when nothing is worth trying."""

    changes: Annotated[list[RecommendedChange], Field(max_length=3)]


class SkillAnswer(_Answer):
    """The parts of a skill."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    when_to_use: Annotated[str, Field(min_length=1, max_length=400)]
    action: Annotated[str, Field(min_length=1, max_length=600)]
    example: Annotated[str, Field(max_length=400)] = ""
    trigger: TriggerAnswer
