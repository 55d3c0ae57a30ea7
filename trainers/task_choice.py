"""Which tasks come next: all in turn, or those first that the policy solves now and then (curriculum by success rate);
and how large their groups are.

A group teaches by the variance of its rewards, at most p (1 - p) of a task solved with chance p. Of several tasks in
turn those with the largest expected p (1 - p) are taken; the others come round again in the next epoch. Tasks never
played are taken before all others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from reskill_agents.environment import Task
from reskill_agents.trainers.group_sizes import SizeRange, allocate
from reskill_agents.trainers.groups import PlayedGroup, TaskCursor

_FORGET = 0.5  # what a task's earlier groups count once it is played again: the policy has changed since


@dataclass
class TaskChoice:
    """Takes tasks from a cursor.

    Args:
        cursor: walks through the tasks.
        looks: tasks looked at for each one taken; 1: none is passed over.
        bounds: of the groups' sizes; ``None``: all have the same.
        record_of: by task id: successes and episodes, older ones counting less.
    """

    cursor: TaskCursor
    looks: int = 1
    bounds: SizeRange | None = None
    record_of: dict[str, tuple[float, float]] = field(default_factory=dict)

    def take(self, count: int) -> list[Task]:
        """The next ``count`` tasks, in the cursor's order."""
        if self.looks == 1:
            return self.cursor.take(count)
        found = {task.task_id: task for task in self.cursor.take(count * self.looks)}
        while len(found) < min(count, len(self.cursor.tasks)):
            found.update((task.task_id, task) for task in self.cursor.take(count))
        best = sorted(found, key=lambda name: -self.variance(name))[:count]
        tasks = [task for name, task in found.items() if name in best]
        return tasks + self.cursor.take(count - len(tasks))

    def sizes(self, tasks: Sequence[Task], size: int) -> list[int]:
        """The sizes of the groups on ``tasks``, ``size`` on average; the less is known of a task, the larger."""
        if self.bounds is None:
            return [size] * len(tasks)
        variances = [min(0.25, self.variance(task.task_id)) for task in tasks]
        return allocate(variances, size * len(tasks), self.bounds)

    def record(self, played: Sequence[PlayedGroup]) -> None:
        """Take in how the tasks of a step went; faults say nothing."""
        if self.looks == 1 and self.bounds is None:
            return
        for one in played:
            known = [episode.success for episode in one.group.episodes if episode.score is not None]
            solved, seen = self.record_of.get(one.plan.task.task_id, (0.0, 0.0))
            self.record_of[one.plan.task.task_id] = (_FORGET * solved + sum(known), _FORGET * seen + len(known))

    def variance(self, task_id: str) -> float:
        """Expected p (1 - p) of a task under a uniform prior, 0..0.25; above that for one never played."""
        if task_id not in self.record_of:
            return 1.0
        solved, seen = self.record_of[task_id]
        rate = (solved + 1) / (seen + 2)
        return rate * (1 - rate)

    def to_state(self) -> dict[str, list[float]]:
        """JSON-able and exact; the cursor keeps its own position."""
        return {name: list(record) for name, record in self.record_of.items()}

    def restore(self, state: object) -> None:
        """The inverse of :meth:`to_state`.

        Raises:
            TypeError: when it is no such state.
        """
        if not isinstance(state, Mapping):
            raise TypeError("the record of tasks is an object")
        self.record_of = {str(name): (float(solved), float(seen)) for name, (solved, seen) in state.items()}
