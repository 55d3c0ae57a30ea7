"""Sampling beside the update: how old tokens may get, what stops it, what the metrics say."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest
from tiny_policy import tiny_policy
from trainer_runs import Crash, CrashAt, Watcher, go, small_config

from reskill_agents.errors import ConfigError
from reskill_agents.trainers.batches import Batch
from reskill_agents.trainers.overlap import Lookahead


@dataclass
class Halves:
    """Two halves that note when they begin and end; ``stop_after`` are steps behind which something is due."""

    stop_after: frozenset[int] = frozenset()
    events: list[tuple[str, int]] = field(default_factory=list)
    slow_update: bool = True

    async def gather(self, step: int) -> Batch:
        self.events.append(("sample", step))
        await asyncio.sleep(0 if self.slow_update else 0.01)
        batch = object.__new__(Batch)
        for name, value in (("step", step), ("checkpoint", step in self.stop_after), ("evaluation", False)):
            object.__setattr__(batch, name, value)
        return batch

    async def learn(self, batch: Batch) -> None:
        await asyncio.sleep(0.01 if self.slow_update else 0)
        self.events.append(("updated", batch.step))

    def missing_updates(self) -> list[int]:
        """At the begin of each step's sampling: updates that its own update will see and its sampling did not."""
        found = []
        for index, (what, step) in enumerate(self.events):
            if what == "sample":
                found.append(step - sum(kind == "updated" for kind, _ in self.events[:index]))
        return found


@pytest.mark.parametrize("lag", [1, 2])
def test_sampling_runs_ahead_by_the_lag_and_no_further(lag: int) -> None:
    halves = Halves()
    asyncio.run(Lookahead(halves.gather, halves.learn, lag).run(0, 6))
    assert max(halves.missing_updates()) == lag
    assert [step for what, step in halves.events if what == "updated"] == list(range(6))


def test_nothing_is_sampled_past_a_step_that_stops() -> None:
    halves = Halves(stop_after=frozenset({2}))
    asyncio.run(Lookahead(halves.gather, halves.learn, 2).run(0, 6))
    assert halves.events.index(("updated", 2)) < halves.events.index(("sample", 3))


def test_a_resumed_run_starts_in_the_middle() -> None:
    halves = Halves()
    asyncio.run(Lookahead(halves.gather, halves.learn, 1).run(4, 6))
    assert [event for event in halves.events if event[0] == "sample"] == [("sample", 4), ("sample", 5)]


def test_an_error_in_one_half_stops_the_other() -> None:
    halves = Halves(slow_update=False)

    async def broken(batch: Batch) -> None:
        raise ValueError("the update broke")

    with pytest.raises(ValueError, match="the update broke"):
        asyncio.run(Lookahead(halves.gather, broken, 1).run(0, 50))
    assert len(halves.events) < 5


def test_overlap_is_not_reproducible_and_says_so() -> None:
    with pytest.raises(ConfigError, match="set reproducible to false"):
        small_config(rollout={"max_staleness": 1})


def test_a_run_trains_on_tokens_one_version_old_with_corrected_weights(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    policy = tiny_policy(tmp_path_factory.mktemp("tiny"))
    rollout = {"groups": 4, "group_size": 4, "max_tokens": 1, "max_staleness": 1}
    config = small_config(steps=9, reproducible=False, rollout=rollout, update={"lr": 3e-2}, checkpoint={"every": 4})
    assert config.corrected
    with pytest.raises(Crash):
        go(config, policy, tmp_path, listener=CrashAt(at=6))
    watcher = Watcher()
    result = go(config, policy, tmp_path, resume=True, listener=watcher)
    assert result.steps == 9
    metrics = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in metrics] == list(range(9))
    assert {entry["max_staleness"] for entry in metrics} == {0, 1}
    assert all(entry["max_staleness"] == 0 for entry in (metrics[0], metrics[4]))  # nothing passes a checkpoint
    assert all(entry["logprob_gap"] < 1e-4 for entry in metrics)
    stale = [entry for entry in metrics if entry["staleness"] > 0]
    assert any(cast("float", entry["weight"]) != 1.0 for entry in stale)
