"""Which words of a title are nouns, and which one says what the product is.

A committed, deterministic stand-in for the original's part-of-speech tagger (spaCy), which calls nearly every word of
a product title that is not a function word, number or plain adjective a noun.
"""

from __future__ import annotations

import re
from functools import lru_cache

_WORD = re.compile(r"[a-z](?:\.[a-z])+\.?|[a-z]+(?:['’][a-z]+)?")
_CUT = re.compile(r",|\||\(|\[|;|:|–| - |\b(?:with|for|by|in|of|from|to|that|and|w/)\b|&|\+|/|\d")
_FUNCTION = frozenset(
    """a an and are as at be but by can do for from has have if in into is it its my no not of off on or our out over
    per so such than that the their them then there these they this to under up use used was we when which will with
    without you your all any both each every more most other some very only also just plus new best""".split()
)
_ADJECTIVES = frozenset(
    """soft warm cool cold hot dry wet big small large medium little long short wide narrow thin thick light heavy dark
    bright black white red green blue yellow pink purple brown gray grey orange beige silver golden navy high low
    top free natural organic fresh pure raw sweet spicy strong easy quick fast slow safe gentle portable
    wireless waterproof adjustable reusable durable comfortable casual formal modern classic vintage elegant
    extra super ultra mini full half double single multi dual fit slim loose round square rectangular solid clear
    smart perfect ideal great good fine premium professional compatible non anti friendly unisex""".split()
)
_SUFFIXES = ("able", "ible", "less", "ful", "ous", "ive", "ish", "proof", "ly")
_HEAD_WORDS = 4  # of the head phrase


@lru_cache(maxsize=200_000)
def nouns(title: str) -> tuple[str, ...]:
    """The nouns of ``title`` in order, lower case, repeats kept."""
    return tuple(word for word in _WORD.findall(title.lower()) if _is_noun(word))


@lru_cache(maxsize=200_000)
def head_phrase(title: str) -> str:
    """The words that name the product: the last few before the title's first break, ending in a noun."""
    words = _WORD.findall(title.lower())
    for part in _CUT.split(title.lower()):
        found = _WORD.findall(part)
        while found and not _is_noun(found[-1]):
            found.pop()
        if len(found) > 1 or (found and len(words) == 1):
            return " ".join(found[-_HEAD_WORDS:])
    return " ".join(words[:_HEAD_WORDS])


def head_noun(title: str) -> str:
    """The last word of the head phrase in the singular: the product's type; empty for a title without letters."""
    word = head_phrase(title).rpartition(" ")[2]
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "shes", "ches", "xes")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith(("ss", "us", "is")) else word


def _is_noun(word: str) -> bool:
    if len(word) < 2 or word in _FUNCTION or word in _ADJECTIVES:
        return False
    return not (len(word) > 5 and word.endswith(_SUFFIXES))
