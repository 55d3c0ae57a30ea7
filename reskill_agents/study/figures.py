"""The drawings of a study's page: one part of the plan each, every arm in its own colour."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from reskill_agents.charts import Axes, Dot, DotRow, Series, dot_plot, line_chart, smooth
from reskill_agents.report_figures import Figure
from reskill_agents.run_summary import SPLITS
from reskill_agents.study.choice import Rates
from reskill_agents.study.plan import Part, Plan
from reskill_agents.study.results import FROZEN, Result, Results
from reskill_agents.study.statistics import estimate
from reskill_agents.study.tables import ADAPT_SPLIT, Cost, costs, finals, successes

INKS = ("ink-1", "ink-2", "ink-3", "ink-4", "ink-5", "ink-6", "good", "gone", "bad", "open")
Runs = dict[str, list[Result]]
Curve = Callable[[Result], list[tuple[float, float]]]


def part_runs(plan: Plan, results: Results, rates: Rates, part: Part) -> Runs:
    """The final results of every arm of a part that has any, references first."""
    arms = dict.fromkeys((*part.references, *part.arms))
    runs = {arm: list(finals(plan, results, rates, part, arm).values()) for arm in arms}
    return {arm: found for arm, found in runs.items() if found}


def accuracy_figure(plan: Plan, runs: Runs) -> Figure:
    """Success by split and arm with 95 % intervals over seeds."""
    rows: list[DotRow] = []
    for split in plan.final.splits:
        rows.append(DotRow(SPLITS.get(split, split)))
        for arm, found in runs.items():
            mean = estimate(successes(found, split))
            if mean is not None:
                half = 0.0 if math.isnan(mean.half) else mean.half
                dot = Dot(f"{mean.count} seeds", mean.mean, max(0.0, mean.mean - half), min(1.0, mean.mean + half))
                rows.append(DotRow(arm, [Dot(dot.name, dot.value, dot.low, dot.high, _ink(runs, arm))]))
    return Figure(dot_plot(rows, label="Success by split and method"))


def training_figure(runs: Runs) -> Figure:
    """Success in training over the steps, smoothed; bands are 95 % intervals over seeds."""

    def curve(result: Result) -> list[tuple[float, float]]:
        values = result.column("success")
        return smooth([(step + 1.0, value) for step, value in enumerate(values)], max(1, len(values) // 10))

    return _curves(runs, curve, "Success in training", dots=False)


def validation_figure(plan: Plan, runs: Runs) -> Figure | None:
    """Success on the tuning split over the steps, with the library in force; ``None`` with fewer than two points."""
    split = plan.tuning.split

    def curve(result: Result) -> list[tuple[float, float]]:
        played = {e.step: e.total.success for e in result.evaluation.results
                  if e.split == split and e.policy.startswith("step-")}  # fmt: skip
        after = result.after(split)
        if after is not None:
            played[after.step] = after.total.success
        return [(float(step), success) for step, success in sorted(played.items())]

    if not any(len(curve(result)) > 1 for found in runs.values() for result in found):
        return None
    return _curves(runs, curve, f"Success on {SPLITS.get(split, split)}", dots=True)


def adaptation_figure(runs: Runs) -> Figure:
    """Success on the tasks adapted on, over the steps; it begins with the source pack (without skills, if there is none)."""

    def curve(result: Result) -> list[tuple[float, float]]:
        played = {
            e.step: e.total.success
            for e in result.evaluation.results
            if (e.policy, e.library, e.split) == (FROZEN, "adapted", ADAPT_SPLIT)
        }
        start = result.frozen(ADAPT_SPLIT, "source") or result.frozen(ADAPT_SPLIT, "none")
        if start is not None:
            played.setdefault(0, start.total.success)
        return [(float(step), success) for step, success in sorted(played.items())]

    return _curves(runs, curve, "Success on the tasks adapted on", dots=True)


def library_figure(runs: Runs) -> Figure | None:
    """Skills in force over the steps, mean over seeds; ``None`` where no arm ever had any."""
    with_skills = {arm: found for arm, found in runs.items() if any(_in_force(r, _end(r)) for r in found)}
    if not with_skills:
        return None
    end = max(_end(result) for found in with_skills.values() for result in found)
    series, most = [], 1.0
    for arm, found in with_skills.items():
        points = [
            (float(step), math.fsum(_in_force(result, step) for result in found) / len(found))
            for step in range(end + 1)
        ]
        most = max(most, *(value for _, value in points))
        series.append(_series(runs, arm, points))
    axes = Axes(
        (0.0, float(end)), (0.0, math.ceil(most)), "training step", in_percent=False, ticks=min(4, math.ceil(most))
    )
    return Figure(line_chart(axes, series, label="Skills in force"), _legend(runs, with_skills))


def cost_figure(plan: Plan, runs: Runs, what: str) -> Figure | None:
    """Success on the last split against a cost: ``context`` (tokens read an episode) or ``seconds`` (a training step)."""
    split = plan.final.splits[-1]
    found = [(arm, costs(results), estimate(successes(results, split))) for arm, results in runs.items()]
    known = [(arm, _amount(cost, what), mean) for arm, cost, mean in found if cost is not None and mean is not None]
    if not known:
        return None
    series = []
    for arm, amount, mean in known:
        if mean.half > 0:
            ends = [(amount, max(0.0, mean.mean - mean.half)), (amount, min(1.0, mean.mean + mean.half))]
            series.append(Series(arm, ends, _ink(runs, arm), faint=True))
        series.append(Series(arm, [(amount, mean.mean)], _ink(runs, arm), dots=True))
    label = {"context": "tokens read an episode", "seconds": "seconds a training step"}[what]
    axes = Axes((0.0, 1.1 * max(amount for _, amount, _ in known)), x_label=label)
    drawing = line_chart(axes, series, label=f"Success on {SPLITS.get(split, split)} against {label}")
    return Figure(drawing, _legend(runs, [arm for arm, _, _ in known]))


def _amount(cost: Cost, what: str) -> float:
    return cost.seconds if what == "seconds" else cost.context


def _curves(runs: Runs, curve: Curve, label: str, *, dots: bool) -> Figure:
    series, end = [], 1.0
    for arm, found in runs.items():
        by_step: dict[float, list[float]] = {}
        for result in found:
            for step, value in curve(result):
                by_step.setdefault(step, []).append(value)
        points, band = [], []
        for step, values in sorted(by_step.items()):
            mean = estimate(values)
            if mean is not None:
                points.append((step, mean.mean))
                band.append((step, max(0.0, mean.mean - mean.half), min(1.0, mean.mean + mean.half)))
                end = max(end, step)
        if any(math.isnan(estimated.half) for v in by_step.values() if (estimated := estimate(v)) is not None):
            band = []  # a single seed has no interval
        series.append(_series(runs, arm, points, band, dots=dots))
    return Figure(line_chart(Axes((0.0, end), x_label="training step"), series, label=label), _legend(runs, runs))


def _series(
    runs: Runs,
    arm: str,
    points: Sequence[tuple[float, float]],
    band: Sequence[tuple[float, float, float]] = (),
    *,
    dots: bool = False,
) -> Series:
    return Series(arm, points, _ink(runs, arm), dashed=_second(runs, arm), dots=dots, band=band)


def _in_force(result: Result, step: int) -> int:
    """Added skills that were in force at ``step``."""
    return sum(
        fate.change == "add"
        and fate.outcome in ("accepted", "pruned", "untested")
        and fate.ended is not None
        and fate.ended <= step
        and (fate.removed is None or fate.removed > step)
        for fate in result.fates
    )


def _end(result: Result) -> int:
    return len(result.course)


def _place(runs: Runs, arm: str) -> int:
    return list(runs).index(arm)


def _ink(runs: Runs, arm: str) -> str:
    return INKS[_place(runs, arm) % len(INKS)]


def _second(runs: Runs, arm: str) -> bool:
    """Whether the colours went round once."""
    return _place(runs, arm) >= len(INKS)


def _legend(runs: Runs, arms: Sequence[str] | Runs) -> list[tuple[str, str]]:
    return [(f"{_ink(runs, arm)}{' dashed-key' if _second(runs, arm) else ''}", arm) for arm in arms]
