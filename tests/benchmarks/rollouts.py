"""What a turn of a rollout costs besides the model and the environment.

    python tests/benchmarks/rollouts.py                  # 128 WebShop episodes at a time, a minute on one core
    python tests/benchmarks/rollouts.py --profile 25     # where the time goes
    python tests/benchmarks/rollouts.py --hidden 768 --layers 13 --turns 2 --repeats 1 --warm-up 0 --fused-only --update
                                                         # a whole step with a policy of 100 M parameters

Episodes run in the agent graph with a library of skills, on a policy of the stand-in's size that answers with random
numbers. Outside model and environment is wall time less the engine's rounds less the environments' resets and steps, a
turn: LangGraph, recording, matching, messages, tokens. On a machine that does other things as well wall time counts those,
so the CPU time of the same (the thread of the event loop, less the environments) stands beside it. With ``--update`` the
step is complete: one GRPO update on all episodes (with made-up rewards, so that every one of them trains), new weights to
the engine. Targets: at most 1.5 ms fused; at most 5 % of the step of a policy of 100 M parameters; at least 95 % of what a
session has sent and sampled before comes from the prefix cache on its later turns. (Of all prompt tokens of later turns the
share is smaller, because each turn's observation is new.)
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import json
import pstats
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from random_policy import closed_tokenizer, write_policy
from transformers import AutoTokenizer

from reskill_agents.action_format import ActionFormat
from reskill_agents.engines.transformers import EngineStats, TransformersEngine
from reskill_agents.environment import Environment, Observation, Split, StepResult, Task, World
from reskill_agents.envs.webshop import ObservationMode, WebShopWorld
from reskill_agents.episodes import Episode
from reskill_agents.graphs.agent import Agent, AgentConfig
from reskill_agents.graphs.chat_model import PolicyChatModel, TemplateWarning
from reskill_agents.graphs.chat_templates import ChatTokenizer
from reskill_agents.library import SkillLibrary
from reskill_agents.skill import Skill
from reskill_agents.trainers.advantages import leave_one_out
from reskill_agents.trainers.batches import training_set
from reskill_agents.trainers.config import UpdateConfig
from reskill_agents.trainers.groups import Collector, GroupPlan, Member, PlayedGroup, Role
from reskill_agents.trainers.standin import StandinSize
from reskill_agents.trainers.update import PolicyUpdater
from reskill_agents.trigger import Trigger, TriggerKind

TARGET_MS = 1.5
TARGET_HITS = 0.95
TARGET_SHARE = 0.05  # of the step, where it is measured
_UPDATE = UpdateConfig(tokens_per_micro_batch=3000)
LIBRARY = SkillLibrary(
    (
        Skill("look-first", "Use always.", "Before `buy now`, take every option the task names."),
        Skill("begin", "Use at the start.", "Take the one that shares the most words with the task.",
              Trigger(TriggerKind.BEGINNING)),
        Skill("results", "Use on results.", "Do not take `next`.", Trigger(TriggerKind.OBSERVATION_PATTERN, r"page \d")),
        Skill("after-search", "Use after a search.", "Never take `back to search` twice.",
              Trigger(TriggerKind.ACTION_PATTERN, r"^search")),
    )
)  # fmt: skip


@dataclass
class Stopwatch:
    """Seconds spent inside: of the wall clock and of this thread's CPU."""

    wall: float = 0.0
    cpu: float = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Counts while inside."""
        wall, cpu = time.perf_counter(), time.thread_time()
        try:
            yield
        finally:
            self.wall += time.perf_counter() - wall
            self.cpu += time.thread_time() - cpu


@dataclass
class TimedEnvironment:
    """Counts its seconds."""

    inner: Environment
    watch: Stopwatch

    def reset(self, task: Task, *, seed: int) -> Observation:
        """Timed."""
        with self.watch.running():
            return self.inner.reset(task, seed=seed)

    def step(self, action: str) -> StepResult:
        """Timed."""
        with self.watch.running():
            return self.inner.step(action)


class TimedWorld:
    """Makes timed environments; everything else is the world's."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.watch = Stopwatch()

    def make(self) -> TimedEnvironment:
        """A new one."""
        return TimedEnvironment(self._world.make(), self.watch)

    def __getattr__(self, name: str) -> object:
        return getattr(self._world, name)


@dataclass(frozen=True)
class Measured:
    """One setting, medians of the repeats. Times in ms a turn; ``held``: share of what was sent before that came from the
    cache, ``hits``: the same of all prompt tokens of later turns. ``update_ms``: of update and publish; 0: left out."""

    fused: bool
    turns: int
    outside_ms: float
    outside_cpu_ms: float
    model_ms: float
    environment_ms: float
    held: float
    hits: float
    update_ms: float = 0.0

    @property
    def share(self) -> float:
        """Of the step's (without an update: the rollout's) wall time that is neither model nor environment nor update."""
        return self.outside_ms / (self.outside_ms + self.model_ms + self.environment_ms + self.update_ms)


def every_other(episode: Episode) -> float:
    """A reward that has variance in each group: 1 for every other member."""
    return float(int(episode.episode_id.rpartition("-r")[2]) % 2)


def prefix_cache(episodes: Sequence[Episode], prefilled: int) -> tuple[float, float]:
    """(``held``, ``hits``), given the prompt tokens that the engine had to compute. First turns are not counted."""
    calls = [[turn.call for turn in episode.turns if turn.call] for episode in episodes]
    first = {one[0].prompt_ids for one in calls if one}  # members of a group share theirs
    computed = prefilled - sum(map(len, first))
    sent = sum(len(call.prompt_ids) for one in calls for call in one[1:])
    before = sum(len(call.prompt_ids) + len(call.sampled_ids) for one in calls for call in one[:-1])
    return (sent - computed) / before, (sent - computed) / sent


