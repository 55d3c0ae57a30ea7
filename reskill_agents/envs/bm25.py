"""Ranked search as Lucene does it: BM25 over an inverted index, for any world that searches texts.

English analysis: split at word boundaries, drop possessives, lower case, Lucene's 33 stop words, Porter stems.
Document lengths are kept in one lossy byte, as Lucene keeps them; ties go to document order.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import Stemmer

K1 = 0.9  # pyserini's defaults
B = 0.4
MAX_HITS = 50

STOP_WORDS = frozenset(
    """a an and are as at be but by for if in into is it no not of on or such that the their then there these they
    this to was will with""".split()
)
_TOKEN = re.compile(r"[^\W_]+(?:(?<=[^\W\d_])['’.:](?=[^\W\d_])[^\W_]+|(?<=\d)['’.,](?=\d)[^\W_]+|_+[^\W_]+)*")
_POSSESSIVE = re.compile(r"['’]s$")
_FREE_VALUES = 24  # lengths below this are exact in Lucene's byte


def encode_length(length: int) -> int:
    """Lucene's ``SmallFloat.byte4ToInt(intToByte4(length))``: ``length`` after one lossy byte; never larger."""
    if length < _FREE_VALUES:
        return length
    rest = length - _FREE_VALUES
    shift = max(rest.bit_length() - 4, 0)
    return _FREE_VALUES + ((rest >> shift) << shift)


class Analyser:
    """Text to index terms."""

    def __init__(self) -> None:
        stemmer = Stemmer.Stemmer("porter")
        self._stem = lru_cache(maxsize=100_000)(stemmer.stemWord)

    def terms(self, text: str) -> list[str]:
        """The stems of ``text`` in order, stop words dropped."""
        words = (_POSSESSIVE.sub("", word) for word in _TOKEN.findall(text.lower()))
        return [self._stem(word) for word in words if word not in STOP_WORDS]

    def stem(self, word: str) -> str:
        """The Porter stem of one lower-case word."""
        return str(self._stem(word))


class SearchIndex:
    """BM25 over documents numbered from 0. About 1 ms a query at 100,000 documents."""

    def __init__(self, documents: Iterable[str]) -> None:
        self._analyser = Analyser()
        vocabulary: dict[str, int] = {}
        terms, docs, counts, lengths = array("i"), array("i"), array("i"), array("i")
        for number, document in enumerate(documents):
            found = self._analyser.terms(document)
            lengths.append(len(found))
            for term, count in Counter(found).items():
                terms.append(vocabulary.setdefault(term, len(vocabulary)))
                docs.append(number)
                counts.append(count)
        self.size = len(lengths)
        self._vocabulary = vocabulary
        self._build(*(np.array(column, np.int32) for column in (terms, docs, counts, lengths)))
        self._cached = lru_cache(maxsize=20_000)(self._rank)

    def _build(
        self,
        terms: npt.NDArray[np.int32],
        docs: npt.NDArray[np.int32],
        counts: npt.NDArray[np.int32],
        lengths: npt.NDArray[np.int32],
    ) -> None:
        """Postings sorted by term: entry i of term t says how much document ``_docs[i]`` gains from t."""
        average = float(lengths.mean()) if len(lengths) else 1.0
        lossy = np.asarray([encode_length(int(length)) for length in lengths], np.float64)
        norm = K1 * (1 - B + B * lossy / max(average, 1.0))
        order = np.argsort(terms, kind="stable")
        self._docs = docs[order]
        count = counts[order].astype(np.float64)
        self._starts = np.searchsorted(terms[order], np.arange(len(self._vocabulary) + 1))
        frequency = np.diff(self._starts)
        idf = np.log(1 + (self.size - frequency + 0.5) / (frequency + 0.5))
        self._weights = count / (count + norm[self._docs]) * np.repeat(idf, frequency)

    def search(self, query: str, limit: int = MAX_HITS) -> tuple[int, ...]:
        """Numbers of the best documents, best first; documents that share no term with the query never appear."""
        return self._cached(query, limit)

    def scores(self, query: str) -> npt.NDArray[np.float32]:
        """The BM25 score of every document, shape (documents,), float32 as in Lucene; higher is better."""
        totals = np.zeros(self.size, np.float64)
        for term, count in Counter(self._analyser.terms(query)).items():
            number = self._vocabulary.get(term)
            if number is not None:
                span = slice(self._starts[number], self._starts[number + 1])
                totals[self._docs[span]] += count * self._weights[span]
        return totals.astype(np.float32)

    def _rank(self, query: str, limit: int) -> tuple[int, ...]:
        scores = self.scores(query)
        hits = np.flatnonzero(scores)
        if len(hits) > limit:
            found = scores[hits]
            bar = np.partition(found, len(found) - limit)[len(found) - limit]
            hits = hits[found >= bar]
        order = np.argsort(-scores[hits], kind="stable")[:limit]
        return tuple(int(number) for number in hits[order])
