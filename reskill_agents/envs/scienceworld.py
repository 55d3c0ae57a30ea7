"""Elementary-school science in a text simulator (ScienceWorld, Wang et al., 2022), through its package.

    pip install 'reskill-agents[scienceworld]'      # and Java 8 or newer
    world = ScienceWorld()                          # the pair of tasks of the ReSkill paper
    world = ScienceWorld(tasks=("boil", "melt"), unseen=("freeze",))

The simulator's own splits: variations of ``tasks`` for training, validation and seen test, of ``unseen`` for unseen test. Actions
are free text; the list of valid actions, which takes most of the package's time, is never asked for.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from reskill_agents.environment import Observation, Split, StepResult, Task
from reskill_agents.envs.scienceworld_jvm import JvmPool, Simulator
from reskill_agents.errors import ConfigError, EnvironmentFault

__all__ = ["ScienceWorld", "ScienceWorldEnvironment"]

PAPER_TASKS = ("power-component", "test-conductivity")
PAPER_UNSEEN = ("power-component-renewable-vs-nonrenewable-energy", "test-conductivity-of-unknown-substances")
MAX_TURNS = 30  # as in the paper
HEAP_MB = 1024  # half of 128 episodes at once, and air
PASSED = 0.7  # some report a task as solved above 70 points
NO_ACTION = "No known action matches that input."
SYSTEM_PROMPT = """\
You are in a simulated house with a workshop, a greenhouse and more. Do the task that is told at the start, one action a turn:
open OBJ; close OBJ; activate OBJ; deactivate OBJ; connect OBJ to OBJ; disconnect OBJ; use OBJ on OBJ; look around; look at OBJ;
look in OBJ; read OBJ; move OBJ to OBJ; pick up OBJ; put down OBJ; pour OBJ into OBJ; dunk OBJ into OBJ; mix OBJ; go to ROOM;
teleport to ROOM; eat OBJ; flush OBJ; focus on OBJ; wait; wait1; inventory; task.
"focus on" tells the simulator what the task is about: to focus on a wrong thing ends the episode. Where an action is ambiguous,
answer with the number of the meaning you want."""


@dataclass(frozen=True, slots=True)
class _Variation:
    task: str
    number: int


class ScienceWorld:
    """Variations of tasks in splits; see :class:`reskill_agents.environment.World`.

    The score is the simulator's, 0..100 points as 0..1. It gives -100 for a focus on a wrong thing: the episode is over, with 0.

    Args:
        tasks: for training, validation and seen test, by the simulator's names; ``None``: the paper's.
        unseen: for unseen test; ``None``: the paper's if ``tasks`` are, else none.
        simplifications: of the simulator, by commas ("easy" is all of them, and allows ``teleport``).
        max_turns: actions an episode may take.
        per_task: at most so many variations of a task in a split (the first); ``None``: all.
        jvms: Java processes that environments share.
        heap_mb: of each; an episode being played takes about 10 MB.
        pool: of processes, instead of one of its own.

    Raises:
        ConfigError: package or Java are missing, or there is no such task.

    Attributes:
        passing_score: evaluations also tell the share of episodes above it.
    """

    name = "scienceworld"
    passing_score = PASSED

    def __init__(
        self,
        tasks: Sequence[str] | None = None,
        unseen: Sequence[str] | None = None,
        *,
        simplifications: str = "easy",
        max_turns: int = MAX_TURNS,
        per_task: int | None = None,
        jvms: int = 2,
        heap_mb: int = HEAP_MB,
        pool: JvmPool | None = None,
    ) -> None:
        if max_turns < 1 or (per_task is not None and per_task < 1):
            raise ConfigError(f"max_turns ({max_turns}) and per_task ({per_task}) must be at least 1")
        self.max_turns = max_turns
        self._simplifications = simplifications
        self._jvms, self._heap_mb = jvms, heap_mb
        self._names = tuple(tasks if tasks is not None else PAPER_TASKS)
        if unseen is None:
            unseen = PAPER_UNSEEN if tasks is None else ()
        self._unseen = tuple(unseen)
        if not self._names or set(self._names) & set(self._unseen):
            raise ConfigError(f"tasks ({self._names}) must not be empty nor share one with unseen ({self._unseen})")
        self._pool = pool or JvmPool(jvms, heap_mb)
        self._variations: dict[str, _Variation] = {}
        self._tasks: dict[Split, list[Task]] = {split: [] for split in Split}
        number, simulator = self._pool.lend()
        try:
            self._read(simulator, per_task)
        finally:
            self._pool.give_back(number)

    def _read(self, simulator: Simulator, per_task: int | None) -> None:
        known = set(simulator.getTaskNames())
        strange = [name for name in (*self._names, *self._unseen) if name not in known]
        if strange:
            raise ConfigError(f"ScienceWorld has no tasks {strange}; it has {sorted(known)}")
        for name in self._names:
            simulator.load(name, 0, self._simplifications, False)
            self._add(name, Split.TRAIN, simulator.getVariationsTrain(), per_task)
            self._add(name, Split.VALID, simulator.getVariationsDev(), per_task)
            self._add(name, Split.SEEN_TEST, simulator.getVariationsTest(), per_task)
        for name in self._unseen:
            simulator.load(name, 0, self._simplifications, False)
            self._add(name, Split.UNSEEN_TEST, simulator.getVariationsTest(), per_task)

    def _add(self, name: str, split: Split, variations: Sequence[int], per_task: int | None) -> None:
        for variation in list(variations)[:per_task]:
            task_id = f"scienceworld-{name}-{variation}"
            self._variations[task_id] = _Variation(name, int(variation))
            text = f"{name.replace('-', ' ')}, variation {variation}"
            self._tasks[split].append(Task(task_id, text, split, {"task": name}))

    def tasks(self, split: Split) -> Sequence[Task]:
        """The variations of a split, task by task. The simulator tells at the start what is to be done."""
        return self._tasks[split]

    def make(self) -> ScienceWorldEnvironment:
        """A new environment."""
        return ScienceWorldEnvironment(self._pool, self._variations, self._simplifications)

    def gold_path(self, task: Task) -> list[str]:
        """Actions that complete ``task``, by the simulator's own planner; for tests and oracles, never for agents."""
        variation = self._variations[task.task_id]
        number, simulator = self._pool.lend()
        try:
            simulator.load(variation.task, variation.number, self._simplifications, True)
            return list(simulator.getGoldActionSequence())
        finally:
            self._pool.give_back(number)

    def close(self) -> None:
        """End the Java processes; they start again when needed."""
        self._pool.close()

    def describe(self) -> Mapping[str, str | int | float | bool]:
        """Settings, and variations per split."""
        try:
            made_with = version("scienceworld")
        except PackageNotFoundError:
            made_with = "unknown"
        return {
            "world": self.name,
            "scienceworld": made_with,
            "train_tasks": ",".join(self._names),
            "unseen_tasks": ",".join(self._unseen),
            "simplifications": self._simplifications,
            "max_turns": self.max_turns,
            "jvms": self._jvms,
            "heap_mb": self._heap_mb,
            **{f"tasks_{split.value}": len(tasks) for split, tasks in self._tasks.items()},
        }

    def system_prompt(self) -> str:
        """What the agent is told before the first observation."""
        return SYSTEM_PROMPT


