"""The shop's search: Lucene's ranking over the products' documents, at most 50 hits, as in the original."""

from __future__ import annotations

from reskill_agents.envs.bm25 import MAX_HITS, STOP_WORDS, Analyser, SearchIndex, encode_length

__all__ = ["MAX_HITS", "STOP_WORDS", "Analyser", "SearchIndex", "encode_length"]
