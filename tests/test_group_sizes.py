"""Groups of different sizes: a step's rollouts go to the tasks where they say most."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from tiny_policy import tiny_policy
from toy_world import ToyWorld
from trainer_runs import Crash, CrashAt, Watcher, go, lines, small_config

from reskill_agents.environment import Split, Task
from reskill_agents.episodes import Episode, Group
from reskill_agents.errors import ConfigError
from reskill_agents.library import SkillLibrary
from reskill_agents.trainers.group_sizes import SizeRange, allocate
from reskill_agents.trainers.groups import GroupPlan, Member, PlayedGroup, Role, TaskCursor
from reskill_agents.trainers.task_choice import TaskChoice

TASKS = [Task(f"t{number}", f"task {number}", Split.TRAIN) for number in range(4)]
SIZES = {"groups": 4, "group_size": 6, "group_sizes": (4, 10), "max_tokens": 1}


def played(task: Task, *scores: float) -> PlayedGroup:
    members = (Member(Role.ACTIVE, SkillLibrary()),) * len(scores)
    episodes = tuple(Episode(f"{task.task_id}-{place}", task, (), score) for place, score in enumerate(scores))
    return PlayedGroup(GroupPlan(task, members), Group(task, episodes))


@pytest.mark.parametrize(
    ("variances", "budget", "bounds", "sizes"),
    [
        ([0.25, 0.25, 0.25, 0.25], 32, SizeRange(4, 16), [8, 8, 8, 8]),
        ([0.25, 0.25, 0.0625], 25, SizeRange(2, 16), [10, 10, 5]),  # roots 2 : 2 : 1
        ([0.25, 0.25, 0.0625], 25, SizeRange(2, 9), [9, 9, 7]),
        ([0.25, 0.0, 0.0], 24, SizeRange(4, 16), [16, 4, 4]),
        ([0.25, 0.25], 20, SizeRange(2, 8), [8, 8]),  # no room for four of them
        ([0.25, 0.25, 0.25], 10, SizeRange(2, 8), [4, 3, 3]),
    ],
)
def test_sizes_are_in_proportion_to_the_root_of_the_variance(
    variances: list[float], budget: int, bounds: SizeRange, sizes: list[int]
) -> None:
    assert allocate(variances, budget, bounds) == sizes


def test_mixed_and_unknown_tasks_get_more_than_solved_and_hopeless_ones() -> None:
    chooser = TaskChoice(TaskCursor(TASKS, 0), bounds=SizeRange(4, 16))
    assert chooser.sizes(TASKS, 8) == [8, 8, 8, 8]
    chooser.record([played(TASKS[0], *[1.0] * 8), played(TASKS[1], *[0.0] * 8), played(TASKS[2], *[1.0, 0.0] * 4)])
    sizes = chooser.sizes(TASKS, 8)
    assert sum(sizes) == 32
    assert sizes[0] == sizes[1] < sizes[2] == sizes[3]


def test_without_bounds_all_groups_are_equal_and_nothing_is_kept() -> None:
    chooser = TaskChoice(TaskCursor(TASKS, 0))
    chooser.record([played(TASKS[0], 1.0, 0.0)])
    assert chooser.sizes(TASKS, 8) == [8, 8, 8, 8]
    assert chooser.to_state() == {}


def test_a_run_spends_its_rollouts_unequally_compares_arms_in_every_group_and_resumes(tmp_path: Path) -> None:
    policy = tiny_policy(tmp_path / "tiny")
    config = small_config(steps=6, rollout=SIZES, checkpoint={"every": 4})
    watcher = Watcher()
    world = ToyWorld(tasks_per_split=6)
    go(config, policy, tmp_path / "whole", listener=watcher, world=world)
    groups: dict[str, list[dict[str, object]]] = {}
    for entry in lines(tmp_path / "whole", "episodes.jsonl"):
        groups.setdefault(str(entry["episode_id"]).rsplit("-", 1)[0], []).append(entry)
    steps = Counter(int(str(members[0]["step"])) for members in groups.values() for _ in members)
    assert steps == dict.fromkeys(range(6), 24)
    sizes = [len(members) for members in groups.values()]
    assert min(sizes) >= 4
    assert max(sizes) <= 10
    assert len(set(sizes)) > 1
    tried = [Counter(str(one["arm"]) for one in members) for members in groups.values() if members[0]["arm"]]
    assert tried
    assert all(min(arms["candidate"], arms["incumbent"]) >= 2 for arms in tried)
    with pytest.raises(Crash):
        go(config, policy, tmp_path / "broken", listener=CrashAt(at=4), world=world)
    go(config, policy, tmp_path / "broken", resume=True, world=world)
    for log in ("metrics.jsonl", "episodes.jsonl", "trials.jsonl"):
        assert lines(tmp_path / "whole", log) == lines(tmp_path / "broken", log)


@pytest.mark.parametrize("sizes", [(2, 10), (7, 10), (4, 5), (5, 4)])
def test_bounds_hold_the_mean_and_two_of_each_arm(sizes: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match=r"group_sizes is .* hold rollout.group_size \(6\) and begin at 4"):
        small_config(rollout={**SIZES, "group_sizes": sizes})


def test_without_trials_two_rollouts_are_enough() -> None:
    assert small_config(method="grpo", rollout={**SIZES, "group_sizes": (2, 10)}).rollout.group_sizes == (2, 10)
