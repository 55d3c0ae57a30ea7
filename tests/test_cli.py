"""The ``reskill`` command: each command does its work, and a wrong value says what is right."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import skills_ref
from creator_episodes import careless
from creator_models import openai_server
from run_folders import write_run
from typer.testing import CliRunner

from reskill_agents.cli import app
from reskill_agents.episode_logs import episode_to_json
from reskill_agents.errors import ConfigError
from reskill_agents.packs import read_pack


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished simulated run."""
    return write_run(tmp_path_factory.mktemp("runs") / "demo")


def reskill(*arguments: object) -> tuple[int, str]:
    """Exit status and output."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def test_export_then_validate_agrees_with_the_reference_validator(run: Path, tmp_path: Path) -> None:
    status, output = reskill("export", run, tmp_path / "pack")
    assert (status, output.strip()) == (0, str(tmp_path / "pack"))
    assert reskill("validate", tmp_path / "pack") == (0, f"{tmp_path / 'pack'}: valid\n")
    skills = [path.parent for path in (tmp_path / "pack").glob("*/SKILL.md")]
    assert skills
    for skill in skills:
        assert skills_ref.validate(skill) == []
        assert reskill("validate", skill)[0] == 0


def test_validate_lists_every_problem_and_fails(tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "SKILL.md").write_text("---\nname: Bad\ntrigger: x\n---\n")
    status, output = reskill("validate", tmp_path / "bad")
    assert status == 1
    assert len(output.strip().splitlines()) == 4
    assert all(line.startswith("SKILL.md: ") for line in output.strip().splitlines())


def test_show_prints_skills_of_runs_and_packs(run: Path, tmp_path: Path) -> None:
    reskill("export", run, tmp_path / "pack")
    for folder in (run, tmp_path / "pack", tmp_path / "pack" / "best-match"):
        status, output = reskill("show", folder)
        assert status == 0
        assert "best-match" in output
        status, output = reskill("show", folder, "--json")
        [skill] = json.loads(output)["skills"]
        assert (skill["name"], skill["trigger"], skill["pattern"]) == ("best-match", "action_pattern", r"^search\[")


def test_trials_for_people_and_for_machines(run: Path) -> None:
    status, output = reskill("trials", run)
    assert status == 0
    assert "trial-004" in output
    status, output = reskill("trials", run, "--json")
    facts = [json.loads(line) for line in output.splitlines()]
    assert [fact["verdict"]["outcome"] for fact in facts] == ["accepted", "rejected", "accepted", "accepted"]
    assert all(len(fact["points"]) == fact["verdict"]["steps"] for fact in facts)
    assert facts[1]["proposal"]["operations"][0]["name"] == "finish-at-once"


def test_summary_prints_both_tables_and_the_headline(run: Path) -> None:
    status, output = reskill("summary", run)
    assert status == 0
    for expected in ("after, with library", "71.0 ± 3.0 %  0.91", "finish-at-once", "It now solves 66 %"):
        assert expected in output


def test_report_is_written_where_asked(run: Path, tmp_path: Path) -> None:
    assert reskill("report", run, "--out", tmp_path / "page.html") == (0, f"{tmp_path / 'page.html'}\n")
    assert (tmp_path / "page.html").read_text().startswith("<!DOCTYPE html>")


def test_a_wrong_folder_is_one_line_and_status_2(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "reskill_agents.cli", "report", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr == f"reskill: {tmp_path} is no run folder: it holds no config.json\n"
    assert result.stdout == ""


def test_create_writes_an_untested_library_from_logs_and_grade_uses_its_assertions(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    lines = [json.dumps(episode_to_json(episode)) for episode in careless(240)]
    log.write_text("\n".join([*lines, '{"turns": 7}', "torn"]))
    status, output = reskill("create", "--log", log, "--out", tmp_path / "out")
    assert status == 0
    assert "proposed: add " in output
    assert f"passed over: {log.name}:241:" in output
    assert reskill("validate", tmp_path / "out" / "library")[0] == 0
    pack = read_pack(tmp_path / "out" / "library")
    assert pack.library.skills
    assert all(line.evidence["tested"] is False for line in pack.lineage.values())
    assert json.loads((tmp_path / "out" / "report.json").read_text())["author"] == "offline"
    assertions = tmp_path / "out" / "assertions.json"
    status, output = reskill("grade", "--log", log, "--assertions", assertions)
    assert status == 0
    assert "240 episodes" in output
    status, output = reskill("grade", "--log", log, "--assertions", assertions, "--json")
    graded = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    assert len(graded) == 240
    assert {one["result"] for entry in graded for one in entry["grades"]} <= {"passed", "failed", "not_applicable"}


def test_create_says_who_may_write(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text("")
    with pytest.raises(ConfigError, match=r"must be 'offline' or 'openai:MODEL.*langchain:SPEC"):
        reskill("create", "--log", log, "--out", tmp_path / "out", "--creator", "claude")


@pytest.mark.parametrize(
    ("bound", "reason", "most"),
    [
        (("--max-calls", "3"), "the budget of 3 calls is spent", 3),
        (("--max-calls", "0"), "the budget of 0 calls is spent", 0),
        (("--max-tokens", "40"), "the budget of 40 tokens is spent", 12),  # 18 a call; eight may be under way at once
        (("--max-cost", "0.00003", "--prices", "1", "2"), "the budget of 3e-05 is spent", 12),  # 0.000025 a call
    ],
)
def test_a_budget_on_the_command_line_binds_and_the_offline_author_goes_on(
    bound: tuple[str, ...], reason: str, most: int, tmp_path: Path
) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text("\n".join(json.dumps(episode_to_json(episode)) for episode in careless(240)))
    with openai_server() as endpoint:
        writer = f"openai:m@{endpoint.base_url}"
        status, output = reskill("create", "--log", log, "--out", tmp_path / "out", "--creator", writer, *bound)
        assert len(endpoint.bodies) <= most
    assert status == 0
    assert reason in output
    assert "the offline author did it" in output
    assert "proposed: add " in output
    notes = json.loads((tmp_path / "out" / "report.json").read_text())["notes"]
    assert any(reason in note for note in notes)


def test_a_limit_of_money_needs_prices(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--max-cost needs --prices"):
        reskill(
            "create", "--log", tmp_path / "x", "--out", tmp_path / "out", "--creator", "openai:m", "--max-cost", "1"
        )


def test_help_lists_what_there_is() -> None:
    status, output = reskill("--help")
    assert status == 0
    for command in ("validate", "show", "export", "report", "summary", "trials", "create", "grade", "review"):
        assert command in output
