"""The update: TRL's loss equals a hand-written PPO-clip loss, whatever the micro-batches."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from reskill_agents.errors import EngineMismatch
from reskill_agents.trainers.config import LossType, UpdateConfig
from reskill_agents.trainers.rows import Row
from reskill_agents.trainers.update import PolicyUpdater

VOCABULARY = 40


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("policy")
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=128,
        initializer_range=0.2,
    )
    words = {f"w{index}": index for index in range(VOCABULARY - 2)} | {"<pad>": VOCABULARY - 2, "<end>": VOCABULARY - 1}
    Qwen3ForCausalLM(config).save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w0"))
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<end>")  # type: ignore[no-untyped-call]
    fast.save_pretrained(folder)
    return folder


def updater(policy: Path, tmp_path: Path, *, temperature: float = 1.0, **settings: object) -> PolicyUpdater:
    made = PolicyUpdater(
        policy, UpdateConfig.model_validate(settings), temperature=temperature, steps=5, work_dir=tmp_path
    )
    return made


def sampled_rows(policy: PolicyUpdater, *, noise: float, seed: int = 0, count: int = 7) -> list[Row]:
    """Rows whose behaviour log-probs differ from the policy's own by ``noise``."""
    rng = random.Random(seed)
    rows = []
    for index in range(count):
        length = rng.randint(6, 20)
        trained = (*(at > 2 and rng.random() < 0.5 for at in range(length - 1)), True)
        ids = tuple(rng.randrange(VOCABULARY) for _ in range(length))
        rows.append(Row(str(index), ids, trained, (0.0,) * length, rng.choice([-1.0, -0.3, 0.4, 1.0])))
    filled = []
    for row, logps in zip(rows, policy.score(rows), strict=True):
        values = iter(logps)
        old = tuple(next(values) + rng.gauss(0, noise) if on else 0.0 for on in row.trained)
        filled.append(replace(row, logprobs=old))
    return filled


def hand_written(model: torch.nn.Module, rows: list[Row], *, temperature: float = 1.0) -> dict[str, torch.Tensor]:
    """Per-row lists of the clipped objective, one row at a time, no padding: the contract."""
    losses, weights = [], []
    for row in rows:
        ids = torch.tensor([row.token_ids])
        logits = model(input_ids=ids).logits[0, :-1] / temperature
        logps = logits.log_softmax(-1).gather(-1, ids[0, 1:, None])[:, 0]
        on = torch.tensor(row.trained[1:])
        ratio = torch.exp(logps[on] - torch.tensor(row.logprobs[1:])[on])
        clipped = ratio.clamp(0.8, 1.2)
        losses.append(-torch.minimum(ratio * row.advantage, clipped * row.advantage))
        weights.append(float(on.sum()))
    return {"sums": torch.stack([loss.sum() for loss in losses]), "tokens": torch.tensor(weights)}


