"""Adapters instead of full weights: what trains, what is published, what a checkpoint holds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_policy import tiny_policy
from trainer_runs import Crash, CrashAt, Watcher, go, lines, small_config
from transformers import AutoModelForCausalLM

from reskill_agents.errors import ConfigError
from reskill_agents.trainers.checkpoint import latest_checkpoint
from reskill_agents.trainers.config import UpdateConfig
from reskill_agents.trainers.rows import Row
from reskill_agents.trainers.update import PolicyUpdater

peft = pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

GOOD = Row("good", (1, 2, 3), (False, False, True), (0.0, 0.0, 0.0), 1.0)
LORA = {"rank": 4, "alpha": 8}


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_policy(tmp_path_factory.mktemp("tiny"))


def updater(policy: Path, work: Path, **settings: object) -> PolicyUpdater:
    config = UpdateConfig.model_validate({"lora": LORA, "lr": 1e-2, **settings})
    return PolicyUpdater(policy, config, temperature=1.0, steps=5, work_dir=work)


def trained(policy: Path, work: Path, **settings: object) -> PolicyUpdater:
    made = updater(policy, work, **settings)
    for _ in range(3):
        made.update([GOOD], episodes=1)
    return made


def test_only_adapters_train_and_the_start_is_the_reference(policy: Path, tmp_path: Path) -> None:
    under_test = updater(policy, tmp_path, kl=0.05)
    names = [name for name, weight in under_test.model.named_parameters() if weight.requires_grad]
    assert names
    assert all(".lora_" in name for name in names)
    before = under_test.score([GOOD])[0][0]
    assert under_test.update([GOOD], episodes=1).kl == pytest.approx(0.0, abs=1e-6)
    report = under_test.update([GOOD], episodes=1)
    assert report.kl > 0
    assert under_test.score([GOOD])[0][0] > before


def test_published_weights_are_the_merged_ones_under_the_start_policys_names(policy: Path, tmp_path: Path) -> None:
    under_test = trained(policy, tmp_path)
    plain = AutoModelForCausalLM.from_pretrained(policy)
    before = under_test.score([GOOD])[0][0]
    plain.load_state_dict(under_test.weights())
    logits = plain(input_ids=torch.tensor([GOOD.token_ids])).logits[0, 1].log_softmax(-1)
    assert float(logits[3].detach()) == pytest.approx(before, abs=1e-5)
    assert under_test.score([GOOD])[0][0] == before


def test_a_saved_adapter_loads_with_peft_and_merged_weights_with_transformers(policy: Path, tmp_path: Path) -> None:
    under_test = trained(policy, tmp_path)
    under_test.save(tmp_path / "adapter")
    under_test.save_weights(tmp_path / "merged")
    base = AutoModelForCausalLM.from_pretrained(policy)
    adapted = peft.PeftModel.from_pretrained(base, str(tmp_path / "adapter"))
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    expected = under_test.score([GOOD])[0][0]
    for model in (adapted, merged):
        logits = model(input_ids=torch.tensor([GOOD.token_ids])).logits[0, 1].log_softmax(-1)
        assert float(logits[3].detach()) == pytest.approx(expected, abs=1e-5)
    assert adapted.peft_config["default"].base_model_name_or_path == str(policy.resolve())
    size = (tmp_path / "adapter" / "adapter_model.safetensors").stat().st_size
    assert size < (tmp_path / "merged" / "model.safetensors").stat().st_size


def test_a_restored_adapter_goes_on_bit_for_bit(policy: Path, tmp_path: Path) -> None:
    one = trained(policy, tmp_path)
    one.save(tmp_path / "checkpoint")
    other = updater(policy, tmp_path)
    other.load(tmp_path / "checkpoint")
    assert [one.update([GOOD], episodes=1) for _ in range(2)] == [other.update([GOOD], episodes=1) for _ in range(2)]
    with pytest.raises(ConfigError, match="adapters are for other layers"):
        updater(policy, tmp_path, lora={"rank": 4, "targets": ("q_proj",)}).load(tmp_path / "checkpoint")


def test_frozen_weights_are_held_in_bfloat16_and_adapters_in_float32(policy: Path, tmp_path: Path) -> None:
    under_test = trained(policy, tmp_path, precision="bfloat16", gradient_checkpointing=True)
    kinds = {(".lora_" in name, weight.dtype) for name, weight in under_test.model.named_parameters()}
    assert kinds == {(True, torch.float32), (False, torch.bfloat16)}


def test_a_run_trains_adapters_resumes_bit_for_bit_and_ends_with_a_whole_policy(policy: Path, tmp_path: Path) -> None:
    config = small_config(method="grpo", steps=5, update={"lr": 1e-2, "lora": LORA})
    watcher = Watcher()
    result = go(config, policy, tmp_path / "whole", listener=watcher)
    assert all(metrics.logprob_gap < 1e-4 for metrics in watcher.steps)
    assert len({metrics.loss for metrics in watcher.steps}) > 1
    AutoModelForCausalLM.from_pretrained(result.policy)
    checkpoint = latest_checkpoint(tmp_path / "whole")
    assert checkpoint is not None
    assert (checkpoint.policy / "adapter_config.json").exists()
    assert not (checkpoint.policy / "model.safetensors").exists()
    with pytest.raises(Crash):
        go(config, policy, tmp_path / "broken", listener=CrashAt(at=3))
    go(config, policy, tmp_path / "broken", resume=True)
    assert lines(tmp_path / "whole", "metrics.jsonl") == lines(tmp_path / "broken", "metrics.jsonl")
