"""The run folder and its checkpoints: one owner, logs that only grow, whole files or none."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from trainer_runs import small_config

from reskill_agents.errors import ConfigError, RunFolderError
from reskill_agents.trainers.checkpoint import latest_checkpoint, write_checkpoint
from reskill_agents.trainers.run_folder import Log, RunFolder, plain, to_json
from reskill_agents.trials import Arm


def save_nothing(folder: Path) -> None:
    (folder / "weights").write_bytes(b"w" * 100)


def test_two_processes_cannot_use_one_folder(tmp_path: Path) -> None:
    with RunFolder(tmp_path, small_config()), pytest.raises(RunFolderError, match="is in use by process"):
        RunFolder(tmp_path, small_config(), resume=True)
    RunFolder(tmp_path, small_config(), resume=True).close()


def test_a_run_is_not_overwritten(tmp_path: Path) -> None:
    RunFolder(tmp_path, small_config()).close()
    with pytest.raises(RunFolderError, match="pass --resume to go on with it, or name another folder"):
        RunFolder(tmp_path, small_config())


def test_a_resumed_run_has_the_same_settings_but_may_be_longer(tmp_path: Path) -> None:
    RunFolder(tmp_path, small_config()).close()
    with pytest.raises(ConfigError, match="seed: 3 there, 4 asked"):
        RunFolder(tmp_path, small_config(seed=4), resume=True)
    RunFolder(tmp_path, small_config(steps=60), resume=True).close()


def test_tails_behind_a_checkpoint_become_orphans(tmp_path: Path) -> None:
    with RunFolder(tmp_path, small_config()) as run:
        run.append(Log.METRICS, {"step": 0})
        lengths = run.sync()
        run.append(Log.METRICS, {"step": 1})
        run.append(Log.TRIALS, {"event": "verdict"})
        run.flush()
        run.cut_logs(lengths)
        run.append(Log.METRICS, {"step": 1, "again": True})
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step":0}\n{"step":1,"again":true}\n'
    assert (tmp_path / "metrics.jsonl.orphan").read_text() == '{"step":1}\n'
    assert (tmp_path / "trials.jsonl").read_text() == ""
    assert (tmp_path / "trials.jsonl.orphan").read_text() == '{"event":"verdict"}\n'


def test_a_log_shorter_than_the_checkpoint_says_is_refused(tmp_path: Path) -> None:
    with RunFolder(tmp_path, small_config()) as run, pytest.raises(RunFolderError, match=r"metrics\.jsonl has 0 bytes"):
        run.cut_logs({"metrics.jsonl": 10})


def test_json_has_no_infinities_and_knows_enums_and_dataclasses() -> None:
    assert plain({"a": float("inf"), "b": Arm.CANDIDATE, "c": (1, 2.5)}) == {"a": None, "b": "candidate", "c": [1, 2.5]}
    assert to_json({"a": float("nan")}) == '{"a":null}'


def test_the_newest_valid_checkpoint_is_taken_and_a_torn_one_skipped_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with RunFolder(tmp_path, small_config()) as run:
        for step in (1, 2, 3):
            write_checkpoint(run, step, {"step": step}, save_nothing, keep=3)
    newest = tmp_path / "checkpoints" / "step-000003"
    (newest / "policy" / "weights").write_bytes(b"w" * 99 + b"x")
    with caplog.at_level(logging.WARNING):
        found = latest_checkpoint(tmp_path)
    assert found is not None
    assert found.state() == {"step": 2}
    assert "weights is torn" in caplog.text


def test_an_unfinished_checkpoint_is_no_checkpoint(tmp_path: Path) -> None:
    def killed(folder: Path) -> None:
        save_nothing(folder)
        raise KeyboardInterrupt

    with RunFolder(tmp_path, small_config()) as run:
        write_checkpoint(run, 1, {"step": 1}, save_nothing, keep=2)
        with pytest.raises(KeyboardInterrupt):
            write_checkpoint(run, 2, {"step": 2}, killed, keep=2)
    found = latest_checkpoint(tmp_path)
    assert found is not None
    assert found.manifest.step == 1


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    with RunFolder(tmp_path, small_config()) as run:
        for step in (1, 2, 3, 4):
            write_checkpoint(run, step, {}, save_nothing, keep=2)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["step-000003", "step-000004"]


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert latest_checkpoint(tmp_path) is None
