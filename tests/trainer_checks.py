"""Invariants 1 and 2 as checks that any engine can be put through."""

from __future__ import annotations

from pathlib import Path

from toy_world import ToyWorld
from trainer_runs import lines
from transformers import AutoTokenizer

from reskill_agents.environment import Split, Task
from reskill_agents.episodes import Episode, ModelCall, Turn
from reskill_agents.library import SkillLibrary
from reskill_agents.trainers.config import RunConfig, UpdateConfig
from reskill_agents.trainers.groups import Collector, GroupPlan, Member, Role
from reskill_agents.trainers.policy import Publisher, agent_for, chat_model, open_engine
from reskill_agents.trainers.rows import rows_of
from reskill_agents.trainers.update import PolicyUpdater


async def logprob_gaps(
    config: RunConfig,
    policy: Path,
    work_dir: Path,
    *,
    lr: float = 1e-2,
    through: Path | None = None,
    use_cpu: bool = True,
) -> list[float]:
    """The largest |log-prob when sampled - when re-scored| of a batch, before an update and after it was published."""
    world, temperature = ToyWorld(), config.rollout.temperature
    engine = await open_engine(config, policy)
    updater = PolicyUpdater(
        policy, UpdateConfig(lr=lr), temperature=temperature, steps=2, work_dir=work_dir, use_cpu=use_cpu
    )
    agent = agent_for(
        config, chat_model(config, engine, policy), system_prompt=world.system_prompt(), max_turns=6,
        temperature=temperature,
    )  # fmt: skip
    collector = Collector(agent, world, seed=0)
    plans = [GroupPlan(task, (Member(Role.ACTIVE, SkillLibrary()),) * 4) for task in world.tasks(Split.TRAIN)[:4]]
    publisher = Publisher(engine, updater, through)
    found = []
    try:
        await publisher.publish(0)  # a server may have served another test
        for step in range(2):
            played = await collector.collect(plans, step)
            episodes = [(place, e) for one in played for place, e in enumerate(one.group.episodes)]
            rows = [row for place, episode in episodes for row in rows_of(episode, place - 1.5)]
            behaviour = [tuple(lp for lp, on in zip(row.logprobs, row.trained, strict=True) if on) for row in rows]
            pairs = zip(behaviour, updater.score(rows), strict=True)
            found.append(max(abs(a - b) for x, y in pairs for a, b in zip(x, y, strict=True)))
            assert {turn.call.version for _, e in episodes for turn in e.turns if turn.call} == {step}
            updater.update(rows, episodes=16)
            await publisher.publish(step + 1)
    finally:
        await engine.aclose()
    return found


def check_trained_tokens(policy: Path, run_dir: Path) -> None:
    """In a run with ``episode_log="tokens"`` every sampled token is trained once, and no token of a skill is."""
    fence = AutoTokenizer.from_pretrained(policy).convert_tokens_to_ids("<skill>")
    with_skill = 0
    for entry in lines(run_dir, "episodes.jsonl"):
        calls = [
            ModelCall(tuple(prompt), tuple(sampled), tuple(logprobs), version, 1.0)
            for prompt, sampled, logprobs, version in entry["calls"]  # type: ignore[attr-defined]
        ]
        turns = tuple(Turn(index, "", "", call=call) for index, call in enumerate(calls))
        rows = rows_of(Episode(str(entry["episode_id"]), Task("t", ""), turns, 0.0))
        assert len(rows) == 1
        trained = [token for token, on in zip(rows[0].token_ids, rows[0].trained, strict=True) if on]
        assert trained == [token for call in calls for token in call.sampled_ids]
        context = {token for token, on in zip(rows[0].token_ids, rows[0].trained, strict=True) if not on}
        with_skill += fence in context
        assert fence not in trained
    assert with_skill >= 16
