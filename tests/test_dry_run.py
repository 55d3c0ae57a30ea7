"""The plan of a run against models that are really built: what is counted must be what is there."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch
from rich.console import Console
from tiny_policy import tiny_policy
from toy_world import ToyWorld
from trainer_runs import small_config
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

from reskill_agents.action_format import ActionFormat
from reskill_agents.engine import GenerateRequest, SamplingParams
from reskill_agents.engines.transformers import TransformersEngine
from reskill_agents.envs.webshop import WebShopWorld
from reskill_agents.errors import ConfigError
from reskill_agents.graphs.chat_templates import ChatTokenizer
from reskill_agents.trainers.config import EngineName, RunConfig, UpdateConfig
from reskill_agents.trainers.dry_run import print_plan, trainer_needs
from reskill_agents.trainers.job import run_job
from reskill_agents.trainers.job_options import JobOptions
from reskill_agents.trainers.memory_plan import (
    GB,
    ModelShape,
    TrainerNeeds,
    kv_bytes,
    model_shape,
    plan_memory,
    trainer_parts,
)
from reskill_agents.trainers.rows import Row
from reskill_agents.trainers.token_plan import plan_tokens
from reskill_agents.trainers.update import PolicyUpdater

QWEN3_4B = {  # config.json of Qwen/Qwen3-4B-Instruct-2507, what counts of it
    "hidden_size": 2560, "intermediate_size": 9728, "num_hidden_layers": 36, "num_attention_heads": 32,
    "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936, "tie_word_embeddings": True,
    "max_position_embeddings": 262144,
}  # fmt: skip


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_policy(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def four_b(tmp_path_factory: pytest.TempPathFactory) -> ModelShape:
    folder = tmp_path_factory.mktemp("4b")
    Qwen3Config(**QWEN3_4B).save_pretrained(folder)
    return model_shape(folder)


def part(parts: list[object], what: str) -> float:
    return next(one.bytes for one in parts if one.what == what)  # type: ignore[attr-defined]


@pytest.mark.parametrize("tied", [True, False])
def test_parameters_are_those_of_the_model(tmp_path: Path, tied: bool) -> None:
    config = Qwen3Config(
        vocab_size=50, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, tie_word_embeddings=tied, max_position_embeddings=99,
    )  # fmt: skip
    config.save_pretrained(tmp_path)
    shape = model_shape(tmp_path)
    model = Qwen3ForCausalLM(config)
    assert shape.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert (shape.layers, shape.max_context, len(shape.adaptable)) == (2, 99, 14)


def test_weights_gradients_and_moments_are_those_of_an_update(policy: Path, tmp_path: Path) -> None:
    updater = PolicyUpdater(policy, UpdateConfig(lr=1e-3), temperature=1.0, steps=1, work_dir=tmp_path)
    updater.update([Row("e", (5, 3, 9, 1), (False, True, True, True), (-1.0, -1.0, -1.0, -1.0), 1.0)], episodes=1)
    parts = trainer_parts(model_shape(policy), TrainerNeeds())
    assert part(parts, "weights") == sum(p.numel() * p.element_size() for p in updater.model.parameters())
    moments = [
        value.numel() * value.element_size()
        for state in updater._optimizer.state.values()
        for name, value in state.items()
        if name != "step"
    ]
    assert part(parts, "optimizer") == sum(moments)


async def test_keys_and_values_are_those_of_the_engine(policy: Path) -> None:
    engine = TransformersEngine(policy)
    engine.open("a")
    await engine.generate(GenerateRequest("a", (1, 2, 3), SamplingParams(max_tokens=2), (1,)))
    assert engine._forward is not None
    cache = engine._forward.cache
    held = sum(tensor.numel() * tensor.element_size() for tensor in (*cache.keys, *cache.values))
    assert held == cache.rows * cache.slots * kv_bytes(model_shape(policy), 4)
    await engine.aclose()


def test_adapters_are_those_of_peft(policy: Path) -> None:
    peft = pytest.importorskip("peft")
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(policy))
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=4, target_modules="all-linear"))
    trained = sum(parameter.numel() for parameter in adapted.parameters() if parameter.requires_grad)
    assert model_shape(policy).adapter_parameters(4) == trained


def test_a_4b_model_by_hand(four_b: ModelShape) -> None:
    layer = 2560 * (32 + 2 * 8) * 128 + 32 * 128 * 2560 + 3 * 2560 * 9728 + 2 * 2560 + 2 * 128
    assert four_b.parameters == 151936 * 2560 + 36 * layer + 2560 == 4_022_468_096
    assert kv_bytes(four_b, 2) == 2 * 36 * 8 * 128 * 2 == 147_456
    full = trainer_parts(four_b, TrainerNeeds())
    assert sum(one.bytes for one in full[:3]) == 16 * four_b.parameters  # the 16 bytes a parameter of mixed-size lore
    lora = trainer_parts(four_b, TrainerNeeds(weight_bytes=2, lora_rank=16, checkpointing=True))
    assert part(lora, "weights") == 2 * four_b.parameters
    assert part(lora, "adapters") == 4 * 33_030_144


def test_sharding_divides_what_the_model_needs_and_replicas_send_gradients(four_b: ModelShape) -> None:
    alone = trainer_parts(four_b, TrainerNeeds(reference=True))
    cut = trainer_parts(four_b, TrainerNeeds(reference=True, processes=4, sharded=True))
    for what in ("weights", "reference", "gradients", "optimizer"):
        assert part(cut, what) == part(alone, what) / 4
    for what in ("activations", "logits", "context"):
        assert part(cut, what) == part(alone, what)
    layer = (four_b.parameters - 151936 * 2560 - 2560) / 36
    assert (four_b.block, four_b.outside) == (layer, 151936 * 2560 + 2560)
    assert part(cut, "whole at a time") == 8 * (four_b.outside + 2 * layer)
    copies = trainer_parts(four_b, TrainerNeeds(reference=True, processes=4))
    assert [one for one in copies if one.what != "gradients sent"] == alone
    assert part(copies, "gradients sent") == part(alone, "gradients")


@pytest.mark.parametrize(("sharded", "words"), [("true", "FSDP: a share each"), ("false", "DDP: a copy each")])
def test_the_plan_is_one_process_of_those_that_a_launcher_started(
    policy: Path, monkeypatch: pytest.MonkeyPatch, sharded: str, words: str
) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "4", "MASTER_ADDR": "here", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ACCELERATE_USE_FSDP", sharded)
    assert trainer_needs(small_config()) == TrainerNeeds(
        batch_tokens=small_config().update.tokens_per_micro_batch, processes=4, sharded=sharded == "true"
    )
    shown = io.StringIO()
    console = Console(file=shown, width=140)
    assert print_plan(small_config(), ToyWorld(), policy, device_gb=80, console=console)
    assert f"memory of each of 4 devices, {words}" in shown.getvalue()
    colocated = RunConfig.build(engine="vllm-colocated")
    with pytest.raises(ConfigError, match="in one process, not in 4"):
        print_plan(colocated, ToyWorld(), policy, device_gb=80, console=console)


def test_what_does_not_fit_is_said(four_b: ModelShape) -> None:
    config = RunConfig.build(engine="vllm-colocated", serving={"memory_share": 0.5})
    lora = TrainerNeeds(weight_bytes=2, lora_rank=16, checkpointing=True, batch_tokens=8192)
    plan = plan_memory(four_b, config, lora, device_gb=80, episode_tokens=8192)
    assert plan.fits
    assert plan.engine_bytes == 40 * GB
    assert plan.kv_tokens == int((40 * GB - 2 * four_b.parameters - 2 * GB) // 147_456)
    assert not plan_memory(four_b, config, TrainerNeeds(), device_gb=80, episode_tokens=8192).fits
    assert plan_memory(four_b, config, lora, device_gb=40, episode_tokens=8192).fits  # the head's scores come in tiles
    assert not plan_memory(four_b, config, lora, device_gb=24, episode_tokens=8192).fits


def test_tokens_are_those_of_prompts_that_are_sent(policy: Path) -> None:
    world = ToyWorld()
    tokenizer = ChatTokenizer(AutoTokenizer.from_pretrained(policy))
    plan = plan_tokens(world, tokenizer, action_format=ActionFormat.NUMBERED, max_tokens=7, tasks=5)
    assert plan.walked > 5
    assert 10 < plan.start < 500
    assert plan.largest >= plan.observation > 0
    assert plan.episode() == round(plan.start + (world.max_turns - 1) * plan.observation + world.max_turns * 7)
    assert plan.episode(answer=1) < plan.episode()


def test_the_plan_is_printed_from_config_and_tokenizer_alone(policy: Path, tmp_path: Path) -> None:
    folder = tmp_path / "no-weights"
    AutoConfig.from_pretrained(policy).save_pretrained(folder)
    AutoTokenizer.from_pretrained(policy).save_pretrained(folder)
    shown = io.StringIO()
    console = Console(file=shown, width=140)
    assert print_plan(small_config(), ToyWorld(), folder, device_gb=80, console=console)
    assert not print_plan(small_config(), ToyWorld(), folder, device_gb=0.5, console=console)
    text = shown.getvalue()
    for words in ("first prompt", "optimizer", "keys and values", "of 80: fits", "of 0.5: does NOT fit"):
        assert words in text
    with pytest.raises(ConfigError, match="no config of a causal language model"):
        print_plan(small_config(), ToyWorld(), tmp_path / "nowhere", device_gb=80, console=console)


def test_a_dry_run_of_the_recipe_writes_no_run_folder(
    policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = JobOptions(model=str(policy), engine=EngineName.VLLM, dry_run=True)
    shown = io.StringIO()
    assert run_job(options, WebShopWorld(), label="x", console=Console(file=shown, width=140)) in (0, 1)
    assert "KV cache" in shown.getvalue()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConfigError, match="--dry-run plans for --model"):
        run_job(JobOptions(dry_run=True), WebShopWorld(), label="x")


def test_nothing_is_allocated_for_a_model_of_any_size(four_b: ModelShape) -> None:
    assert four_b.parameters * 4 > 16e9  # and the fixture took no such memory: parameters lie on the meta device
    assert torch.empty(1).device.type == "cpu"
