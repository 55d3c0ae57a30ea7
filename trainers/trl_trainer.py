"""TRL's loss on rows that we bring ourselves.

The only file that touches private names of TRL (pinned ``trl==1.16.*``; ``tests/test_update.py`` holds the loss-parity
contract against losses written by hand).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import torch
from datasets import Dataset  # type: ignore[import-untyped]
from trl.trainer import utils
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from reskill_agents.trainers.config import LossType, UpdateConfig

if TYPE_CHECKING:
    from peft import PeftConfig
    from torch.optim.lr_scheduler import LRScheduler
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_TRL: Any = utils  # not all that we set there is exported
_UNSCORED = -100  # a label that TRL's head leaves out
_BY_MEAN_OF_ROWS = (LossType.DR_GRPO, LossType.GRPO, LossType.SAPO, LossType.LUSPO)


class _Scored(Protocol):
    """What TRL's head says where it is given labels."""

    log_probs: torch.Tensor
    entropy: torch.Tensor
    aux_loss: torch.Tensor | None


@dataclass(frozen=True, slots=True)
class MicroReport:
    """What the loss said of a micro-batch; rates and means are over its trained tokens.

    Args:
        loss: its share of the objective.
        clip_rate: tokens outside the clip range in the direction that matters.
        entropy, kl: nats.
        gap: largest |log-prob when sampled - now| of tokens marked fresh, nats.
        weight: mean importance weight, after truncation (1 without correction).
        truncated: share of importance weights that were cut.
    """

    loss: float
    clip_rate: float
    entropy: float
    kl: float
    gap: float
    weight: float
    truncated: float


