"""A toy world, a toy tokenizer and a toy policy for the tests."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from reskill_agents.environment import Choice, Observation, StepResult, Task

WORDS = tuple(
    re.findall(
        r"\S+",
        "you press buttons answer with the number of one choice room red green blue lamp button same choices invalid "
        'action holds no is not one of : > < / = " ` . , ** * # - skill name when to use take before after every task '
        "names a it press first then never twice door open closed start system user assistant be quick here "
        "0 1 2 3 4 5 6 7 8 9 10",
    )
)
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def word_tokenizer(words: Sequence[str] = WORDS) -> PreTrainedTokenizerFast:
    """Whole words over a closed vocabulary, ChatML around them."""
    special = ["<pad>", "<unk>", "<|im_start|>", "<|im_end|>", "\n"]
    vocabulary = {word: index for index, word in enumerate(dict.fromkeys([*special, *words]))}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split("\n", "isolated"), pre_tokenizers.Split(" ", "removed"), pre_tokenizers.Punctuation()]
    )
    backend.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        unk_token="<unk>",
        eos_token="<|im_end|>",
        additional_special_tokens=["<|im_start|>"],
        chat_template=CHATML,
    )


SPECIAL = re.findall(
    r"\S+",
    "<pad> <s> </s> <bos> <eos> <|begin_of_text|> <|endoftext|> <|im_start|> <|im_end|> <start_of_turn> <end_of_turn> "
    "<|start_header_id|> <|end_header_id|> <|eot_id|> <|eom_id|> [INST] [/INST] [AVAILABLE_TOOLS] [/AVAILABLE_TOOLS] "
    "[TOOL_CALLS] [TOOL_RESULTS] [/TOOL_RESULTS]",
)
TEMPLATES = Path(__file__).parent / "templates"


def byte_tokenizer(template: str) -> PreTrainedTokenizerFast:
    """Bytes and the special tokens of the committed templates; ``template`` names one of them."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE({symbol: index for index, symbol in enumerate(alphabet)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    bos, eos = {
        "gemma": ("<bos>", "<eos>"),
        "gemma3": ("<bos>", "<eos>"),
        "llama3_1": ("<|begin_of_text|>", "<|eot_id|>"),
        "mistral": ("<s>", "</s>"),
    }.get(template, (None, "<|im_end|>"))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", bos_token=bos, eos_token=eos, additional_special_tokens=SPECIAL
    )
    tokenizer.add_tokens(["<think>", "</think>", "<tool_call>", "</tool_call>"])
    tokenizer.chat_template = (TEMPLATES / f"{template}.jinja").read_text()
    return tokenizer


@dataclass
class ButtonRoom:
    """Press the button that the task names within a few steps; score 1, half for a neighbour."""

    presses: int = 0
    task: Task = field(default_factory=lambda: Task("none", "red"))
    choices: tuple[Choice, ...] = tuple(Choice(f"press[{c}]", c) for c in ("red", "green", "blue"))

    def reset(self, task: Task, *, seed: int) -> Observation:
        self.task, self.presses = task, 0
        return Observation(f"room start task : {task.text}", self.choices, task.text)

    def step(self, action: str) -> StepResult:
        self.presses += 1
        if action == f"press[{self.task.text}]":
            return StepResult(Observation("room door open", self.choices), done=True, score=1.0)
        known = any(choice.action == action for choice in self.choices)
        return StepResult(Observation("room door closed", self.choices), score=0.25 if known else 0.0, valid=known)
