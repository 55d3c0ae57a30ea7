"""Which tasks are analysed: mixed outcomes first, and at least a share with a success (as in the paper)."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence

from reskill_agents.episodes import Episode, graded_outcome
from reskill_agents.graphs.creator_state import CreationWork, TaskSample

SUCCESS_SHARE = 0.3  # of the sampled tasks, at least (the paper's)
_EACH_SIDE = 2  # episodes shown of each side


def sample_tasks(episodes: Sequence[Episode], count: int, rng: random.Random) -> tuple[TaskSample, ...]:
    """At most ``count`` tasks, mixed ones first, then failures; at least 0.3 hold a success while there are any.

    Where no task of the log is ever solved, "good" is a better outcome than the task's worst.
    """
    by_task: dict[str, list[Episode]] = defaultdict(list)
    for episode in episodes:
        if episode.score is not None and episode.turns:
            by_task[episode.task.task_id].append(episode)
    solved_any = any(episode.success for some in by_task.values() for episode in some)
    contrasts = [_contrast(task, some, solved_any, rng) for task, some in sorted(by_task.items())]
    rng.shuffle(contrasts)
    mixed = [sample for sample in contrasts if sample.good and sample.poor]
    solved = [sample for sample in contrasts if sample.good and not sample.poor]
    failed = [sample for sample in contrasts if not sample.good]
    owed = max(0, round(SUCCESS_SHARE * count) - len(mixed))
    return tuple([*mixed[:count], *solved[:owed], *failed, *solved[owed:]][:count])


def sampled(work: CreationWork) -> tuple[TaskSample, ...]:
    """The tasks that are analysed in this creation; the same whenever it is asked for."""
    return sample_tasks(work.scored, work.config.tasks, work.rng("sample"))


def _contrast(task: str, episodes: Sequence[Episode], solved_any: bool, rng: random.Random) -> TaskSample:
    ranked = sorted(episodes, key=lambda episode: (graded_outcome(episode) or 0.0, rng.random()))
    worst = graded_outcome(ranked[0]) or 0.0
    if solved_any:
        good = [episode for episode in ranked if episode.success]
    else:
        good = [episode for episode in ranked if (graded_outcome(episode) or 0.0) > worst]
    poor = [episode for episode in ranked if episode not in good]
    return TaskSample(
        task,
        tuple(episode.episode_id for episode in good[::-1][:_EACH_SIDE]),
        tuple(episode.episode_id for episode in poor[:_EACH_SIDE]),
    )
