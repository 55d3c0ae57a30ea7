"""One GRPO update through TRL's loss and the Hugging Face Trainer's optimizer.

The only file that touches private names of TRL (pinned ``trl==1.16.*``; ``tests/test_update.py`` holds the loss-parity
contract against a hand-written PPO-clip loss).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from datasets import Dataset  # type: ignore[import-untyped]
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from reskill_agents.errors import ConfigError, EngineMismatch
from reskill_agents.trainers.config import LossType, UpdateConfig
from reskill_agents.trainers.rows import Row, micro_batches

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch.optim.lr_scheduler import LRScheduler

OPTIMIZER_FILE = "optimizer.pt"


@dataclass(frozen=True, slots=True)
class UpdateReport:
    """What one update did.

    Args:
        loss: the objective minimised, summed over micro-batches.
        grad_norm: before clipping.
        clip_rate: share of trained tokens whose ratio left the clip range in the direction that matters.
        entropy: mean over trained tokens, nats.
        kl: mean to the start policy (k3 estimator), nats; 0 when ``kl`` is off.
        lr: the learning rate used.
        rows: rows that carried gradient.
        trained_tokens: sampled tokens in them.
        logprob_gap: largest |log-prob when sampled - when re-scored|, nats (invariant 1: < 1e-4 in float32).
    """

    loss: float = 0.0
    grad_norm: float = 0.0
    clip_rate: float = 0.0
    entropy: float = 0.0
    kl: float = 0.0
    lr: float = 0.0
    rows: int = 0
    trained_tokens: int = 0
    logprob_gap: float = 0.0


class _RowTrainer(GRPOTrainer):
    """TRL's loss on rows we bring ourselves: behaviour log-probs are the ratio's denominator."""

    last_logps: torch.Tensor | None = None

    def _prepare_inputs(self, generation_batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: tensor.to(self.accelerator.device) for name, tensor in generation_batch.items()}

    def _get_per_token_logps_and_entropies(self, model, input_ids, *args, **kwargs):  # type: ignore[no-untyped-def]
        result = super()._get_per_token_logps_and_entropies(model, input_ids, *args, **kwargs)
        self.last_logps = result[0].detach()
        return result


def _no_activation_checkpointing() -> dict[str, bool]:
    """transformers renamed the setting within the range we admit and warns at the old name."""
    names = {field.name for field in fields(GRPOConfig)}
    return {"activation_checkpointing" if "activation_checkpointing" in names else "gradient_checkpointing": False}


def _no_reward(completions: list[str], **_: object) -> list[float | None]:
    raise AssertionError("rewards come with the rows")


class PolicyUpdater:
    """The policy under training: weights, optimizer, and one update at a time.

    Args:
        policy_path: a folder in Hugging Face layout.
        settings: learning rate, loss, clipping.
        temperature: at which the rows were sampled; the loss re-scores at the same.
        steps: planned number of updates (only the warm-up needs it).
        work_dir: where the Trainer may put files.
        seed: of the Trainer.
        use_cpu: stay on the CPU even where a GPU is at hand.
        max_logprob_gap: an update whose rows disagree with the trainer's own log-probs by more than this (nats) is
            refused; ``inf`` switches the check off.
    """

    def __init__(
        self,
        policy_path: Path,
        settings: UpdateConfig,
        *,
        temperature: float,
        steps: int,
        work_dir: Path,
        seed: int = 0,
        use_cpu: bool = True,
        max_logprob_gap: float = math.inf,
    ) -> None:
        self.settings = settings
        self.max_logprob_gap = max_logprob_gap
        self._tokenizer = AutoTokenizer.from_pretrained(policy_path)
        model = AutoModelForCausalLM.from_pretrained(policy_path, dtype=torch.float32)
        arguments = GRPOConfig(
            output_dir=str(work_dir),
            use_cpu=use_cpu,
            bf16=False,
            **_no_activation_checkpointing(),  # type: ignore[arg-type]
            learning_rate=settings.lr,
            weight_decay=settings.weight_decay,
            max_grad_norm=settings.max_grad_norm,
            lr_scheduler_type="constant_with_warmup",
            warmup_steps=settings.warmup_steps,
            optim="adamw_torch",
            loss_type=settings.loss.value,
            beta=settings.kl,
            epsilon=settings.clip_low,
            epsilon_high=settings.clip_high,
            max_completion_length=settings.normaliser_tokens,
            temperature=temperature,
            num_generations=2,
            per_device_train_batch_size=2,
            max_steps=max(steps, 1),
            seed=seed,
            disable_dropout=True,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
        )
        self._trainer = _RowTrainer(
            model=model,
            reward_funcs=_no_reward,
            args=arguments,
            train_dataset=Dataset.from_dict({"prompt": ["", ""]}),
            processing_class=self._tokenizer,
        )
        arguments.num_generations = 1
        self._trainer.create_optimizer_and_scheduler(num_training_steps=max(steps, 1))
        self._model, self._optimizer = self._trainer.accelerator.prepare(self._trainer.model, self._trainer.optimizer)
        self._trainer.optimizer = self._optimizer
        self._scheduler = cast("LRScheduler", self._trainer.lr_scheduler)

    @property
    def model(self) -> PreTrainedModel:
        """The bare model."""
        return cast("PreTrainedModel", self._trainer.accelerator.unwrap_model(self._model))

    def weights(self) -> Mapping[str, torch.Tensor]:
        """The current weights; the tensors are the trainer's own, so whoever keeps them must copy."""
        return self.model.state_dict()

    def update(self, rows: Sequence[Row], *, episodes: int) -> UpdateReport:
        """One optimizer step over ``rows``.

        Args:
            rows: those without advantage are left out, unless a KL term wants them.
            episodes: episodes in the batch with a reward; the constant normaliser counts them, with gradient or not, so
                that neither forks nor silent groups change the gradient's scale.

        Raises:
            EngineMismatch: the rows were not sampled by these weights (largest gap over ``max_logprob_gap``);
                nothing was changed.
        """
        used = [row for row in rows if any(row.trained) and (row.advantage != 0.0 or self.settings.kl > 0)]
        lr = float(self._optimizer.param_groups[0]["lr"])
        if not used:
            return UpdateReport(lr=lr)
        trainer = self._trainer
        tokens = sum(row.trained_tokens for row in used)
        loss = gap = clip = entropy = kl = 0.0
        for batch in micro_batches(used, max_tokens=self.settings.tokens_per_micro_batch):
            inputs = self._tensors(batch, tokens)
            share = sum(row.trained_tokens for row in batch) / tokens
            divisor = self._accumulation(len(batch), share, episodes)
            trainer.current_gradient_accumulation_steps = divisor  # type: ignore[assignment]
            trainer._metrics["train"].clear()
            loss += float(trainer.training_step(self._model, inputs, None))  # type: ignore[no-untyped-call]
            gap = max(gap, self._gap(inputs))
            metrics = trainer._metrics["train"]
            clip += share * _last(metrics, "clip_ratio/region_mean")
            entropy += share * _last(metrics, "entropy")
            kl += share * _last(metrics, "kl")
        if gap > self.max_logprob_gap:
            self._model.zero_grad()
            raise EngineMismatch(
                f"log-probs when sampled and when re-scored differ by {gap:.2g} nats, over {self.max_logprob_gap:.2g}: "
                "the engine does not hold the trainer's weights, or samples at another temperature or precision"
            )
        norm = cast(
            "torch.Tensor",
            trainer.accelerator.clip_grad_norm_(self._model.parameters(), self.settings.max_grad_norm),
        )
        self._optimizer.step()
        self._scheduler.step()
        self._model.zero_grad()
        return UpdateReport(loss, float(norm), clip, entropy, kl, lr, len(used), tokens, gap)

    def score(self, rows: Sequence[Row]) -> list[tuple[float, ...]]:
        """Log-probs of every trained token under the current weights, nats, one tuple a row in the order given."""
        scores: dict[int, tuple[float, ...]] = {}
        order = {id(row): index for index, row in enumerate(rows)}
        for batch in micro_batches(rows, max_tokens=self.settings.tokens_per_micro_batch):
            logps, mask = self._logps(cast("torch.nn.Module", self.model), batch)
            for row, values, kept in zip(batch, logps, mask, strict=True):
                scores[order[id(row)]] = tuple(values[kept].tolist())
        return [scores[index] for index in range(len(rows))]

    def save_weights(self, folder: Path) -> None:
        """Weights and tokenizer in Hugging Face layout."""
        self.model.save_pretrained(folder)
        self._tokenizer.save_pretrained(folder)

    def save(self, folder: Path) -> None:
        """Weights, tokenizer and the optimizer's state."""
        self.save_weights(folder)
        state = {
            "optimizer": self._optimizer.state_dict(),
            "scheduler": self._scheduler.state_dict(),
        }
        torch.save(state, folder / OPTIMIZER_FILE)

    def load(self, folder: Path) -> None:
        """Restore what :meth:`save` wrote, bit for bit.

        Raises:
            ConfigError: the folder holds another architecture.
        """
        saved = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        try:
            self.model.load_state_dict(saved.state_dict())
        except RuntimeError as error:
            raise ConfigError(f"{folder} holds another architecture than the policy: {error}") from error
        state = torch.load(folder / OPTIMIZER_FILE, weights_only=True)
        self._optimizer.load_state_dict(state["optimizer"])
        self._scheduler.load_state_dict(state["scheduler"])

    def _accumulation(self, rows: int, token_share: float, episodes: int) -> float:
        """The divisor TRL applies to a micro-batch's own mean, such that micro-batches of any size add up exactly."""
        if self.settings.loss in (LossType.DR_GRPO, LossType.GRPO):
            return max(episodes, 1) / rows
        if self.settings.loss is LossType.BNPO:
            return 1.0 / token_share
        return 1.0

    def _tensors(self, batch: Sequence[Row], tokens: int) -> dict[str, torch.Tensor]:
        """Right-padded tensors. The part before the first trained token of any row is the prompt, so nothing is
        padded on the left and positions are exact. Padding stands after everything a causal model can see, so it
        needs no attention mask."""
        width = max(len(row.token_ids) for row in batch)
        start = min(row.first_trained for row in batch)
        ids = torch.zeros((len(batch), width), dtype=torch.long)
        trained = torch.zeros((len(batch), width), dtype=torch.long)
        old = torch.zeros((len(batch), width))
        for index, row in enumerate(batch):
            length = len(row.token_ids)
            ids[index, :length] = torch.tensor(row.token_ids)
            trained[index, :length] = torch.tensor(row.trained, dtype=torch.long)
            old[index, :length] = torch.tensor(row.logprobs)
        inputs = {
            "prompt_ids": ids[:, :start],
            "prompt_mask": torch.ones_like(ids[:, :start]),
            "completion_ids": ids[:, start:],
            "completion_mask": torch.ones_like(ids[:, start:]),
            "tool_mask": trained[:, start:],
            "old_per_token_logps": old[:, start:],
            "advantages": torch.tensor([row.advantage for row in batch]),
            "num_items_in_batch": torch.tensor(float(tokens)),
        }
        if self.settings.kl > 0:
            inputs["ref_per_token_logps"] = self._reference_logps(inputs)
        return inputs

    def _reference_logps(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        reference = self._trainer.ref_model
        assert reference is not None
        return self._forward(cast("torch.nn.Module", reference), inputs)

    def _logps(self, model: torch.nn.Module, batch: Sequence[Row]) -> tuple[torch.Tensor, torch.Tensor]:
        inputs = self._tensors(batch, 1)
        return self._forward(model, inputs), inputs["tool_mask"].bool()

    def _forward(self, model: torch.nn.Module, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        device = self._trainer.accelerator.device
        ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1).to(device)
        with torch.no_grad():
            logps, _, _ = GRPOTrainer._get_per_token_logps_and_entropies(
                self._trainer, model, ids, torch.ones_like(ids), inputs["completion_ids"].size(1)
            )
        return cast("torch.Tensor", logps).cpu()

    def _gap(self, inputs: Mapping[str, torch.Tensor]) -> float:
        logps = self._trainer.last_logps
        assert logps is not None
        return float(((logps.cpu() - inputs["old_per_token_logps"]).abs() * inputs["tool_mask"]).max())


def _last(metrics: Mapping[str, list[float]], name: str) -> float:
    values = metrics.get(name)
    return float(values[-1]) if values else 0.0
