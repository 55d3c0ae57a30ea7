"""Behaviour cloning of a small causal model inside a budget of time and steps.

Cross-entropy on the tokens the policy has to say (the number of its choice and the end token), nothing else. Batches are
fresh, made by a thread beside the training loop.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, cast

import torch
from torch.nn import functional

from reskill_agents.trainers.encoding import EncodedEpisode
from reskill_agents.trainers.muon import Muon

if TYPE_CHECKING:
    from transformers import Qwen3ForCausalLM
    from transformers.models.qwen3.modeling_qwen3 import Qwen3DecoderLayer


@dataclass(frozen=True, slots=True)
class CloneBudget:
    """How long and how to clone. Defaults are measured on 2 cores (``tests/benchmarks/clone.py``).

    Args:
        max_seconds: wall clock for cloning; curriculum and learning rate go by the budget used, so that an early end is
            a proper end.
        max_steps: updates at most; the smaller of the two ends it. Where the steps end it, cloning is reproducible.
        tokens_per_batch: padded tokens an update.
        lr: peak rate of AdamW (embeddings and vectors).
        matrix_lr: peak rate of Muon (matrices).
        warmup_steps: updates to the peak; from ``decay_from`` (share of the budget) on, rates fall linearly.
    """

    max_seconds: float = 600.0
    max_steps: int = 2600
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


@dataclass(frozen=True)
class Batch:
    """Right-padded ids (B, T), and for N tokens to be said: row, position before it, target id, weight.

    ``places`` (B or 1, T) are position ids; ``mask`` (B, 1, T, T) says which tokens see which, ``None``: all before them.
    """

    ids: torch.Tensor
    rows: torch.Tensor
    positions: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor
    places: torch.Tensor
    mask: torch.Tensor | None = None


def collate(episodes: Sequence[EncodedEpisode]) -> Batch:
    """One batch, of sequences or of trees. Padding is id 0 and stands on the right, where nobody reads it."""
    ids = _padded([e.ids for e in episodes])
    rows = torch.tensor([row for row, e in enumerate(episodes) for _ in e.positions])
    positions = torch.tensor([position for e in episodes for position in e.positions])
    weights = torch.tensor([weight for e in episodes for weight in e.weights])
    targets = ids[rows, positions + 1]
    trees = [e.tree for e in episodes if e.tree is not None]
    if not trees:
        return Batch(ids, rows, positions, targets, weights, torch.arange(ids.size(1)).unsqueeze(0))
    branches, places = _padded([tree.branches for tree in trees], -1), _padded([tree.places for tree in trees])
    sees, index = _padded([tree.sees for tree in trees], 1), torch.arange(ids.size(1))
    trunk = (branches.unsqueeze(1) == 0) & (index < sees.unsqueeze(2))
    own = (branches.unsqueeze(1) == branches.unsqueeze(2)) & (index <= index.unsqueeze(1))
    return Batch(ids, rows, positions, targets, weights, places, (trunk | own).unsqueeze(1))


def _padded(rows: Sequence[Sequence[int]], value: int = 0) -> torch.Tensor:
    width = max(map(len, rows))
    return torch.tensor([[*row, *[value] * (width - len(row))] for row in rows])


def action_logits(model: Qwen3ForCausalLM, batch: Batch) -> torch.Tensor:
    """Logits (N, vocabulary) at ``batch.positions``: the model's own forward, less what the last layer does elsewhere.

    The last layer's queries and MLP are computed at the asked positions only, which saves about a quarter of the work.
    """
    config, x = model.config, model.model.embed_tokens(batch.ids)
    count, length = batch.ids.shape
    heads, kv_heads, width = config.num_attention_heads, config.num_key_value_heads, config.head_dim
    cos, sin = (t.unsqueeze(2) for t in model.model.rotary_emb(x, batch.places))
    for layer in cast("Sequence[Qwen3DecoderLayer]", model.model.layers):
        attention, last = layer.self_attn, layer is model.model.layers[-1]
        h = _norm(x, layer.input_layernorm)
        q = _norm(attention.q_proj(h).view(count, length, heads, width), attention.q_norm)
        k = _norm(attention.k_proj(h).view(count, length, kv_heads, width), attention.k_norm)
        v = attention.v_proj(h).view(count, length, kv_heads, width)
        q, k = q * cos + _rotated(q) * sin, k * cos + _rotated(k) * sin
        mixed = functional.scaled_dot_product_attention(
            q.transpose(1, 2),
            k.transpose(1, 2),
            v.transpose(1, 2),
            attn_mask=batch.mask,
            is_causal=batch.mask is None,
            enable_gqa=heads != kv_heads,
        )
        mixed = mixed.transpose(1, 2).reshape(count, length, heads * width)
        if last:
            mixed, x = mixed[batch.rows, batch.positions], x[batch.rows, batch.positions]
        x = x + attention.o_proj(mixed)
        h = _norm(x, layer.post_attention_layernorm)
        x = x + layer.mlp.down_proj(functional.silu(layer.mlp.gate_proj(h)) * layer.mlp.up_proj(h))
    logits: torch.Tensor = model.lm_head(_norm(x, model.model.norm))
    return logits


def _norm(x: torch.Tensor, norm: torch.nn.Module) -> torch.Tensor:
    weight, epsilon = cast("torch.Tensor", norm.weight), cast("float", norm.variance_epsilon)
    return functional.rms_norm(x, list(weight.shape), weight, epsilon)


def _rotated(x: torch.Tensor) -> torch.Tensor:
    first, second = x.chunk(2, dim=-1)
    return torch.cat((-second, first), dim=-1)


class BatchSource(Protocol):
    """Where batches come from."""

    def batch(self, share: float) -> Sequence[EncodedEpisode]:
        """The next batch when ``share`` (0..1) of the budget is used; all sequences or all trees."""
        ...


def clone(
    model: Qwen3ForCausalLM,
    source: BatchSource,
    budget: CloneBudget,
    *,
    progress: Callable[[CloneProgress], None] | None = None,
) -> CloneProgress:
    """Train ``model`` in place on batches of ``source`` until the budget is used; the last progress."""
    optimizers, clock = _Optimizers.of(model, budget), _Clock(budget)
    step, tokens, smooth = 0, 0, math.nan
    model.train()
    state = CloneProgress(0, 0.0, 0.0, smooth, 0)
    with _Prefetch(source, clock) as batches:
        for batch in batches:
            share = clock.share(step)
            if share >= 1:
                break
            loss = _loss(model, batch)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), budget.max_grad_norm)
            decay = max(0.02, (1 - share) / (1 - budget.decay_from))
            optimizers.step(min(1.0, (step + 1) / budget.warmup_steps, decay))
            step, tokens = step + 1, tokens + batch.ids.numel()
            smooth = loss.item() if math.isnan(smooth) else 0.95 * smooth + 0.05 * loss.item()
            state = CloneProgress(step, clock.seconds, share, smooth, tokens)
            if progress and step % 20 == 0:
                progress(state)
    model.eval()  # type: ignore[no-untyped-call]
    return state


def _loss(model: Qwen3ForCausalLM, batch: Batch) -> torch.Tensor:
    losses = functional.cross_entropy(action_logits(model, batch), batch.targets, reduction="none")
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
class _Optimizers:
    """Muon for the matrices of the layers, AdamW for the rest."""

    model: Qwen3ForCausalLM
    muon: Muon
    adam: torch.optim.AdamW
    budget: CloneBudget

    @classmethod
    def of(cls, model: Qwen3ForCausalLM, budget: CloneBudget) -> _Optimizers:
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


class _Prefetch:
    """Collates batches in a thread, a few ahead; their order and content are those of the source."""

    def __init__(self, source: BatchSource, clock: _Clock, ahead: int = 6) -> None:
        self._source, self._clock, self._stopped = source, clock, False
        self._queue = queue.Queue[Batch | BaseException](ahead)
        self._thread = threading.Thread(target=self._fill, daemon=True)

    def __enter__(self) -> Iterator[Batch]:
        self._thread.start()
        return self._drain()

    def __exit__(self, *_: object) -> None:
        self._stopped = True
        while self._thread.is_alive():
            with contextlib.suppress(queue.Empty):
                self._queue.get(timeout=0.05)
        self._thread.join()

    def _fill(self) -> None:
        try:
            for number in itertools.count():
                if self._stopped:
                    return
                self._queue.put(collate(self._source.batch(min(1.0, self._clock.share(number)))))
        except BaseException as error:  # handed to the consumer, who raises it
            self._queue.put(error)

    def _drain(self) -> Iterator[Batch]:
        while True:
            item = self._queue.get()
            if isinstance(item, BaseException):
                raise item
            yield item
