"""On a CUDA device: the engine's contract, TRL's loss against that on the CPU, invariants 1, 2 and 8, reduced precision.

Skipped where there is none, as in CI.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import torch
from contracts.engine import check_engine
from test_update import sampled_rows
from tiny_policy import tiny_policy
from trainer_checks import check_trained_tokens, logprob_gaps
from trainer_runs import Crash, CrashAt, go, lines, small_config
from transformers import AutoModelForCausalLM

from reskill_agents.engines import row_cache
from reskill_agents.engines.transformers import TransformersEngine
from reskill_agents.trainers.config import LossType, UpdateConfig
from reskill_agents.trainers.rows import Row
from reskill_agents.trainers.update import PolicyUpdater

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
    pytest.mark.filterwarnings("default"),  # of kernels, allocators and versions of the machine
]
GPU = "cuda"


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_policy(tmp_path_factory.mktemp("tiny"))


@pytest.mark.parametrize("limit", [row_cache.SCORES_ON_GPU, 60], ids=["whole", "in parts"])
async def test_the_engine_keeps_its_contract(policy: Path, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_cache, "SCORES_ON_GPU", limit)
    engine = TransformersEngine(policy, device=GPU)
    assert engine.reuses_cache
    await check_engine(engine, 80, weights=policy)


async def test_heads_that_share_keys_are_sampled_from_cached_rows() -> None:
    from test_engine_transformers import VOCABULARY, qwen

    model = qwen()
    assert model.config.num_key_value_heads < model.config.num_attention_heads
    engine = TransformersEngine(model, device=GPU, max_context=128)
    assert engine.reuses_cache
    await check_engine(engine, VOCABULARY, weights=model.state_dict())


@pytest.mark.parametrize("loss", list(LossType))
def test_losses_and_gradients_are_those_of_the_cpu(policy: Path, tmp_path: Path, loss: LossType) -> None:
    reports = []
    rows: list[Row] = []
    for use_cpu in (True, False):
        updater = PolicyUpdater(
            policy,
            UpdateConfig(loss=loss, tokens_per_micro_batch=60),
            temperature=1.0,
            steps=2,
            work_dir=tmp_path,
            use_cpu=use_cpu,
        )
        rows = rows or sampled_rows(updater, noise=0.2)
        reports.append(updater.update(rows, episodes=len(rows)))
    on_cpu, on_gpu = reports
    assert on_gpu.loss == pytest.approx(on_cpu.loss, rel=1e-4, abs=1e-6)
    assert on_gpu.grad_norm == pytest.approx(on_cpu.grad_norm, rel=1e-3)
    assert on_gpu.entropy == pytest.approx(on_cpu.entropy, rel=1e-4)
    assert on_gpu.clip_rate == pytest.approx(on_cpu.clip_rate)


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_1_sampled_and_rescored_log_probs_agree(policy: Path, tmp_path: Path, temperature: float) -> None:
    rollout = {"groups": 4, "group_size": 4, "max_tokens": 2, "temperature": temperature}
    gaps = asyncio.run(logprob_gaps(small_config(device=GPU, rollout=rollout), policy, tmp_path, use_cpu=False))
    assert max(gaps) < 1e-4


def test_2_every_sampled_token_is_trained_once(policy: Path, tmp_path: Path) -> None:
    go(small_config(device=GPU, method="static", steps=5, episode_log="tokens"), policy, tmp_path)
    check_trained_tokens(policy, tmp_path)


def test_8_a_killed_run_goes_on_bit_for_bit(policy: Path, tmp_path: Path) -> None:
    config = small_config(device=GPU)
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    go(config, policy, whole)
    with pytest.raises(Crash):
        go(config, policy, torn, listener=CrashAt(at=4))
    go(config, policy, torn, resume=True)
    assert lines(torn, "metrics.jsonl") == lines(whole, "metrics.jsonl")
    assert any(float(str(line["grad_norm"])) > 0 for line in lines(whole, "metrics.jsonl"))


def test_adapters_in_bfloat16_with_recomputed_activations(policy: Path, tmp_path: Path) -> None:
    update = {
        "lr": 1e-2,
        "precision": "bfloat16",
        "max_logprob_gap": 0.5,
        "gradient_checkpointing": True,
        "lora": {"rank": 4},
    }
    go(small_config(device=GPU, method="grpo", steps=3, update=update), policy, tmp_path)
    metrics = lines(tmp_path, "metrics.jsonl")
    assert [line["version"] for line in metrics] == [0, 1, 2]
    assert all(0 < float(str(line["logprob_gap"])) < 0.5 for line in metrics)


def test_checkpoints_load_anywhere(policy: Path, tmp_path: Path) -> None:
    config = small_config(device=GPU, method="grpo", steps=2)
    result = go(config, policy, tmp_path)
    model = AutoModelForCausalLM.from_pretrained(result.policy)
    assert not torch.equal(model.lm_head.weight, AutoModelForCausalLM.from_pretrained(policy).lm_head.weight)
