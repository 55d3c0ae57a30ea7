"""Which analysed tasks a problem was found in, and which a recommended change serves.

A model says so by numbers. Where it does not, each finding counts for the problem that is closest in wording, and each
change for the problem closest to it: a clustering that needs no threshold and leaves nothing out.
"""

from __future__ import annotations

from collections.abc import Sequence

from rapidfuzz import fuzz

from reskill_agents.graphs.creator_state import Diagnosis, Insight


def tasks_of_problems(
    problems: Sequence[str], insights: Sequence[Insight], found_in: Sequence[Sequence[int]]
) -> tuple[tuple[str, ...], ...]:
    """Per problem, the tasks it was found in; ``found_in`` holds numbers of ``insights`` from 1, wrong ones count nothing."""
    named = [[insights[number - 1].task_id for number in some if 0 < number <= len(insights)] for some in found_in]
    if not any(named[: len(problems)]):
        return nearest_tasks(problems, insights)
    named += [[]] * (len(problems) - len(named))
    return tuple(tuple(dict.fromkeys(tasks)) for tasks in named[: len(problems)])


def nearest_tasks(problems: Sequence[str], insights: Sequence[Insight]) -> tuple[tuple[str, ...], ...]:
    """Per problem, the tasks whose findings are closest to it in wording."""
    found: list[dict[str, None]] = [{} for _ in problems]
    for insight in insights:
        for problem in _nearest(" ".join((insight.text, *insight.failing)), problems):
            found[problem][insight.task_id] = None
    return tuple(tuple(tasks) for tasks in found)


def served_tasks(
    numbers: Sequence[int], words: str, diagnosis: Diagnosis, insights: Sequence[Insight]
) -> tuple[str, ...]:
    """Tasks of the problems with these numbers (from 1); without a right number, of the problem closest to ``words``."""
    by_problem = diagnosis.tasks or nearest_tasks(diagnosis.problems, insights)
    chosen = [number - 1 for number in numbers if 0 < number <= len(by_problem)]
    chosen = chosen or _nearest(words, diagnosis.problems)
    return tuple(dict.fromkeys(task for problem in chosen for task in by_problem[problem]))


def _nearest(words: str, problems: Sequence[str]) -> list[int]:
    """The problem that shares most words with ``words``; several when they tie."""
    alike = [fuzz.token_set_ratio(words.lower(), problem.lower()) for problem in problems]
    return [number for number, ratio in enumerate(alike) if ratio == max(alike)]
