"""Blocked draws: every placement equally likely, nothing depends on anything but key and counter."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from reskill_agents.errors import TrialError
from reskill_agents.trials.arm import Arm
from reskill_agents.trials.assignment import (
    AssignmentStream,
    SplitMix,
    blocked_arms,
    bounds,
    chosen_places,
    round_share,
    round_up_or_down,
)


def test_split_mix_gives_the_published_numbers() -> None:
    # First three outputs of SplitMix64 from state 1234567 (rosettacode.org/wiki/Pseudo-random_numbers/Splitmix64)
    numbers = SplitMix(1234567)
    for expected in (6457827717110365317, 3203168211198807973, 9817491932198370423):
        assert numbers.random() == (expected >> 11) * 2.0**-53


@pytest.mark.parametrize(("size", "expected"), [(1, (0, 1)), (2, (1, 1)), (3, (1, 2)), (4, (2, 2)), (8, (2, 6))])
def test_bounds(size: int, expected: tuple[int, int]) -> None:
    assert bounds(size) == expected


def test_an_empty_group_is_refused() -> None:
    with pytest.raises(TrialError, match="at least one"):
        bounds(0)


def test_every_placement_is_equally_likely() -> None:
    stream = AssignmentStream("key")
    seen = Counter(tuple(blocked_arms(4, 2, stream.next())) for _ in range(6000))
    assert len(seen) == 6
    assert all(abs(count - 1000) < 150 for count in seen.values())
    assert all(arms.count(Arm.CANDIDATE) == 2 for arms in seen)


def test_draws_depend_on_key_and_counter_only() -> None:
    first = AssignmentStream("key")
    draws = [chosen_places(16, 8, first.next()) for _ in range(5)]
    again = AssignmentStream("key", counter=3)
    assert [chosen_places(16, 8, again.next()) for _ in range(2)] == draws[3:]
    assert chosen_places(16, 8, AssignmentStream("other").next()) != draws[0]


def test_rounding_has_no_bias_and_keeps_two_per_arm() -> None:
    rng = Random(0)
    assert sum(round_up_or_down(2.25, rng) for _ in range(4000)) / 4000 == pytest.approx(2.25, abs=0.03)
    assert {round_share(8, 0.0, rng), round_share(8, 1.0, rng)} == {2, 6}
    assert round_share(2, 0.9, rng) == 1
