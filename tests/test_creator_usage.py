"""What a creator asks of a model is counted, and booked to the step that its creation joins."""

from __future__ import annotations

import asyncio
from pathlib import Path

from creator_models import RecordedModel
from pydantic import BaseModel
from tiny_policy import tiny_policy
from toy_world import ToyWorld
from trainer_runs import PreparedAuthor, Watcher, go, lines, small_config

from reskill_agents.creator_model import Budget, CreatorClient
from reskill_agents.creator_usage import CreatorUsage, usage_of
from reskill_agents.graphs.creator_author import ModelAuthor
from reskill_agents.graphs.creator_state import CreationWork, Recommendation
from reskill_agents.graphs.offline_author import OfflineAuthor
from reskill_agents.library import Operation
from reskill_agents.trainers.loop import run


class Pick(BaseModel):
    number: int


class Metered(PreparedAuthor):
    """Counts one call of 100 and 10 tokens for each skill it writes."""

    def __init__(self) -> None:
        self.written = 0

    @property
    def usage(self) -> CreatorUsage:
        return CreatorUsage(self.written, 100 * self.written, 10 * self.written, 0.5 * self.written)

    async def write(self, work: CreationWork, recommendation: Recommendation, *_: object) -> Operation:
        self.written += 1
        return await super().write(work, recommendation)


async def test_a_client_counts_calls_and_tokens_and_money_where_prices_are_known() -> None:
    model = RecordedModel(answer=lambda request: '{"number": 1}')
    for prices, money in (((0.0, 0.0), None), ((2.0, 10.0), (10 * 2.0 + 3 * 10.0) / 1e6)):
        client = CreatorClient(model, Budget(input_price=prices[0], output_price=prices[1]))
        await client.ask("node", "system", "p" * 40, Pick)
        await client.ask("node", "system", "p" * 40, Pick)  # from the cache
        assert client.usage == CreatorUsage(1, 10, 3, money)
        assert usage_of(ModelAuthor(client)) == client.usage


def test_usage_since_is_a_difference() -> None:
    before, after = CreatorUsage(1, 100, 10, 0.5), CreatorUsage(3, 300, 40, 2.0)
    assert after - before == CreatorUsage(2, 200, 30, 1.5)
    assert (after - CreatorUsage()).money == 2.0
    assert (CreatorUsage(2) - CreatorUsage(1)).money is None
    assert usage_of(OfflineAuthor()) == CreatorUsage()


def test_each_step_says_what_the_creation_that_joined_it_cost(tmp_path: Path) -> None:
    author, watcher = Metered(), Watcher()
    work = run(
        small_config(steps=7),
        ToyWorld(),
        policy_path=tiny_policy(tmp_path / "tiny"),
        run_dir=tmp_path / "run",
        listener=watcher,
        author=author,
    )
    asyncio.run(work)
    joined = {event.joined_at for event in watcher.proposals}
    assert len(joined) >= 2
    for metrics in watcher.steps:
        expected = CreatorUsage(1, 100, 10, 0.5) if metrics.step in joined else CreatorUsage()
        assert (metrics.creator.calls, metrics.creator.prompt_tokens) == (expected.calls, expected.prompt_tokens)
    logged = [entry["creator"] for entry in lines(tmp_path / "run", "metrics.jsonl")]
    assert sum(entry["completion_tokens"] for entry in logged) == 10 * len(joined)  # type: ignore[index]


def test_every_turn_carries_the_version_that_sampled_it_in_both_kinds_of_log(tmp_path: Path) -> None:
    policy = tiny_policy(tmp_path / "tiny")
    for kind in ("compact", "tokens"):
        watcher = Watcher()
        go(small_config(steps=4, episode_log=kind), policy, tmp_path / kind, listener=watcher)
        versions = {metrics.step: metrics.version for metrics in watcher.steps}
        assert versions[3] > versions[0]
        for entry in lines(tmp_path / kind, "episodes.jsonl"):
            turns = entry["turns"]
            assert isinstance(turns, list)
            assert entry["versions"] == [versions[int(str(entry["step"]))]] * len(turns)
