"""Keys and values of many sessions in one padded block, and attention over it for packed tokens.

Every open session owns a row; the slot of a token is its position, so a row needs no bookkeeping but its length and
going back to a common prefix costs nothing. The tokens of a forward pass, whatever their sessions, are packed into
one sequence: the linear layers see no padding, only attention unpacks its queries. Where these would be padded to a large
block (long pages beside short ones), attention runs in parts of sessions with about as many new tokens each.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.cache_utils import Cache
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

ATTENTION = "reskill_rows"
_SLOTS = 128  # the block grows by this many
_PROBE = (1, 2, 3, 2, 1, 3)
_PROBE_TOLERANCE = 1e-3  # logits of the two ways to run a model, float32; a wrong mask is off by far more
SCORES = 1 << 20  # queries x slots of one attention (4 MB of mask in float32); above that it runs in parts
SCORES_ON_GPU = 1 << 26  # there launches should cost more than padding; not measured
_STEP = threading.local()


class RowCache(Cache):
    """The block: per layer two tensors of shape (rows, slots, kv heads, head dim)."""

    def __init__(self) -> None:
        super().__init__(layers=[])
        self.rows = 0
        self.slots = 0
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []

    def reserve(self, rows: int, slots: int) -> None:
        """Make room; what is stored stays. Zeros, because a masked slot must still be a number."""
        if rows <= self.rows and slots <= self.slots:
            return
        if slots > self.slots:
            slots = _round_up(slots)
        rows, slots = max(rows, self.rows), max(slots, self.slots)
        for tensors in (self.keys, self.values):
            for index, old in enumerate(tensors):
                tensors[index] = old.new_zeros(rows, slots, *old.shape[2:])
                tensors[index][: self.rows, : self.slots] = old
        self.rows, self.slots = rows, slots

    def rows_in(self, memory: float, slots: int) -> int:
        """How many rows of ``slots`` slots fit into ``memory`` bytes; known after the first forward pass."""
        width = sum(t.element_size() * t.shape[2] * t.shape[3] for t in (*self.keys, *self.values))
        return int(memory // (width * max(self.slots, _round_up(slots))))

    @torch.inference_mode()
    def copy_rows(self, copies: Sequence[tuple[int, int]], slots: int) -> None:
        """Copy the first ``slots`` slots of rows: (from, to) pairs."""
        source, target = ([pair[side] for pair in copies] for side in (0, 1))
        self.reserve(max(target) + 1, self.slots)
        for tensor in (*self.keys, *self.values):
            tensor[target, :slots] = tensor[source, :slots]

    def clear(self) -> None:
        """Free the block; its shape stays known."""
        self.keys = [keys.new_zeros(0, 0, *keys.shape[2:]) for keys in self.keys]
        self.values = [values.new_zeros(0, 0, *values.shape[2:]) for values in self.values]
        self.rows = self.slots = 0

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Unknown to the model: positions are always passed explicitly."""
        return 0

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Store packed keys and values (1, kv heads, tokens, head dim) at their rows and slots; the used block."""
        step: Step = _STEP.value
        if layer_idx == len(self.keys):
            for tensors, states in ((self.keys, key_states), (self.values, value_states)):
                tensors.append(states.new_zeros(self.rows, self.slots, states.shape[1], states.shape[3]))
        keys, values = self.keys[layer_idx], self.values[layer_idx]
        keys[step.rows, step.positions] = key_states[0].transpose(0, 1)
        values[step.rows, step.positions] = value_states[0].transpose(0, 1)
        return step.block(keys), step.block(values)


def _round_up(slots: int) -> int:
    return -(-slots // _SLOTS) * _SLOTS


@dataclass
class Step:
    """The packed tokens of one forward pass.

    Args:
        rows: (tokens,) row of each token.
        positions: (tokens,) its position.
        queries: (tokens,) row of each token within the attention's batch.
        columns: (tokens,) column of each token within the attention's batch.
        batch: rows of the attention's batch.
        width: columns of it.
        used: slots that attention reads.
        picked: the rows that form the batch; ``None`` for the first ``batch`` rows as they are.
        parts: how attention is divided: the tokens of each part, and the part with rows of this step's batch; empty: it
            is not.
    """

    rows: Tensor
    positions: Tensor
    queries: Tensor
    columns: Tensor
    batch: int
    width: int
    used: int
    picked: Tensor | None
    parts: Sequence[tuple[Tensor, Step]] = ()
    _masks: dict[int | None, Tensor] = field(default_factory=dict)

    @classmethod
    def pack(cls, rows: Sequence[int], starts: Sequence[int], lengths: Sequence[int], device: torch.device) -> Step:
        """Tokens of several sessions, one after the other: per session its row, first position and token count."""
        count = np.asarray(lengths)
        row = np.asarray(rows)
        first = np.repeat(np.cumsum(count) - count, count)
        column = np.arange(int(count.sum())) - first
        position = column + np.repeat(np.asarray(starts), count)
        batch, place = int(row.max()) + 1, row
        picked = None
        if 2 * len(row) <= batch:  # mostly idle rows: attend over a copy of the busy ones
            batch, picked = len(row), torch.from_numpy(row).to(device)
            place = np.arange(len(row))
        return cls(
            rows=torch.from_numpy(np.repeat(row, count)).to(device),
            positions=torch.from_numpy(position).to(device),
            queries=torch.from_numpy(np.repeat(place, count)).to(device),
            columns=torch.from_numpy(column).to(device),
            batch=batch,
            width=int(count.max()),
            used=int(position.max()) + 1,
            picked=picked,
            parts=cls._parts(place, np.asarray(starts), count, batch, device),
        )

    @classmethod
    def _parts(
        cls, place: np.ndarray, start: np.ndarray, count: np.ndarray, batch: int, device: torch.device
    ) -> list[tuple[Tensor, Step]]:
        """Sessions of up to twice as many tokens as another, as many as the limit allows; none while all fit."""
        limit = SCORES if device.type == "cpu" else SCORES_ON_GPU
        if len(place) == 1 or batch * int(count.max()) * int((start + count).max()) <= limit:
            return []
        first = np.cumsum(count) - count
        parts = []
        for size in np.unique(np.ceil(np.log2(count))):
            alike = np.flatnonzero(np.ceil(np.log2(count)) == size)
            room = max(1, limit // int(count[alike].max() * (start + count)[alike].max()))
            for chosen in np.split(alike, range(room, len(alike), room)):
                tokens = np.concatenate([int(first[one]) + np.arange(int(count[one])) for one in chosen])
                columns = np.concatenate([np.arange(int(count[one])) for one in chosen])
                rows = torch.from_numpy(np.repeat(np.arange(len(chosen)), count[chosen])).to(device)
                positions = torch.from_numpy(columns + np.repeat(start[chosen], count[chosen])).to(device)
                part = cls(
                    rows=rows,
                    positions=positions,
                    queries=rows,
                    columns=torch.from_numpy(columns).to(device),
                    batch=len(chosen),
                    width=int(count[chosen].max()),
                    used=int((start + count)[chosen].max()),
                    picked=torch.from_numpy(place[chosen]).to(device),
                )
                parts.append((torch.from_numpy(tokens).to(device), part))
        return parts

    def block(self, stored: Tensor) -> Tensor:
        """What attention reads of a layer: (batch, kv heads, used slots, head dim)."""
        used = stored[: self.batch, : self.used] if self.picked is None else stored[self.picked, : self.used]
        return used.transpose(1, 2)

    def unpack(self, packed: Tensor) -> Tensor:
        """(1, heads, tokens, dim) -> (batch, heads, width, dim), zeros elsewhere."""
        tokens = packed[0].transpose(0, 1)
        padded = tokens.new_zeros(self.batch, self.width, *tokens.shape[1:])
        padded[self.queries, self.columns] = tokens
        return padded.transpose(1, 2)

    def repack(self, padded: Tensor) -> Tensor:
        """(batch, heads, width, dim) -> (1, tokens, heads, dim)."""
        return padded.transpose(1, 2)[self.queries, self.columns][None]

    def mask(self, window: int | None, dtype: torch.dtype) -> Tensor:
        """(batch, 1, width, used): 0 where a query may look (its own slot and before, within the window), else -inf."""
        if window not in self._masks:
            position = torch.zeros(self.batch, self.width, dtype=torch.long, device=self.positions.device)
            position[self.queries, self.columns] = self.positions
            slot = torch.arange(self.used, device=position.device)
            hidden = slot > position[:, :, None]
            if window is not None:
                hidden |= slot <= position[:, :, None] - window
            additive = torch.zeros(hidden.shape, dtype=dtype, device=position.device)
            self._masks[window] = additive.masked_fill_(hidden, float("-inf"))[:, None]
        return self._masks[window]


def row_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention of packed tokens over their rows; outside a packed forward the library's own SDPA."""
    step: Step | None = getattr(_STEP, "value", None)
    if step is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    if kwargs.get("softcap") is not None or kwargs.get("s_aux") is not None:
        raise NotImplementedError("attention with a soft cap or sinks is not done over rows")
    if not step.parts:
        return _attend(step, query, key, value, scaling, sliding_window), None
    output = query.new_empty(1, query.shape[2], query.shape[1], value.shape[3])
    for tokens, part in step.parts:
        keys, values = (stored[part.picked, :, : part.used] for stored in (key, value))
        output[:, tokens] = _attend(part, query[:, :, tokens], keys, values, scaling, sliding_window)
    return output, None


