"""A study as it is shown: read once, then rendered as a page or as Markdown."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from reskill_agents.report_figures import Figure
from reskill_agents.run_summary import SPLITS
from reskill_agents.study import figures
from reskill_agents.study.choice import Rates, chosen_rates, final_jobs
from reskill_agents.study.fairness import unfair, versions
from reskill_agents.study.plan import Part, Plan, load_plan
from reskill_agents.study.results import PLAN_FILE, Results, read_results
from reskill_agents.study.statistics import estimate
from reskill_agents.study.tables import (
    Table,
    accuracy_table,
    adaptation_table,
    cost_table,
    in_percent,
    lives_table,
    successes,
    tuning_table,
)


@dataclass(frozen=True)
class PartView:
    """One part with its tables and, once there is a result, its drawings by title."""

    part: Part
    where: str
    arms: tuple[tuple[str, str, str], ...]
    accuracy: Table
    tuning: Table
    lives: Table | None
    cost: Table | None
    drawings: tuple[tuple[str, Figure], ...]


@dataclass(frozen=True)
class StudyView:
    """Everything that is shown of a study."""

    plan: Plan
    results: Results
    rates: Rates
    parts: tuple[PartView, ...]
    done: int
    expected: int
    commits: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def headline(self) -> str:
        """The first part in a sentence: the best arm, and the first reference."""
        part, split = self.plan.parts[0], self.plan.final.splits[-1]
        runs = figures.part_runs(self.plan, self.results, self.rates, part)
        means = {arm: mean for arm, found in runs.items() if (mean := estimate(successes(found, split)))}
        if not means:
            return f"Not finished: {self.done} of {self.expected} runs so far."
        best = max(means, key=lambda arm: means[arm].mean)
        said = f"{best} solves {in_percent(means[best])} % of the {SPLITS.get(split, split)} tasks"
        others = [name for name in part.references if name in means and name != best]
        said += "".join(f", {name} {in_percent(means[name])} %" for name in others)
        return said + "."


def read_study(folder: Path, plan: Plan | None = None) -> StudyView:
    """Read the result files of a folder, by its own registered plan unless one is given.

    Raises:
        RunFolderError: there is no such folder.
        ConfigError: no plan, or one that does not hold together.
    """
    plan = plan or load_plan(folder / PLAN_FILE)
    results = read_results(folder, plan)
    rates = chosen_rates(plan, results)
    parts = tuple(_part(plan, results, rates, part) for part in plan.parts)
    wanted = {(part.world, arm, seed) for part in plan.parts for arm in part.arms for seed in plan.seeds(part)}
    done = sum(results.of(job) is not None for _, job in final_jobs(plan, rates))
    warnings = (*results.problems, *unfair(plan, results, rates))
    return StudyView(plan, results, rates, parts, done, len(wanted), tuple(versions(plan, results, rates)), warnings)


def _part(plan: Plan, results: Results, rates: Rates, part: Part) -> PartView:
    runs = figures.part_runs(plan, results, rates, part)
    adapts = plan.worlds[part.world].adapts
    drawings: list[tuple[str, Figure | None]] = []
    if runs and adapts:
        drawings = [("Success on the tasks adapted on", figures.adaptation_figure(runs))]
    elif runs:
        drawings = [
            ("", figures.accuracy_figure(plan, runs)),
            ("Success in training", figures.training_figure(runs)),
            ("Success on the validation split", figures.validation_figure(plan, runs)),
            ("Skills in force", figures.library_figure(runs)),
            ("Success against tokens read", figures.cost_figure(plan, runs, "context")),
            ("Success against time", figures.cost_figure(plan, runs, "seconds")),
        ]
    return PartView(
        part=part,
        where=plan.worlds[part.world].title,
        arms=tuple((arm, plan.arms[arm].title, _settings(plan, arm)) for arm in part.arms),
        accuracy=(adaptation_table if adapts else accuracy_table)(plan, results, rates, part),
        tuning=tuning_table(plan, results, part.world, part.arms),
        lives=lives_table(plan, results, rates, part),
        cost=cost_table(plan, results, rates, part),
        drawings=tuple((title, figure) for title, figure in drawings if figure is not None),
    )


def _settings(plan: Plan, arm: str) -> str:
    one = plan.arms[arm]
    return " ".join([one.method, *(f"{name}={value}" for name, value in one.settings.items())])
