"""Evaluation: one arm, nothing trained, nothing remembered (invariant 5)."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from reskill_agents.environment import Split, Task, World
from reskill_agents.episodes import Episode
from reskill_agents.graphs.agent import Agent
from reskill_agents.graphs.rollout import Rollout, play_many
from reskill_agents.library import SkillLibrary
from reskill_agents.skill import digest_json
from reskill_agents.trainers.progress import EvaluationResult, Score

_EVALUATION = 1 << 40  # keeps evaluation's random keys apart from those of training steps
_SPLITS = {split: number for number, split in enumerate(Split)}


@dataclass(frozen=True)
class Evaluator:
    """Plays the tasks of a split with one library. The same tasks, states and random keys for whatever is compared.

    Args:
        agent: at the evaluation temperature.
        world: tasks and environments.
        seed: of the run.
        episodes: a task.
        concurrency: episodes at the same time.
    """

    agent: Agent
    world: World
    seed: int
    episodes: int = 1
    concurrency: int = 128

    def tasks(self, split: Split, limit: int) -> list[Task]:
        """At most ``limit`` tasks of a split, a seeded sample that does not depend on the policy."""
        tasks = list(self.world.tasks(split))
        if len(tasks) > limit:
            chosen = sorted(random.Random(f"evaluation/{split}").sample(range(len(tasks)), limit))
            tasks = [tasks[index] for index in chosen]
        return tasks

    async def evaluate(
        self,
        split: Split,
        libraries: Sequence[SkillLibrary],
        *,
        limit: int,
        policy: str,
        label: str,
        step: int,
    ) -> EvaluationResult:
        """Success and score on ``split``. Several libraries (placebo draws, memories of each task) take turns by task."""
        tasks = self.tasks(split, limit)
        selectors = [self.agent.selector(library) for library in libraries]
        rollouts = [
            Rollout(
                environment=self.world.make(),
                task=task,
                selector=selectors[number % len(selectors)],
                episode_id=f"eval-{policy}-{label}-{split}-t{number}-e{place}",
                seed=random.Random(f"{self.seed}/evaluation/{split}/{number}/{place}").getrandbits(31),
                rng_key=(self.seed, _EVALUATION + _SPLITS[split], number, place),
            )
            for number, task in enumerate(tasks)
            for place in range(self.episodes)
        ]
        played = await play_many(self.agent, rollouts, concurrency=self.concurrency)
        passing: float | None = getattr(self.world, "passing_score", None)
        return EvaluationResult(
            policy=policy,
            library=label,
            digest=digest_of(libraries),
            split=split.value,
            total=score_of(played, passing),
            by_tag=scores_by_tag(played, passing),
            step=step,
        )


def digest_of(libraries: Sequence[SkillLibrary]) -> str:
    """The digest of one library, or one digest over several."""
    digests = [library.digest for library in libraries]
    return digests[0] if len(digests) == 1 else digest_json(digests)


def scores_by_tag(episodes: Sequence[Episode], passing: float | None = None) -> dict[str, Score]:
    """Scores by task tag, key ``name=value``, sorted."""
    groups: dict[str, list[Episode]] = defaultdict(list)
    for episode in episodes:
        for name, value in episode.task.tags.items():
            groups[f"{name}={value}"].append(episode)
    return {key: score_of(groups[key], passing) for key in sorted(groups)}


def score_of(episodes: Sequence[Episode], passing: float | None = None) -> Score:
    """Means over tasks of the task's mean, and their standard errors; faults are left out and counted.

    With ``passing`` also the share of episodes with a higher score.
    """
    successes: dict[str, list[float]] = defaultdict(list)
    scores: dict[str, list[float]] = defaultdict(list)
    faults = 0
    for episode in episodes:
        if episode.score is None:
            faults += 1
            continue
        successes[episode.task.task_id].append(float(episode.success))
        scores[episode.task.task_id].append(episode.score)
    success, success_se = _mean_and_error([math.fsum(one) / len(one) for one in successes.values()])
    score, score_se = _mean_and_error([math.fsum(one) / len(one) for one in scores.values()])
    every = [score for one in scores.values() for score in one]
    passed = sum(score > passing for score in every) / max(1, len(every)) if passing is not None else None
    return Score(len(episodes), faults, success, success_se, score, score_se, passed)


def _mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    if not values:
        return 0.0, 0.0
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return mean, 0.0
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return mean, math.sqrt(variance / len(values))
