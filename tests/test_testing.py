"""``reskill_agents.testing`` accepts what keeps the contract and says what is broken about what does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from reskill_agents.environment import Choice, Environment, Observation, Split, StepResult, Task
from reskill_agents.errors import EnvironmentFault
from reskill_agents.testing import ContractBroken, check_environment, check_tasks

TASKS = [Task("lamp-red", "red"), Task("lamp-blue", "blue")]


class Lamps:
    """Press the lamp the task names."""

    task: Task | None = None
    presses = 0

    def reset(self, task: Task, *, seed: int) -> Observation:
        if task not in TASKS:
            raise EnvironmentFault("unknown task")
        self.task, self.presses = task, 0
        return self.shown()

    def shown(self) -> Observation:
        choices = tuple(Choice(f"press[{lamp}]", lamp) for lamp in ("red", "blue"))
        return Observation(f"{self.presses} presses", choices)

    def step(self, action: str) -> StepResult:
        if self.task is None:
            raise EnvironmentFault("step before reset")
        if action not in ("press[red]", "press[blue]"):
            return self.refuse()
        self.presses += 1
        right = action == f"press[{self.task.text}]"
        return StepResult(self.shown(), done=right, score=float(right))

    def refuse(self) -> StepResult:
        return StepResult(self.shown(), valid=False)


def test_a_good_environment_passes() -> None:
    check_environment(Lamps, TASKS)


class TakesAnything(Lamps):
    def refuse(self) -> StepResult:
        return StepResult(self.shown())


class MovesOnNonsense(Lamps):
    def refuse(self) -> StepResult:
        self.presses += 1
        return StepResult(self.shown(), valid=False)


class EndsOnNonsense(Lamps):
    def refuse(self) -> StepResult:
        return StepResult(self.shown(), done=True, valid=False)


class ForgetsToReset(Lamps):
    def reset(self, task: Task, *, seed: int) -> Observation:
        presses = self.presses
        super().reset(task, seed=seed)
        self.presses = presses
        return self.shown()


class KnowsEveryTask(Lamps):
    def reset(self, task: Task, *, seed: int) -> Observation:
        return super().reset(replace(task, task_id=f"lamp-{task.text}"), seed=seed)


class ScoresInPercent(Lamps):
    def step(self, action: str) -> StepResult:
        result = super().step(action)
        return replace(result, score=100.0) if result.valid else result


class OffersWhatIsInvalid(Lamps):
    def shown(self) -> Observation:
        return Observation("lamps", (Choice("press[green]"),))


class ListsTwice(Lamps):
    def shown(self) -> Observation:
        return Observation("lamps", (Choice("press[red]"), Choice("press[red]", "the same")))


class LongKind(Lamps):
    def shown(self) -> Observation:
        return Observation("lamps", (Choice("press[red]", kind="two words"),))


class SaysNothing(Lamps):
    def shown(self) -> Observation:
        return Observation("", (Choice("press[red]"),))


_SHARED = Lamps()
_COUNT = iter(range(10**6))


class IsDifferentEveryTime(Lamps):
    def shown(self) -> Observation:
        return replace(super().shown(), text=f"look {next(_COUNT)}")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (TakesAnything, "'no such action' was valid"),
        (MovesOnNonsense, "must leave the world as it was"),
        (EndsOnNonsense, "an invalid action ended the episode"),
        (ForgetsToReset, "used before plays differently after reset"),
        (KnowsEveryTask, "a task that is not of this world must raise EnvironmentFault"),
        (ScoresInPercent, r"score 100\.0 is not in 0\.\.1"),
        (OffersWhatIsInvalid, r"listed choice 'press\[green\]' was not valid"),
        (ListsTwice, "two choices with one action"),
        (LongKind, "must be one word"),
        (SaysNothing, "has no text"),
        (IsDifferentEveryTime, "must leave the world as it was"),
        (lambda: _SHARED, "a step before reset must raise EnvironmentFault"),
    ],
)
def test_what_is_broken_is_named(make: Callable[[], Environment], message: str) -> None:
    with pytest.raises(ContractBroken, match=message):
        check_environment(make, TASKS)


def test_an_environment_without_choices_needs_actions_to_play() -> None:
    class Blind(Lamps):
        def shown(self) -> Observation:
            return Observation("lamps")

    with pytest.raises(ContractBroken, match="no choices and no free actions"):
        check_environment(Blind, TASKS)
    check_environment(Blind, TASKS, free_actions=["press[red]", "press[blue]", "press[green]"])


def test_tasks_are_checked() -> None:
    class TwoOfOneId:
        name, max_turns = "twice", 3

        def tasks(self, split: Split) -> list[Task]:
            return [replace(TASKS[0], split=split)]

        def make(self) -> Lamps:
            return Lamps()

        def describe(self) -> dict[str, str | int | float | bool]:
            return {}

        def system_prompt(self) -> str:
            return ""

    with pytest.raises(ContractBroken, match="shares tasks with another split"):
        check_tasks(TwoOfOneId())
