"""The self-check after every publish: the engine must score and sample as the trainer's weights do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import nn

from reskill_agents.engine import PolicyEngine
from reskill_agents.engines import probe
from reskill_agents.errors import EngineMismatch

Scorer = Callable[[Sequence[int], Sequence[int]], tuple[float, ...]]
"""Log-probs of tokens after a prompt, nats."""


@torch.no_grad()
def token_log_probs(model: nn.Module, prompt: Sequence[int], tokens: Sequence[int]) -> tuple[float, ...]:
    """Log-probs of ``tokens`` after ``prompt`` at temperature 1, nats, by one forward pass."""
    ids = torch.tensor([[*prompt, *tokens]], device=next(model.parameters()).device)
    logits = model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1].float()
    picked = torch.log_softmax(logits, dim=-1).gather(1, ids[0, len(prompt) :, None])
    return tuple(picked[:, 0].tolist())


async def check_engine_holds(
    model: nn.Module | Scorer, engine: PolicyEngine, version: int, *, tolerance: float
) -> float:
    """Compare engine and trainer on a fixed sequence, and on an answer to it that the engine samples.

    The first finds weights that were not loaded, the second also keys and values of older weights in a prefix cache.

    Args:
        model: the trainer's, or what scores with it.
        engine: was just given the model's weights as ``version``.
        version: see there.
        tolerance: nats.

    Returns:
        The largest difference of log-probs, nats.

    Raises:
        EngineMismatch: it is over the tolerance, or the engine samples with another version.
    """
    trainer = partial(token_log_probs, model) if isinstance(model, nn.Module) else model
    scored = await engine.score(probe.PROMPT, probe.CONTINUATION)
    asked = probe.sampling_probe(version)
    answer = await engine.generate(asked)
    if answer.version != version:
        raise EngineMismatch(f"version {version} was published, but the engine samples with version {answer.version}")
    of_scoring = probe.largest_gap(scored, trainer(probe.PROMPT, probe.CONTINUATION))
    of_sampling = probe.largest_gap(answer.logprobs, trainer(asked.prompt_ids, answer.token_ids))
    for gap, what in ((of_scoring, "scores"), (of_sampling, "samples")):
        if gap > tolerance:
            raise EngineMismatch(
                f"after version {version} was published the engine {what} a fixed probe {gap:.2g} nats off the trainer, "
                f"over {tolerance:.2g} (update.max_logprob_gap): it does not hold the trainer's weights, kept its prefix "
                "cache, or computes at another precision"
            )
    return max(of_scoring, of_sampling)