class ScienceWorldEnvironment:
    """One variation at a time. An action that the simulator does not know changes nothing and takes no time.

    A simulator that dies in an episode is an :class:`EnvironmentFault`; the next ``reset`` gets another one.
    """

    def __init__(self, pool: JvmPool, variations: Mapping[str, _Variation], simplifications: str) -> None:
        self._pool = pool
        self._variations = variations
        self._simplifications = simplifications
        self._simulator: Simulator | None = None
        self._return: Callable[[], object] = lambda: None
        self._shown = Observation("")
        self._done, self._score = False, 0.0

    def reset(self, task: Task, *, seed: int) -> Observation:
        """Start the variation of ``task``. It has no randomness of its own, so ``seed`` changes nothing."""
        variation = self._variations.get(task.task_id)
        if variation is None:
            raise EnvironmentFault(f"no task {task.task_id!r} in this world")
        for fresh in (False, True):
            try:
                return self._start(variation)
            except EnvironmentFault:
                raise
            except Exception as error:
                self._drop()  # the process may have died since; a new one loses nothing
                if fresh:
                    raise EnvironmentFault(f"{task.task_id} could not be started: {error!r}") from error
        raise AssertionError("unreachable")

    def _start(self, variation: _Variation) -> Observation:
        if self._simulator is None:
            number, self._simulator = self._pool.lend()
            self._return = weakref.finalize(self, self._pool.give_back, number)
        self._simulator.load(variation.task, variation.number, self._simplifications, False)
        self._simulator.reset()
        room = self._simulator.step("look around")  # only now score and completion are those of this episode
        goal = self._simulator.getTaskDescription().strip()
        self._done, self._score = False, 0.0
        self._shown = Observation(f"{goal}\n\n{room.strip()}", task=goal)
        return self._shown

    def step(self, action: str) -> StepResult:
        """Take an action in the simulator's words."""
        if self._simulator is None:
            raise EnvironmentFault("step before reset")
        if self._done or not action.strip():
            return StepResult(self._shown, self._done, self._score, valid=False)
        try:
            said = self._simulator.step(action).strip()
            if said == NO_ACTION:
                return StepResult(self._shown, False, self._score, valid=False)
            points = float(self._simulator.getScore())
            over = bool(self._simulator.getCompleted())
        except Exception as error:
            self._drop()
            raise EnvironmentFault(f"action {action!r} failed: {error!r}") from error
        self._done = over or points < 0  # a wrong focus: -100, and the simulator itself would go on
        self._score = min(max(points, 0.0), 1.0)
        self._shown = Observation(said or "Nothing happens.", task=self._shown.task)
        return StepResult(self._shown, self._done, self._score)

    def _drop(self) -> None:
        self._simulator = None
        self._return()