def _attend(step: Step, query: Tensor, key: Tensor, value: Tensor, scaling: float | None, window: int | None) -> Tensor:
    shared = query.shape[1] // key.shape[1]
    if shared > 1 and key.is_cuda:  # torch's fused kernels take masks, or heads that share keys, but not both
        key, value = (stored.repeat_interleave(shared, dim=1) for stored in (key, value))
    output = nn.functional.scaled_dot_product_attention(
        step.unpack(query),
        key,
        value,
        attn_mask=step.mask(window, query.dtype),
        scale=scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return step.repack(output)


AttentionInterface.register(ATTENTION, row_attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)


class RowForward:
    """Forward passes of a causal language model over a :class:`RowCache`."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.cache = RowCache()
        self._device = next(model.parameters()).device
        layer_types = getattr(model.config, "layer_types", None) or ()
        prepared = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=self._device)  # keeps the model from making masks
        self._mask: Tensor | dict[str, Tensor] = prepared
        if "sliding_attention" in layer_types:
            self._mask = dict.fromkeys(layer_types, prepared)

    @torch.inference_mode()
    def __call__(self, rows: Sequence[int], starts: Sequence[int], tokens: Sequence[Sequence[int]]) -> Tensor:
        """Feed each session its new tokens; the logits after the last of each, (sessions, vocabulary)."""
        lengths = [len(part) for part in tokens]
        step = Step.pack(rows, starts, lengths, self._device)
        self.cache.reserve(max(rows) + 1, step.used)
        ids = torch.tensor([token for part in tokens for token in part], device=self._device)
        last = torch.tensor(np.cumsum(lengths) - 1, device=self._device)
        _STEP.value = step
        try:
            output = self.model(
                input_ids=ids[None],
                attention_mask=self._mask,
                position_ids=step.positions[None],
                past_key_values=self.cache,
                use_cache=True,
                logits_to_keep=last,
            )
        finally:
            _STEP.value = None
        logits: Tensor = output.logits[0]
        return logits


def row_forward(model: PreTrainedModel) -> RowForward | None:
    """Packed forward passes over a row cache, if this model gives the same logits that way; checked, not assumed."""
    before = model.config._attn_implementation or "eager"
    vocabulary = int(model.config.get_text_config().vocab_size)
    probe = [token % vocabulary for token in _PROBE]
    with torch.inference_mode():
        expected = model(input_ids=torch.tensor([probe], device=model.device), use_cache=False).logits[0, -1]
    try:
        model.set_attn_implementation(ATTENTION)
        forward = RowForward(model)
        forward([0, 1], [0, 0], [probe[:2], probe[:4]])
        logits = forward([1, 0], [4, 2], [probe[4:], probe[2:]])
        tolerance = _PROBE_TOLERANCE if model.dtype == torch.float32 else 0.1
        if torch.allclose(logits.float(), expected.float().expand(2, -1), atol=tolerance, rtol=tolerance):
            forward.cache.clear()
            return forward
    except (AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError):
        pass
    model.set_attn_implementation(before)
    return None
