"""A policy of a few thousand parameters that answers with random numbers from the start, without any cloning."""

from __future__ import annotations

from pathlib import Path

import torch
from toy_world import ToyWorld
from transformers import Qwen3Config, Qwen3ForCausalLM

from reskill_agents.trainers.standin_tokenizer import build_tokenizer

_CHOICES = 5  # what the toy world offers on a turn
_BIAS = 4.0  # logits by which these numbers lead


def tiny_policy(folder: Path, *, world: ToyWorld | None = None, seed: int = 0, head_dim: int = 16) -> Path:
    """Write the policy to ``folder``: one token an answer, mostly a number from 1 to 5 (use ``max_tokens=1``).

    Dimension 0 of every embedding is a large constant, so that it survives the normalisation as a bias for the head.
    vLLM wants a ``head_dim`` of 32 or more.
    """
    tokenizer = build_tokenizer((world or ToyWorld()).vocabulary(), max_label=8, max_length=512)
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=head_dim,
        max_position_embeddings=512,
        tie_word_embeddings=False,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    model = Qwen3ForCausalLM(config)
    numbers = tokenizer.convert_tokens_to_ids([str(number) for number in range(1, _CHOICES + 1)])
    with torch.no_grad():
        model.model.embed_tokens.weight[:, 0] = 1.0
        model.lm_head.weight[:, 0] = -_BIAS / 32**0.5
        model.lm_head.weight[numbers, 0] = _BIAS / 32**0.5
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
