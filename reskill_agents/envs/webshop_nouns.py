"""Which words of a title are nouns: a committed, deterministic stand-in for the original's part-of-speech tagger."""

from __future__ import annotations

import re
from functools import lru_cache

_WORD = re.compile(r"[a-z]+(?:'[a-z]+)?")
_FUNCTION = frozenset(
    "a an and are as at be but by can do for from has have if in into is it its my no not of off on or our out over per "
    "so such than that the their them then there these they this to under up use used was we when which will with "
    "without you your all any both each every more most other some very only also just plus new best".split()
)
_ADJECTIVES = frozenset(
    "soft warm cool cold hot dry wet big small large medium little long short wide narrow thin thick light heavy dark "
    "bright black white red green blue yellow pink purple brown gray grey orange beige silver golden rose navy high low "
    "top quality free natural organic fresh pure raw sweet spicy strong easy quick fast slow safe gentle portable "
    "wireless waterproof adjustable reusable durable comfortable casual formal modern classic vintage elegant "
    "extra super ultra mini full half double single multi dual fit slim loose round square rectangular solid clear "
    "smart perfect ideal great good fine premium professional compatible non anti eco friendly".split()
)
_SUFFIXES = ("able", "ible", "less", "ful", "ous", "ive", "ish", "proof", "free", "ly")


@lru_cache(maxsize=200_000)
def nouns(title: str) -> tuple[str, ...]:
    """The nouns of ``title`` in order, lower case, repeats kept."""
    return tuple(word for word in _WORD.findall(title.lower()) if _is_noun(word))


def _is_noun(word: str) -> bool:
    if len(word) < 2 or word in _FUNCTION or word in _ADJECTIVES:
        return False
    return not (len(word) > 5 and word.endswith(_SUFFIXES))
