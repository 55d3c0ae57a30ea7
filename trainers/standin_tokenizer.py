"""The stand-in's tokenizer: whole words and set phrases of one world and of the grammar of advice.

Lossy by design: case, Markdown marks and punctuation are dropped, every skill fence is one token, and unknown words
become one unknown token. Phrases that never vary (a button's text, "that shares the most words with the task") are
single tokens, so that an episode stays short.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from importlib import resources

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from reskill_agents.action_format import SAME_CHOICES
from reskill_agents.directives import ActionClass, Criterion, Directive, Form, body_for
from reskill_agents.rendering import FENCE_CLOSE

SYSTEM, USER, ASSISTANT, END = "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"
PAD, UNKNOWN = "<|pad|>", "<|unknown|>"
SPECIAL_TOKENS = (PAD, UNKNOWN, SYSTEM, USER, ASSISTANT, END)
FENCE = "<skill>"  # any opening fence; the name of a skill says nothing to the stand-in
MAX_LABEL = 64  # choices a turn that can be answered
PHRASES = (
    "when to use",
    "as soon as it is offered",
    "choices are offered",
    "is offered",
    "take the one",
    "that shares the most words with the task",
    "listed first",
    "listed last",
    "the task names",
    "do not take",
    "never take",
    SAME_CHOICES,
)
_WORD = re.compile(r"[a-z0-9]+(?:[._'-][a-z0-9]+)*")
_OPEN_FENCE = r'<skill name="[^"]*">'


def words_of(text: str) -> list[str]:
    """The words of ``text`` as the tokenizer cuts it, without phrases."""
    return _WORD.findall(text.lower())


def grammar_words() -> list[str]:
    """Every word that a skill in the grammar's wording can hold beside the world's own words, in a fixed order."""
    slot, other = ActionClass("slot"), ActionClass("slot", named=True)
    forms = [Directive(Form.BEFORE, slot, other), Directive(Form.AFTER, slot, ActionClass("a"))]
    forms += [Directive(Form.AMONG, slot, criterion=criterion) for criterion in Criterion]
    forms += [Directive(Form.AVOID, slot), Directive(Form.AVOID, slot, mark="slot")]
    forms += [Directive(Form.SOON, slot), Directive(Form.ONCE, slot)]
    words = dict.fromkeys(word for form in forms for word in words_of(body_for(form)))
    words.pop("slot")
    return ["an", *(word for word in words if word != "an")]


def build_tokenizer(
    world_words: Sequence[str], phrases: Iterable[str] = (), *, max_label: int = MAX_LABEL, max_length: int = 2048
) -> PreTrainedTokenizerFast:
    """A word-level tokenizer.

    Args:
        world_words: every word of the world (:meth:`ScriptedWorld.vocabulary`); a text of several words counts as a phrase.
        phrases: further texts that become one token (constant system text, texts of recurring choices).
        max_label: numbers 1..``max_label`` are tokens.
        max_length: recorded as the tokenizer's longest context.
    """
    texts = [*PHRASES, *phrases, *world_words]
    known_phrases = dict.fromkeys(
        phrase for text in texts if len(words := words_of(text)) > 1 if (phrase := " ".join(words))
    )
    words = [word for text in [*world_words, *PHRASES, *phrases] for word in words_of(text)]
    labels = [str(number) for number in range(1, max_label + 1)]
    entries = dict.fromkeys([*SPECIAL_TOKENS, FENCE, FENCE_CLOSE, *labels, *grammar_words(), *words, *known_phrases])
    tokenizer = Tokenizer(models.WordLevel({text: index for index, text in enumerate(entries)}, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Lowercase(),
            normalizers.Replace(Regex(_OPEN_FENCE), f" {FENCE} "),
            normalizers.Replace(Regex(r"[^a-z0-9<>/\\._'\s-]+|(?<=\s)>(?=\s)"), " "),
            normalizers.Replace(Regex(r"[._'-]+(?=\s|$)|(?:^|(?<=\s))[._'-]+"), " "),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Strip(),
        ]
    )
    longest_first = sorted(known_phrases, key=len, reverse=True)
    boundary = "(?![a-z0-9])"
    parts = [FENCE, FENCE_CLOSE, *(re.escape(phrase) + boundary for phrase in longest_first), r"[^\s<>]+", r"[<>]"]
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("|".join(parts)), behavior="removed", invert=True)
    fast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        unk_token=UNKNOWN,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=[SYSTEM, USER, ASSISTANT],
        model_max_length=max_length,
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = chat_template()
    return fast


def chat_template() -> str:
    """The stand-in's chat template: role tokens, ``<|end|>`` after answers only, prefix preserving."""
    return resources.files("reskill_agents.skill_templates").joinpath("standin_chat.jinja").read_text(encoding="utf-8")
