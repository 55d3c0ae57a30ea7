"""Prompts of a model author. Log text enters as fenced values that cannot close their fence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reskill_agents.episodes import Episode
from reskill_agents.graphs.creator_memory import rejected_ideas
from reskill_agents.graphs.creator_state import (
    ACTIONS_FENCE,
    OBSERVATIONS_FENCE,
    TASK_FENCE,
    CheckFinding,
    CreationWork,
    Diagnosis,
    Insight,
    Recommendation,
    TaskSample,
)
from reskill_agents.graphs.creator_triggers import asks_for_precision, need_of
from reskill_agents.rendering import render_skill
from reskill_agents.skill_templates.environment import render
from reskill_agents.trigger import Trigger

_SHOWN_TURNS = 14  # of one episode: the first ones and the last ones
_SHOWN_OBSERVATION = 400  # characters of one observation
_SHOWN_ACTIONS = 25
_SHOWN_OBSERVATIONS = 8


def fence(text: str, canary: str) -> str:
    """``text`` as recorded data: between marks that hold this log's canary, which the text cannot know."""
    inner = text.replace("</log", "<\\/log").replace(canary, "")
    return f"<log {canary}>\n{inner}\n</log {canary}>"


def system_prompt() -> str:
    """What every node's model is told."""
    return render("creator/system.jinja")


def analyse_prompt(work: CreationWork, sample: TaskSample) -> str:
    """One task's episodes, side by side."""
    episodes = [work.by_id[name] for name in (*sample.good, *sample.poor)]
    return render(
        "creator/analyse.jinja",
        task=fence(_cut(episodes[0].task.text, 1000), work.canary(f"{TASK_FENCE}{sample.task_id}")),
        good=[fence(transcript(work.by_id[name]), work.canary(name)) for name in sample.good],
        poor=[fence(transcript(work.by_id[name]), work.canary(name)) for name in sample.poor],
        skills=list(work.library),
    )


def diagnose_prompt(work: CreationWork, insights: Sequence[Insight], checks: Sequence[CheckFinding]) -> str:
    """Everything found so far."""
    return render(
        "creator/diagnose.jinja",
        insights=list(insights),
        checks=list(checks),
        actions=[fence("\n".join(_some_actions(work)), work.canary(ACTIONS_FENCE))],
    )


@dataclass(frozen=True, slots=True)
class _LibraryEntry:
    name: str
    trigger: str
    description: str
    fired: float


def recommend_prompt(work: CreationWork, diagnosis: Diagnosis) -> str:
    """Problems, measurements, the library as it does, the last verdicts."""
    carried = [e for e in work.scored if e.library_digest == work.library.digest] or list(work.scored)
    return (
        render(
            "creator/recommend.jinja",
            problems=list(diagnosis.problems),
            measured=[found.evidence for found in work.induction.confirmed],
            library=[
                _LibraryEntry(
                    skill.name,
                    trigger_words(skill.trigger),
                    skill.description,
                    sum(skill.name in episode.fired for episode in carried) / len(carried),
                )
                for skill in work.library
            ],
            capacity=work.config.capacity,
            verdicts=list(rejected_ideas(work.verdicts)),
            max_operations=work.config.max_operations,
        )
        + "\n\n"
        + render("creator/trigger_help.jinja")
    )


def write_prompt(work: CreationWork, recommendation: Recommendation, problems: Sequence[str]) -> str:
    """One skill to write, with what was refused last time."""
    current = work.library.by_name.get(recommendation.target)
    return render(
        "creator/write.jinja",
        kind=recommendation.kind.value.capitalize(),
        target=recommendation.target,
        current=render_skill(current) if current else "",
        idea=recommendation.idea,
        reason=recommendation.reason,
        served=str(need_of(recommendation, work)) if asks_for_precision(work) else "",
        suggested=trigger_words(recommendation.trigger) if recommendation.trigger else "",
        trigger_help=render("creator/trigger_help.jinja"),
        observations=fence("\n".join(_some_observations(work)), work.canary(OBSERVATIONS_FENCE)),
        actions=fence("\n".join(_some_actions(work)), work.canary(ACTIONS_FENCE)),
        max_characters=work.config.max_characters,
        problems=list(problems),
    )


def skill_body(when_to_use: str, action: str, example: str) -> str:
    """The body of a skill a model wrote."""
    return render("creator/body.jinja", when_to_use=when_to_use, action=action, example=example)


def trigger_words(trigger: Trigger) -> str:
    """``observation_pattern \\bresults\\s+page\\b``."""
    return f"{trigger.kind.value} {trigger.pattern}".strip()


def transcript(episode: Episode) -> str:
    """An episode as short text: what it saw, did, which skills arrived, how it ended."""
    turns = list(episode.turns)
    half = _SHOWN_TURNS // 2
    shown = turns if len(turns) <= _SHOWN_TURNS else [*turns[:half], *turns[-half:]]
    lines = []
    for turn in shown:
        if len(turns) > _SHOWN_TURNS and turn.index == turns[-half].index:
            lines.append(f"[{len(turns) - _SHOWN_TURNS} turns left out]")
        lines.append(f"saw: {_cut(turn.observation, _SHOWN_OBSERVATION)}")
        skills = [firing.skill for firing in turn.firings if firing.suppressed is None]
        if skills:
            lines.append(f"skills: {', '.join(skills)}")
        lines.append(f"did: {_cut(turn.action or '(nothing usable)', 200)}" + ("" if turn.valid else " (refused)"))
    score = "no outcome" if episode.score is None else f"score {episode.score:.2f}"
    return "\n".join([*lines, f"ended: {episode.stop.value}, {score}"])


def _some_actions(work: CreationWork) -> list[str]:
    actions = sorted({_cut(action, 120) for episode in work.scored for action in episode.actions if action})
    return sorted(work.rng("actions").sample(actions, min(_SHOWN_ACTIONS, len(actions))))


def _some_observations(work: CreationWork) -> list[str]:
    starts = sorted({_cut(turn.observation, 80) for episode in work.scored for turn in episode.turns})
    return sorted(work.rng("observations").sample(starts, min(_SHOWN_OBSERVATIONS, len(starts))))


def _cut(text: str, limit: int) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"
