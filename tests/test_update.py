"""The update: TRL's loss equals a hand-written PPO-clip loss, whatever the micro-batches."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM
from trl.trainer import utils as trl_utils

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


def updater(
    policy: Path, tmp_path: Path, *, temperature: float = 1.0, corrected: bool = False, **settings: object
) -> PolicyUpdater:
    return PolicyUpdater(
        policy,
        UpdateConfig.model_validate(settings),
        temperature=temperature,
        steps=5,
        work_dir=tmp_path,
        corrected=corrected,
    )


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


def hand_written(
    model: torch.nn.Module, rows: list[Row], *, temperature: float = 1.0, loss: LossType = LossType.DR_GRPO
) -> dict[str, torch.Tensor]:
    """Per-row sums of each loss, one row at a time, no padding, from the papers' formulas: the contract."""
    losses, weights = [], []
    for row in rows:
        logps, on = row_logps(model, row, temperature)
        ratio = torch.exp(logps - torch.tensor(row.logprobs[1:])[on])
        losses.append(-TOKEN_OBJECTIVES.get(loss, ppo_clip)(ratio, logps, row.advantage))
        weights.append(float(on.sum()))
    return {"sums": torch.stack([loss.sum() for loss in losses]), "tokens": torch.tensor(weights)}


def row_logps(model: torch.nn.Module, row: Row, temperature: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probs of the trained tokens of one row, and which those are among ``token_ids[1:]``."""
    ids = torch.tensor([row.token_ids])
    logits = model(input_ids=ids).logits[0, :-1] / temperature
    on = torch.tensor(row.trained[1:])
    return logits.log_softmax(-1).gather(-1, ids[0, 1:, None])[:, 0][on], on


def ppo_clip(ratio: torch.Tensor, logps: torch.Tensor, advantage: float) -> torch.Tensor:
    return torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)


def cispo(ratio: torch.Tensor, logps: torch.Tensor, advantage: float) -> torch.Tensor:
    return ratio.clamp(max=1.2).detach() * advantage * logps


def sapo(ratio: torch.Tensor, logps: torch.Tensor, advantage: float) -> torch.Tensor:
    temperature = 1.0 if advantage > 0 else 1.05
    return torch.sigmoid(temperature * (ratio - 1)) * 4 / temperature * advantage


def vespo(ratio: torch.Tensor, logps: torch.Tensor, advantage: float) -> torch.Tensor:
    power, rate = (2.0, 3.0) if advantage >= 0 else (3.0, 2.0)
    weight = ratio.detach().prod()
    return math.e**rate * weight**power * torch.exp(-rate * weight) * advantage * logps


TOKEN_OBJECTIVES = {LossType.CISPO: cispo, LossType.SAPO: sapo, LossType.VESPO: vespo}


def gradient(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("loss", list(LossType))
@pytest.mark.parametrize("budget", [25, 60, 10_000])
def test_trls_loss_equals_the_hand_written_one(policy: Path, tmp_path: Path, loss: LossType, budget: int) -> None:
    under_test = updater(
        policy, tmp_path, loss=loss, normaliser_tokens=11, tokens_per_micro_batch=budget, max_grad_norm=1e9
    )
    rows = sampled_rows(under_test, noise=0.4)
    parts = hand_written(under_test.model, rows, loss=loss)
    episodes = 9  # two of them carry no gradient but count
    by_token = parts["sums"].sum() / parts["tokens"].sum()
    by_row = (parts["sums"] / parts["tokens"]).sum() / episodes
    expected = {
        LossType.DR_GRPO: parts["sums"].sum() / (episodes * 11),
        LossType.GRPO: by_row,
        LossType.SAPO: by_row,
        LossType.LUSPO: parts["sums"].sum() / episodes,
    }.get(loss, by_token)
    expected.backward()  # type: ignore[no-untyped-call]
    target = float(expected.detach())
    expected_norm = float(gradient(under_test.model).norm())
    under_test.model.zero_grad()
    report = under_test.update(rows, episodes=episodes)
    assert report.loss == pytest.approx(target, rel=1e-5, abs=1e-7)
    assert report.grad_norm == pytest.approx(expected_norm, rel=1e-5)
    assert (0.0 < report.clip_rate < 1.0) is (loss not in (LossType.SAPO, LossType.VESPO))


@pytest.mark.parametrize("loss", [LossType.GRPO, LossType.LUSPO])
def test_ratios_of_whole_sequences_are_geometric_means(policy: Path, tmp_path: Path, loss: LossType) -> None:
    """GSPO and LUSPO: one clipped ratio a row, exp of the mean log ratio; LUSPO counts it once a token."""
    under_test = updater(policy, tmp_path, loss=loss, importance_level="sequence", tokens_per_micro_batch=60)
    rows = sampled_rows(under_test, noise=0.6)
    expected = 0.0
    for row in rows:
        logps, on = row_logps(under_test.model, row)
        ratio = torch.exp((logps - torch.tensor(row.logprobs[1:])[on]).mean())
        times = int(on.sum()) if loss is LossType.LUSPO else 1
        expected -= times * float(ppo_clip(ratio, logps, row.advantage).detach()) / 7
    assert under_test.update(rows, episodes=7).loss == pytest.approx(expected, rel=1e-5)


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


def test_the_head_sees_trained_positions_alone(policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a row of pages the policy's own words are few; the head is the dearest layer where a vocabulary is large."""
    seen = []
    function = trl_utils._ChunkedLogProbFunction
    apply = function.apply

    def spy(hidden: torch.Tensor, *rest: object) -> object:
        seen.append(len(hidden))
        return apply(hidden, *rest)

    monkeypatch.setattr(function, "apply", spy)
    training = updater(policy, tmp_path)
    rows = sampled_rows(training, noise=0.1)
    seen.clear()
    report = training.update(rows, episodes=7)
    assert sum(seen) == report.trained_tokens < sum(len(row.token_ids) for row in rows)


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


def test_truncated_weights_replace_the_behaviour_ratio_token_by_token(policy: Path, tmp_path: Path) -> None:
    """Decoupled PPO after one update: gradient = min(policy / behaviour, cap) A grad log p, nothing is clipped."""
    under_test = updater(
        policy, tmp_path, corrected=True, normaliser_tokens=10, max_grad_norm=1e9, tokens_per_micro_batch=60
    )
    rows = sampled_rows(under_test, noise=1.0)
    weights, surrogate = [], []
    for row in rows:
        logps, on = row_logps(under_test.model, row)
        ratio = torch.exp(logps - torch.tensor(row.logprobs[1:])[on]).detach()
        weights.append(ratio)
        surrogate.append(-(ratio.clamp(max=2.0) * row.advantage * logps).sum())
    (torch.stack(surrogate).sum() / 70).backward()  # type: ignore[no-untyped-call]
    expected = float(gradient(under_test.model).norm())
    under_test.model.zero_grad()
    report = under_test.update(rows, episodes=7)
    ratios = torch.cat(weights)
    assert report.grad_norm == pytest.approx(expected, rel=1e-5)
    assert report.clip_rate == 0.0
    assert report.truncated == pytest.approx(float((ratios > 2).float().mean()))
    assert report.truncated > 0
    assert report.weight == pytest.approx(float(ratios.clamp(max=2).mean()), rel=1e-5)


def test_correction_changes_nothing_where_sampler_and_trainer_agree(policy: Path, tmp_path: Path) -> None:
    plain, corrected = updater(policy, tmp_path / "a"), updater(policy, tmp_path / "b", corrected=True)
    rows = sampled_rows(plain, noise=0.0)
    one, other = plain.update(rows, episodes=7), corrected.update(rows, episodes=7)
    assert other.grad_norm == pytest.approx(one.grad_norm, rel=1e-4)
    assert other.weight == pytest.approx(1.0, abs=1e-5)
    assert other.truncated == 0.0


def test_tokens_of_older_weights_are_not_compared_and_their_age_is_counted(policy: Path, tmp_path: Path) -> None:
    under_test = PolicyUpdater(
        policy,
        UpdateConfig(),
        temperature=1.0,
        steps=1,
        work_dir=tmp_path,
        max_logprob_gap=1e-3,
        corrected=True,
    )
    stale = [
        replace(row, versions=tuple(3 if on else -1 for on in row.trained))
        for row in sampled_rows(under_test, noise=0.3)
    ]
    report = under_test.update(stale, episodes=7, version=5, lag=2)
    assert report.logprob_gap == 0.0
    assert (report.staleness, report.max_staleness) == (2.0, 2)
    for version, lag in ((3, 2), (5, 0), (5, 1)):  # not old; not allowed to be old; older than allowed
        with pytest.raises(EngineMismatch):
            under_test.update(stale, episodes=7, version=version, lag=lag)


def test_checkpointed_activations_give_the_same_update(policy: Path, tmp_path: Path) -> None:
    plain, saving = updater(policy, tmp_path / "a"), updater(policy, tmp_path / "b", gradient_checkpointing=True)
    rows = sampled_rows(plain, noise=0.2)
    passes = {"plain": 0, "saving": 0}

    def count(name: str) -> Callable[..., None]:
        return lambda *_: passes.update({name: passes[name] + 1})

    for name, one in (("plain", plain), ("saving", saving)):
        one.model.get_submodule("model.layers.0.mlp").register_forward_pre_hook(count(name))
    assert saving.update(rows, episodes=7).grad_norm == pytest.approx(
        plain.update(rows, episodes=7).grad_norm, rel=1e-5
    )
    assert passes == {"plain": 1, "saving": 2}


def test_bfloat16_computes_roughly_the_same_and_keeps_the_weights_in_float32(policy: Path, tmp_path: Path) -> None:
    plain, half = updater(policy, tmp_path / "a"), updater(policy, tmp_path / "b", precision="bfloat16")
    rows = sampled_rows(plain, noise=0.2)
    exact, rough = plain.update(rows, episodes=7), half.update(rows, episodes=7)
    assert rough.grad_norm == pytest.approx(exact.grad_norm, rel=0.1)
    assert rough.grad_norm != exact.grad_norm
    assert rough.logprob_gap > 1e-4
    assert all(weight.dtype is torch.float32 for weight in half.weights().values())
