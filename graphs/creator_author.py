"""The author behind a language model: the same nodes as the offline author, asked through a :class:`CreatorClient`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from reskill_agents.assertions import Assertion
from reskill_agents.creator_model import Budget, ClientConfig, CreatorClient, CreatorModel
from reskill_agents.creator_openai import openai_model
from reskill_agents.creator_usage import CreatorUsage
from reskill_agents.errors import CreatorError, SkillError
from reskill_agents.graphs.creator_answers import (
    AnalysisAnswer,
    DiagnosisAnswer,
    RecommendationAnswer,
    RecommendedChange,
    SkillAnswer,
    TriggerAnswer,
)
from reskill_agents.graphs.creator_clusters import served_tasks, tasks_of_problems
from reskill_agents.graphs.creator_prompts import (
    analyse_prompt,
    diagnose_prompt,
    recommend_prompt,
    skill_body,
    system_prompt,
    write_prompt,
)
from reskill_agents.graphs.creator_state import (
    Author,
    CheckFinding,
    CreationWork,
    Diagnosis,
    Insight,
    Recommendation,
    TaskSample,
)
from reskill_agents.graphs.offline_author import OfflineAuthor
from reskill_agents.induction import induced_assertions
from reskill_agents.library import Operation, OperationKind
from reskill_agents.linter import lint_text
from reskill_agents.skill import Skill
from reskill_agents.trigger import Trigger


class ModelAuthor:
    """Asks a model at every node. Its answers are data too: validated, linted, and never used as templates or code.

    Args:
        client: the model within its bounds.
    """

    rewrites = True

    def __init__(self, client: CreatorClient) -> None:
        self.client = client

    @property
    def name(self) -> str:
        """The model's name."""
        return self.client.model.name

    @property
    def usage(self) -> CreatorUsage:
        """What was asked of the model so far."""
        return self.client.usage

    async def analyse(self, work: CreationWork, sample: TaskSample) -> Insight | None:
        """One call a task."""
        answer = await self.client.ask(
            "analyse",
            system_prompt(),
            analyse_prompt(work, sample),
            AnalysisAnswer,
            check=lambda given: _unfit(work, given.insight, *given.succeeding, *given.failing, given.skills),
        )
        return Insight(
            sample.task_id,
            answer.insight,
            tuple(answer.succeeding),
            tuple(answer.failing),
            tuple(answer.trigger_actions),
            answer.skills,
        )

    async def diagnose(
        self, work: CreationWork, insights: Sequence[Insight], checks: Sequence[CheckFinding]
    ) -> Diagnosis:
        """One call; assertions are added, and dropped, all else goes on (the newest first when there are too many)."""
        answer = await self.client.ask(
            "diagnose",
            system_prompt(),
            diagnose_prompt(work, insights, checks),
            DiagnosisAnswer,
            check=lambda given: _unfit(work, *given.problems, *(new.text for new in given.add_assertions)),
        )
        known = {assertion.id: assertion for assertion in (*induced_assertions(work.induction), *work.assertions)}
        added = [Assertion(new.check, new.text) for new in answer.add_assertions]
        kept = [assertion for name, assertion in known.items() if name not in answer.drop_assertions]
        revised = {assertion.id: assertion for assertion in (*added, *kept)}
        return Diagnosis(
            tuple(answer.problems),
            tuple(revised.values())[: work.config.max_assertions],
            tasks_of_problems(answer.problems, insights, answer.found_in),
        )

    async def recommend(
        self, work: CreationWork, insights: Sequence[Insight], diagnosis: Diagnosis
    ) -> tuple[Recommendation, ...]:
        """One call."""
        answer = await self.client.ask(
            "recommend",
            system_prompt(),
            recommend_prompt(work, diagnosis),
            RecommendationAnswer,
            check=lambda given: _recommendation_problems(work, given),
        )
        return tuple(
            Recommendation(
                change.kind,
                change.target if change.kind is not OperationKind.ADD else "",
                None,
                _trigger(change.trigger) if change.trigger else None,
                change.idea,
                change.reason,
                tuple(diagnosis.problems[:1]),
                served_tasks(change.problems, f"{change.idea} {change.reason}", diagnosis, insights),
                tuple(dict.fromkeys(insight.task_id for insight in insights)),
            )
            for change in answer.changes[: work.config.max_operations]
        )

    async def write(self, work: CreationWork, recommendation: Recommendation, problems: Sequence[str]) -> Operation:
        """One call a skill; a deletion needs none."""
        if recommendation.kind is OperationKind.DELETE:
            return Operation.delete(recommendation.target)
        answer = await self.client.ask(
            "author",
            system_prompt(),
            write_prompt(work, recommendation, problems),
            SkillAnswer,
            check=lambda given: _skill_problems(work, given, recommendation),
        )
        skill = _skill(answer)
        if recommendation.kind is OperationKind.MODIFY:
            old = work.library.by_name[recommendation.target]
            return Operation.modify(
                recommendation.target,
                description=skill.description if skill.description != old.description else None,
                body=skill.body if skill.body != old.body else None,
                trigger=skill.trigger if skill.trigger != old.trigger else None,
            )
        taken = {live.name for live in work.library}
        return Operation.add(replace(skill, name=_free_name(skill.name, taken)))


