"""Muon (Jordan et al. 2024): momentum whose direction is orthogonalised, for the matrices inside a network.

Following advice is learned in sudden steps; on the stand-in they came three to five times sooner than with AdamW alone
(measured by updates). Embeddings and vectors stay with AdamW.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

_A, _B, _C = 3.4445, -4.7750, 2.0315  # quintic Newton-Schulz coefficients of the reference implementation


def orthogonalised(matrix: torch.Tensor, *, steps: int = 5) -> torch.Tensor:
    """Roughly U V^T of ``matrix`` = U S V^T: all singular values brought to about 1 by Newton-Schulz iterations."""
    tall = matrix.size(0) > matrix.size(1)
    x: torch.Tensor = (matrix.mT if tall else matrix) / (matrix.norm() + 1e-7)
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
        self._state = [(parameter, torch.zeros_like(parameter)) for parameter in parameters]

    @torch.no_grad()
    def step(self) -> None:
        """One update from the gradients; parameters without one stay."""
        for parameter, average in self._state:
            gradient = parameter.grad
            if gradient is None:
                continue
            average.lerp_(gradient, 1 - self._momentum)
            direction = orthogonalised(gradient.lerp(average, self._momentum))
            stretch = max(1.0, parameter.size(0) / parameter.size(1)) ** 0.5
            parameter.mul_(1 - self.lr * self._decay).add_(direction, alpha=-self.lr * stretch)
