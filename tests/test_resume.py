"""Kill the process anywhere: the resumed run equals the unbroken one, bit for bit (invariant 8)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from tiny_policy import tiny_policy
from toy_world import ToyWorld
from trainer_runs import Crash, CrashAt, Watcher, go, lines, small_config

from reskill_agents.errors import ConfigError
from reskill_agents.trainers.checkpoint import latest_checkpoint
from reskill_agents.trainers.config import RunConfig
from reskill_agents.trainers.progress import Phase

LOGS = ("metrics.jsonl", "episodes.jsonl", "trials.jsonl")


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_policy(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def unbroken(policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight steps: creations, open trials and verdicts at various steps; checkpoints every 3."""
    folder = tmp_path_factory.mktemp("unbroken")
    watcher = Watcher()
    go(config(), policy, folder, listener=watcher)
    assert watcher.verdicts
    return folder


def config(**changes: object) -> RunConfig:
    return small_config(steps=8, checkpoint={"every": 3}, **changes)


def assert_equal_runs(one: Path, other: Path) -> None:
    for log in LOGS:
        assert lines(one, log) == lines(other, log), log
    assert (one / "evaluation.json").read_text() == (other / "evaluation.json").read_text()


def test_a_crash_after_every_step_changes_nothing(policy: Path, unbroken: Path, tmp_path: Path) -> None:
    """Eight crashes in one run: with a trial open, a proposal pending, a verdict due, before the first checkpoint."""
    for at in range(8):
        with pytest.raises(Crash):
            go(config(), policy, tmp_path, listener=CrashAt(at=at), resume=at > 0)
    go(config(), policy, tmp_path, resume=True)
    assert_equal_runs(unbroken, tmp_path)


@pytest.mark.parametrize("method", ["decoupled", "reskill-paper"])
def test_other_methods_resume_too(policy: Path, tmp_path: Path, method: str) -> None:
    settings = config(method=method, creator={"warm_up": 4, "join_after": 2, "decoupled_every": 2})
    go(settings, policy, tmp_path / "whole")
    with pytest.raises(Crash):
        go(settings, policy, tmp_path / "broken", listener=CrashAt(at=4))
    go(settings, policy, tmp_path / "broken", resume=True)
    assert_equal_runs(tmp_path / "whole", tmp_path / "broken")


def test_a_finished_run_can_be_asked_again_and_made_longer(policy: Path, tmp_path: Path, unbroken: Path) -> None:
    first = go(small_config(steps=5, checkpoint={"every": 3}), policy, tmp_path)
    again = go(small_config(steps=5, checkpoint={"every": 3}), policy, tmp_path, resume=True)
    assert again.evaluations == first.evaluations
    go(config(), policy, tmp_path, resume=True)
    assert lines(tmp_path, "metrics.jsonl") == lines(unbroken, "metrics.jsonl")
    with pytest.raises(ConfigError, match="has done 8 steps already"):
        go(small_config(steps=5, checkpoint={"every": 3}), policy, tmp_path, resume=True)


def test_a_checkpoint_is_written_before_a_verdict_takes_effect(unbroken: Path, policy: Path, tmp_path: Path) -> None:
    """Crash right behind the verdict's evidence: the resumed run reaches the same verdict from the checkpoint."""
    verdict = next(line for line in lines(unbroken, "trials.jsonl") if line["event"] == "verdict")
    step = int(str(verdict["step"]))

    class CrashOnVerdict(Watcher):
        def verdict(self, event: object) -> None:
            raise Crash

    with pytest.raises(Crash):
        go(config(), policy, tmp_path, listener=CrashOnVerdict())
    assert (tmp_path / "checkpoints" / f"step-{step:06d}").is_dir()
    go(config(), policy, tmp_path, resume=True)
    assert_equal_runs(unbroken, tmp_path)


def test_an_evaluation_due_behind_a_checkpoint_is_made_up_for(policy: Path, tmp_path: Path) -> None:
    """Killed when the checkpoint was written and the evaluation of that step was not."""
    settings = small_config(steps=4, checkpoint={"every": 2}, evaluation={"tasks": 2, "valid_tasks": 2, "every": 2})
    go(settings, policy, tmp_path / "whole")

    class CrashBeforeEvaluation(Watcher):
        def phase(self, phase: Phase, detail: str) -> None:
            if detail.startswith("step-2"):
                raise Crash

    with pytest.raises(Crash):
        go(settings, policy, tmp_path / "broken", listener=CrashBeforeEvaluation())
    go(settings, policy, tmp_path / "broken", resume=True)
    assert_equal_runs(tmp_path / "whole", tmp_path / "broken")


PROGRAM = """
import sys
sys.path[:0] = [{tests!r}]
from pathlib import Path
from trainer_runs import go, small_config
go(small_config(steps=8, checkpoint={{"every": 3}}), Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_kill_minus_nine_in_the_middle(policy: Path, unbroken: Path, tmp_path: Path) -> None:
    program = PROGRAM.format(tests=str(Path(__file__).parent))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", program, str(policy), str(tmp_path)],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    metrics = tmp_path / "metrics.jsonl"
    deadline = time.monotonic() + 60
    while not (metrics.exists() and metrics.read_text().count("\n") >= 4):
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    go(config(), policy, tmp_path, resume=True)
    assert_equal_runs(unbroken, tmp_path)


def test_a_torn_checkpoint_does_not_take_the_place_of_a_valid_one(policy: Path, tmp_path: Path) -> None:
    settings = small_config(steps=8, checkpoint={"every": 3, "keep": 2})
    go(settings, policy, tmp_path / "whole")
    torn = tmp_path / "torn"
    with pytest.raises(Crash):
        go(settings, policy, torn, listener=CrashAt(at=4))
    for left in ("step-000007", "step-000008"):  # of later ones nothing but their folders
        (torn / "checkpoints" / left).mkdir()
    with pytest.raises(Crash):
        go(settings, policy, torn, listener=CrashAt(at=7), resume=True)
    found = latest_checkpoint(torn)
    assert found is not None
    assert found.manifest.step >= 6
    go(settings, policy, torn, resume=True)
    assert_equal_runs(tmp_path / "whole", torn)
    left = sorted(path.name for path in (torn / "checkpoints").iterdir())
    assert left[1:] == ["step-000008", "torn-step-000007", "torn-step-000008"]


def test_a_run_goes_on_in_its_own_world_only(policy: Path, tmp_path: Path) -> None:
    class Other(ToyWorld):
        def describe(self) -> Mapping[str, str | int | float | bool]:
            return {**super().describe(), "seed": 99}

    go(small_config(steps=2), policy, tmp_path)
    before = (tmp_path / "world.json").read_text()
    with pytest.raises(ConfigError, match="begun on a world with another seed"):
        go(small_config(steps=3), policy, tmp_path, resume=True, world=Other())
    assert (tmp_path / "world.json").read_text() == before
