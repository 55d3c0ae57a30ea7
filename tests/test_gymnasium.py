"""Gymnasium text environments play as worlds."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from reskill_agents.environment import Split
from reskill_agents.envs.gymnasium import GymnasiumWorld, GymTask, TextEnv
from reskill_agents.errors import ConfigError, EnvironmentFault
from reskill_agents.testing import check_world

Step = tuple[object, float, bool, bool, Mapping[str, object]]
TASKS = [GymTask(f"reach {n}", list(Split)[n % 4], seed=n, tags={"far": str(n > 4)}) for n in range(8)]


class Corridor:
    """A fake with Gymnasium's interface: walk to the room that the seed says; reward 1 there, -0.1 a step."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, object] | None = None
    ) -> tuple[object, dict[str, object]]:
        self.goal, self.room, self.steps = 1 + (seed or 0) % 3, 0, 0
        self.start = options
        return self.seen()

    def seen(self) -> tuple[object, dict[str, object]]:
        return f"room {self.room} of {self.goal}", {"moves": ["left", "right"] if self.room else ["right"]}

    def step(self, action: object, /) -> Step:
        if action == "crash":
            raise RuntimeError("the simulator died")
        self.room += {"left": -1, "right": 1, 0: -1, 1: 1}.get(action, 0)  # type: ignore[call-overload]
        self.steps += 1
        there = self.room == self.goal
        return self.seen()[0], 1.0 if there else -0.1, there, self.steps >= 5, self.seen()[1]


def test_free_text_listed_and_per_turn_actions_keep_the_contract() -> None:
    check_world(GymnasiumWorld(Corridor, TASKS), free_actions=["left", "right", "dance"], nonsense=" ")
    check_world(GymnasiumWorld(Corridor, TASKS, choices=("left", "right")))
    check_world(GymnasiumWorld(Corridor, TASKS, choices_key="moves"))


def test_an_episode_is_played_and_scored() -> None:
    world = GymnasiumWorld(Corridor, TASKS, choices=("left", "right"), settings={"env_id": "Corridor-v0"})
    env, task = world.make(), world.tasks(Split.VALID)[0]  # seed 1: the goal is room 2
    first = env.reset(task, seed=99)
    assert first.text == "room 0 of 2"
    assert [choice.text for choice in first.choices] == ["left", "right"]
    on_the_way = env.step("right")
    assert (on_the_way.done, on_the_way.score) == (False, 0.0)
    there = env.step("right")
    assert (there.done, there.valid, there.score) == (True, True, pytest.approx(0.9))
    assert there.observation.choices == ()
    late = env.step("left")
    assert (late.done, late.valid, late.score) == (True, False, pytest.approx(0.9))
    assert world.describe() == {
        "world": "gymnasium", "max_turns": 30, "tasks_train": 2, "tasks_valid": 2, "tasks_seen_test": 2,
        "tasks_unseen_test": 2, "env_id": "Corridor-v0",
    }  # fmt: skip


def test_truncation_ends_an_episode_and_the_score_can_be_ones_own() -> None:
    world = GymnasiumWorld(Corridor, TASKS, score=lambda total, info: float(total > 0))
    env = world.make()
    env.reset(world.tasks(Split.TRAIN)[0], seed=0)
    results = [env.step("wait") for _ in range(5)]
    assert [result.done for result in results] == [False] * 4 + [True]
    assert results[-1].score == 0.0


def test_discrete_actions_have_names() -> None:
    world = GymnasiumWorld(Corridor, TASKS, choices={"go back": 0, "go on": 1})
    env = world.make()
    env.reset(world.tasks(Split.TRAIN)[0], seed=0)  # seed 0: the goal is room 1
    assert env.step("go on").score == 1.0


def test_admissible_actions_of_a_turn_come_from_info() -> None:
    world = GymnasiumWorld(Corridor, TASKS, choices_key="moves")
    env = world.make()
    start = env.reset(world.tasks(Split.VALID)[0], seed=0)
    assert [choice.action for choice in start.choices] == ["right"]
    assert not env.step("left").valid
    assert [choice.action for choice in env.step("right").observation.choices] == ["left", "right"]


