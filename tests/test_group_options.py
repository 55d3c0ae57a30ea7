"""Options of groups: dynamic sampling, penalties, limits, which tasks come next."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_policy import tiny_policy
from toy_world import ToyWorld
from trainer_runs import Crash, CrashAt, Watcher, go, lines, small_config

from reskill_agents.environment import Split, Task
from reskill_agents.episodes import Episode, Group, StopReason, Turn, success_reward
from reskill_agents.library import SkillLibrary
from reskill_agents.trainers.advantages import leave_one_out
from reskill_agents.trainers.batches import chosen, is_silent, training_set
from reskill_agents.trainers.groups import GroupPlan, Member, PlayedGroup, Role, TaskCursor
from reskill_agents.trainers.rewards import less_invalid
from reskill_agents.trainers.task_choice import TaskChoice

TASKS = [Task(f"t{number}", f"task {number}", Split.TRAIN) for number in range(8)]


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_policy(tmp_path_factory.mktemp("tiny"))


def played(task: Task, *scores: float | None, trained: bool = True) -> PlayedGroup:
    """A group with these scores."""
    members = (Member(Role.ACTIVE, SkillLibrary()),) * len(scores)
    episodes = tuple(Episode(f"{task.task_id}-{place}", task, (), score) for place, score in enumerate(scores))
    return PlayedGroup(GroupPlan(task, members, trained), Group(task, episodes))


def test_a_group_is_silent_without_two_different_rewards() -> None:
    groups = [played(TASKS[0], 1.0, 0.0), played(TASKS[0], 0.4, 0.2), played(TASKS[0], 1.0, None), played(TASKS[0])]
    assert [is_silent(one, success_reward) for one in groups] == [False, True, True, True]


def test_silent_groups_are_trained_only_where_others_are_missing() -> None:
    silent, telling = played(TASKS[0], 0.0, 0.0), played(TASKS[1], 1.0, 0.0)
    other = played(TASKS[2], 0.0, 1.0)
    assert chosen([silent, telling, other], success_reward, 2) == [telling, other]
    assert chosen([silent, telling], success_reward, 2) == [silent, telling]
    assert chosen([silent, telling, other], success_reward, None) == [silent, telling, other]
    assert chosen([replace(telling, plan=replace(telling.plan, trained=False))], success_reward, 2) == []


def test_groups_of_different_sizes_and_faults_count_episode_by_episode() -> None:
    groups = [played(TASKS[0], 1.0, 0.0), played(TASKS[1], 1.0, None, 0.0, 0.0), played(TASKS[2], None)]
    made = training_set(groups, success_reward, leave_one_out)
    assert made.episodes == 5
    assert made.silent == 1


def test_dynamic_sampling_replaces_groups_without_variance_by_new_tasks(policy: Path, tmp_path: Path) -> None:
    """Success is rare for this policy, so most groups are silent; up to four more are played."""
    watcher = Watcher()
    rollout = {"groups": 4, "group_size": 4, "max_tokens": 1, "resample": 4}
    config = small_config(steps=5, train_reward="success", method="grpo", rollout=rollout)
    go(config, policy, tmp_path / "whole", listener=watcher)
    assert all(metrics.groups == 4 + metrics.resampled for metrics in watcher.steps)
    assert any(metrics.resampled > 0 for metrics in watcher.steps)
    assert all(metrics.resampled <= 4 and metrics.silent_groups <= 4 for metrics in watcher.steps)
    names = [str(entry["episode_id"]) for entry in lines(tmp_path / "whole", "episodes.jsonl")]
    assert len(names) == len(set(names))
    with pytest.raises(Crash):
        go(config, policy, tmp_path / "broken", listener=CrashAt(at=3))
    go(config, policy, tmp_path / "broken", resume=True)
    assert lines(tmp_path / "broken", "metrics.jsonl") == lines(tmp_path / "whole", "metrics.jsonl")


def test_dynamic_sampling_keeps_both_arms_of_a_trial(policy: Path, tmp_path: Path) -> None:
    rollout = {"groups": 4, "group_size": 4, "max_tokens": 1, "resample": 4}
    go(small_config(steps=6, train_reward="success", rollout=rollout), policy, tmp_path)
    by_group: dict[str, list[object]] = {}
    for entry in lines(tmp_path, "episodes.jsonl"):
        by_group.setdefault(str(entry["episode_id"]).rsplit("-", 1)[0], []).append(entry["arm"])
    tried = [arms for arms in by_group.values() if any(arms)]
    assert tried
    assert all(arms.count("candidate") == arms.count("incumbent") == 2 for arms in tried)


def test_invalid_actions_cost_the_whole_episode_its_share() -> None:
    turns = tuple(Turn(index, "", "", valid=index != 1) for index in range(4))
    episode = Episode("e", TASKS[0], turns, 1.0)
    assert less_invalid(success_reward, 0.2)(episode) == pytest.approx(0.95)
    assert less_invalid(success_reward, 0.2)(replace(episode, score=None)) is None
    assert less_invalid(success_reward, 0.0) is success_reward


def test_the_penalty_is_in_the_reward_and_not_in_the_outcome(policy: Path, tmp_path: Path) -> None:
    """Warm enough, this policy says words that are no number."""
    free, charged = Watcher(), Watcher()
    rollout: dict[str, object] = {"groups": 4, "group_size": 4, "max_tokens": 1, "temperature": 3.0}
    go(small_config(steps=1, method="grpo", rollout=rollout), policy, tmp_path / "free", listener=free)
    rollout = {**rollout, "invalid_penalty": 0.5}
    go(small_config(steps=1, method="grpo", rollout=rollout), policy, tmp_path / "charged", listener=charged)
    before, after = free.steps[0].arms["active"], charged.steps[0].arms["active"]
    assert before.invalid > 0
    assert (after.outcome, after.score) == (before.outcome, before.score)
    assert before.reward is not None
    assert after.reward is not None
    assert after.reward < before.reward


@pytest.mark.parametrize(
    ("limits", "stop"),
    [
        ({"max_turns": 2}, StopReason.TURN_LIMIT),
        ({"max_context": 60}, StopReason.CONTEXT_LIMIT),
        ({"max_context": 100, "on_overflow": "fork"}, None),
    ],
)
def test_limits_come_from_the_config(
    policy: Path, tmp_path: Path, limits: dict[str, object], stop: StopReason | None
) -> None:
    watcher = Watcher()
    rollout = {"groups": 4, "group_size": 4, "max_tokens": 1, **limits}
    go(small_config(steps=1, method="grpo", rollout=rollout), policy, tmp_path, listener=watcher)
    stops = {str(entry["stop"]) for entry in lines(tmp_path, "episodes.jsonl")}
    if stop is not None:
        assert stop.value in stops
        assert watcher.steps[0].limited > 0
        assert watcher.steps[0].forks == 0
    else:
        assert StopReason.CONTEXT_LIMIT.value not in stops
        assert watcher.steps[0].forks > 0


def test_without_a_curriculum_tasks_come_in_turn() -> None:
    plain, chooser = TaskCursor(TASKS, 0), TaskChoice(TaskCursor(TASKS, 0))
    chooser.record([played(TASKS[0], 1.0, 0.0)])
    assert [chooser.take(3) for _ in range(4)] == [plain.take(3) for _ in range(4)]
    assert chooser.to_state() == {}


def test_the_curriculum_takes_unknown_tasks_then_those_of_middling_success() -> None:
    chooser = TaskChoice(TaskCursor(TASKS, 0), looks=2)
    for task in TASKS[:4]:
        chooser.record([played(task, *([1.0] * 8))])
    chooser.record([played(TASKS[4], *([0.0] * 8)), played(TASKS[5], *([1.0, 0.0] * 4))])
    assert {"t5", "t6", "t7"} < {task.task_id for task in chooser.take(4)}
    assert chooser.variance("t6") > chooser.variance("t5") > chooser.variance("t0")
    assert chooser.variance("t5") == pytest.approx(0.25)
    assert chooser.variance("t4") == pytest.approx(0.1 * 0.9)


def test_old_success_counts_less() -> None:
    chooser = TaskChoice(TaskCursor(TASKS, 0), looks=2)
    for scores in ([1.0] * 4, [0.0] * 4):
        chooser.record([played(TASKS[0], *scores)])
    assert chooser.record_of["t0"] == (2.0, 6.0)
    other = TaskChoice(TaskCursor(TASKS, 0), looks=2)
    other.restore(json.loads(json.dumps(chooser.to_state())))
    assert other.record_of == chooser.record_of


def test_no_task_comes_twice_in_a_step_while_there_are_others() -> None:
    chooser = TaskChoice(TaskCursor(TASKS, 0), looks=3)
    for _ in range(6):
        taken = [task.task_id for task in chooser.take(6)]
        assert len(set(taken)) == len(taken) == 6


def test_a_run_with_a_curriculum_resumes_bit_for_bit(policy: Path, tmp_path: Path) -> None:
    rollout = {"groups": 4, "group_size": 4, "max_tokens": 1, "curriculum": 2}
    config = small_config(
        steps=6, rollout=rollout, update={"lr": 1e-3, "advantage": "effect_adjusted"}, checkpoint={"every": 4}
    )
    go(config, policy, tmp_path / "whole", world=ToyWorld())
    with pytest.raises(Crash):
        go(config, policy, tmp_path / "broken", listener=CrashAt(at=4))
    go(config, policy, tmp_path / "broken", resume=True)
    for log in ("metrics.jsonl", "episodes.jsonl", "trials.jsonl"):
        assert lines(tmp_path / "whole", log) == lines(tmp_path / "broken", log)
