"""How answers are judged: exact match and F1 over normalised words, as in SQuAD's and HotpotQA's scripts."""

from __future__ import annotations

import re
import string
from collections import Counter

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_CLOSED = frozenset({"yes", "no", "noanswer"})  # such answers are right or wrong, never partly right


def normalise(text: str) -> str:
    """Lower case, no punctuation, no articles, single spaces."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(answer: str, wanted: str) -> float:
    """1 if both are the same after normalising, else 0."""
    return float(normalise(answer) == normalise(wanted))


def f1_score(answer: str, wanted: str) -> float:
    """The harmonic mean of precision and recall of the words, 0..1, higher is better; order does not count."""
    given, right = normalise(answer), normalise(wanted)
    if given != right and (given in _CLOSED or right in _CLOSED):
        return 0.0
    given_words, right_words = given.split(), right.split()
    shared = (Counter(given_words) & Counter(right_words)).total()
    if not shared:
        return float(given == right)
    precision, recall = shared / len(given_words), shared / len(right_words)
    return 2 * precision * recall / (precision + recall)
