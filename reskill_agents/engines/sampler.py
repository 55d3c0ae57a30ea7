"""Drawing tokens for a batch of calls, each with randomness of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from reskill_agents.engine import GenerateRequest, Generation
from reskill_agents.engines.sampling import uniforms


class RoundSampler:
    """The sampled tokens of one round and their log-probs."""

    def __init__(
        self,
        requests: Sequence[GenerateRequest],
        keys: Sequence[tuple[int, ...]],
        listeners: Sequence[Callable[[int], None] | None] = (),
    ) -> None:
        self._listeners = listeners
        self._params = [request.params for request in requests]
        self._draws = np.zeros((len(requests), max(params.max_tokens for params in self._params)))
        for i, (params, key) in enumerate(zip(self._params, keys, strict=True)):
            if params.temperature > 0:
                self._draws[i, : params.max_tokens] = uniforms(key, params.max_tokens)
        self._temperatures = torch.tensor([params.temperature or 1.0 for params in self._params])[:, None]
        self._greedy = torch.tensor([params.temperature == 0 for params in self._params])
        self.tokens: list[list[int]] = [[] for _ in requests]
        self.logprobs: list[list[float]] = [[] for _ in requests]

    def sample(self, logits: Tensor, calls: Sequence[int]) -> list[int]:
        """One token for each of ``calls`` from its row of ``logits``; the calls that go on.

        Inverts the cumulative distribution at a draw that belongs to (call, position): the plain softmax.
        """
        index = torch.tensor(calls)
        logprobs = torch.log_softmax(logits.float() / self._temperatures[index].to(logits.device), dim=-1)
        draw = torch.from_numpy(self._draws[list(calls), [len(self.tokens[i]) for i in calls]]).to(logits.device)
        cumulative = logprobs.double().exp().cumsum(-1)
        picked = torch.searchsorted(cumulative, draw[:, None] * cumulative[:, -1:], right=True)
        picked = picked.clamp(max=logprobs.shape[-1] - 1)
        greedy = self._greedy[index].to(logits.device)
        if greedy.any():
            picked = torch.where(greedy[:, None], logprobs.argmax(-1, keepdim=True), picked)
        values = logprobs.gather(1, picked)[:, 0].tolist()
        going = []
        for call, token, value in zip(calls, picked[:, 0].tolist(), values, strict=True):
            self.tokens[call].append(token)
            self.logprobs[call].append(value)
            if self._listeners and (listener := self._listeners[call]) is not None:
                listener(token)
            params = self._params[call]
            if token not in params.stop_ids and len(self.tokens[call]) < params.max_tokens:
                going.append(call)
        return going

    def generations(self, version: int) -> list[Generation]:
        """The finished calls, in the order of the requests."""
        return [
            Generation(tuple(tokens), tuple(logprobs), version, "stop" if tokens[-1] in params.stop_ids else "length")
            for tokens, logprobs, params in zip(self.tokens, self.logprobs, self._params, strict=True)
        ]