def _unfit(work: CreationWork, *texts: str) -> list[str]:
    """What no answer may hold, wherever it goes next: what a log planted must not travel from node to node."""
    problems = [
        f"repeats {canary}, which is not to be repeated" for canary in map(work.log_words.canary_in, texts) if canary
    ]
    return problems + [str(finding) for text in texts for finding in lint_text(text).findings]


def _recommendation_problems(work: CreationWork, answer: RecommendationAnswer) -> list[str]:
    problems = []
    for number, change in enumerate(answer.changes, 1):
        problems += [f"change {number}: {problem}" for problem in _change_problems(work, change)]
    return problems


def _change_problems(work: CreationWork, change: RecommendedChange) -> list[str]:
    problems = _unfit(work, change.idea, change.reason)
    if change.kind is OperationKind.ADD:
        problems += [] if change.idea.strip() else ["an addition needs an idea"]
    elif change.target not in work.library.by_name:
        names = ", ".join(sorted(work.library.by_name)) or "none: the library is empty"
        problems.append(f"there is no skill {change.target!r}; live skills: {names}")
    if change.trigger is not None:
        problems += _trigger_problems(change.trigger)
    return problems


def _skill_problems(work: CreationWork, answer: SkillAnswer, recommendation: Recommendation) -> list[str]:
    problems = _trigger_problems(answer.trigger)
    if problems:
        return problems
    try:
        skill = _skill(answer)
    except SkillError as error:
        return list(error.problems)
    old = work.library.by_name.get(recommendation.target)
    same = old is not None and (skill.description, skill.body, skill.trigger) == (
        old.description,
        old.body,
        old.trigger,
    )
    return ["this changes nothing about the skill"] if same else []


def _trigger_problems(answer: TriggerAnswer) -> list[str]:
    try:
        _trigger(answer)
    except SkillError as error:
        return list(error.problems)
    return []


def _trigger(answer: TriggerAnswer) -> Trigger:
    return Trigger(answer.kind, answer.pattern)


def _skill(answer: SkillAnswer) -> Skill:
    when = " ".join(answer.when_to_use.split())
    action = " ".join(answer.action.split())
    body = skill_body(when, action, " ".join(answer.example.split()))
    description = when if when.lower().startswith("use ") else f"Use when: {when}"
    return Skill(answer.name, description, body, _trigger(answer.trigger))


def _free_name(name: str, taken: set[str]) -> str:
    if name not in taken:
        return name
    return next(f"{name[:60]}-{number}" for number in range(2, 1000) if f"{name[:60]}-{number}" not in taken)


def author_from_spec(
    spec: str,
    *,
    budget: Budget | None = None,
    config: ClientConfig | None = None,
    cache: Path | None = None,
    transcript: Path | None = None,
) -> Author:
    """The author that ``offline``, ``openai:MODEL[@BASE_URL]`` or ``langchain:SPEC`` names.

    Raises:
        ConfigError: saying what is right.
    """
    if spec == OfflineAuthor.name:
        return OfflineAuthor()
    model: CreatorModel
    if spec.startswith("langchain:"):
        from reskill_agents.graphs.creator_langchain import langchain_model

        model = langchain_model(spec)
    else:
        model = openai_model(spec)
    return author_of(model, budget=budget, config=config, cache=cache, transcript=transcript)


def author_of(
    model: CreatorModel,
    *,
    budget: Budget | None = None,
    config: ClientConfig | None = None,
    cache: Path | None = None,
    transcript: Path | None = None,
) -> ModelAuthor:
    """The author behind any :class:`CreatorModel`."""
    client = CreatorClient(model, budget or Budget(), config or ClientConfig(), cache, transcript)
    return ModelAuthor(client)


__all__ = ["CreatorError", "ModelAuthor", "author_from_spec", "author_of"]
