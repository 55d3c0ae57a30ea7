"""A tiny policy that calls tools, cloned from a scripted teacher inside a graph: for examples and tests on a CPU.

The teacher plays the graph itself, sub-agents included; what it says is recorded to the token and cloned. Its vocabulary
is closed: a word is a token, and so are the opening of a call of each tool and its end, so that a call is three tokens.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from langchain_core.messages import HumanMessage
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from reskill_agents.engine import GenerateRequest
from reskill_agents.engines.fake import FakeEngine
from reskill_agents.engines.transformers import TransformersEngine
from reskill_agents.graphs.chat_model import PolicyChatModel
from reskill_agents.graphs.chat_templates import ChatTokenizer
from reskill_agents.graphs.recorder import record_calls
from reskill_agents.trainers.cloning import CloneBudget, clone
from reskill_agents.trainers.encoding import EncodedEpisode
from reskill_agents.trainers.trie import TokenPath, paths_of

_ROLES = ("<|system|>", "<|user|>", "<|tool|>", "<|assistant|>")
_END, _CLOSE = "<|end|>", '"}}</tool_call>'
_TEMPLATE = (
    "{%- for m in messages -%}{%- if m.role == 'assistant' -%}<|assistant|>{{ m.content }}"
    "{%- for c in m.tool_calls or [] -%}"
    '<tool_call>{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}</tool_call>'
    "{%- endfor -%}<|end|>{%- else -%}<|{{ m.role }}|>{{ m.content }}{%- endif -%}{%- endfor -%}"
    "{%- if add_generation_prompt -%}<|assistant|>{%- endif -%}"
)
_CONTEXT = 256

Teacher = Callable[[list[str], random.Random], str]
"""What to answer to a prompt, given as its tokens; the last one opens the answer."""


class Playable(Protocol):
    """A compiled graph over messages."""

    async def ainvoke(self, input: Any, config: Any = None) -> Any:
        """Run it."""
        ...


@dataclass(frozen=True)
class CallGrammar:
    """The closed language of a tiny tool caller.

    Args:
        words: every word that questions, arguments and results can hold.
        tools: names of tools, which all take one text argument called ``argument``.
    """

    words: Sequence[str]
    tools: Sequence[str]
    argument: str = "item"

    def call(self, tool: str, value: str) -> str:
        """The answer that calls ``tool``."""
        return f"{self._open(tool)}{value}{_CLOSE}"

    def _open(self, tool: str) -> str:
        return f'<tool_call>{{"name": "{tool}", "arguments": {{"{self.argument}": "'

    def tokenizer(self) -> PreTrainedTokenizerFast:
        """A word-level tokenizer with a chat template; offered tools are not written out."""
        phrases = [*(self._open(tool) for tool in self.tools), _CLOSE]
        entries = dict.fromkeys(["<pad>", "<unk>", *_ROLES, _END, *phrases, *self.words])
        backend = Tokenizer(models.WordLevel({text: index for index, text in enumerate(entries)}, unk_token="<unk>"))
        parts = [*(re.escape(phrase) for phrase in sorted(phrases, key=len, reverse=True)), r'[^\s<>"{}]+']
        backend.pre_tokenizer = pre_tokenizers.Split(Regex("|".join(parts)), behavior="removed", invert=True)
        backend.decoder = decoders.Fuse()
        fast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
            tokenizer_object=backend,
            pad_token="<pad>",
            unk_token="<unk>",
            eos_token=_END,
            additional_special_tokens=list(_ROLES),
            model_max_length=_CONTEXT,
            clean_up_tokenization_spaces=False,
        )
        fast.chat_template = _TEMPLATE
        return fast


async def clone_tool_caller(
    folder: Path,
    grammar: CallGrammar,
    graph_over: Callable[[PolicyChatModel], Playable],
    questions: Sequence[str],
    teacher: Teacher,
    *,
    demos: int = 300,
    steps: int = 300,
    seed: int = 0,
) -> Path:
    """Write a policy to ``folder`` (Hugging Face layout) that does in the graph what ``teacher`` does, chances included.

    Args:
        graph_over: the graph with a given model.
        questions: what users ask; ``demos`` are drawn from them.
        steps: updates of the cloning at most.
    """
    tokenizer, rng = grammar.tokenizer(), random.Random(seed)
    chat = ChatTokenizer(tokenizer)

    def script(request: GenerateRequest) -> tuple[int, ...]:
        prompt = [str(token) for token in tokenizer.convert_ids_to_tokens(list(request.prompt_ids))]
        return (*chat.encode(teacher(prompt, rng)), chat.end_id)

    graph = graph_over(_policy(FakeEngine(len(tokenizer), script, max_context=_CONTEXT), chat))
    paths: list[TokenPath] = []
    for number in range(demos):
        with record_calls(f"demo-{number}") as recorder:
            await graph.ainvoke({"messages": [HumanMessage(rng.choice(questions))]})
        paths += paths_of(recorder.calls)
    model = _random_model(len(tokenizer), chat.end_id, seed)
    clone(model, _Demos([_encoded(path) for path in paths], rng), CloneBudget(max_seconds=120.0, max_steps=steps))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def load_tool_caller(folder: Path, *, seed: int = 0) -> PolicyChatModel:
    """The policy of such a folder over an engine in this process."""
    return _policy(TransformersEngine(folder, seed=seed), ChatTokenizer(AutoTokenizer.from_pretrained(folder)))


def _policy(engine: FakeEngine | TransformersEngine, chat: ChatTokenizer) -> PolicyChatModel:
    return PolicyChatModel(engine=engine, tokenizer=chat, max_tokens=5)


def _random_model(vocabulary: int, end_id: int, seed: int) -> Qwen3ForCausalLM:
    config = Qwen3Config(
        vocab_size=vocabulary,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=16,
        max_position_embeddings=_CONTEXT,
        tie_word_embeddings=True,
        pad_token_id=0,
        eos_token_id=end_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Qwen3ForCausalLM(config)


def _encoded(path: TokenPath) -> EncodedEpisode:
    positions = tuple(index - 1 for index, on in enumerate(path.trained) if on)
    return EncodedEpisode(tuple(path.token_ids), positions, (1.0,) * len(positions))


@dataclass(frozen=True)
class _Demos:
    """Random batches of demonstrations."""

    episodes: Sequence[EncodedEpisode]
    rng: random.Random
    size: int = 64

    def batch(self, share: float) -> Sequence[EncodedEpisode]:
        """The next batch."""
        return self.rng.choices(self.episodes, k=self.size)
