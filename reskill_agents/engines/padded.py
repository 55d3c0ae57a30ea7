"""The plain way to sample: left-padded batches, the model's own cache, nothing kept between calls.

For architectures whose state is more than keys and values (linear attention, sinks, soft caps).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class PaddedForward:
    """Forward passes of any causal language model over one left-padded batch."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self._device = next(model.parameters()).device
        self._past: object | None = None
        self._mask = torch.empty(0)

    @torch.inference_mode()
    def start(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Feed whole prompts; the logits after each, (prompts, vocabulary)."""
        width = max(len(prompt) for prompt in prompts)
        ids = torch.tensor([[0] * (width - len(prompt)) + list(prompt) for prompt in prompts], device=self._device)
        mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
        self._mask, self._past = torch.tensor(mask, device=self._device), None
        return self._forward(ids)

    @torch.inference_mode()
    def extend(self, tokens: Sequence[int]) -> Tensor:
        """Feed one token a row (any token for rows that are done); logits as in :meth:`start`."""
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(tokens), 1)], dim=1)
        return self._forward(torch.tensor(tokens, device=self._device)[:, None])

    def _forward(self, ids: Tensor) -> Tensor:
        positions = (self._mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        output = self.model(
            input_ids=ids,
            attention_mask=self._mask,
            position_ids=positions,
            past_key_values=self._past,
            use_cache=True,
            logits_to_keep=1,
        )
        self._past = output.past_key_values
        logits: Tensor = output.logits[:, -1]
        return logits
