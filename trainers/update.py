"""One GRPO update: rows in, one optimizer step, figures out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from transformers import AutoTokenizer, PreTrainedModel

from reskill_agents.errors import EngineMismatch
from reskill_agents.trainers.config import UpdateConfig
from reskill_agents.trainers.policy_model import (
    adapters_of,
    full_weights,
    is_adapted,
    load_policy,
    load_trained,
    save_full,
    save_trained,
)
from reskill_agents.trainers.probe import token_log_probs
from reskill_agents.trainers.rows import Row, dealt, micro_batches
from reskill_agents.trainers.sharding import gathered_optimizer, load_optimizer, whole
from reskill_agents.trainers.trl_trainer import divisor_of, make_trainer, scheduler_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reskill_agents.trainers.ranks import Ranks

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
        logprob_gap: largest |log-prob when sampled - when re-scored|, nats, of tokens that these very weights sampled
            (invariant 1: < 1e-4 in float32).
        weight: mean importance weight of trained tokens after truncation; 1 without correction.
        truncated: share of importance weights that were cut.
        staleness: versions between sampling and update, mean over trained tokens; ``max_staleness``: the largest.
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
    weight: float = 1.0
    truncated: float = 0.0
    staleness: float = 0.0
    max_staleness: int = 0


class PolicyUpdater:
    """The policy under training: weights, optimizer, and one update at a time.

    Args:
        policy_path: a folder in Hugging Face layout.
        settings: learning rate, loss, clipping, adapters.
        temperature: at which the rows were sampled; the loss re-scores at the same.
        steps: planned number of updates (only the warm-up needs it).
        work_dir: where the Trainer may put files.
        seed: of the Trainer.
        use_cpu: stay on the CPU even where a GPU is at hand.
        max_logprob_gap: an update whose rows disagree with the trainer's own log-probs by more than this (nats) is
            refused; ``inf`` switches the check off.
        corrected: weight each token for having been sampled by other weights (``settings.correction_cap``).
        ranks: the processes that share each update; every method is then called by all of them, with the same
            arguments, and rank 0 alone writes files and gets weights. ``None``: this one.
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
        corrected: bool = False,
        ranks: Ranks | None = None,
    ) -> None:
        self.settings = settings
        self.ranks = ranks
        self._rank, self._processes = (ranks.rank, ranks.size) if ranks is not None else (0, 1)
        self.max_logprob_gap = max_logprob_gap
        self._start = policy_path
        self._tokenizer = AutoTokenizer.from_pretrained(policy_path)
        self._trainer = make_trainer(
            load_policy(policy_path, settings),
            self._tokenizer,
            settings,
            temperature=temperature,
            steps=steps,
            work_dir=work_dir,
            seed=seed,
            use_cpu=use_cpu,
            corrected=corrected,
            adapters=adapters_of(settings.lora),
        )
        self._model, self._optimizer = self._trainer.accelerator.prepare(self._trainer.model, self._trainer.optimizer)
        self._trainer.optimizer = self._optimizer
        self._scheduler = scheduler_of(self._trainer)

    @property
    def model(self) -> PreTrainedModel:
        """The bare model; with adapters peft's, which stands in for one."""
        return cast("PreTrainedModel", self._trainer.accelerator.unwrap_model(self._model))

    @property
    def adapted(self) -> bool:
        """Whether adapters are trained instead of full weights."""
        return is_adapted(self.model)

    def weights(self) -> Mapping[str, torch.Tensor]:
        """The current full weights, adapters merged. The tensors may be the trainer's own: whoever keeps them copies.

        Ranks that only take part in putting sharded weights together get nothing.
        """
        return full_weights(self.model, keep=self._leads)

    @property
    def _leads(self) -> bool:
        return self._rank == 0

    def log_probs(self, prompt: Sequence[int], tokens: Sequence[int]) -> tuple[float, ...]:
        """Log-probs of ``tokens`` after ``prompt`` at temperature 1, nats."""
        return token_log_probs(self.model, prompt, tokens)

    def update(self, rows: Sequence[Row], *, episodes: int, version: int | None = None, lag: int = 0) -> UpdateReport:
        """One optimizer step over ``rows``.

        Args:
            rows: those without advantage are left out, unless a KL term wants them.
            episodes: episodes in the batch with a reward; the constant normaliser counts them, with gradient or not, so
                that neither forks nor silent groups change the gradient's scale.
            version: of the weights that are updated; the staleness of tokens is counted from it.
            lag: versions by which tokens may be older. Those that are older, but not by more, are not compared with what
                these weights say of them; all others are.

        Raises:
            EngineMismatch: the rows were not sampled by these weights (largest gap over ``max_logprob_gap``);
                nothing was changed.
        """
        used = [row for row in rows if any(row.trained) and (row.advantage != 0.0 or self.settings.kl > 0)]
        lr = float(self._optimizer.param_groups[0]["lr"])
        if not used:
            return UpdateReport(lr=lr)
        tokens = sum(row.trained_tokens for row in used)
        loss = gap = clip = entropy = kl = weight = truncated = 0.0
        batches = micro_batches(used, max_tokens=self.settings.tokens_per_micro_batch)
        own = dealt(batches, self._processes)[self._rank]
        for number, batch in enumerate(own):
            share = sum(row.trained_tokens for row in batch) / tokens
            divisor = divisor_of(
                self.settings.loss, rows=len(batch), token_share=share, episodes=episodes, processes=self._processes
            )
            inputs = self._tensors(batch or [used[-1]], tokens, version, lag)  # an empty one weighs nothing
            part = self._trainer.micro_step(self._model, inputs, divisor, last=number == len(own) - 1)
            loss += part.loss
            gap = max(gap, part.gap)
            clip += share * part.clip_rate
            entropy += share * part.entropy
            kl += share * part.kl
            weight += share * part.weight
            truncated += share * part.truncated
        if self.ranks is not None:
            (gap,) = self.ranks.largest([gap])
            loss, clip, entropy, kl, weight, truncated = self.ranks.total(
                [loss / self._processes, clip, entropy, kl, weight, truncated]
            )
        if gap > self.max_logprob_gap:
            self._model.zero_grad()
            raise EngineMismatch(
                f"log-probs when sampled and when re-scored differ by {gap:.2g} nats, over {self.max_logprob_gap:.2g}: "
                "the engine does not hold the trainer's weights, or samples at another temperature or precision"
            )
        norm = self._apply()
        mean_age, max_age = _staleness(used, version)
        return UpdateReport(
            loss, norm, clip, entropy, kl, lr, len(used), tokens, gap, weight, truncated, mean_age, max_age
        )

    def _apply(self) -> float:
        """The optimizer's step; the gradient's norm before clipping."""
        accelerator = self._trainer.accelerator
        norm = cast("torch.Tensor", accelerator.clip_grad_norm_(self._model.parameters(), self.settings.max_grad_norm))
        self._optimizer.step()
        self._scheduler.step()
        self._model.zero_grad()
        return float(whole(norm))

    def score(self, rows: Sequence[Row]) -> list[tuple[float, ...]]:
        """Log-probs of every trained token under the current weights, nats, one tuple a row in the order given."""
        scores: dict[int, tuple[float, ...]] = {}
        order = {id(row): index for index, row in enumerate(rows)}
        for batch in micro_batches(rows, max_tokens=self.settings.tokens_per_micro_batch):
            inputs = self._padded(batch)
            logps = self._trainer.logps(self.model, inputs)
            for row, values, kept in zip(batch, logps, inputs["tool_mask"].bool(), strict=True):
                scores[order[id(row)]] = tuple(values[kept].tolist())
        return [scores[index] for index in range(len(rows))]

    def save_weights(self, folder: Path) -> None:
        """Full weights, adapters merged, and tokenizer in Hugging Face layout."""
        save_full(self.model, folder, write=self._leads)
        if self._leads:
            self._tokenizer.save_pretrained(folder)

    def save_adapters(self, folder: Path) -> None:
        """The adapters alone, for an engine that loads them beside the start policy."""
        save_trained(self.model, folder, self._start, write=self._leads)

    def save(self, folder: Path) -> None:
        """What is trained (full weights, or adapters), tokenizer and the optimizer's state."""
        save_trained(self.model, folder, self._start, write=self._leads)
        state = {
            "optimizer": gathered_optimizer(self._optimizer, keep=self._leads),
            "scheduler": self._scheduler.state_dict(),
        }
        if self._leads:
            self._tokenizer.save_pretrained(folder)
            torch.save(state, folder / OPTIMIZER_FILE)

    def load(self, folder: Path) -> None:
        """Restore what :meth:`save` wrote, bit for bit, whatever the number of processes then and now.

        Raises:
            ConfigError: the folder holds another architecture.
        """
        load_trained(self.model, folder)
        state = torch.load(folder / OPTIMIZER_FILE, weights_only=True)
        load_optimizer(self._optimizer, state["optimizer"])
        self._scheduler.load_state_dict(state["scheduler"])

    def _tensors(self, batch: Sequence[Row], tokens: int, version: int | None, lag: int) -> dict[str, torch.Tensor]:
        """Everything that the loss wants of a micro-batch out of ``tokens`` trained tokens."""
        inputs = self._padded(batch)
        if self.settings.kl > 0:
            inputs["ref_per_token_logps"] = self._trainer.reference_logps(inputs)
        old = torch.zeros(inputs["completion_ids"].shape)
        fresh = torch.ones(inputs["completion_ids"].shape, dtype=torch.bool)
        start = inputs["prompt_ids"].size(1)
        for index, row in enumerate(batch):
            length = len(row.token_ids) - start
            old[index, :length] = torch.tensor(row.logprobs[start:])
            if version is not None and row.versions:
                age = version - torch.tensor(row.versions[start:])
                fresh[index, :length] = (age <= 0) | (age > lag)
        inputs |= {
            "behaviour": old,
            "fresh": fresh,
            "advantages": torch.tensor([row.advantage for row in batch]),
            "num_items_in_batch": torch.tensor(float(tokens)),
        }
        return inputs

    def _padded(self, batch: Sequence[Row]) -> dict[str, torch.Tensor]:
        """Right-padded tensors. The part before the first trained token of any row is the prompt, so nothing is
        padded on the left and positions are exact. Padding stands after everything a causal model can see, so it
        needs no attention mask."""
        width = max(len(row.token_ids) for row in batch)
        start = min(row.first_trained for row in batch)
        ids = torch.zeros((len(batch), width), dtype=torch.long)
        trained = torch.zeros((len(batch), width), dtype=torch.long)
        for index, row in enumerate(batch):
            length = len(row.token_ids)
            ids[index, :length] = torch.tensor(row.token_ids)
            trained[index, :length] = torch.tensor(row.trained, dtype=torch.long)
        return {
            "prompt_ids": ids[:, :start],
            "prompt_mask": torch.ones_like(ids[:, :start]),
            "completion_ids": ids[:, start:],
            "completion_mask": torch.ones_like(ids[:, start:]),
            "tool_mask": trained[:, start:],
        }


def _staleness(rows: Sequence[Row], version: int | None) -> tuple[float, int]:
    """Mean over trained tokens and largest number of versions between sampling and update."""
    if version is None:
        return 0.0, 0
    ages = [version - sampled for row in rows for sampled, on in zip(row.versions, row.trained, strict=False) if on]
    return (sum(ages) / len(ages), max(ages)) if ages else (0.0, 0)
