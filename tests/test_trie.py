"""The prefix trie of model calls: every sampled token of a trace is trained exactly once, whatever the branching."""

from __future__ import annotations

import random

from reskill_agents.episodes import ModelCall
from reskill_agents.trainers.trie import TokenPath, paths_of


def random_calls(rng: random.Random) -> list[ModelCall]:
    """Calls over three tokens, so that prefixes meet often: continuations, branches, retries, cut-off histories.

    The log-prob of every sampled token is its own number, so that a token is known wherever it is trained.
    """
    histories: list[tuple[int, ...]] = [(0,)]
    calls: list[ModelCall] = []
    number = 0
    for _ in range(rng.randint(1, 8)):
        base = rng.choice(histories)
        prompt = (*base[: rng.randint(1, len(base))], *(rng.randrange(3) for _ in range(rng.randint(0, 3))))
        sampled = tuple(rng.randrange(3) for _ in range(rng.randint(0, 3)))
        calls.append(ModelCall(prompt, sampled, tuple(-float(number + n + 1) for n in range(len(sampled))), 0, 1.0))
        number += len(sampled)
        histories += [prompt, prompt + sampled]
    return calls


def trained(path: TokenPath) -> list[float]:
    return [logprob for logprob, on in zip(path.logprobs, path.trained, strict=True) if on]


def test_every_sampled_token_is_trained_exactly_once_behind_the_prompt_it_was_sampled_from() -> None:
    rng = random.Random(0)
    for _ in range(500):
        check(random_calls(rng))


def check(calls: list[ModelCall]) -> None:
    paths = paths_of(calls)
    assert sorted(x for path in paths for x in trained(path)) == sorted(x for call in calls for x in call.logprobs)
    where = {path.logprobs[i]: (path, i) for path in paths for i, on in enumerate(path.trained) if on}
    for call in calls:
        for n in range(len(call.sampled_ids)):
            path, at = where[call.logprobs[n]]
            assert tuple(path.token_ids[: at + 1]) == call.prompt_ids + call.sampled_ids[: n + 1]
    for path in paths:
        assert any(path.trained)
        assert all(logprob == 0 for logprob, on in zip(path.logprobs, path.trained, strict=True) if not on)


def test_a_linear_history_is_one_row_however_long() -> None:
    calls = [ModelCall((0,) + (1, 2) * n, (1,), (-1.0,), 0, 1.0) for n in range(300)]
    (path,) = paths_of(calls)
    assert tuple(path.token_ids) == (0,) + (1, 2) * 299 + (1,)
    assert sum(path.trained) == 300


def test_retries_that_begin_alike_are_told_apart_by_what_follows() -> None:
    def call(prompt: list[int], sampled: list[int], first: float) -> ModelCall:
        return ModelCall(tuple(prompt), tuple(sampled), tuple(first - n for n in range(len(sampled))), 0, 1.0)

    calls = [call([1], [2, 5], -1), call([1], [2, 6], -11), call([1, 2, 6, 7], [8], -21)]
    assert [path.token_ids for path in paths_of(calls)] == [[1, 2, 5], [1, 2, 6, 7, 8]]
    assert [trained(path) for path in paths_of(calls)] == [[-1, -2], [-11, -12, -21]]
