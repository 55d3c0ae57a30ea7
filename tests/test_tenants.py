"""Tenants of one app and one database, end to end: what one tenant's people say reaches nothing of another's.

Two shops are served by the same compiled agent over one SQLite file; the offline creator writes skills from the traffic of
each. A word that only one shop's customers use is then looked for in every prompt, skill, trial, report, account and export
of the other, and in every byte that a reader of the other's namespace can get.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from live_app import POLICY, Ideas
from test_middleware import Scripted, agent, say

from reskill_agents.episode_logs import episode_to_json
from reskill_agents.graphs.evolution_report import write_evolution_report
from reskill_agents.graphs.evolver import SkillEvolver
from reskill_agents.graphs.live_pack import live_pack
from reskill_agents.graphs.live_skills import LiveSkills
from reskill_agents.graphs.middleware import ReSkillMiddleware
from reskill_agents.library import Operation, Proposal, SkillLibrary
from reskill_agents.packs import export_pack
from reskill_agents.skill import Skill
from reskill_agents.skill_account import skill_account
from reskill_agents.store import LiveStore, StoreSettings

CANARY = {"acme": "zanzibar", "umbrella": "quokka"}


@dataclass
class Parrot(Ideas):
    """A creator at its worst: it puts what customers said into a skill's text; remembers all that it was shown."""

    seen: list[str] = field(default_factory=list)

    async def __call__(self, episodes: Any, library: Any, *, verdicts: Any, seed: int) -> Any:
        """Add one skill that quotes the first conversation."""
        self.seen += [str(episode_to_json(episode)) for episode in episodes]
        result = await super().__call__(episodes, library, verdicts=verdicts, seed=seed)
        if result.proposal is None:
            return result
        [operation] = result.proposal.operations
        quoted = Skill(operation.name, "Use it.", f"They say: {episodes[0].turns[0].observation}")
        return type(result)(Proposal((Operation.add(quoted),), "heard it"), result.report)


def prompts(model: Scripted) -> str:
    return "\n".join(str(message.content) for messages in model.sent for message in messages)


def served(app: Any, tenant: str, number: int) -> str:
    thread = f"{tenant}-{number}"
    config = {"configurable": {"thread_id": thread, "tenant": tenant}}
    app.invoke(say(f"request {number}: where is my {CANARY[tenant]}?"), config)
    return thread


@pytest.fixture(scope="module")
def shops(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Both shops after some traffic, each with a promoted skill that quotes its customers."""
    settings = StoreSettings(redact=None, refresh_s=0.0)
    store = LiveStore.open(tmp_path_factory.mktemp("db") / "live.db", settings=settings)

    def tenant(config: RunnableConfig, context: object) -> tuple[str, ...]:
        return (config["configurable"]["tenant"],)

    model = Scripted(answers=[AIMessage("ok")])
    app = agent(model, ReSkillMiddleware(LiveSkills(store), namespace=tenant), checkpointer=InMemorySaver())
    rng, creators = random.Random(1), {name: Parrot(["quoting"]) for name in CANARY}
    evolvers = {name: SkillEvolver(store.within((name,)), creators[name], POLICY) for name in CANARY}
    sent: dict[str, list[list[BaseMessage]]] = {name: [] for name in CANARY}
    for number in range(140):
        for name in CANARY:
            before = len(model.sent)
            thread = served(app, name, number)
            sent[name] += model.sent[before:]
            mine = store.within((name,))
            quoting = "They say" in str(model.sent[-1])
            mine.record_outcome(thread, score=min(1.0, max(0.0, 0.3 + 0.5 * quoting + rng.gauss(0, 0.1))))
            if number % 10 == 9:
                report = asyncio.run(evolvers[name].step())
                assert not report.fault, report.fault
    return {"store": store, "sent": sent, "creators": creators}


@pytest.mark.parametrize(("name", "other"), [("acme", "umbrella"), ("umbrella", "acme")])
def test_nothing_of_one_tenant_reaches_another(shops: dict[str, Any], name: str, other: str, tmp_path: Path) -> None:
    mine, theirs = CANARY[name], CANARY[other]
    store: LiveStore = shops["store"].within((name,))
    prompted = str([[str(message.content) for message in messages] for messages in shops["sent"][name]])
    assert mine in prompted
    assert "They say" in prompted  # the tenant's own skill quotes its customers, so a leak would be seen
    assert theirs not in prompted

    assert theirs not in "".join(shops["creators"][name].seen)
    active = store.active().library
    assert any(mine in skill.body for skill in active)
    assert not any(theirs in f"{skill.name}{skill.description}{skill.body}" for skill in active)

    write_evolution_report(store, tmp_path / "report", title=name)
    pack = live_pack(store, traffic=True)
    export_pack(pack.library, tmp_path / "pack", lineage=pack.lineage, cases=pack.cases)
    written = "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    assert mine in written
    assert theirs not in written

    kept = [store.runs(), store.episodes(), store.trials(), store.verdicts(), store.history(), skill_account(store)]
    assert theirs not in repr(kept)
    assert other not in repr(kept)


def test_a_shared_library_is_served_and_nothing_else_of_its_owner(tmp_path: Path) -> None:
    settings = StoreSettings(redact=None, refresh_s=0.0, share_from=(("common",),))
    with LiveStore.open(tmp_path / "live.db", settings=settings) as store:
        common = store.within(("common",))
        common.activate(SkillLibrary((Skill("greet", "d", "say hello first"),)), by="us")
        model = Scripted(answers=[AIMessage("ok")])
        skills = ReSkillMiddleware(LiveSkills(store), namespace=lambda config, context: ("acme",))
        agent(model, skills).invoke(say("a secret"), {"configurable": {"thread_id": "t"}})
        assert "say hello first" in prompts(model)
        assert [run.thread_id for run in store.within(("acme",)).runs()] == ["t"]
        assert common.runs() == common.episodes() == []
        assert store.within(("acme",)).history() == []
