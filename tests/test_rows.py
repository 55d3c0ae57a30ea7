"""Rows: every sampled token trained once, nothing else trained (invariant 2)."""

from __future__ import annotations

import random

import pytest

from reskill_agents.environment import Task
from reskill_agents.episodes import Episode, ModelCall, Turn
from reskill_agents.trainers.rows import Row, micro_batches, rows_of, sampled_tokens


def call(prompt: list[int], sampled: list[int]) -> ModelCall:
    return ModelCall(tuple(prompt), tuple(sampled), tuple(-0.1 * token for token in sampled), 0, 1.0)


def episode(*calls: ModelCall | None) -> Episode:
    turns = tuple(Turn(index, "", "", call=one) for index, one in enumerate(calls))
    return Episode("e", Task("t", "do"), turns, 1.0)


def trained(row: Row) -> list[int]:
    return [token for token, on in zip(row.token_ids, row.trained, strict=True) if on]


def test_a_linear_episode_is_one_row() -> None:
    rows = rows_of(episode(call([1, 2], [3]), call([1, 2, 3, 4, 5], [6, 7])), 0.5)
    assert [row.token_ids for row in rows] == [(1, 2, 3, 4, 5, 6, 7)]
    assert rows[0].trained == (False, False, True, False, False, True, True)
    assert rows[0].logprobs == pytest.approx((0, 0, -0.3, 0, 0, -0.6, -0.7))
    assert rows[0].advantage == 0.5
    assert rows[0].first_trained == 2


def test_a_fork_starts_a_new_row_and_trains_nothing_twice() -> None:
    rows = rows_of(episode(call([1, 2], [3]), call([1, 9], [4]), call([1, 9, 4, 5], [6])))
    assert [trained(row) for row in rows] == [[3], [4, 6]]


def test_a_branch_that_shares_sampled_tokens_does_not_train_them_again() -> None:
    """Two branches of one history: the shared answer is trained in the first row only."""
    rows = rows_of(episode(call([1], [2]), call([1, 2, 3], [4]), call([1, 2, 5], [6])))
    assert [row.token_ids for row in rows] == [(1, 2, 3, 4), (1, 2, 5, 6)]
    assert [trained(row) for row in rows] == [[2, 4], [6]]


def test_a_call_extends_the_longest_path_it_begins_with() -> None:
    rows = rows_of(episode(call([1], [2]), call([1, 9], [3]), call([1, 9, 3, 4], [5])))
    assert [row.token_ids for row in rows] == [(1, 2), (1, 9, 3, 4, 5)]


def test_retries_of_the_same_prompt_are_rows_of_their_own() -> None:
    rows = rows_of(episode(call([1], [2]), call([1], [2])))
    assert [trained(row) for row in rows] == [[2], [2]]


def test_turns_without_a_call_or_an_answer_make_no_rows() -> None:
    assert rows_of(episode(None, call([1, 2], []))) == []


def test_every_sampled_token_of_random_call_trees_is_trained_exactly_once() -> None:
    rng = random.Random(3)
    for _ in range(200):
        histories: list[list[int]] = [[rng.randrange(5) for _ in range(rng.randint(1, 3))]]
        calls = []
        for _ in range(rng.randint(1, 6)):
            base = rng.choice(histories)
            prompt = base + [rng.randrange(5) for _ in range(rng.randint(0, 2))]
            sampled = [rng.randrange(5) for _ in range(rng.randint(1, 3))]
            calls.append(call(prompt, sampled))
            histories.append(prompt + sampled)
        one = episode(*calls)
        rows = rows_of(one)
        assert sum(row.trained_tokens for row in rows) == sampled_tokens(one)
        for row in rows:
            assert not row.trained[0]
            assert len(row.token_ids) == len(row.trained) == len(row.logprobs)
            assert all(lp == 0.0 for lp, on in zip(row.logprobs, row.trained, strict=True) if not on)


def test_micro_batches_hold_the_token_budget_and_every_row() -> None:
    rows = [Row(str(n), (0,) * n, (False,) + (True,) * (n - 1), (0.0,) * n) for n in (5, 30, 8, 8, 100, 2)]
    batches = micro_batches(rows, max_tokens=40)
    assert sorted(row.episode_id for batch in batches for row in batch) == sorted(row.episode_id for row in rows)
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(len(row.token_ids) for row in batch) <= 40
