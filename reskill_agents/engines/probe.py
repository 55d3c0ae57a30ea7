"""A fixed sequence whose log-probs tell whether two holders of a policy hold the same weights."""

from __future__ import annotations

from collections.abc import Sequence

from reskill_agents.engine import GenerateRequest, SamplingParams

PROMPT = (3, 1, 4, 1, 5, 9, 2, 6)  # ids below 10: every vocabulary has them
CONTINUATION = (5, 3, 5, 8, 9, 7, 9, 3, 2, 3, 8, 4)
TOLERANCE = 1e-3  # nats, float32; against a real vLLM 1e-6 was measured (tests/benchmarks/results/vllm.md)
_SAMPLED = 4


def sampling_probe(version: int) -> GenerateRequest:
    """A call with the whole sequence as prompt: it goes the way of rollouts, prefix cache included."""
    return GenerateRequest("probe", PROMPT + CONTINUATION, SamplingParams(1.0, _SAMPLED), (version, 0x70726F6265))


def largest_gap(one: Sequence[float], other: Sequence[float]) -> float:
    """The largest difference of two sequences of log-probs, nats; infinite where a number is missing or no number."""
    if len(one) != len(other):
        return float("inf")
    gaps = [abs(a - b) for a, b in zip(one, other, strict=True)]
    return max(gaps, default=0.0) if all(gap == gap for gap in gaps) else float("inf")
