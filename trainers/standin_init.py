"""How the stand-in's weights start: random, with two habits that small models otherwise spend most of cloning to find.

Some heads of the first layer look at the tokens just before (a choice's label has to know the choice), and words that
count something (``x0``, ``x1``, ...) lie on a line. Both only change where training starts; with them the share of advice
followed after five minutes on two cores rose from 0.84 to 0.93 (measured on validation episodes, one seed).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM
    from transformers.models.qwen3.modeling_qwen3 import Qwen3DecoderLayer

OFFSETS = (1, 2)  # how far back the local heads look
_SHARED = 0.25  # length of the part all embeddings share, by which the local heads know nothing but positions
_STRENGTH = 3.0
_SHARPNESS = 2.0  # factor on the first layer's attention scores
_FREQUENCIES = 4  # the fastest rotations tell neighbours apart
_COUNT_LENGTH = 0.4  # of the difference between the smallest count and the middle one
_COUNT = re.compile(r"([a-z]+)(\d+)")


@torch.no_grad()
def give_local_heads(model: Qwen3ForCausalLM, offsets: Sequence[int] = OFFSETS, *, seed: int = 0) -> None:
    """Let the first heads of the first layer attend to the token ``offsets[head]`` positions before.

    With rotary embeddings a query that is the same everywhere, and a key turned by ``offset``, score highest there.
    """
    config, attention = model.config, cast("Sequence[Qwen3DecoderLayer]", model.model.layers)[0].self_attn
    width, embeddings = config.head_dim, model.model.embed_tokens.weight
    shared = _direction(config.hidden_size, seed)
    own = embeddings.norm(dim=1).mean()
    embeddings.add_(_SHARED * shared)
    seen = _SHARED / (_SHARED**2 + own**2).sqrt() * config.hidden_size**0.5  # of it, after the layer's norm
    rates = cast("torch.Tensor", model.model.rotary_emb.inv_freq)[:_FREQUENCIES]
    fast, turned = slice(0, len(rates)), slice(width // 2, width // 2 + len(rates))
    for head, offset in enumerate(offsets):
        query, key = torch.zeros(width), torch.zeros(width)
        query[fast] = 1.0
        key[fast], key[turned] = (rates * offset).cos(), (rates * offset).sin()
        rows = slice(head * width, (head + 1) * width)
        attention.q_proj.weight[rows] += torch.outer(query, shared) * _STRENGTH / seen
        attention.k_proj.weight[rows] += torch.outer(key, shared) * _STRENGTH / seen
    for norm in (attention.q_norm, attention.k_norm):
        cast("torch.Tensor", norm.weight).mul_(_SHARPNESS**0.5)


@torch.no_grad()
def put_counts_on_a_line(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, *, seed: int = 1) -> None:
    """Move the embeddings of each series of tokens that counts from zero (``x0``, ``x1``, ...) apart in one direction."""
    series: dict[str, dict[int, int]] = defaultdict(dict)
    for token, index in tokenizer.get_vocab().items():
        if match := _COUNT.fullmatch(token):
            series[match[1]][int(match[2])] = index
    embeddings = model.model.embed_tokens.weight
    for number, prefix in enumerate(sorted(series)):
        counts = series[prefix]
        if 0 in counts and len(counts) > 2:
            direction = _direction(embeddings.size(1), seed + number)
            for count, index in counts.items():
                embeddings[index] += _COUNT_LENGTH * (2 * count / max(counts) - 1) * direction


def _direction(size: int, seed: int) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(size, generator=torch.Generator().manual_seed(seed)), dim=0)
