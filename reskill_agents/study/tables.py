"""The tables of a study, the same cells for Markdown and for the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from reskill_agents.run_summary import SPLITS
from reskill_agents.study.choice import Rates
from reskill_agents.study.job import Stage
from reskill_agents.study.plan import Part, Plan
from reskill_agents.study.results import Result, Results
from reskill_agents.study.statistics import Estimate, estimate

Finals = dict[int, Result]  # by seed
ADAPT_SPLIT = "train"  # how evaluations name the tasks that are adapted on


@dataclass(frozen=True)
class Table:
    """Cells as text, ready to print; the first column is a name, the others are numbers."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        """As a Markdown table."""
        lines = [self.head, *self.rows]
        texts = ["| " + " | ".join(line) + " |" for line in lines]
        return "\n".join([texts[0], "|" + "---|" * len(self.head), *texts[1:]])


def finals(plan: Plan, results: Results, rates: Rates, part: Part, arm: str) -> Finals:
    """The final results of an arm at its rate, by seed, as far as they are there."""
    if (part.world, arm) not in rates:
        return {}
    jobs = [plan.job(Stage.FINAL, part.world, arm, seed, rates[part.world, arm]) for seed in plan.seeds(part)]
    return {job.seed: result for job in jobs if (result := results.of(job)) is not None}


def accuracy_table(plan: Plan, results: Results, rates: Rates, part: Part) -> Table:
    """Success on the test splits, percent, and the difference to each reference, paired over the seeds both have."""
    splits = plan.final.splits
    short = [split.removesuffix("_test") for split in splits]
    head = ["method", "rate", "seeds", *short]
    head += [f"{name} - {reference}" for reference in part.references for name in short]
    rows = []
    for arm in part.arms:
        mine = finals(plan, results, rates, part, arm)
        rate = rates.get((part.world, arm))
        cells = [arm, "-" if rate is None else f"{rate:g}", str(len(mine))]
        cells += [in_percent(estimate(successes(list(mine.values()), split))) for split in splits]
        for reference in part.references:
            theirs = finals(plan, results, rates, part, reference)
            for split in splits:
                cells.append("" if arm == reference else in_percent(difference(mine, theirs, split)))
        rows.append(tuple(cells))
    return Table(tuple(head), tuple(rows))


def difference(mine: Finals, theirs: Finals, split: str) -> Estimate | None:
    """Success of one arm less that of another, over the seeds that both have."""
    pairs = [(mine[seed].success(split), theirs[seed].success(split)) for seed in sorted(set(mine) & set(theirs))]
    return estimate([one - other for one, other in pairs if one is not None and other is not None])


def adaptation_table(plan: Plan, results: Results, rates: Rates, part: Part) -> Table:
    """Success of a policy that stays as it is: without skills, with the source pack, with the adapted one, percent."""
    conditions = ("none", "source", "adapted")
    splits = (ADAPT_SPLIT, *plan.final.splits)
    names = {ADAPT_SPLIT: "adapted on"}
    short = [names.get(split, split.removesuffix("_test")) for split in splits]
    head = ["method", "seeds", *(f"{name}, {condition}" for name in short for condition in conditions)]
    head += [f"{name}, adapted - source" for name in short]
    rows = []
    for arm in part.arms:
        runs = list(finals(plan, results, rates, part, arm).values())
        cells = [arm, str(len(runs))]
        for split in splits:
            for condition in conditions:
                played = [one.total.success for result in runs if (one := result.frozen(split, condition))]
                cells.append(in_percent(estimate(played)))
        for split in splits:
            pairs = [(result.frozen(split, "adapted"), result.frozen(split, "source")) for result in runs]
            gains = [one.total.success - other.total.success for one, other in pairs if one and other]
            cells.append(in_percent(estimate(gains)))
        rows.append(tuple(cells))
    return Table(tuple(head), tuple(rows))


def tuning_table(plan: Plan, results: Results, world: str, arms: Sequence[str]) -> Table:
    """Success on the tuning split by rate, percent, mean of the tuning seeds."""
    tuned = [arm for arm in arms if plan.tuning_jobs(world, arm)]
    rates = list(dict.fromkeys(rate for arm in tuned for rate in plan.rates(world, arm)))
    rows = []
    for arm in tuned:
        cells = [arm]
        for rate in rates:
            jobs = [job for job in plan.tuning_jobs(world, arm) if job.rate == rate]
            found = [result for job in jobs if (result := results.of(job)) is not None]
            cells.append(in_percent(estimate(successes(found, plan.tuning.split))))
        rows.append(tuple(cells))
    return Table(("method", *(f"{rate:g}" for rate in rates)), tuple(rows))


def lives_table(plan: Plan, results: Results, rates: Rates, part: Part) -> Table | None:
    """What became of proposed changes, mean a run; ``None`` where no arm proposed any.

    *held*: share of the additions that came into force and are still there at the end. *episodes*: of a trial, median.
    """
    rows = []
    for arm in part.arms:
        runs = list(finals(plan, results, rates, part, arm).values())
        if any(result.fates for result in runs):
            rows.append((arm, *_life(runs)))
    head = (
        "method", "runs", "proposed", "accepted", "rejected", "untested", "undecided",
        "pruned", "held", "episodes a trial", "skills at the end",
    )  # fmt: skip
    return Table(head, tuple(rows)) if rows else None


def _life(runs: Sequence[Result]) -> list[str]:
    proposed = [fate for result in runs for fate in result.fates if fate.purpose == "creation"]

    def a_run(*outcomes: str) -> str:
        return f"{sum(fate.outcome in outcomes for fate in proposed) / len(runs):.1f}"

    added = [f for f in proposed if f.change == "add" and f.outcome in ("accepted", "pruned", "untested")]
    held = sum(fate.removed is None for fate in added)
    sizes = sorted(f.episodes for result in runs for f in result.fates if f.probability is not None and f.episodes)
    removed = sum(f.purpose == "pruning" and f.outcome == "accepted" for result in runs for f in result.fates)
    return [
        str(len(runs)),
        f"{len(proposed) / len(runs):.1f}",
        a_run("accepted", "pruned"),
        a_run("rejected"),
        a_run("untested"),
        a_run("undecided"),
        f"{removed / len(runs):.1f}",
        f"{100 * held / len(added):.0f} %" if added else "-",
        str(sizes[len(sizes) // 2]) if sizes else "-",
        f"{sum(len(result.skills) for result in runs) / len(runs):.1f}",
    ]


def cost_table(plan: Plan, results: Results, rates: Rates, part: Part) -> Table | None:
    """Tokens an episode and seconds a training step, mean over the runs, beside the success they bought.

    ``x``: times the first reference's. ``None`` without any result.
    """
    split = plan.final.splits[-1]
    reference = part.references[0] if part.references else ""
    base = costs(list(finals(plan, results, rates, part, reference).values())) if reference else None
    rows = []
    for arm in part.arms:
        runs = list(finals(plan, results, rates, part, arm).values())
        cost = costs(runs)
        if cost is None:
            continue
        success = in_percent(estimate(successes(runs, split)))
        rows.append((
            arm, f"{cost.context:.0f}", _times(cost.context, base.context if base else None), f"{cost.skill:.0f}",
            f"{cost.sampled:.1f}", f"{cost.seconds:.2f}", _times(cost.seconds, base.seconds if base else None), success,
        ))  # fmt: skip
    head = (
        "method", "tokens read", "x", "of them skills", "tokens sampled", "seconds a step", "x",
        SPLITS.get(split, split),
    )  # fmt: skip
    return Table(head, tuple(rows)) if rows else None


@dataclass(frozen=True)
class Cost:
    """Tokens an episode by kind (``skill`` is part of ``context``), and seconds a training step."""

    context: float
    skill: float
    sampled: float
    seconds: float


def costs(runs: Sequence[Result]) -> Cost | None:
    """Mean cost of training; ``None`` without runs or episodes."""
    episodes = math.fsum(result.rollouts for result in runs)
    steps = sum(len(result.course) for result in runs)
    if not episodes or not steps:
        return None
    context, skill, sampled, seconds = (
        math.fsum(value for result in runs for value in result.column(name))
        for name in ("context_tokens", "skill_tokens", "sampled", "seconds")
    )
    return Cost(context / episodes, skill / episodes, sampled / episodes, seconds / steps)


def successes(found: Sequence[Result], split: str) -> list[float]:
    """Success after training on ``split``, of those results that have it."""
    values = [result.success(split) for result in found]
    return [value for value in values if value is not None]


def in_percent(value: Estimate | None) -> str:
    """``12.5 +- 3.1``."""
    if value is None:
        return "-"
    return f"{100 * value.mean:.1f}" + ("" if math.isnan(value.half) else f" +- {100 * value.half:.1f}")


def _times(value: float, base: float | None) -> str:
    return f"{value / base:.2f}" if base else "-"
