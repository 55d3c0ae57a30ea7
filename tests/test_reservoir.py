"""The reservoir keeps one episode for each task, arm and outcome class, and forgets the oldest."""

from __future__ import annotations

import dataclasses
import json

import pytest
from creator_episodes import careless, episode

from reskill_agents import Arm
from reskill_agents.errors import RunFolderError
from reskill_agents.reservoir import Reservoir


def test_the_papers_reservoir_keeps_one_episode_for_each_task_arm_and_outcome_class() -> None:
    reservoir = Reservoir(per_slot=1)
    poor = episode("a", [("start", "go", [])], score=0.0)
    reservoir.add(poor, dataclasses.replace(poor, episode_id="newer"))
    reservoir.add(dataclasses.replace(poor, score=0.4), dataclasses.replace(poor, score=1.0))
    reservoir.add(dataclasses.replace(poor, arm=Arm.CANDIDATE))
    kept = [(e.episode_id, e.score, e.arm) for e in reservoir.episodes]
    assert kept == [("newer", 0.0, None), ("a", 0.4, None), ("a", 1.0, None), ("a", 0.0, Arm.CANDIDATE)]


def test_whole_groups_are_kept_and_a_newer_group_replaces_an_older_one() -> None:
    reservoir = Reservoir(per_slot=2)
    poor = episode("a", [("start", "go", [])])
    reservoir.add(*(dataclasses.replace(poor, episode_id=name) for name in "abc"))
    reservoir.add(dataclasses.replace(poor, episode_id="d", score=1.0))
    assert [e.episode_id for e in reservoir.episodes] == ["b", "c", "d"]


def test_first_in_first_out_beyond_the_capacity() -> None:
    reservoir = Reservoir(capacity=2)
    reservoir.add(*(episode(name, [("start", "go", [])]) for name in "abc"))
    assert [e.episode_id for e in reservoir.episodes] == ["b", "c"]


def test_faults_are_not_kept() -> None:
    reservoir = Reservoir()
    reservoir.add(episode("a", [("start", "go", [])], score=None))
    assert len(reservoir) == 0


def test_the_state_survives_json() -> None:
    reservoir = Reservoir(capacity=9)
    reservoir.add(*careless(40))
    again = Reservoir.from_state(json.loads(json.dumps(reservoir.to_state())))
    assert again.capacity == 9
    assert again.episodes == reservoir.episodes


@pytest.mark.parametrize(
    "state", [{}, {"capacity": "9", "per_slot": 1, "episodes": []}, {"capacity": 9, "per_slot": 1, "episodes": ["x"]}]
)
def test_a_broken_state_is_refused(state: dict[str, object]) -> None:
    with pytest.raises(RunFolderError):
        Reservoir.from_state(state)
