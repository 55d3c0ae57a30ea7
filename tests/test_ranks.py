"""Several processes share an update: what comes out is what one process makes, and nobody waits for the dead.

Two real processes over gloo on the loopback; sharding is accelerate's own FSDP, told to work on CPUs.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import cast

import pytest
import torch
from safetensors.torch import load_file
from tiny_policy import tiny_policy
from trainer_runs import lines

from reskill_agents.trainers.config import LossType
from reskill_agents.trainers.ranks import Ranks, Stop, launched
from reskill_agents.trainers.rows import Row, dealt
from reskill_agents.trainers.shared_update import follow
from reskill_agents.trainers.trl_trainer import divisor_of

PROGRAM = Path(__file__).with_name("ranks_program.py")
LIMIT_S = 150.0


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_policy(tmp_path_factory.mktemp("tiny"))


def start(
    size: int, what: str, policy: Path, out: Path, settings: dict[str, object], *more: str
) -> list[subprocess.Popen[str]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = []
    for rank in range(size):
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
        if size > 1:
            names = {
                "RANK": rank,
                "LOCAL_RANK": rank,
                "WORLD_SIZE": size,
                "LOCAL_WORLD_SIZE": size,
                "MASTER_PORT": port,
            }
            environment |= {name: str(value) for name, value in names.items()} | {"MASTER_ADDR": "127.0.0.1"}
        command = [sys.executable, str(PROGRAM), what, str(policy), str(out), json.dumps(settings), *more]
        processes.append(
            subprocess.Popen(
                command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                preexec_fn=_hear_interrupts,
            )
        )  # fmt: skip
    return processes


def _hear_interrupts() -> None:
    """What runs in the background ignores Ctrl-C, and so would its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def finish(processes: list[subprocess.Popen[str]]) -> list[tuple[int, str]]:
    """Exit status and last words of each rank."""
    try:
        words = [process.communicate(timeout=LIMIT_S)[1] for process in processes]
        return [(process.returncode, said) for process, said in zip(processes, words, strict=True)]
    finally:
        for process in processes:
            process.kill()


def launch(size: int, what: str, policy: Path, out: Path, settings: dict[str, object], *more: str) -> None:
    for code, words in finish(start(size, what, policy, out, settings, *more)):
        assert code == 0, words


def row(name: str, length: int) -> Row:
    return Row(name, (1,) * length, (False,) + (True,) * (length - 1), (0.0,) * length, 1.0)


def test_every_rank_gets_as_many_micro_batches_and_no_row_comes_twice() -> None:
    batches = [[row("a", 9), row("b", 9), row("c", 8)], [row("d", 5), row("e", 4)], [row("f", 2)]]
    for ranks in (1, 2, 3, 4, 5, 8):
        shares = dealt(batches, ranks)
        assert len({len(share) for share in shares}) == 1
        assert sorted(one.episode_id for share in shares for batch in share for one in batch) == list("abcdef")
    assert dealt(batches, 1) == [batches]
    assert sum(not batch for share in dealt([[row("a", 3)]], 2) for batch in share) == 1


def test_an_empty_micro_batch_weighs_nothing_and_ranks_undo_the_mean_of_gradients() -> None:
    for loss in LossType:
        assert divisor_of(loss, rows=0, token_share=0.0, episodes=4) == float("inf")
    assert divisor_of(LossType.DR_GRPO, rows=2, token_share=0.5, episodes=8, processes=4) == 1.0
    assert divisor_of(LossType.BNPO, rows=2, token_share=0.5, episodes=8, processes=4) == 0.5
    assert divisor_of(LossType.DAPO, rows=2, token_share=0.5, episodes=8, processes=4) == 1.0


def test_without_a_launcher_there_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")  # some clusters set it for every process
    monkeypatch.delenv("RANK", raising=False)
    assert launched() == (0, 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "more"),
    [
        ({"kl": 0.1}, ("sharded",)),
        ({"lora": {"rank": 4}, "kl": 0.1}, ()),
        ({"lora": {"rank": 4}, "kl": 0.1}, ("sharded",)),
    ],
)
def test_adapters_and_a_reference_go_with_several_processes(
    policy: Path, tmp_path: Path, settings: dict[str, object], more: tuple[str, ...]
) -> None:
    _same_updates(policy, tmp_path, settings, more)


