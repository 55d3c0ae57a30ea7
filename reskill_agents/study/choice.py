"""Which learning rate an arm gets: chosen on the validation split of the tuning runs, which never open a test split."""

from __future__ import annotations

import math
from collections.abc import Sequence

from reskill_agents.study.job import Job, Stage
from reskill_agents.study.plan import Plan
from reskill_agents.study.results import Result, Results

Rates = dict[tuple[str, str], float]  # (world, arm) -> learning rate


def chosen_rates(plan: Plan, results: Results) -> Rates:
    """The rate with the best mean success over the tuning seeds, of equal ones the best mean score.

    Only arms whose tuning is complete are there; an arm with a single rate has that.
    """
    rates: Rates = {}
    for world, arm in plan.entries():
        rate = _chosen(plan, results, world, arm)
        if rate is not None:
            rates[world, arm] = rate
    return rates


def _chosen(plan: Plan, results: Results, world: str, arm: str) -> float | None:
    rates = plan.rates(world, arm)
    if len(rates) == 1:
        return rates[0]
    means: dict[float, tuple[float, float]] = {}
    for rate in rates:
        jobs = [plan.job(Stage.TUNE, world, arm, seed, rate) for seed in plan.tuning.seeds]
        found = results.all_of(jobs)
        mean = _mean_scores(found, plan.tuning.split) if found else None
        if mean is None:
            return None
        means[rate] = mean
    return max(means, key=lambda rate: means[rate])


def _mean_scores(found: Sequence[Result], split: str) -> tuple[float, float] | None:
    totals = [played.total for result in found if (played := result.after(split)) is not None]
    if len(totals) < len(found):
        return None
    count = len(totals)
    return math.fsum(total.success for total in totals) / count, math.fsum(total.score for total in totals) / count


def final_jobs(plan: Plan, rates: Rates) -> list[tuple[str, Job]]:
    """(world, job) of every final run whose rate is known: part by part, seed by seed, then arm by arm."""
    jobs: dict[str, tuple[str, Job]] = {}
    for part in plan.parts:
        for seed in plan.seeds(part):
            for arm in part.arms:
                if (part.world, arm) in rates:
                    job = plan.job(Stage.FINAL, part.world, arm, seed, rates[part.world, arm])
                    jobs.setdefault(job.name, (part.world, job))
    return list(jobs.values())
