"""Test-time adaptation: a frozen policy, a curve against no skills and the source pack, exact resumes."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
import torch
from tiny_policy import tiny_policy
from toy_world import ToyWorld
from trainer_runs import Crash, CrashAt, PreparedAuthor, Watcher, lines, skill, small_config
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from reskill_agents.cli import app
from reskill_agents.environment import Split, Task, adaptation_tasks
from reskill_agents.envs.named import open_world, spec_of
from reskill_agents.envs.webshop import WebShopWorld
from reskill_agents.errors import ConfigError, RunFolderError
from reskill_agents.library import SkillLibrary
from reskill_agents.packs import export_pack
from reskill_agents.trainers.adaptation import Adaptation, adapt, adaptation_config, adaptation_table
from reskill_agents.trainers.config import RunConfig
from reskill_agents.trainers.trained import TrainedPolicy, read_trained

SOURCE = SkillLibrary((skill("from-elsewhere", "Take `leave` as soon as it is offered."),))


class Target(ToyWorld):
    """A toy world with tasks of its own to adapt on."""

    def adaptation_tasks(self) -> list[Task]:
        return [Task(f"adapt-{t.task_id}", t.text, Split.TRAIN) for t in ToyWorld(seed=5).tasks(Split.TRAIN)]


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_policy(tmp_path_factory.mktemp("tiny"))


def config(policy: Path) -> RunConfig:
    trained = TrainedPolicy(policy, small_config(method="grpo"))
    return adaptation_config(trained, rounds=3, round_steps=2, seed=3, tasks=4, test=True, groups=4, group_size=4)


def run(policy: Path, folder: Path, *, resume: bool = False, listener: Watcher | None = None) -> Adaptation:
    return asyncio.run(
        adapt(
            config(policy), Target(), SOURCE, policy=policy, run_dir=folder, resume=resume, listener=listener,
            author=PreparedAuthor(),
        )
    )  # fmt: skip


@pytest.fixture(scope="module")
def unbroken(policy: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Adaptation, Path]:
    folder = tmp_path_factory.mktemp("adapt") / "run"
    return run(policy, folder), folder


def test_the_curve_has_a_point_a_round_and_two_lines(unbroken: tuple[Adaptation, Path]) -> None:
    done, folder = unbroken
    assert [(one.round, one.step) for one in done.rounds] == [(1, 2), (2, 4), (3, 6)]
    assert (done.split, done.tasks, done.without.episodes) == ("adapt", 48, 4)
    assert done.source_alone is not None
    assert {(one.library, one.split) for one in done.tests} == {
        (library, split) for library in ("none", "source", "adapted") for split in ("seen_test", "unseen_test")
    }
    assert json.loads((folder / "adaptation.json").read_text())["rounds"][0]["result"]["episodes"] == 4
    assert adaptation_table(done).row_count == 2 + 3 + 6


def test_the_policy_stays_as_it_is_and_only_tasks_of_the_adapt_split_are_learned_from(
    unbroken: tuple[Adaptation, Path], policy: Path
) -> None:
    folder = unbroken[1]
    start, end = (
        AutoModelForCausalLM.from_pretrained(path).state_dict() for path in (policy, read_trained(folder).policy)
    )
    assert all(torch.equal(start[name], end[name]) for name in start)
    metrics = lines(folder, "metrics.jsonl")
    assert all(entry["version"] == 0 and entry["rows"] == 0 for entry in metrics)
    episodes = lines(folder, "episodes.jsonl")
    assert all(str(entry["task_id"]).startswith("adapt-") for entry in episodes)
    assert all(entry["advantage"] is None for entry in episodes)
    assert {entry["event"] for entry in lines(folder, "trials.jsonl")} >= {"library", "creation", "trial"}


def test_it_resumes_exactly_and_refuses_another_source(
    unbroken: tuple[Adaptation, Path], policy: Path, tmp_path: Path
) -> None:
    for at in (1, 3, 4):
        with pytest.raises(Crash):
            run(policy, tmp_path / "run", listener=CrashAt(at=at), resume=at > 1)
    done, folder = unbroken
    assert run(policy, tmp_path / "run", resume=True) == done
    for log in ("metrics.jsonl", "episodes.jsonl", "trials.jsonl"):
        assert lines(folder, log) == lines(tmp_path / "run", log)
    assert run(policy, tmp_path / "run", resume=True) == done  # a finished one is not played again
    with pytest.raises(ConfigError, match="another source"):
        asyncio.run(
            adapt(config(policy), Target(), SkillLibrary(), policy=policy, run_dir=tmp_path / "run", resume=True)
        )


@pytest.mark.parametrize("named", [True, False], ids=["into a folder", "into a new one"])
def test_the_command_adapts_and_prints_the_table(
    policy: Path, tmp_path: Path, named: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    out = tmp_path / ("out" if named else "runs/adapt-toy_world-s0")
    pack = export_pack(SOURCE, tmp_path / "pack")
    arguments = ["adapt", "--policy", policy, "--env", "toy_world:ToyWorld", "--pack", pack,
                 *(["--out", out] if named else []), "--rounds", 1, "--round-steps", 1, "--groups", 2, "--group-size", 4,
                 "--tasks", 2, "--quiet"]  # fmt: skip
    (policy / "standin.json").write_text("{}")  # says that this policy answers with numbers
    try:
        done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    finally:
        (policy / "standin.json").unlink()
    assert done.exit_code == 0, done.exception
    assert "source pack" in done.output
    assert "train tasks, policy frozen" in done.output  # this world has none of its own to adapt on
    assert (out / "adaptation.json").is_file()


def test_worlds_have_names_and_wrong_ones_are_refused() -> None:
    world = open_world("webshop-renamed:catalogue_seed=7,seed=3")
    assert world.name == "webshop-renamed"
    again = spec_of(world.describe())
    assert again is not None
    assert open_world(again).describe() == world.describe()
    assert open_world("toy_world:ToyWorld").name == "toy"
    for spec, message in (
        ("nowhere", "names no world"), ("webshop:rooms=3", "no option rooms"), ("toy_world:skill", "toy_world:skill"),
        ("webshop:catalogue_seed=x", "not a whole number"), ("toy_world:WORDS", "not callable"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=message):
            open_world(spec)


def test_the_shop_has_requests_of_its_own_to_adapt_on_about_products_no_test_asks_for() -> None:
    world = WebShopWorld()
    tasks, name = adaptation_tasks(world)
    assert (name, len(tasks)) == ("adapt", 519)
    asked = {world.goal(task).asin for task in tasks}
    known = {(world.goal(t).asin, world.goal(t).options) for split in Split for t in world.tasks(split)}
    assert not known & {(world.goal(task).asin, world.goal(task).options) for task in tasks}
    for split in (Split.VALID, Split.SEEN_TEST, Split.UNSEEN_TEST):
        assert not asked & {world.goal(task).asin for task in world.tasks(split)}
    first = world.make().reset(tasks[0], seed=0)
    assert first.choices
    assert adaptation_tasks(open_world("webshop-renamed"))[0] == tasks


def test_what_is_no_policy_is_said(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="neither a run folder nor a policy"):
        read_trained(tmp_path)