def measure(
    world: WebShopWorld,
    policy: Path,
    *,
    fused: bool,
    repeats: int,
    groups: int,
    size: int,
    warm_up: int = 1,
    update: bool = False,
) -> Measured:
    """Play ``groups`` x ``size`` episodes at a time, ``repeats`` times after ``warm_up`` that are not counted."""
    timed = TimedWorld(world)
    engine = TransformersEngine(policy, threads=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TemplateWarning)
        tokenizer = ChatTokenizer(AutoTokenizer.from_pretrained(policy))
        model = PolicyChatModel(engine=engine, tokenizer=tokenizer, max_tokens=1)
    settings = AgentConfig(action_format=ActionFormat.NUMBERED, max_turns=world.max_turns, max_tokens=1, fused=fused)
    collector = Collector(Agent(model, settings, world.system_prompt()), timed, seed=0)  # type: ignore[arg-type]
    tasks = world.tasks(Split.TRAIN)
    updater = PolicyUpdater(policy, _UPDATE, temperature=1.0, steps=9, work_dir=policy) if update else None

    async def play(step: int) -> Measured:
        chosen = [tasks[(step * groups + number) % len(tasks)] for number in range(groups)]
        plans = [GroupPlan(task, (Member(Role.ACTIVE, LIBRARY),) * size) for task in chosen]
        timed.watch.wall = timed.watch.cpu = 0.0
        engine.stats, whole = EngineStats(), Stopwatch()
        with whole.running():
            played = await collector.collect(plans, step)
        episodes = [episode for one in played for episode in one.group.episodes]
        turns = sum(len(episode.turns) for episode in episodes)
        inside = engine.stats.wall_s + timed.watch.wall
        held, hits = prefix_cache(episodes, engine.stats.prefilled_tokens)
        return Measured(
            fused=fused,
            turns=turns,
            outside_ms=1000 * (whole.wall - inside) / turns,
            outside_cpu_ms=1000 * (whole.cpu - timed.watch.cpu) / turns,
            model_ms=1000 * engine.stats.wall_s / turns,
            environment_ms=1000 * timed.watch.wall / turns,
            held=held,
            hits=hits,
            update_ms=1000 * await learn(updater, step, played) / turns if updater else 0.0,
        )

    async def learn(updater: PolicyUpdater, step: int, played: Sequence[PlayedGroup]) -> float:
        begun = time.perf_counter()
        training = training_set(played, every_other, leave_one_out)
        updater.update(training.rows, episodes=training.episodes)
        await engine.publish(updater.weights(), step + 1)
        return time.perf_counter() - begun

    async def play_all() -> list[Measured]:
        found = [await play(step) for step in range(warm_up + repeats)]
        await engine.aclose()
        return found[warm_up:]

    runs = asyncio.run(play_all())
    names = [name for name in Measured.__dataclass_fields__ if name not in ("fused", "turns")]
    return replace(runs[0], **{name: statistics.median(getattr(run, name) for run in runs) for name in names})


def main() -> int:
    """Print the table; status 1 when a target was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", type=int, default=16)
    parser.add_argument("--group-size", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--hidden", type=int, default=StandinSize().hidden)
    parser.add_argument("--layers", type=int, default=StandinSize().layers)
    parser.add_argument("--turns", type=int, help="of an episode at most (default: the world's)")
    parser.add_argument("--warm-up", type=int, default=1, help="rounds of episodes that are not counted")
    parser.add_argument("--update", action="store_true", help="train on each round, too")
    parser.add_argument(
        "--profile", type=int, default=0, metavar="LINES", help="of the fused rollouts, by own CPU time"
    )
    parser.add_argument("--fused-only", action="store_true")
    arguments = parser.parse_args()
    size = StandinSize(hidden=arguments.hidden, layers=arguments.layers, mlp=3 * arguments.hidden)
    world = WebShopWorld(catalogue_seed=7, mode=ObservationMode.COMPACT, max_turns=arguments.turns)
    with tempfile.TemporaryDirectory() as folder:
        parameters = write_policy(Path(folder), closed_tokenizer(world, size.max_context), size)
        print(f"{arguments.groups * arguments.group_size} episodes at a time, {parameters / 1e6:.1f} M parameters")
        every = []
        for fused in (True,) if arguments.fused_only or arguments.profile else (True, False):
            profiler = cProfile.Profile(time.thread_time) if arguments.profile else None
            if profiler:
                profiler.enable()
            one = measure(
                world, Path(folder), fused=fused, repeats=arguments.repeats, groups=arguments.groups,
                size=arguments.group_size, warm_up=arguments.warm_up, update=arguments.update,
            )  # fmt: skip
            if profiler:
                profiler.disable()
                pstats.Stats(profiler).sort_stats("tottime").print_stats(arguments.profile)
            every.append(one)
            print(
                f"{'fused' if fused else 'unfused':8} {one.turns:6} turns: {one.outside_ms:6.2f} ms a turn outside "
                f"(CPU {one.outside_cpu_ms:.2f}; {one.share:.1%} of the {'step' if one.update_ms else 'rollout'}), model "
                f"{one.model_ms:.2f}, environment {one.environment_ms:.2f}, update {one.update_ms:.2f}; from the prefix "
                f"cache {one.held:.1%} of what was sent before, {one.hits:.1%} of all prompt tokens after the first turn",
                flush=True,
            )
        print(json.dumps([vars(one) for one in every]))
    missed = [
        one
        for one in every
        if one.held < TARGET_HITS
        or (one.fused and one.outside_ms > TARGET_MS)
        or (one.update_ms and one.share > TARGET_SHARE)
    ]
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
