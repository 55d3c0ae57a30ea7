"""Behaviour cloning of a small causal model inside a budget of time and steps.

Cross-entropy on the tokens the policy has to say (the number of its choice and the end token), nothing else. Batches are
fresh, and made in the training thread: a thread beside it, however idle, makes torch's own wait for each other.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, cast

import torch
from torch.nn import functional

from reskill_agents.trainers.clone_checkpoint import CloneCheckpoint
from reskill_agents.trainers.encoding import EncodedEpisode
from reskill_agents.trainers.muon import Muon

if TYPE_CHECKING:
    from transformers import Qwen3ForCausalLM
    from transformers.models.qwen3.modeling_qwen3 import Qwen3DecoderLayer


@dataclass(frozen=True, slots=True)
class CloneBudget:
    """How long and how to clone. Defaults are measured on 2 cores.

    Args:
        max_seconds: wall clock for cloning; curriculum and learning rate go by the budget used, so that an early end is
            a proper end.
        max_steps: updates at most; the smaller of the two ends it. Where the steps end it, cloning is reproducible.
        tokens_per_batch: padded tokens an update.
        lr: peak rate of AdamW (embeddings and vectors).
        matrix_lr: peak rate of Muon (matrices).
        warmup_steps: updates to the peak; from ``decay_from`` (share of the budget) on, rates fall linearly.
    """

    max_seconds: float = 290.0
    max_steps: int = 2400
    tokens_per_batch: int = 4000
    lr: float = 1.5e-3
    matrix_lr: float = 7e-3
    warmup_steps: int = 30
    decay_from: float = 0.25
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0


@dataclass(frozen=True, slots=True)
class CloneProgress:
    """Where cloning stands: updates, seconds, share of the budget used, loss in nats a weighted token, tokens seen."""

    step: int
    seconds: float
    share: float
    loss: float
    tokens: int

    @classmethod
    def of(cls, fields: Mapping[str, float]) -> CloneProgress:
        """From the fields by name."""
        return cls(int(fields["step"]), fields["seconds"], fields["share"], fields["loss"], int(fields["tokens"]))


@dataclass(frozen=True)
class Batch:
    """Right-padded ids (B, T), and for N tokens to be said, in order of rows: row, position before it, target id, weight."""

    ids: torch.Tensor
    rows: torch.Tensor
    positions: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor

    def asked(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Per token to be said its place (N,) in its row's list of positions, and these lists (B, longest), padded with 0."""
        counts = torch.bincount(self.rows, minlength=len(self.ids))
        slots = torch.arange(len(self.rows)) - (counts.cumsum(0) - counts)[self.rows]
        lists = torch.zeros(len(self.ids), int(counts.max()), dtype=torch.long)
        lists[self.rows, slots] = self.positions
        return slots, lists


def collate(episodes: Sequence[EncodedEpisode]) -> Batch:
    """One batch. Padding is id 0 and stands on the right, where nobody reads it."""
    width = max(len(episode.ids) for episode in episodes)
    ids = torch.tensor([[*episode.ids, *[0] * (width - len(episode.ids))] for episode in episodes])
    rows = torch.tensor([row for row, episode in enumerate(episodes) for _ in episode.positions])
    positions = torch.tensor([position for episode in episodes for position in episode.positions])
    weights = torch.tensor([weight for episode in episodes for weight in episode.weights])
    return Batch(ids, rows, positions, ids[rows, positions + 1], weights)


def action_logits(model: Qwen3ForCausalLM, batch: Batch) -> torch.Tensor:
    """Logits (N, vocabulary) at ``batch.positions``: the model's own forward, less what the last layer does elsewhere.

    The last layer's queries and MLP are computed at the asked positions only, which saves about a third of the work.
    """
    config, x = model.config, model.model.embed_tokens(batch.ids)
    count, length = batch.ids.shape
    heads, kv_heads, width = config.num_attention_heads, config.num_key_value_heads, config.head_dim
    cos, sin = model.model.rotary_emb(x, torch.arange(length).unsqueeze(0))  # (1, T, width)
    turn, causal = (cos.unsqueeze(2), sin.unsqueeze(2)), torch.full((length, length), -math.inf).triu_(1)
    slots, lists = batch.asked()
    lines, bias = torch.arange(count).unsqueeze(1), causal[None, None]
    for layer in cast("Sequence[Qwen3DecoderLayer]", model.model.layers):
        attention, last = layer.self_attn, layer is model.model.layers[-1]
        h = _norm(x, layer.input_layernorm)
        k = _turned(_norm(attention.k_proj(h).view(count, length, kv_heads, width), attention.k_norm), *turn)
        v = attention.v_proj(h).view(count, length, kv_heads, width)
        if last:  # the asked positions of each row, padded to the longest list
            x, h = x[lines, lists], h[lines, lists]
            turn, bias = (cos[0, lists].unsqueeze(2), sin[0, lists].unsqueeze(2)), causal[lists].unsqueeze(1)
        q = _turned(_norm(attention.q_proj(h).view(*h.shape[:2], heads, width), attention.q_norm), *turn)
        mixed = _attend(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), bias, causal=not last)
        x = x + attention.o_proj(mixed.transpose(1, 2).flatten(2))
        h = _norm(x, layer.post_attention_layernorm)
        x = x + layer.mlp.down_proj(functional.silu(layer.mlp.gate_proj(h)) * layer.mlp.up_proj(h))
    logits: torch.Tensor = model.lm_head(_norm(x[batch.rows, slots], model.model.norm))
    return logits


