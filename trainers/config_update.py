"""Settings of the GRPO update."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from reskill_agents.trainers.config_group import Settings, setting


class LossType(StrEnum):
    """TRL's policy losses by name; ``dr_grpo`` is the constant normaliser.

    ``cispo`` clips the weight of the gradient instead of the objective, at ``1 + clip_high``; ``sapo`` has a soft gate and
    ``vespo`` a smooth weight a sequence instead of a clip; ``luspo`` sums whole sequences (``importance_level: sequence``
    as in its paper). ``grpo`` with ``importance_level: sequence`` is GSPO.
    """

    DR_GRPO = "dr_grpo"
    GRPO = "grpo"
    BNPO = "bnpo"
    DAPO = "dapo"
    CISPO = "cispo"
    SAPO = "sapo"
    VESPO = "vespo"
    LUSPO = "luspo"


class AdvantageName(StrEnum):
    """How rewards become advantages (``trainers/advantages.py``).

    ``leave_one_out``: over the pooled group. ``effect_adjusted``: the same, less what earlier steps say about the arms.
    ``per_arm``: leave-one-out inside each arm. ``group_normalised``: GRPO's mean and standard deviation. ``whitened``:
    that, then over the batch's tokens (the paper's default).
    """

    LEAVE_ONE_OUT = "leave_one_out"
    EFFECT_ADJUSTED = "effect_adjusted"
    PER_ARM = "per_arm"
    GROUP_NORMALISED = "group_normalised"
    WHITENED = "whitened"


class LoraConfig(Settings):
    """Low-rank adapters instead of full weights (peft); the linear layers but the head get one."""

    rank: PositiveInt = setting(16, "Of the adapters (peft's guide: 8 to 64).")
    alpha: PositiveFloat = setting(32.0, "Scale of the adapters is alpha / rank (customary: twice the rank).")
    targets: tuple[str, ...] = setting((), "Names of the layers that get one; empty: all linear ones.")


class RanksConfig(Settings):
    """Several processes that share an update (``torchrun``, ``accelerate launch``)."""

    timeout_s: PositiveFloat = setting(
        600.0, "Seconds that a rank waits in an update for the others before it names those missing (NCCL's default)."
    )
    wait_s: PositiveFloat = setting(
        7200.0, "Seconds that a rank waits for rank 0 to say something: longer than rollouts or an evaluation take."
    )


class UpdateConfig(Settings):
    """The GRPO update."""

    lr: PositiveFloat = setting(3e-5, "AdamW's rate (measured on the stand-in, method.md; paper: 1e-6).")
    advantage: AdvantageName | None = setting(None, "None: the method's own.")
    kl: NonNegativeFloat = setting(0.0, "Weight of the KL to the start policy (paper: 0.01).")
    loss: LossType = setting(LossType.DR_GRPO, "TRL loss; dr_grpo's constant does not depend on length.")
    importance_level: Literal["token", "sequence"] = setting("token", "What the clipped ratio is taken of.")
    clip_low: PositiveFloat = setting(0.2, "PPO clip below 1 (TRL's default).")
    clip_high: PositiveFloat = setting(0.2, "PPO clip above 1 (TRL's default).")
    normaliser_tokens: PositiveInt = setting(
        32, "Sampled tokens an episode that dr_grpo divides by (about one stand-in episode)."
    )
    max_grad_norm: PositiveFloat = setting(1.0, "Gradient clipping (TRL's default).")
    weight_decay: NonNegativeFloat = setting(0.0, "AdamW's weight decay (TRL's default).")
    warmup_steps: NonNegativeInt = setting(0, "Steps of linear warm-up, then constant.")
    tokens_per_micro_batch: PositiveInt = setting(
        6000, "Padded tokens a micro-batch; bounds memory (fastest of 2k..20k for the stand-in on 2 cores)."
    )

    frozen: bool = setting(False, "No update at all: skills evolve, the start policy stays (also `reskill adapt`).")
    max_logprob_gap: PositiveFloat = setting(
        1e-3,
        "Largest allowed |log-prob when sampled - when re-scored|, nats: 1e-3 for float32 (1e-5 measured), "
        "about 0.5 for bfloat16. Tokens that older weights sampled are not compared.",
    )
    correction: Literal["auto", "off", "truncated"] = setting(
        "auto",
        "truncated: weights a token, for what sampled it being other than what trains; off: the clip alone. "
        "auto: truncated on vLLM or with max_staleness.",
    )
    correction_cap: PositiveFloat = setting(2.0, "Largest such weight (whole-sequence masks throw long rows away).")
    lora: LoraConfig | None = setting(None, "Train adapters; none: full weights.")
    precision: Literal["float32", "bfloat16"] = setting(
        "float32", "bfloat16: autocast; with lora the frozen weights are held in it, too."
    )
    gradient_checkpointing: bool = setting(False, "Less memory for more time: activations are computed twice.")
