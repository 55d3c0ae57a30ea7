"""``report.html``: one run as one page that needs no network and no script."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reskill_agents import report_figures as figures
from reskill_agents.library import SkillLibrary
from reskill_agents.progress_text import duration
from reskill_agents.report_figures import Figure
from reskill_agents.report_templates import page_environment, write_page
from reskill_agents.run_lines import Scalar
from reskill_agents.run_summary import CONDITIONS, blocks, fates, headline
from reskill_agents.run_view import LibraryVersion, RunView, Trial, read_run
from reskill_agents.skill import Skill
from reskill_agents.trigger import TriggerKind

FILE_NAME = "report.html"


@dataclass(frozen=True)
class DiffLine:
    """One line of a skill's text: ``sign`` is ``+``, ``-`` or a space."""

    sign: str
    text: str


@dataclass(frozen=True)
class SkillDiff:
    """How one skill changed between two libraries: added, removed or rewritten."""

    name: str
    change: str
    lines: tuple[DiffLine, ...]
    evidence: Mapping[str, Scalar]


@dataclass(frozen=True)
class TrialCard:
    """A trial with its curve and the texts it was about."""

    trial: Trial
    figure: Figure
    diffs: tuple[SkillDiff, ...]


@dataclass(frozen=True)
class VersionCard:
    """A library version with what changed against the one before."""

    version: LibraryVersion
    diffs: tuple[SkillDiff, ...]


def write_report(run: Path, target: Path | None = None) -> Path:
    """Write the report of a run folder, by default to ``report.html`` in it; returns where.

    Raises:
        RunFolderError: ``run`` is no run folder.
    """
    return write_page(target or run / FILE_NAME, render_report(read_run(run)))


def render_report(view: RunView) -> str:
    """The page. Every text of the run is a value and escaped; only our own drawings are markup."""
    found = blocks(view)
    return (
        page_environment()
        .get_template("report.html.jinja")
        .render(
            view=view,
            title=view.path.name or "run",
            headline=headline(view),
            facts=_facts(view),
            blocks=found,
            conditions=CONDITIONS,
            scores=figures.scores_figure(found) if found else None,
            curves=figures.curves_figure(view) if view.steps else None,
            splits=figures.splits_figure(view),
            lives=figures.lives_figure(view),
            times=figures.times_figure(view),
            fates=fates(view),
            trials=_trial_cards(view),
            idle=[one for one in view.creations if one.proposal is None],
            versions=_version_cards(view),
            config=_sections(view.config),
            world=view.world,
            software=view.versions,
        )
    )


def _facts(view: RunView) -> list[tuple[str, str]]:
    """The run in a line of chips."""
    seconds = sum(step.seconds.get("total", 0.0) for step in view.steps)
    episodes = sum(arm.episodes for step in view.steps for arm in step.arms.values())
    context = sum(step.tokens.context for step in view.steps)
    skill = sum(step.tokens.skill for step in view.steps)
    facts = [
        ("method", view.method),
        ("world", str(view.world.get("world", "?"))),
        ("steps", f"{len(view.steps)} of {view.config.get('steps', '?')}"),
        ("episodes", f"{episodes:,}".replace(",", " ")),
        ("training", duration(seconds)),
        ("seed", str(view.config.get("seed", "?"))),
    ]
    if context:
        facts.append(("skill text", f"{100 * skill / context:.1f} % of what the policy read"))
    return facts


def _trial_cards(view: RunView) -> list[TrialCard]:
    cards: list[TrialCard] = []
    for trial in view.trials:
        before = next((v for v in reversed(view.libraries) if v.step <= trial.opened and _before(view, v, trial)), None)
        old = before.library if before else SkillLibrary()
        cards.append(TrialCard(trial, figures.posterior_figure(trial), skill_diffs(old, trial.candidate)))
    return cards


def _before(view: RunView, version: LibraryVersion, trial: Trial) -> bool:
    """Whether ``version`` was in force when ``trial`` began (not the one that the trial itself brought in)."""
    adopted = trial.ending is not None and trial.ending.accepted and version.library.digest == trial.candidate.digest
    return not adopted or version.step < (trial.ended or 0)


def _version_cards(view: RunView) -> list[VersionCard]:
    old = SkillLibrary()
    cards: list[VersionCard] = []
    for version in view.libraries:
        if version.library.digest != old.digest:
            cards.append(VersionCard(version, skill_diffs(old, version.library, version)))
        old = version.library
    return cards


def skill_diffs(old: SkillLibrary, new: SkillLibrary, version: LibraryVersion | None = None) -> tuple[SkillDiff, ...]:
    """The skills that differ between two libraries, line by line, in the new library's order, removed ones last."""
    diffs: list[SkillDiff] = []
    for skill in new:
        before = old.by_name.get(skill.name)
        if before is None or before.digest != skill.digest:
            lineage = version.lineage.get(skill.name) if version else None
            change = "added" if before is None else "rewritten"
            lines = _diff(skill_lines(before) if before else [], skill_lines(skill))
            diffs.append(SkillDiff(skill.name, change, lines, lineage.evidence if lineage else {}))
    gone = [skill for skill in old if skill.name not in new.by_name]
    diffs.extend(SkillDiff(skill.name, "removed", _diff(skill_lines(skill), []), {}) for skill in gone)
    return tuple(diffs)


def skill_lines(skill: Skill) -> list[str]:
    """A skill as lines of text: when it fires, what it is for, what it says."""
    trigger = skill.trigger
    pattern = f" {trigger.pattern}" if trigger.kind not in (TriggerKind.GENERAL, TriggerKind.BEGINNING) else ""
    return [f"fires: {trigger.kind.value}{pattern}", skill.description, "", *skill.body.split("\n")]


def _diff(old: Sequence[str], new: Sequence[str]) -> tuple[DiffLine, ...]:
    lines = difflib.ndiff(list(old), list(new))
    return tuple(DiffLine(line[0], line[2:]) for line in lines if not line.startswith("?"))


def _sections(config: Mapping[str, Scalar]) -> dict[str, list[tuple[str, Scalar]]]:
    """Settings by section (``update.lr`` is ``lr`` of ``update``)."""
    sections: dict[str, list[tuple[str, Scalar]]] = {}
    for name, value in config.items():
        section, _, setting = name.rpartition(".")
        sections.setdefault(section or "run", []).append((setting, value))
    return sections


__all__ = ["render_report", "skill_diffs", "write_report"]
