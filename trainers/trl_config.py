"""TRL's ``GRPOConfig`` as a run's settings."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from reskill_agents.errors import ConfigError
from reskill_agents.methods import Method
from reskill_agents.trainers.config import LossType, RunConfig

if TYPE_CHECKING:
    from trl.trainer.grpo_config import GRPOConfig

_CHECKPOINTING = ("activation_checkpointing", "gradient_checkpointing")  # renamed within the range we admit
_NO_COUNTERPART = frozenset({
    "num_iterations", "top_p", "top_k", "min_p", "repetition_penalty", "generation_kwargs", "mask_truncated_completions", "delta",
    "top_entropy_quantile", "off_policy_mask_threshold", "entropy_coef", "use_vllm", "use_liger_kernel", "sync_ref_model",
    "reward_weights", "fp16", "neftune_noise_alpha",
})  # fmt: skip


def config_from_trl(args: GRPOConfig) -> RunConfig:
    """Plain GRPO with TRL's settings. A step holds ``generation_batch_size / num_generations`` tasks.

    The learning rate is constant after the warm-up and advantages are ours (``update.advantage``), whatever ``args`` say of
    schedule and ``scale_rewards``.

    Raises:
        ConfigError: a loss that is not offered here, ``max_steps`` is not set, or a setting without a counterpart here.
    """
    if args.max_steps <= 0:
        raise ConfigError("args.max_steps must be set; epochs are not counted")
    if args.loss_type not in {loss.value for loss in LossType}:
        raise ConfigError(f"args.loss_type is {args.loss_type!r}; there are: {', '.join(LossType)}")
    for one in fields(args):
        value = getattr(args, one.name)
        if one.name in _NO_COUNTERPART and value not in (one.default, None):
            raise ConfigError(f"args.{one.name} is {value!r}, which nothing here does; leave it at {one.default!r}")
    size = int(args.num_generations or 8)
    above = args.epsilon if args.epsilon_high is None else args.epsilon_high
    if args.loss_type == LossType.CISPO and args.epsilon_high is not None:
        above -= 1.0  # TRL's bound of the weight itself; ours lies above 1, as everywhere
    reduced = bool(args.bf16) and not args.use_cpu
    return RunConfig.build(
        method=Method.GRPO,
        steps=args.max_steps,
        seed=args.seed,
        device="cpu" if args.use_cpu else "cuda",
        rollout={
            "groups": max(1, int(args.generation_batch_size or size) // size),
            "group_size": size,
            "temperature": args.temperature,
        },
        update={
            "lr": args.learning_rate,
            "kl": args.beta,
            "loss": args.loss_type,
            "importance_level": args.importance_sampling_level,
            "clip_low": args.epsilon,
            "clip_high": above,
            "normaliser_tokens": int(args.max_completion_length or 256),
            "max_grad_norm": args.max_grad_norm,
            "weight_decay": args.weight_decay,
            "warmup_steps": args.get_warmup_steps(args.max_steps),
            "gradient_checkpointing": any(bool(getattr(args, name, False)) for name in _CHECKPOINTING),
            **({"precision": "bfloat16", "max_logprob_gap": 0.5} if reduced else {}),
        },
    )
