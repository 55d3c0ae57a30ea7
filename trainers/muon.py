"""Muon (Jordan et al. 2024): momentum whose direction is orthogonalised, for the matrices inside a network.

Following advice is learned in sudden steps; on the stand-in they came three to five times sooner than with AdamW alone
(measured by updates). Embeddings and vectors stay with AdamW.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

import torch

_A, _B, _C = 3.4445, -4.7750, 2.0315  # quintic Newton-Schulz coefficients of the reference implementation


def orthogonalised(matrices: torch.Tensor, *, steps: int = 5) -> torch.Tensor:
    """Roughly U V^T of each M = U S V^T: all singular values brought to about 1 by Newton-Schulz iterations.

    Args:
        matrices: (..., rows, columns).
        steps: iterations.
    """
    tall = matrices.size(-2) > matrices.size(-1)
    x: torch.Tensor = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = _A * x + (_B * gram + _C * gram @ gram) @ x
    return x.mT if tall else x


class Muon:
    """Updates 2-D parameters by orthogonalised Nesterov momentum with decoupled weight decay.

    Args:
        parameters: matrices.
        lr: step size; a row-heavy matrix steps sqrt(rows / columns) further, as in the reference.
        momentum: of the gradient.
        weight_decay: decoupled.
    """

    def __init__(
        self, parameters: Iterable[torch.nn.Parameter], *, lr: float, momentum: float = 0.95, weight_decay: float = 0.01
    ) -> None:
        self.lr, self._momentum, self._decay = lr, momentum, weight_decay
        alike: dict[tuple[int, ...], list[torch.nn.Parameter]] = {}
        for parameter in parameters:
            alike.setdefault(tuple(parameter.shape), []).append(parameter)
        self._groups = [(group, torch.zeros(len(group), *shape)) for shape, group in alike.items()]

    @torch.no_grad()
    def step(self) -> None:
        """One update from the gradients, which every parameter must have. Matrices of one shape go together."""
        for group, average in self._groups:
            gradients = torch.stack([cast("torch.Tensor", parameter.grad) for parameter in group])
            average.lerp_(gradients, 1 - self._momentum)
            directions = orthogonalised(gradients.lerp_(average, self._momentum))
            stretch = max(1.0, group[0].size(0) / group[0].size(1)) ** 0.5
            for parameter, direction in zip(group, directions, strict=True):
                parameter.mul_(1 - self.lr * self._decay).add_(direction, alpha=-self.lr * stretch)

    def state(self) -> list[torch.Tensor]:
        """The gathered momentum, one tensor (matrices, rows, columns) a shape."""
        return [average for _, average in self._groups]

    def restore(self, state: Sequence[torch.Tensor]) -> None:
        """Go on from :meth:`state`."""
        for (_, average), kept in zip(self._groups, state, strict=True):
            average.copy_(kept)
