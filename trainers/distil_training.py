"""The updates of a distillation: cross-entropy of the sampled tokens, or KL from the teacher at the same places."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Iterator, Sequence
from enum import StrEnum

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from reskill_agents.trainers.distil_pairs import Pair
from reskill_agents.trainers.rows import Row

_LAST_RATE = 0.1  # share of the rate that is left at the end
_MAX_NORM = 1.0


class DistilLoss(StrEnum):
    """``kl``: to the teacher's distribution at every sampled token. ``ce``: the sampled tokens themselves."""

    KL = "kl"
    CE = "ce"


def train_pairs(
    model: PreTrainedModel,
    pairs: Sequence[Pair],
    *,
    loss: DistilLoss,
    epochs: int,
    lr: float,
    batch_tokens: int,
    temperature: float,
    rng: random.Random,
) -> Iterator[float]:
    """Train ``model`` in place; the mean loss of each epoch, nats a sampled token.

    Args:
        model: the student; its weights at the start are the teacher's.
        pairs: what to train on.
        epochs: passes over them in random order.
        lr: AdamW's rate, falling linearly to a tenth.
        batch_tokens: padded tokens a batch at most.
        temperature: of both distributions.
    """
    teacher = copy.deepcopy(model).train(False) if loss is DistilLoss.KL else None
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.0)
    model.train()
    total = epochs * len(_batches(pairs, batch_tokens, random.Random(0)))
    done = 0
    for _ in range(epochs):
        batches = _batches(pairs, batch_tokens, rng)
        spent = tokens = 0.0
        for batch in batches:
            for group in optimizer.param_groups:
                group["lr"] = lr * (1 - (1 - _LAST_RATE) * done / max(total, 1))
            mean, count = _loss(model, teacher, batch, temperature)
            mean.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), _MAX_NORM)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            spent, tokens, done = spent + mean.item() * count, tokens + count, done + 1
        yield spent / tokens if tokens else math.nan
    model.train(False)


def _loss(
    model: PreTrainedModel, teacher: PreTrainedModel | None, batch: Sequence[Pair], temperature: float
) -> tuple[Tensor, int]:
    """(mean loss, tokens) of a batch."""
    logits, tokens = trained_logits(model, [pair.student for pair in batch])
    student = functional.log_softmax(logits.float() / temperature, dim=-1)
    if teacher is None:
        return functional.nll_loss(student, tokens), len(tokens)
    with torch.no_grad():
        told, _ = trained_logits(teacher, [pair.teacher for pair in batch])
        target = functional.log_softmax(told.float() / temperature, dim=-1)
    return functional.kl_div(student, target, reduction="batchmean", log_target=True), len(tokens)


def trained_logits(model: PreTrainedModel, rows: Sequence[Row]) -> tuple[Tensor, Tensor]:
    """Logits (N, V) before each trained token of ``rows`` in order, and the tokens (N,)."""
    width = max(len(row.token_ids) for row in rows)
    ids = torch.zeros((len(rows), width), dtype=torch.long)
    trained = torch.zeros((len(rows), width), dtype=torch.bool)
    for number, row in enumerate(rows):  # padding stands behind everything a causal model looks at
        ids[number, : len(row.token_ids)] = torch.tensor(row.token_ids)
        trained[number, : len(row.trained)] = torch.tensor(row.trained)
    device = next(model.parameters()).device
    logits = model(input_ids=ids.to(device)).logits[:, :-1]
    places = trained[:, 1:].to(device)
    return logits[places], ids[:, 1:].to(device)[places]


def _batches(pairs: Sequence[Pair], batch_tokens: int, rng: random.Random) -> list[list[Pair]]:
    """Batches of episodes of about the same length, in random order."""
    jittered = sorted(pairs, key=lambda pair: len(pair.teacher.token_ids) + rng.random())
    batches: list[list[Pair]] = []
    for pair in jittered:
        width = max(len(pair.teacher.token_ids), len(pair.student.token_ids))
        if batches and (len(batches[-1]) + 1) * width <= batch_tokens:
            batches[-1].append(pair)
        else:
            batches.append([pair])
    rng.shuffle(batches)
    return batches