@pytest.mark.slow
@pytest.mark.parametrize(("loss", "more"), [("dr_grpo", ()), ("bnpo", ()), ("dapo", ()), ("dr_grpo", ("sharded",))])
def test_two_processes_update_as_one_does(policy: Path, tmp_path: Path, loss: str, more: tuple[str, ...]) -> None:
    """Replicated and sharded: loss, gradient, figures, weights and optimizer agree to float32's rounding. 7 rows in an
    odd number of micro-batches, so that some are halved."""
    _same_updates(policy, tmp_path, {"loss": loss}, more)


def _same_updates(policy: Path, tmp_path: Path, settings: dict[str, object], more: tuple[str, ...]) -> None:
    update = {"lr": 1e-3, "tokens_per_micro_batch": 24, "max_logprob_gap": 1000.0, **settings}
    trained = "adapter_model" if "lora" in settings else "model"
    for size, name in ((1, "one"), (2, "two")):
        launch(size, "UPDATES", policy, tmp_path / name, {"update": update}, *(more if size > 1 else ()))
    one, two = (json.loads((tmp_path / name / "reports.json").read_text()) for name in ("one", "two"))
    for ours, theirs in zip(one, two, strict=True):
        assert theirs == pytest.approx(ours, rel=1e-5, abs=1e-8)
    assert one[0]["grad_norm"] > 1e-4
    for file in (f"policy/{trained}.safetensors", "weights/model.safetensors"):
        ours, theirs = (load_file(tmp_path / name / file) for name in ("one", "two"))
        assert ours.keys() == theirs.keys()
        for name, tensor in ours.items():
            torch.testing.assert_close(theirs[name], tensor, rtol=1e-4, atol=1e-5)
    moments = [torch.load(tmp_path / name / "policy" / "optimizer.pt")["optimizer"]["state"] for name in ("one", "two")]
    for number, state in moments[0].items():
        torch.testing.assert_close(moments[1][number]["exp_avg"], state["exp_avg"], rtol=1e-3, atol=1e-9)


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_processes(policy: Path, tmp_path: Path) -> None:
    """Two steps on two processes, one more on one, one more on two sharded ones."""
    settings: dict[str, object] = {"checkpoint": {"every": 1}}
    for steps, size, more in ((2, 2, ()), (3, 1, ()), (4, 2, ("sharded",))):
        launch(size, "RUN", policy, tmp_path / "run", {**settings, "steps": steps}, *more)
        found = lines(tmp_path / "run", "metrics.jsonl")
        assert [line["step"] for line in found] == list(range(steps))
        assert all(float(str(line["logprob_gap"])) < 1e-4 for line in found)  # invariant 1 across the change
        assert (tmp_path / "run" / "checkpoints" / f"step-{steps:06d}").is_dir()


@pytest.mark.slow
def test_a_rank_that_fails_is_named_by_the_others(policy: Path, tmp_path: Path) -> None:
    (code_0, words_0), (code_1, words_1) = finish(start(2, "FAIL", policy, tmp_path / "run", {}))
    assert code_0 == code_1 == 1
    assert "MemoryError: no memory left for 7 rows" in words_1
    assert "rank 1 of 2 failed: MemoryError: no memory left for 7 rows" in words_0


@pytest.mark.slow
@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGKILL])
def test_the_others_leave_when_rank_0_does(policy: Path, tmp_path: Path, kill: signal.Signals) -> None:
    processes = start(2, "RUN", policy, tmp_path / "run", {"steps": 1000})
    metrics = tmp_path / "run" / "metrics.jsonl"
    deadline = time.monotonic() + LIMIT_S
    while not (metrics.exists() and metrics.read_text().count("\n") >= 2) and time.monotonic() < deadline:
        time.sleep(0.05)
    processes[0].send_signal(kill)
    (code_0, _), (code_1, words) = finish(processes)
    assert code_0 != 0
    assert code_1 != 0
    assert "KeyboardInterrupt" in words or "rank 0 of 2" in words


class _Interrupted:
    """Ranks of a process that hears Ctrl-C before it hears from rank 0."""

    size = 2

    def hear(self) -> object:
        signal.raise_signal(signal.SIGINT)
        return Stop("the end")


def test_ctrl_c_reaches_all_processes_and_rank_0_says_what_follows() -> None:
    # A shell starts background jobs with SIGINT ignored, and then raising it would do nothing.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert follow(cast("Ranks", _Interrupted())) == "the end"
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.slow
def test_sharding_that_would_not_happen_is_refused(
    policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    for code, words in finish(start(2, "RUN", policy, tmp_path / "run", {})):
        assert code == 1
        assert "ConfigError: FSDP was asked for, but on 'cpu' accelerate keeps a whole copy" in words
