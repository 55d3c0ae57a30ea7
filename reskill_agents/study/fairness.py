"""Was the comparison fair? Same rollouts, same start, one commit: checked on the result files themselves."""

from __future__ import annotations

from collections import Counter, defaultdict

from reskill_agents.study.choice import Rates
from reskill_agents.study.plan import Part, Plan
from reskill_agents.study.results import Results, commits
from reskill_agents.study.tables import finals


def unfair(plan: Plan, results: Results, rates: Rates) -> list[str]:
    """A sentence for everything that was not the same for all arms of a part; empty if the comparison was fair."""
    found: list[str] = []
    for part in plan.parts:
        found += _unequal(plan, results, rates, part)
    return list(dict.fromkeys(found))


def _unequal(plan: Plan, results: Results, rates: Rates, part: Part) -> list[str]:
    problems: list[str] = []
    made: Counter[str] = Counter()
    rollouts: dict[float, list[str]] = defaultdict(list)
    starts: dict[tuple[int, str], dict[float, list[str]]] = defaultdict(lambda: defaultdict(list))
    for arm in dict.fromkeys((*part.arms, *part.references)):
        for seed, result in finals(plan, results, rates, part, arm).items():
            made[result.commit[:10]] += 1
            rollouts[result.rollouts].append(f"{arm} (seed {seed})")
            for split in plan.final.splits:
                start = result.start(split)
                if start is not None:
                    starts[seed, split][start].append(arm)
    if len(made) > 1:
        shown = ", ".join(f"{count} with {commit}" for commit, count in made.most_common())
        problems.append(f"part {part.name}: runs were made with several commits ({shown})")
    if len(rollouts) > 1:
        common = max(rollouts, key=lambda count: len(rollouts[count]))
        odd = [f"{name}: {count:.0f}" for count, names in rollouts.items() if count != common for name in names]
        problems.append(f"part {part.name}: not all had {common:.0f} rollouts: {', '.join(odd)}")
    for (seed, split), by_score in sorted(starts.items()):
        if len(by_score) > 1:
            shown = "; ".join(f"{100 * score:.1f} %: {', '.join(arms)}" for score, arms in by_score.items())
            problems.append(f"part {part.name}: seed {seed} did not start alike on {split} ({shown})")
    return problems


def versions(plan: Plan, results: Results, rates: Rates) -> list[str]:
    """The commits of the final results, each once."""
    runs = [
        result
        for part in plan.parts
        for arm in part.arms
        for result in finals(plan, results, rates, part, arm).values()
    ]
    return list(commits(runs))
