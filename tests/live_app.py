"""A tiny live app for tests: threads arrive, carry a library, and do as well as its skills say."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from langgraph.store.base import BaseStore
from langgraph.store.memory import InMemoryStore

from reskill_agents.coordination import Coordinator
from reskill_agents.environment import Task
from reskill_agents.episodes import Episode, Turn
from reskill_agents.graphs.creator_state import CreationReport, CreationResult, PastVerdict
from reskill_agents.graphs.evolution_policy import EvolutionPolicy
from reskill_agents.graphs.evolver import SkillEvolver, StepReport
from reskill_agents.graphs.live_library import LiveLibrary
from reskill_agents.library import Operation, Proposal, SkillLibrary
from reskill_agents.live_records import Run, ThreadPin
from reskill_agents.skill import Skill
from reskill_agents.store import LiveStore, StoreSettings

START = 1_000_000.0
POLICY = EvolutionPolicy(
    effect=0.5, window_units=30, grace_s=0.0, min_episodes=10, new_episodes=5, create_every_s=0.0, prune_every=0
)


def skill(name: str, body: str = "Do it.") -> Skill:
    """A general skill."""
    return Skill(name, f"Use for {name}.", body)


def library(*names: str) -> SkillLibrary:
    """A library of such skills."""
    return SkillLibrary(tuple(skill(name) for name in names))


@dataclass
class Ideas:
    """A creator that proposes to add these skills, one at a time; remembers what it was told."""

    names: list[str]
    told: list[tuple[PastVerdict, ...]] = field(default_factory=list)
    shown: list[tuple[str, ...]] = field(default_factory=list)

    async def __call__(
        self, episodes: Sequence[Episode], library: SkillLibrary, *, verdicts: Sequence[PastVerdict], seed: int
    ) -> CreationResult:
        """The next idea."""
        self.told.append(tuple(verdicts))
        self.shown.append(tuple(episode.episode_id for episode in episodes))
        proposal = Proposal((Operation.add(skill(self.names.pop(0))),), "an idea") if self.names else None
        return CreationResult(proposal, CreationReport("ideas"))


@dataclass
class LiveApp:
    """An app whose outcome is 0.4 and what each skill in the thread's library adds, and noise.

    Args:
        worth: what each skill adds, by name.
        names: what the creator proposes.
        policy: of the evolver.
        base: the database; give the same one to two apps to make them share.
        coordinator: locks of the store.
        path: a SQLite file instead; two apps on one file are two processes.
        namespace: the tenant.
        model: of the runs.
        rare: skills that fire in every fiftieth run only.
    """

    worth: Mapping[str, float]
    names: Sequence[str] = ()
    policy: EvolutionPolicy = POLICY
    base: BaseStore = field(default_factory=InMemoryStore)
    coordinator: Coordinator | None = None
    path: Path | None = None
    namespace: tuple[str, ...] = ("shop",)
    model: str = "m1"
    seed: int = 0
    rare: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        self.now = START
        settings = StoreSettings(redact=None, refresh_s=0.0)
        self.store = (
            LiveStore.over(
                self.base,
                self.namespace,
                coordinator=self.coordinator,
                settings=settings,
                clock=lambda: self.now,
            )
            if self.path is None
            else LiveStore.open(self.path, self.namespace, settings=settings, clock=lambda: self.now)
        )
        self.live = LiveLibrary(self.store, clock=lambda: self.now)
        self.creator = Ideas(list(self.names))
        self.evolver = self.new_evolver()
        self.served = 0
        self.rng = random.Random(self.seed)
        self.reports: list[StepReport] = []

    def new_evolver(self) -> SkillEvolver:
        """Another evolver on the same store (after a crash, or in another process)."""
        return SkillEvolver(self.store, self.creator, self.policy, clock=lambda: self.now)

    def run(self, thread: str, *, score: float | None = None, record: bool = True) -> ThreadPin:
        """One run of a thread, with its outcome."""
        self.now += 10.0
        self.served += 1
        carried, pin = self.live.assign(thread, "any")
        run_id = f"{thread}/{self.served}"
        skills = tuple(one.name for one in carried if one.name not in self.rare or self.served % 50 == 0)
        assigned = (pin.trial, pin.arm, pin.window, pin.share, pin.stratum)
        self.store.record_run(Run(run_id, thread, carried.digest, self.now, self.model, *assigned, skills=skills))
        self.store.record_episode(
            run_id, Episode(run_id, Task(run_id, "help me"), (Turn(0, "hello", "answer"),), None, model=self.model)
        )
        if record:
            gain = sum(self.worth.get(one.name, 0.0) for one in carried)
            noisy = 0.4 + gain + self.rng.gauss(0.0, 0.1)
            self.store.record_outcome(run_id, score=min(max(noisy, 0.0), 1.0) if score is None else score)
        return replace(pin, library=carried.digest)

    def serve(self, count: int) -> list[ThreadPin]:
        """So many new threads."""
        return [self.run(f"t{self.served}") for _ in range(count)]

    def step(self, evolver: SkillEvolver | None = None) -> StepReport:
        """One step of the evolver; faults fail the test."""
        report = asyncio.run((evolver or self.evolver).step(self.now))
        assert not report.fault, report.fault
        self.reports.append(report)
        return report

    def live_on(self, threads: int, *, every: int = 10) -> None:
        """Serve, with a step after every few threads."""
        for _ in range(threads // every):
            self.serve(every)
            self.step()
