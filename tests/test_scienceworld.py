"""ScienceWorld against a small fake of its simulator; the real one where package and Java are installed."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
from collections.abc import Iterator, Sequence

import pytest

from reskill_agents.environment import Split, Task
from reskill_agents.envs import scienceworld_jvm
from reskill_agents.envs.scienceworld import ScienceWorld
from reskill_agents.envs.scienceworld_jvm import JvmPool, start_process
from reskill_agents.episodes import Episode
from reskill_agents.errors import ConfigError, EnvironmentFault
from reskill_agents.progress_text import evaluation_text
from reskill_agents.testing import check_world
from reskill_agents.trainers.evaluation import score_of
from reskill_agents.trainers.progress import EvaluationResult

ACTIONS = ["look around", "inventory", "go to kitchen", "focus on bulb", "wait1"]


class FakeSimulator:
    """Focus on the bulb, then connect it. Like the real one: score and completion are stale until a step is made."""

    def __init__(self, process: FakeProcess) -> None:
        self.process, self.points, self.completed, self.fresh = process, 0.0, False, True
        self.calls: list[str] = []

    def load(self, task: str, variation: int, simplifications: str, gold: bool) -> None:
        self.check()
        self.task, self.variation, self.simplifications = task, variation, simplifications

    def reset(self) -> None:
        self.check()
        self.fresh = True

    def check(self) -> None:
        if not self.process.running:
            raise ConnectionError("the process is gone")

    def step(self, action: str) -> str:
        self.check()
        self.calls.append(action)
        if self.fresh:
            self.points, self.completed, self.fresh = 0.0, False, False
        if action == "focus on bulb":
            self.points = 0.75
            return "You focus on the bulb."
        if action.startswith("focus on"):
            self.points = -1.0  # and the real one says that it is not completed
            return "You focus on it."
        if action == "connect bulb":
            self.points, self.completed = 1.0, True
            return "It shines."
        return f"{action}: variation {self.variation}" if action in ACTIONS else "No known action matches that input."

    def getScore(self) -> float:  # noqa: N802
        return self.points

    def getCompleted(self) -> bool:  # noqa: N802
        return self.completed

    def getTaskNames(self) -> Sequence[str]:  # noqa: N802
        return ["boil", "melt", "power-component", "test-conductivity"]

    def getTaskDescription(self) -> str:  # noqa: N802
        return f"Your task is {self.task} {self.variation}.\n"

    def getGoldActionSequence(self) -> Sequence[str]:  # noqa: N802
        return ["focus on bulb", "connect bulb"]

    def getVariationsTrain(self) -> Sequence[int]:  # noqa: N802
        return range(6)

    def getVariationsDev(self) -> Sequence[int]:  # noqa: N802
        return range(6, 9)

    def getVariationsTest(self) -> Sequence[int]:  # noqa: N802
        return range(9, 12)


class FakeProcess:
    """A Java process."""

    def __init__(self, heap_mb: int) -> None:
        self.heap_mb, self.running = heap_mb, True
        self.simulators: list[FakeSimulator] = []

    def alive(self) -> bool:
        return self.running

    def simulator(self) -> FakeSimulator:
        if not self.running:
            raise ConnectionError("the process is gone")
        self.simulators.append(FakeSimulator(self))
        return self.simulators[-1]

    def close(self) -> None:
        self.running = False


class Started:
    """A pool of fake processes, and the processes it started."""

    def __init__(self, count: int = 2) -> None:
        self.processes: list[FakeProcess] = []
        self.pool = JvmPool(count, 512, self.start)

    def start(self, heap_mb: int) -> FakeProcess:
        self.processes.append(FakeProcess(heap_mb))
        return self.processes[-1]

    def world(self) -> ScienceWorld:
        return ScienceWorld(("boil",), ("melt",), pool=self.pool)


def test_it_keeps_the_contract() -> None:
    check_world(Started().world(), free_actions=ACTIONS)


def test_splits_are_the_simulators() -> None:
    world = Started().world()
    assert [len(world.tasks(split)) for split in Split] == [6, 3, 3, 3]
    task = world.tasks(Split.UNSEEN_TEST)[0]
    assert (task.task_id, task.tags) == ("scienceworld-melt-9", {"task": "melt"})
    few = ScienceWorld(("boil",), pool=Started().pool, per_task=2)
    assert [len(few.tasks(split)) for split in Split] == [2, 2, 2, 0]


def test_an_episode_says_its_task_and_is_scored_in_shares() -> None:
    world = Started().world()
    env, task = world.make(), world.tasks(Split.TRAIN)[3]
    start = env.reset(task, seed=0)
    assert start.text == "Your task is boil 3.\n\nlook around: variation 3"
    assert (start.task, start.choices) == ("Your task is boil 3.", ())
    half = env.step("focus on bulb")
    assert (half.score, half.done, half.valid) == (0.75, False, True)
    end = env.step("connect bulb")
    assert (end.score, end.done) == (1.0, True)
    assert world.gold_path(task) == ["focus on bulb", "connect bulb"]


def test_a_wrong_focus_ends_the_episode_with_nothing() -> None:
    world = Started().world()
    env = world.make()
    env.reset(world.tasks(Split.TRAIN)[0], seed=0)
    env.step("focus on bulb")
    wrong = env.step("focus on table")
    assert (wrong.score, wrong.done, wrong.valid) == (0.0, True, True)
    assert env.step("look around").valid is False


def test_the_score_of_the_episode_before_is_not_taken_over() -> None:
    world = Started().world()
    env, tasks = world.make(), world.tasks(Split.TRAIN)
    env.reset(tasks[0], seed=0)
    env.step("focus on bulb")
    assert env.step("connect bulb").done
    env.reset(tasks[1], seed=0)
    refused = env.step("dance")
    assert (refused.score, refused.done, refused.valid) == (0.0, False, False)
    after = env.step("look around")
    assert (after.score, after.done) == (0.0, False)


def test_both_success_rates_are_told() -> None:
    """All points are success; evaluations tell the share of more than 70 beside it."""
    scores = (1.0, 0.75, 0.7, 0.0, None)
    played = [Episode(str(number), Task(str(number), ""), (), score) for number, score in enumerate(scores)]
    told = score_of(played, ScienceWorld.passing_score)
    assert (told.success, told.passed, told.score, told.faults) == (0.25, 0.5, 0.6125, 1)
    result = EvaluationResult("after", "skills", "d", "unseen_test", told, {}, 3)
    assert "success 25 %" in evaluation_text(result)
    assert "passed 50 %" in evaluation_text(result)
    assert score_of(played).passed is None


def test_environments_share_few_processes_with_bounded_heaps() -> None:
    started = Started()
    world = started.world()
    environments = [world.make() for _ in range(6)]
    for env in environments:
        env.reset(world.tasks(Split.TRAIN)[0], seed=0)
        env.reset(world.tasks(Split.TRAIN)[1], seed=0)  # keeps its simulator
    assert [process.heap_mb for process in started.processes] == [512, 512]
    assert sorted(len(process.simulators) for process in started.processes) == [3, 4]  # one more has read the tasks


def test_a_process_that_dies_is_a_fault_and_is_replaced() -> None:
    started = Started(count=1)
    world = started.world()
    env, task = world.make(), world.tasks(Split.TRAIN)[0]
    env.reset(task, seed=0)
    started.processes[0].running = False
    with pytest.raises(EnvironmentFault, match="action 'look around' failed: ConnectionError"):
        env.step("look around")
    with pytest.raises(EnvironmentFault, match="step before reset"):
        env.step("look around")
    assert env.reset(task, seed=0).text.endswith("look around: variation 0")
    started.processes[1].running = False  # between two episodes nothing is lost
    assert env.reset(task, seed=0).text.endswith("look around: variation 0")
    assert (len(started.processes), started.pool.restarts) == (3, 2)


def test_a_killed_process_that_still_counts_as_running_is_replaced_and_one_that_stays_is_a_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started = Started(count=1)
    task = started.world().tasks(Split.TRAIN)[0]
    dying, asked = started.processes[0], iter([True, True, True])
    monkeypatch.setattr(dying, "alive", lambda: next(asked, False))
    dying.running = False
    assert started.world().make().reset(task, seed=0).text.endswith("look around: variation 0")
    assert started.pool.restarts == 1
    monkeypatch.setattr(scienceworld_jvm, "_DYING_S", 0.05)
    monkeypatch.setattr(started.processes[1], "alive", lambda: True)
    started.processes[1].running = False
    with pytest.raises(EnvironmentFault, match="gives no interface"):
        started.world()


def test_a_place_is_free_again_when_an_environment_goes() -> None:
    started = Started(count=1)
    world = started.world()
    env = world.make()
    env.reset(world.tasks(Split.TRAIN)[0], seed=0)
    assert started.pool._lent == [1]
    del env
    assert started.pool._lent == [0]


def test_wrong_settings_are_named() -> None:
    with pytest.raises(ConfigError, match="has no tasks \\['fly'\\]"):
        ScienceWorld(("fly",), pool=Started().pool)
    with pytest.raises(ConfigError, match="must not be empty nor share one"):
        ScienceWorld(("boil",), ("boil",), pool=Started().pool)
    with pytest.raises(ConfigError, match="per_task \\(0\\)"):
        ScienceWorld(("boil",), per_task=0, pool=Started().pool)
    with pytest.raises(ConfigError, match="not 0 of 512 MB"):
        JvmPool(0, 512)


def test_without_the_package_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "scienceworld.constants", None)
    with pytest.raises(ConfigError, match=r"reskill-agents\[scienceworld\]"):
        start_process(512)


@pytest.fixture
def real() -> Iterator[ScienceWorld]:
    if importlib.util.find_spec("scienceworld") is None or shutil.which("java") is None:
        pytest.skip("the scienceworld package or Java is not installed: pip install 'reskill-agents[scienceworld]'")
    world = ScienceWorld(per_task=1, max_turns=8)
    yield world
    world.close()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # sockets of the package's gateway
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_real_simulator_keeps_the_contract(real: ScienceWorld) -> None:
    moves = ["look around", "inventory", "go to workshop", "teleport to kitchen", "pick up battery", "wait1"]
    check_world(real, free_actions=moves, tasks_per_split=1)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_real_simulator_is_completed_by_its_own_path_and_survives_a_kill(real: ScienceWorld) -> None:
    task = real.tasks(Split.TRAIN)[0]
    path, env = real.gold_path(task), real.make()
    env.reset(task, seed=0)
    results = [env.step(action) for action in path]
    assert max(result.score for result in results) == 1.0
    env.reset(task, seed=0)
    for process in real._pool._processes:
        if process is not None:
            os.kill(process.pid, signal.SIGKILL)  # type: ignore[attr-defined]
    with pytest.raises(EnvironmentFault):
        env.step("look around")
    assert env.reset(task, seed=0).task
    assert env.step("focus on agent").done  # a wrong focus
