"""The example of a world of one's own: short, keeps the contract, and needs right choices to succeed."""

from __future__ import annotations

import ast
import importlib.util
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from reskill_agents.environment import ScriptedWorld, Split
from reskill_agents.testing import check_world

MOST_LINES = 40


@pytest.fixture(scope="module")
def source(repository: Path) -> Path:
    return repository / "examples" / "custom_environment.py"


@pytest.fixture(scope="module")
def example(source: Path) -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("custom_environment_example", source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def code_lines(source: str) -> int:
    """Lines that hold code: no imports, docstrings, comments or blank lines."""
    tree = ast.parse(source)
    left_out: set[int] = set()
    for node in ast.walk(tree):
        text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if isinstance(node, ast.Import | ast.ImportFrom) or text:
            left_out.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = enumerate(source.splitlines(), 1)
    return sum(bool(line.strip()) and line.strip()[0] != "#" and number not in left_out for number, line in lines)


def test_it_takes_at_most_40_lines_of_code(source: Path) -> None:
    assert code_lines(source.read_text("utf-8")) <= MOST_LINES


def test_it_keeps_the_contract(example: ModuleType) -> None:
    world = example.PostWorld()
    assert isinstance(world, ScriptedWorld)
    check_world(world)


def test_the_clerk_rarely_succeeds_and_the_right_way_always_does(example: ModuleType) -> None:
    world = example.PostWorld()
    env, rng, successes = world.make(), random.Random(0), 0
    for number, task in enumerate(world.tasks(Split.TRAIN) * 5):
        observation, actor, done, score = env.reset(task, seed=number), world.actor(rng.getrandbits(30)), False, 0.0
        while not done:
            result = env.step(actor.act(observation).action)
            observation, done, score = result.observation, result.done, result.score
        successes += score == 1
        env.reset(task, seed=number)
        assert [env.step(action).score for action in (task.text, "stamp", "send")] == [0, 0, 1]
    assert successes <= 0.05 * 300


def test_unseen_parcels_are_never_wanted_in_training(example: ModuleType) -> None:
    world = example.PostWorld()
    wanted = {split: {task.text for task in world.tasks(split)} for split in Split}
    assert len(wanted[Split.UNSEEN_TEST]) == 5
    assert not wanted[Split.UNSEEN_TEST] & (wanted[Split.TRAIN] | wanted[Split.VALID] | wanted[Split.SEEN_TEST])
