"""``reskill group``: a group of a real run, side by side."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_policy import tiny_policy
from trainer_runs import go, lines, small_config
from typer.testing import CliRunner

from reskill_agents.cli import app
from reskill_agents.errors import RunFolderError
from reskill_agents.run_group import read_group


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("group")
    go(small_config(steps=4), tiny_policy(folder / "tiny"), folder / "run")
    return folder / "run"


def test_the_rollouts_of_a_group_come_in_order_with_their_leave_one_out_advantages(run: Path) -> None:
    for number in range(4):
        members = read_group(run, 2, f"g{number}")
        assert [member.place for member in members] == [0, 1, 2, 3]
        assert len({member.episode.task.task_id for member in members}) == 1
        rewards = [((m.episode.score or 0.0) + m.episode.success) / 2 for m in members]  # train_reward: graded
        for member, reward in zip(members, rewards, strict=True):
            others = (sum(rewards) - reward) / 3
            assert member.advantage == pytest.approx(reward - others)
    roles = {member.role for number in range(4) for member in read_group(run, 2, f"g{number}")}
    assert roles == {"active", "candidate"}


def test_a_group_is_found_by_its_task_and_shown_for_people_and_machines(run: Path) -> None:
    task = read_group(run, 3, "g1")[0].episode.task.task_id
    shown = CliRunner().invoke(app, ["group", str(run), "3", task])
    assert shown.exit_code == 0
    assert all(word in shown.output for word in ("r0", "r3", "advantage", "turn 0", task))
    facts = [
        json.loads(line)
        for line in CliRunner().invoke(app, ["group", str(run), "3", task, "--json"]).output.splitlines()
    ]
    logged = {str(entry["episode_id"]): entry for entry in lines(run, "episodes.jsonl")}
    for fact in facts:
        assert fact["advantage"] == logged[fact["episode"]]["advantage"]
        assert [turn["version"] for turn in fact["turns"]] == logged[fact["episode"]]["versions"]
        assert [turn["action"] for turn in fact["turns"]] == [
            turn["action"] for turn in logged[fact["episode"]]["turns"]
        ]
    fired = {name for fact in facts for turn in fact["turns"] for name in turn["fired"]}
    assert fired == {"prepared-0"}  # the candidate of the trial under way


def test_logs_of_older_versions_are_read_without_versions(run: Path, tmp_path: Path) -> None:
    old = [{**entry, "versions": None} for entry in lines(run, "episodes.jsonl")]
    for entry in old:
        del entry["versions"]
    text = "\n".join(json.dumps(entry, separators=(",", ":")) for entry in old)
    (tmp_path / "episodes.jsonl").write_text(text + "\n", "utf-8")
    members = read_group(tmp_path, 2, "g0")
    assert len(members) == 4
    assert all(member.versions == () and member.version(0) is None for member in members)


def test_what_is_not_there_is_said(run: Path, tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"no group of task 'x'; there are: g0 train-\d+, g1 "):
        read_group(run, 0, "x")
    with pytest.raises(RunFolderError, match="no episodes of step 99"):
        read_group(run, 99, "g0")
    with pytest.raises(RunFolderError, match="No such file"):
        read_group(tmp_path, 0, "g0")