class RowTrainer(GRPOTrainer):
    """TRL's loss, model and optimizer, one micro-batch at a time.

    Without correction behaviour log-probs are the ratio's denominator. With it (``correction_cap``) the denominator is
    the policy before the update, and each token's loss is weighted with min(policy before the update / behaviour, cap):
    decoupled PPO with token-level truncated importance weights. The forward pass that has a gradient gives both, because
    there is one update a batch.
    """

    correction_cap: float | None = None
    _rows: dict[str, torch.Tensor]
    _logps: torch.Tensor
    _weights: torch.Tensor | None = None

    def micro_step(
        self, model: torch.nn.Module, inputs: dict[str, torch.Tensor], divisor: float, *, last: bool = True
    ) -> MicroReport:
        """Forward and backward pass; gradients add up until the optimizer's step.

        With several processes each makes the same number of these, and the gradients' mean is taken at the last one.
        Figures stay this process's own.

        Args:
            inputs: right-padded ``prompt_ids``, ``completion_ids``, ``tool_mask`` (1: trained), ``behaviour``
                (log-probs), ``fresh`` (sampled by these very weights), ``advantages``, ``num_items_in_batch``, with a KL
                also ``ref_per_token_logps``.
            divisor: of the micro-batch's own mean, see :func:`divisor_of`; ``inf`` makes loss and gradient zero.
            last: before the optimizer's step.
        """
        behaviour, fresh = inputs.pop("behaviour"), inputs.pop("fresh")
        inputs["old_per_token_logps" if self.correction_cap is None else "sampling_per_token_logps"] = behaviour
        self.use_vllm = self.correction_cap is not None  # what makes TRL multiply by ``importance_sampling_ratio``
        self.current_gradient_accumulation_steps = divisor  # type: ignore[assignment]
        metrics = self._metrics["train"]
        metrics.clear()
        with self._own_figures(), nullcontext() if last else self._gradients_kept(model):
            loss = float(self.training_step(model, inputs, None))  # type: ignore[no-untyped-call]
        trained = inputs["tool_mask"].bool()
        gap = (self._logps.cpu() - behaviour).abs()[fresh & trained]
        weights = self._weights.cpu()[trained] if self._weights is not None else torch.ones(1)
        cut = weights > (self.correction_cap or float("inf"))
        return MicroReport(
            loss,
            clip_rate=_last(metrics, "cispo_clip_ratio" if self.loss_type == "cispo" else "clip_ratio/region_mean"),
            entropy=_last(metrics, "entropy"),
            kl=_last(metrics, "kl"),
            gap=float(gap.max()) if gap.numel() else 0.0,
            weight=float(weights.clamp(max=self.correction_cap or float("inf")).mean()),
            truncated=float(cut.float().mean()),
        )

    @contextmanager
    def _own_figures(self) -> Iterator[None]:
        """TRL gathers each figure of a micro-batch over the processes, whatever the micro-batch weighs; here none is."""
        if self.accelerator.num_processes == 1:
            yield
            return
        self.accelerator.gather = _itself
        try:
            yield
        finally:
            del self.accelerator.gather  # the method is seen again

    def _gradients_kept(self, model: torch.nn.Module) -> AbstractContextManager[None]:
        """Replicated models send gradients once an update; sharded ones each time, or they would hold them whole."""
        if isinstance(model, torch.nn.parallel.DistributedDataParallel):
            return cast("AbstractContextManager[None]", model.no_sync())
        return nullcontext()

    @torch.no_grad()
    def logps(self, model: torch.nn.Module, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Log-probs of the trained tokens of ``completion_ids`` under ``model`` at the run's temperature, nats, on the CPU."""
        ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1).to(self.accelerator.device)
        trained = inputs["tool_mask"].to(self.accelerator.device)
        scored = self._scored(model, ids, torch.ones_like(ids), trained)
        return scored.log_probs[:, -trained.size(1) :].float().cpu()

    def reference_logps(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The same under the start policy: a second model, or this one without its adapters."""
        if self.ref_model is not None:
            return self.logps(cast("torch.nn.Module", self.ref_model), inputs)
        model = self.accelerator.unwrap_model(self.model)
        with cast("Any", model).disable_adapter():
            return self.logps(cast("torch.nn.Module", model), inputs)

    def _prepare_inputs(self, generation_batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        self._rows = {name: tensor.to(self.accelerator.device) for name, tensor in generation_batch.items()}
        return self._rows

    def _get_per_token_logps_and_entropies(self, model, input_ids, attention_mask, *_args, **_kwargs):  # type: ignore[no-untyped-def]
        trained = self._rows["tool_mask"]
        scored = self._scored(model, input_ids, attention_mask, trained)
        logps, entropy = (values[:, -trained.size(1) :] for values in (scored.log_probs, scored.entropy))
        self._logps = logps.detach().float()
        if self.correction_cap is not None:
            ratio = torch.exp(self._logps - self._rows["sampling_per_token_logps"])
            self._weights = torch.where(trained.bool(), ratio, 1.0)
            self._rows["importance_sampling_ratio"] = self._weights.clamp(max=self.correction_cap)
        return logps, entropy, scored.aux_loss

    def _scored(
        self, model: torch.nn.Module, ids: torch.Tensor, attention_mask: torch.Tensor, trained: torch.Tensor
    ) -> _Scored:
        """Log-probs and entropies of next tokens, nats, and the auxiliary loss of a mixture of experts.

        Pages are most of a row, and no loss reads what the policy would have said there: the head sees the trained
        positions alone, all others are 0.
        """
        width = trained.size(1)
        labels = ids.clone()
        labels[:, :-width] = _UNSCORED
        labels[:, -width:].masked_fill_(trained == 0, _UNSCORED)
        wanted = {"output_router_logits": True} if self.aux_loss_enabled else {}
        with self.accelerator.autocast(), _scored_positions_only():
            outputs = model(input_ids=ids, attention_mask=attention_mask, labels=labels, fused_lm_head=True, **wanted)
        return cast("_Scored", outputs)


@contextmanager
def _scored_positions_only() -> Iterator[None]:
    """TRL picks the labelled positions before the head on GPUs only; on a CPU it pays as well."""
    on_gpu = _TRL._use_triton
    _TRL._use_triton = lambda device: device.type == "cpu" or on_gpu(device)
    try:
        yield
    finally:
        _TRL._use_triton = on_gpu


def make_trainer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    settings: UpdateConfig,
    *,
    temperature: float,
    steps: int,
    work_dir: Path,
    seed: int,
    use_cpu: bool,
    corrected: bool,
    adapters: PeftConfig | None = None,
) -> RowTrainer:
    """The trainer with its optimizer, ready for :meth:`RowTrainer.micro_step`."""
    cispo = settings.loss is LossType.CISPO  # TRL's bound of the weight itself; ours lies above 1, as everywhere
    arguments = GRPOConfig(
        output_dir=str(work_dir),
        use_cpu=use_cpu,
        bf16=settings.precision == "bfloat16",
        **activation_checkpointing(settings.gradient_checkpointing),  # type: ignore[arg-type]
        learning_rate=settings.lr,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=settings.warmup_steps,
        optim="adamw_torch",
        loss_type=settings.loss.value,
        importance_sampling_level=settings.importance_level,
        beta=settings.kl,
        epsilon=settings.clip_low,
        epsilon_high=1.0 + settings.clip_high if cispo else settings.clip_high,
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
        ddp_find_unused_parameters=False,  # every weight takes part; one that does not would drift apart unseen
    )
    with warnings.catch_warnings():
        if adapters is not None:  # peft 0.21 asks newer transformers for a name they gave another one
            warnings.simplefilter("ignore", FutureWarning)
        trainer = RowTrainer(
            model=model,
            reward_funcs=_no_reward,
            args=arguments,
            train_dataset=Dataset.from_dict({"prompt": ["", ""]}),
            processing_class=tokenizer,
            peft_config=adapters,
        )
    arguments.num_generations = 1
    trainer.correction_cap = settings.correction_cap if corrected else None
    if settings.gradient_checkpointing:
        _checkpoint_activations(cast("PreTrainedModel", trainer.model))
    trainer.create_optimizer_and_scheduler(num_training_steps=max(steps, 1))
    return trainer


def scheduler_of(trainer: RowTrainer) -> LRScheduler:
    """The learning rate's schedule."""
    return cast("LRScheduler", trainer.lr_scheduler)


def divisor_of(loss: LossType, *, rows: int, token_share: float, episodes: int, processes: int = 1) -> float:
    """What TRL must divide a micro-batch's own mean by, such that micro-batches of any size add up exactly.

    Args:
        rows: in the micro-batch; ``token_share`` of the batch's trained tokens are in them.
        episodes: in the batch, with gradient or not.
        processes: that share it; gradients become their mean, and the sum is wanted.
    """
    if rows == 0:
        return float("inf")
    if loss in _BY_MEAN_OF_ROWS:
        return max(episodes, 1) / rows / processes
    if loss is LossType.BNPO:
        return 1.0 / token_share / processes
    return 1.0  # the others divide by the batch's tokens and multiply by the processes themselves


def activation_checkpointing(on: bool = False) -> dict[str, bool]:
    """transformers renamed the setting within the range we admit and warns at the old name."""
    names = {field.name for field in fields(GRPOConfig)}
    return {"activation_checkpointing" if "activation_checkpointing" in names else "gradient_checkpointing": on}


def _checkpoint_activations(model: PreTrainedModel) -> None:
    """What Trainer.train() would do at its start."""
    for name in ("activation_checkpointing", "gradient_checkpointing"):
        enable = getattr(model, f"{name}_enable", None)
        if enable is not None:
            enable(**{f"{name}_kwargs": {"use_reentrant": False}})
            return


def _itself(tensor: torch.Tensor) -> torch.Tensor:
    return tensor


def _no_reward(completions: list[str], **_: object) -> list[float | None]:
    raise AssertionError("rewards come with the rows")


def _last(metrics: Mapping[str, list[float]], name: str) -> float:
    values = metrics.get(name)
    return float(values[-1]) if values else 0.0
