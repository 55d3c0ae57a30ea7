"""A training job around the loop: where runs go, what policy it starts from, what it leaves behind."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from run_folders import write_run
from tiny_policy import tiny_policy
from toy_world import ToyWorld
from trainer_runs import go, small_config

from reskill_agents.display import LiveDisplay, QuietDisplay
from reskill_agents.envs.webshop import WebShopWorld
from reskill_agents.errors import ConfigError
from reskill_agents.packs import import_pack, read_pack, validate_pack
from reskill_agents.run_summary import fates
from reskill_agents.run_view import read_run
from reskill_agents.trainers.cloning import CloneProgress
from reskill_agents.trainers.job import choose_run_dir, finish
from reskill_agents.trainers.job_options import JobOptions
from reskill_agents.trainers.job_policy import load_author, start_policy
from reskill_agents.trainers.standin import StandinReport, StandinSize, explore, new_model, standin_tokenizer


def test_a_new_run_gets_a_new_folder_and_resume_the_newest(tmp_path: Path) -> None:
    assert choose_run_dir(tmp_path, "shop", resume=False) == tmp_path / "shop"
    assert choose_run_dir(tmp_path, "shop", resume=True) == tmp_path / "shop"
    for name in ("shop", "shop-2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    assert choose_run_dir(tmp_path, "shop", resume=False) == tmp_path / "shop-3"
    assert choose_run_dir(tmp_path, "shop", resume=True) == tmp_path / "shop-2"


def test_a_finished_run_leaves_tables_a_report_and_a_valid_pack(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    console = Console(file=io.StringIO(), width=100)
    finish(run, console)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    for expected in (
        "before, without library",
        "after, placebo texts",
        "finish-at-once",
        "rejected",
        "It now solves 66 %",
    ):
        assert expected in text
    assert validate_pack(run / "pack") == []
    assert "It now solves 66 %" in (run / "report.html").read_text()


@pytest.fixture(scope="module")
def configured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a config and a tokenizer, but no weights."""
    folder = tmp_path_factory.mktemp("policy")
    world = ToyWorld()
    tokenizer = standin_tokenizer(world, explore(world, seed=0, episodes=20), max_length=256)
    tokenizer.save_pretrained(folder)
    new_model(
        tokenizer, StandinSize(hidden=32, layers=1, heads=2, mlp=32, max_context=256), seed=0
    ).config.save_pretrained(folder)
    return folder


def test_a_folder_without_weights_starts_from_random_ones_that_the_seed_decides(
    configured: Path, tmp_path: Path
) -> None:
    def start(seed: int, name: str) -> Path:
        options = JobOptions(model=str(configured), seed=seed)
        return start_policy(options, ToyWorld(), tmp_path / name, QuietDisplay())

    first, again, other = start(1, "a"), start(1, "b"), start(2, "c")
    weights = [(folder / "model.safetensors").read_bytes() for folder in (first, again, other)]
    assert weights[0] == weights[1]
    assert weights[0] != weights[2]
    assert first == tmp_path / "a" / "start"
    assert start(1, "a") == first
    assert start_policy(JobOptions(model=str(first)), ToyWorld(), tmp_path / "d", QuietDisplay()) == first


def test_a_name_is_left_to_transformers_and_a_stray_folder_is_refused(tmp_path: Path) -> None:
    assert start_policy(JobOptions(model="some/name"), ToyWorld(), tmp_path, QuietDisplay()) == Path("some/name")
    with pytest.raises(ConfigError, match=r"config\.json"):
        start_policy(JobOptions(model=str(tmp_path)), ToyWorld(), tmp_path, QuietDisplay())


def test_authors_by_name(tmp_path: Path) -> None:
    assert load_author("offline", tmp_path).name == "offline"
    assert not (tmp_path / "creator").exists()
    author = load_author("openai:m@http://127.0.0.1:1/v1", tmp_path)
    assert author.name == "openai:m@http://127.0.0.1:1/v1"
    assert (tmp_path / "creator").is_dir()
    with pytest.raises(ConfigError, match="openai:MODEL"):
        load_author("claude", tmp_path)


@pytest.mark.parametrize("method", ["reskill", "static"])
def test_a_real_run_can_be_watched_read_reported_and_exported(method: str, tmp_path: Path) -> None:
    display = LiveDisplay(Console(file=io.StringIO(), force_terminal=True, width=100), "toy")
    with display:
        result = go(small_config(method=method), tiny_policy(tmp_path / "tiny"), tmp_path / "run", listener=display)
        Console(file=io.StringIO(), width=100).print(display.render())
    console = Console(file=io.StringIO(), width=100)
    finish(tmp_path / "run", console)
    view = read_run(tmp_path / "run")
    assert len(view.steps) == result.steps
    assert view.library.library == result.library
    assert import_pack(tmp_path / "run" / "pack") == result.library
    assert dict(read_pack(tmp_path / "run" / "pack").lineage) == dict(result.lineage)
    assert view.damaged == {}
    assert {fate.skill for fate in fates(view)} >= {skill.name for skill in result.library}
    assert (tmp_path / "run" / "report.html").is_file()


def test_runs_of_different_seeds_can_begin_with_the_same_standin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def cached(*_: object, seed: int, **__: object) -> Path:
        asked.append(seed)
        StandinReport(
            {}, seed, 1, 1, 1, 1, CloneProgress(1, 1.0, 1.0, 1.0, 1), 1.0, 1, 1.0, 1.0, (), (), 0
        ).write(tmp_path)  # fmt: skip
        return tmp_path

    monkeypatch.setattr("reskill_agents.trainers.job_policy.cached_standin", cached)
    for options in (JobOptions(seed=5), JobOptions(seed=6, start_seed=40), JobOptions(seed=7, start_seed=0)):
        start_policy(options, WebShopWorld(), tmp_path / "run", QuietDisplay())
    assert asked == [5, 40, 0]
