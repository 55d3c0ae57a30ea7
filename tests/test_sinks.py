"""Figures of a step in trackers: names, resumes, what is missing says so."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tiny_policy import tiny_policy
from trainer_runs import Crash, CrashAt, go, small_config

from reskill_agents.errors import ConfigError
from reskill_agents.trainers.progress import ArmMetrics, Silent, StepMetrics, TokenCounts, TrialPurpose, TrialState
from reskill_agents.trainers.sinks import figures_of, open_sinks


def metrics(step: int = 3) -> StepMetrics:
    """A step with one arm and a trial."""
    arm = ArmMetrics("sha256-x", 16, 1, 0.25, 0.5, None, 0.375, 4.5, 0.125)
    trial = TrialState("trial-001", TrialPurpose.CREATION, 0.9, 0.4, 0.1, float("inf"), 2)
    return StepMetrics(
        step=step, version=2, arms={"active": arm}, library="sha256-x", skills=("one",), trial=trial, groups=4,
        silent_groups=1, forks=0, loss=0.5, grad_norm=1.5, clip_rate=0.1, entropy=0.7, kl=0.01, lr=3e-5, rows=12,
        trained_tokens=40, logprob_gap=1e-6, tokens=TokenCounts(40, 10, 200, 150), reservoir=30,
        seconds={"rollout": 1.0, "total": 36.0}, staleness=0.5, truncated_weights=0.02,
    )  # fmt: skip


def test_every_kind_of_figure_has_a_name() -> None:
    figures = figures_of(metrics(), usd_per_hour=2.0)
    assert figures["success/active"] == 0.25
    assert figures["invalid/active"] == 0.125
    assert "reward/active" not in figures  # there was none
    assert figures["tokens/observation"] == 150
    assert figures["seconds/rollout"] == 1.0
    assert figures["update/staleness"] == 0.5
    assert figures["update/truncated_weights"] == 0.02
    assert figures["update/kl"] == 0.01
    assert figures["trial/probability"] == 0.9
    assert "trial/high" not in figures  # infinite
    assert figures["cost/usd"] == pytest.approx(0.02)
    assert "cost/usd" not in figures_of(metrics())


def test_without_sinks_the_listener_stays_alone(tmp_path: Path) -> None:
    listener = Silent()
    assert open_sinks(small_config(), tmp_path).beside(listener) is listener


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "trackio"])
def test_a_missing_tracker_is_named_with_what_to_install(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imported = {"tensorboard": "torch.utils.tensorboard"}.get(name, name)
    monkeypatch.setitem(sys.modules, imported, None)  # as if it were not installed
    with pytest.raises(ConfigError, match=r"install reskill-agents\[logging\]"):
        open_sinks(small_config(logging={"sinks": (name,)}), tmp_path)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_shows_each_step_once_after_a_resume(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    policy, folder = tiny_policy(tmp_path / "policy"), tmp_path / "run"
    config = small_config(steps=5, method="grpo", checkpoint={"every": 2}, logging={"sinks": ("tensorboard",)})
    with pytest.raises(Crash):
        go(config, policy, folder, listener=CrashAt(at=3))
    go(config, policy, folder, resume=True)
    events = EventAccumulator(str(folder / "tensorboard"))  # type: ignore[no-untyped-call]
    events.Reload()  # type: ignore[no-untyped-call]
    scalars = events.Scalars("reward/active")  # type: ignore[no-untyped-call]
    assert [event.step for event in scalars] == list(range(5))
    assert {"tokens/sampled", "seconds/update", "update/entropy", "groups/silent"} <= set(events.Tags()["scalars"])  # type: ignore[no-untyped-call]


PROGRAM = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_sinks import metrics
from trainer_runs import small_config
from reskill_agents.trainers.sinks import open_sinks
config, folder = small_config(logging={{"sinks": [sys.argv[1]]}}), Path(sys.argv[2])
for steps in ((0, 1), (1, 2)):  # the second time is a resume
    sinks = open_sinks(config, folder)
    for step in steps:
        sinks.step(metrics(step), 3)
    sinks.close()
"""


def write_offline(sink: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process of its own: trackers start threads and servers, and write where their variables point."""
    monkeypatch.setenv("TRACKIO_DIR", str(folder / "trackio"))
    monkeypatch.setenv("WANDB_SILENT", "true")
    program = PROGRAM.format(tests=str(Path(__file__).parent))
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, sink, str(folder)], capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_wandb_writes_offline_runs_into_the_run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    write_offline("wandb", tmp_path / "run", monkeypatch)
    written = list((tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb"))
    assert len(written) == 2
    assert all(path.stat().st_size > 0 for path in written)


def test_trackio_keeps_a_run_in_its_local_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("trackio")
    write_offline("trackio", tmp_path / "run", monkeypatch)
    database = next((tmp_path / "run" / "trackio").rglob("*.db"))
    content = database.read_bytes()
    assert b"update/entropy" in content or any(b"update/entropy" in p.read_bytes() for p in database.parent.iterdir())