def _norm(x: torch.Tensor, norm: torch.nn.Module) -> torch.Tensor:
    weight, epsilon = cast("torch.Tensor", norm.weight), cast("float", norm.variance_epsilon)
    return functional.rms_norm(x, list(weight.shape), weight.to(x.dtype), epsilon)


def _attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bias: torch.Tensor, *, causal: bool) -> torch.Tensor:
    """Attention of (B, heads, T, width), ``bias`` added to the scores; ``causal`` says that it is no more than that.

    Below float32 torch's fused kernel for the CPU is slower than plain products.
    """
    groups = q.size(1) // k.size(1)
    if q.dtype is torch.float32:
        fused = functional.scaled_dot_product_attention
        return fused(q, k, v, attn_mask=None if causal else bias, is_causal=causal, enable_gqa=groups > 1)
    k, v = (x.repeat_interleave(groups, dim=1) if groups > 1 else x for x in (k, v))
    scores = torch.matmul(q * q.size(-1) ** -0.5, k.transpose(-1, -2)).add_(bias.to(q.dtype))
    return torch.matmul(scores.softmax(-1), v)


def _turned(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary position embedding."""
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


class BatchSource(Protocol):
    """Where batches come from."""

    def batch(self, share: float) -> Sequence[EncodedEpisode]:
        """The next batch when ``share`` (0..1) of the budget is used."""
        ...


def clone(
    model: Qwen3ForCausalLM,
    source: BatchSource,
    budget: CloneBudget,
    *,
    progress: Callable[[CloneProgress], None] | None = None,
    checkpoint: CloneCheckpoint | None = None,
) -> CloneProgress:
    """Train ``model`` in place on batches of ``source`` until the budget is used; the last progress.

    Args:
        progress: told every 20 updates.
        checkpoint: where to go on from if something is there, and where the state is written; the file stays at the end.
    """
    optimizers, precision = CloneOptimizers.of(model, budget), fast_precision()
    state = CloneProgress(0, 0.0, 0.0, math.nan, 0)
    if checkpoint and (earlier := checkpoint.load(model, optimizers)):
        state = CloneProgress.of(earlier)
    clock = _Clock(budget, time.monotonic() - state.seconds)
    model.train()
    while (share := clock.share(state.step)) < 1:
        batch = collate(source.batch(share))
        loss = _loss(model, batch, precision)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), budget.max_grad_norm)
        decay = max(0.02, (1 - share) / (1 - budget.decay_from))
        optimizers.step(min(1.0, (state.step + 1) / budget.warmup_steps, decay))
        smooth = loss.item() if math.isnan(state.loss) else 0.95 * state.loss + 0.05 * loss.item()
        state = CloneProgress(state.step + 1, clock.seconds, share, smooth, state.tokens + batch.ids.numel())
        if progress and state.step % 20 == 0:
            progress(state)
        if checkpoint and state.step % checkpoint.every == 0:
            checkpoint.save(model, optimizers, asdict(state))
    model.eval()  # type: ignore[no-untyped-call]
    return state


def fast_precision() -> torch.dtype:
    """What to multiply matrices in on this CPU: bfloat16 where it has instructions for that (a third faster, measured)."""
    has: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # older torch does not say
    return torch.bfloat16 if has.get("avx512_bf16") or has.get("amx_bf16") else torch.float32


def _loss(model: Qwen3ForCausalLM, batch: Batch, precision: torch.dtype) -> torch.Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision is torch.bfloat16):
        logits = action_logits(model, batch).float()
    losses = functional.cross_entropy(logits, batch.targets, reduction="none")
    return (losses * batch.weights).sum() / batch.weights.sum()


@dataclass(frozen=True)
class _Clock:
    """How much of a budget is used."""

    budget: CloneBudget
    start: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.start

    def share(self, step: int) -> float:
        """0..1. Time counts in twentieths, so that a run which its steps end does not depend on the clock."""
        return max(step / self.budget.max_steps, math.floor(20 * self.seconds / self.budget.max_seconds) / 20)


@dataclass(frozen=True)
class CloneOptimizers:
    """Muon for the matrices of the layers, AdamW for the rest."""

    model: Qwen3ForCausalLM
    muon: Muon
    adam: torch.optim.AdamW
    budget: CloneBudget

    @classmethod
    def of(cls, model: Qwen3ForCausalLM, budget: CloneBudget) -> CloneOptimizers:
        matrices = [parameter for parameter in model.model.layers.parameters() if parameter.ndim == 2]
        ids = {id(parameter) for parameter in matrices}
        rest = [parameter for parameter in model.parameters() if id(parameter) not in ids]
        return cls(
            model,
            Muon(matrices, lr=budget.matrix_lr, weight_decay=budget.weight_decay),
            torch.optim.AdamW(rest, lr=budget.lr, betas=(0.9, 0.98), weight_decay=budget.weight_decay),
            budget,
        )

    def step(self, factor: float) -> None:
        """One update at ``factor`` of the peak rates; clears the gradients."""
        self.muon.lr = self.budget.matrix_lr * factor
        for group in self.adam.param_groups:
            group["lr"] = self.budget.lr * factor
        self.muon.step()
        self.adam.step()
        self.model.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        """What both have gathered."""
        return {"muon": self.muon.state(), "adam": self.adam.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self.muon.restore(state["muon"])
        self.adam.load_state_dict(state["adam"])
