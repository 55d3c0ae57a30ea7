from __future__ import annotations

import numpy as np
import pytest
from contracts.engine import check_engine, request

from reskill_agents.engines.fake import FakeEngine


async def test_keeps_the_contract() -> None:
    await check_engine(FakeEngine(20), 20, weights={})


async def test_a_script_says_what_is_answered_and_the_distribution_how_likely_it_was() -> None:
    engine = FakeEngine(10, script=lambda asked: (4, 2, 9))
    generation = await engine.generate(request((1, 2), stop_ids=(9,)))
    assert generation.token_ids == (4, 2, 9)
    assert generation.finish == "stop"
    assert generation.logprobs[1] == pytest.approx(engine.logprobs((1, 2, 4))[2])
    assert engine.requests[0].prompt_ids == (1, 2)


async def test_the_distribution_sums_to_one_and_sampling_follows_it() -> None:
    engine = FakeEngine(4)
    expected = np.exp(engine.logprobs((1, 2)))
    assert expected.sum() == pytest.approx(1)
    drawn = [(await engine.generate(request((1, 2), key=(n,), max_tokens=1))).token_ids[0] for n in range(2000)]
    share = np.bincount(drawn, minlength=4) / len(drawn)
    assert np.abs(share - expected).max() < 0.04  # 3.5 standard errors


async def test_a_new_version_is_another_distribution() -> None:
    engine = FakeEngine(4)
    before = engine.logprobs((1,))
    await engine.publish({}, 1)
    assert not np.allclose(before, engine.logprobs((1,)))
