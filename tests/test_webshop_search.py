"""Search ranks like the original's Lucene index."""

from __future__ import annotations

import math

import pytest

from reskill_agents.envs.webshop_search import STOP_WORDS, Analyser, SearchIndex, encode_length


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("The women's Running shoes", ["women", "run", "shoe"]),
        ("USB-C 10.5 inch, 2,000 mAh", ["usb", "c", "10.5", "inch", "2,000", "mah"]),
        ("PS4/5 don't v.2", ["ps4", "5", "don't", "v", "2"]),
        ("to be or not to be", []),
    ],
)
def test_text_becomes_porter_stems_without_stop_words(text: str, terms: list[str]) -> None:
    assert Analyser().terms(text) == terms


def test_there_are_33_stop_words() -> None:
    assert len(STOP_WORDS) == 33


@pytest.mark.parametrize(
    ("length", "kept"), [(0, 0), (23, 23), (24, 24), (39, 39), (40, 40), (41, 40), (57, 56), (63, 60), (1000, 984)]
)
def test_document_lengths_keep_four_significant_bits(length: int, kept: int) -> None:
    assert encode_length(length) == kept


def test_scores_follow_the_bm25_formula() -> None:
    index = SearchIndex(["red red chair", "chair", "blue table lamp"])
    average = 7 / 3
    idf = math.log(1 + (3 - 1 + 0.5) / (1 + 0.5))  # "red" is in one of three documents
    expected = idf * 2 / (2 + 0.9 * (1 - 0.4 + 0.4 * 3 / average))
    assert index.scores("red") == pytest.approx([expected, 0.0, 0.0])


def test_a_repeated_query_word_counts_twice() -> None:
    index = SearchIndex(["red chair", "blue chair"])
    assert index.scores("red red")[0] == pytest.approx(2 * index.scores("red")[0])


def test_ties_go_to_document_order_and_misses_are_absent() -> None:
    index = SearchIndex(["lamp", "red chair", "red table", "red stool"])
    assert index.search("red") == (1, 2, 3)
    assert index.search("red", limit=2) == (1, 2)
    assert index.search("sofa") == ()
    assert index.search("the") == ()


def test_at_most_50_hits() -> None:
    assert len(SearchIndex(["red chair"] * 80).search("red")) == 50


def test_a_better_document_beats_document_order_beyond_the_limit() -> None:
    index = SearchIndex([*["red chair"] * 60, "red red red"])
    assert index.search("red", limit=5)[0] == 60


def test_an_index_without_words_finds_nothing() -> None:
    assert SearchIndex(["", "the"]).search("chair") == ()