def gradient(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("loss", list(LossType))
@pytest.mark.parametrize("budget", [25, 60, 10_000])
def test_trls_loss_equals_the_hand_written_one(policy: Path, tmp_path: Path, loss: LossType, budget: int) -> None:
    under_test = updater(
        policy, tmp_path, loss=loss, normaliser_tokens=11, tokens_per_micro_batch=budget, max_grad_norm=1e9
    )
    rows = sampled_rows(under_test, noise=0.4)
    parts = hand_written(under_test.model, rows)
    episodes = 9  # two of them carry no gradient but count
    expected = {
        LossType.DR_GRPO: parts["sums"].sum() / (episodes * 11),
        LossType.GRPO: (parts["sums"] / parts["tokens"]).sum() / episodes,
        LossType.BNPO: parts["sums"].sum() / parts["tokens"].sum(),
        LossType.DAPO: parts["sums"].sum() / parts["tokens"].sum(),
    }[loss]
    expected.backward()  # type: ignore[no-untyped-call]
    target = float(expected.detach())
    expected_norm = float(gradient(under_test.model).norm())
    under_test.model.zero_grad()
    report = under_test.update(rows, episodes=episodes)
    assert report.loss == pytest.approx(target, rel=1e-5, abs=1e-7)
    assert report.grad_norm == pytest.approx(expected_norm, rel=1e-5)
    assert 0.0 < report.clip_rate < 1.0


def test_the_temperature_is_in_the_loss(policy: Path, tmp_path: Path) -> None:
    under_test = updater(policy, tmp_path, temperature=1.7, normaliser_tokens=10)
    rows = sampled_rows(under_test, noise=0.2)
    expected = hand_written(under_test.model, rows, temperature=1.7)["sums"].sum() / 70
    assert under_test.update(rows, episodes=7).loss == pytest.approx(float(expected.detach()), rel=1e-5)


def test_on_policy_rows_have_no_gap_and_nothing_is_clipped(policy: Path, tmp_path: Path) -> None:
    under_test = updater(policy, tmp_path)
    report = under_test.update(sampled_rows(under_test, noise=0.0), episodes=7)
    assert report.logprob_gap < 1e-5
    assert report.clip_rate == 0.0


def test_only_trained_tokens_and_rows_with_advantage_carry_gradient(policy: Path, tmp_path: Path) -> None:
    under_test = updater(policy, tmp_path)
    rows = [replace(row, advantage=0.0) for row in sampled_rows(under_test, noise=0.1)]
    before = {name: value.clone() for name, value in under_test.weights().items()}
    assert under_test.update(rows, episodes=7).rows == 0
    assert all(torch.equal(value, under_test.weights()[name]) for name, value in before.items())


def test_rows_of_other_weights_are_refused_and_change_nothing(policy: Path, tmp_path: Path) -> None:
    under_test = PolicyUpdater(
        policy, UpdateConfig(), temperature=1.0, steps=1, work_dir=tmp_path, max_logprob_gap=1e-3
    )
    rows = sampled_rows(under_test, noise=0.3)
    before = {name: value.clone() for name, value in under_test.weights().items()}
    with pytest.raises(EngineMismatch, match="does not hold the trainer's weights"):
        under_test.update(rows, episodes=7)
    assert all(torch.equal(value, under_test.weights()[name]) for name, value in before.items())


def test_kl_pulls_towards_the_start(policy: Path, tmp_path: Path) -> None:
    under_test = updater(policy, tmp_path, kl=0.05, lr=1e-2)
    rows = sampled_rows(under_test, noise=0.0)
    assert under_test.update(rows, episodes=7).kl == pytest.approx(0.0, abs=1e-6)
    assert under_test.update(rows, episodes=7).kl > 1e-3


def test_a_restored_updater_goes_on_bit_for_bit(policy: Path, tmp_path: Path) -> None:
    one = updater(policy, tmp_path / "one", lr=1e-2)
    rows = sampled_rows(one, noise=0.1)
    one.update(rows, episodes=7)
    one.save(tmp_path / "checkpoint")
    other = updater(policy, tmp_path / "other", lr=1e-2)
    other.load(tmp_path / "checkpoint")
    for _ in range(2):
        first, second = one.update(rows, episodes=7), other.update(rows, episodes=7)
        assert first == second
    assert all(torch.equal(value, other.weights()[name]) for name, value in one.weights().items())


def test_reward_goes_up_on_what_is_reinforced(policy: Path, tmp_path: Path) -> None:
    under_test = updater(policy, tmp_path, lr=3e-3)
    good = Row("g", (1, 2, 3), (False, False, True), (0.0, 0.0, 0.0), 1.0)
    start = under_test.score([good])[0][0]
    for _ in range(10):
        logp = under_test.score([good])[0][0]
        under_test.update([replace(good, logprobs=(0.0, 0.0, logp))], episodes=1)
    assert under_test.score([good])[0][0] > start + 0.5
    assert math.isfinite(start)
