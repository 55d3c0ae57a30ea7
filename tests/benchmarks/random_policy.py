"""Policies of any size that play alike whatever they read: random weights, and an answer that is a number.

For benchmarks in which skills must not change what is played, only what is read. The tokenizer is the stand-in's, or an
ordinary one: byte-level BPE of 8,000 tokens trained on the reference that comes with Python (``pydoc_data.topics``),
which knows neither the shop nor the skills. On pages and skills of the shop it gives a third more tokens than that of
Mistral NeMo (131,000 entries), on skill text a little more so (72 to 47; a page of results 760 to 593).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from pydoc_data import topics

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast, Qwen3ForCausalLM

from reskill_agents.action_format import ActionFormat
from reskill_agents.envs.webshop import WebShopWorld
from reskill_agents.graphs.messages import system_text
from reskill_agents.trainers.standin import StandinSize, policy_config
from reskill_agents.trainers.standin_tokenizer import (
    ASSISTANT,
    END,
    PAD,
    SYSTEM,
    USER,
    build_tokenizer,
    chat_template,
)

EQUAL = (1.0,) * 9
_BIAS = 6.0  # logits by which the numbers lead
_VOCABULARY = 8000


def closed_tokenizer(world: WebShopWorld, max_length: int) -> PreTrainedTokenizerBase:
    """The stand-in's: the words of the compact pages."""
    system = system_text(world.system_prompt(), ActionFormat.NUMBERED).splitlines()
    return build_tokenizer(world.vocabulary(), system, max_label=64, max_length=max_length)


def ordinary_tokenizer(max_length: int) -> PreTrainedTokenizerBase:
    """Byte-level BPE of plain English with the stand-in's chat template. Takes two seconds."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY,
        special_tokens=[PAD, SYSTEM, USER, ASSISTANT, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(topics.topics.values(), trainer)
    fast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=[SYSTEM, USER, ASSISTANT],
        model_max_length=max_length,
    )
    fast.chat_template = chat_template()
    return fast


def write_policy(
    folder: Path, tokenizer: PreTrainedTokenizerBase, size: StandinSize, shares: Sequence[float] = EQUAL
) -> int:
    """Write a policy whose next token is the number ``n`` in proportion to ``shares[n - 1]``; its parameters."""
    torch.manual_seed(0)
    model = Qwen3ForCausalLM(policy_config(tokenizer, size, tied=False))
    with torch.no_grad():  # a large constant survives the normalisation as a bias for the head
        model.model.embed_tokens.weight[:, 0] = 1.0
        model.lm_head.weight[:, 0] = -_BIAS / size.hidden**0.5
        for number, share in enumerate(shares, 1):
            token = tokenizer.convert_tokens_to_ids(str(number))
            model.lm_head.weight[token, 0] = (_BIAS + math.log(share)) / size.hidden**0.5
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return sum(parameter.numel() for parameter in model.parameters())