def test_without_a_seed_of_its_own_a_task_starts_as_the_rollout_says() -> None:
    world = GymnasiumWorld(Corridor, [GymTask("walk")])
    env, task = world.make(), world.tasks(Split.TRAIN)[0]
    assert [env.reset(task, seed=seed).text for seed in (0, 1, 2)] == ["room 0 of 1", "room 0 of 2", "room 0 of 3"]


def test_what_breaks_is_a_fault_and_the_next_reset_works() -> None:
    made: list[Corridor] = []

    def make() -> TextEnv:
        made.append(Corridor())
        return made[-1]

    world = GymnasiumWorld(make, TASKS)
    env, task = world.make(), world.tasks(Split.TRAIN)[0]
    env.reset(task, seed=0)
    with pytest.raises(EnvironmentFault, match="step 'crash' failed: RuntimeError"):
        env.step("crash")
    with pytest.raises(EnvironmentFault, match="step before reset"):
        env.step("right")
    env.reset(task, seed=0)
    assert len(made) == 2


@pytest.mark.parametrize("broken", ["read", "score"])
def test_what_readers_and_scorers_raise_is_a_fault(broken: str) -> None:
    calls: list[str] = []

    def read(shown: object, info: object) -> str:
        calls.append("read")
        return {}["text"] if broken == "read" and len(calls) > 1 else "a room"

    def score(total: float, info: object) -> float:
        return {}["score"] if broken == "score" else 0.0

    world = GymnasiumWorld(Corridor, TASKS, read=read, score=score)
    env, task = world.make(), world.tasks(Split.TRAIN)[0]
    env.reset(task, seed=0)
    with pytest.raises(EnvironmentFault, match="step 'right' failed: KeyError"):
        env.step("right")


def test_observations_need_a_text() -> None:
    class Pictures(Corridor):
        def seen(self) -> tuple[object, dict[str, object]]:
            return [1, 2, 3], {}

    class Dicts(Corridor):
        def seen(self) -> tuple[object, dict[str, object]]:
            return {"text": "a room"}, {}

    task = GymTask("look")
    blind = GymnasiumWorld(Pictures, [task])
    with pytest.raises(EnvironmentFault, match="list, not text; give `read`"):
        blind.make().reset(blind.tasks(Split.TRAIN)[0], seed=0)
    for world in (GymnasiumWorld(Dicts, [task]), GymnasiumWorld(Pictures, [task], read=lambda shown, info: "a room")):
        assert world.make().reset(world.tasks(Split.TRAIN)[0], seed=0).text == "a room"


def test_wrong_settings_are_named() -> None:
    with pytest.raises(ConfigError, match="no task of the train split"):
        GymnasiumWorld(Corridor, [GymTask("x", Split.VALID)])
    with pytest.raises(ConfigError, match="max_turns is 0"):
        GymnasiumWorld(Corridor, TASKS, max_turns=0)
    world = GymnasiumWorld(Corridor, TASKS, score=lambda total, info: 7.0)
    env = world.make()
    env.reset(world.tasks(Split.TRAIN)[0], seed=0)
    with pytest.raises(EnvironmentFault, match=r"score must give 0\.\.1, not 7\.0"):
        env.step("right")
    world = GymnasiumWorld(Corridor, TASKS, choices_key="nothing")
    with pytest.raises(EnvironmentFault, match=r"info\['nothing'\] is no list of texts"):
        world.make().reset(world.tasks(Split.TRAIN)[0], seed=0)


def test_the_real_package_plays() -> None:
    """Where Gymnasium is installed: its own base class, wrapper and spaces."""
    gymnasium = pytest.importorskip("gymnasium", reason="gymnasium is not installed; the fake covers its interface")

    class Real(Corridor, gymnasium.Env):  # type: ignore[misc, name-defined]
        action_space = gymnasium.spaces.Discrete(2)
        observation_space = gymnasium.spaces.Text(30)

    def make() -> TextEnv:
        wrapped: TextEnv = gymnasium.wrappers.TimeLimit(Real(), max_episode_steps=4)
        return wrapped

    check_world(GymnasiumWorld(make, TASKS, choices={"go back": 0, "go on": 1}))
