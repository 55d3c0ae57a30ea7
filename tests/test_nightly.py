"""What runs outside CI: the pins of the lowest dependencies, and the record of a night."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import lowest
import pytest

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))
import nightly

PROJECT = {
    "name": "reskill-agents",
    "dependencies": ["numpy>=1.26", "typer >= 0.15"],
    "optional-dependencies": {
        "train": ["torch>=2.6,<2.14", "trl==1.16.*"],
        "server": ["reskill-agents[train,db]"],
        "db": ["psycopg[binary]<4,>=3.2.1"],
        "loose": ["rich"],
    },
}


def pins(*extras: str) -> list[str]:
    return [lowest.pin(one) for one in lowest.requirements(list(extras), PROJECT)]


def test_each_requirement_is_pinned_to_its_lower_bound() -> None:
    assert pins() == ["numpy==1.26", "typer==0.15"]
    assert pins("train") == ["numpy==1.26", "typer==0.15", "torch==2.6", "trl==1.16.*"]


def test_an_extra_that_names_extras_brings_theirs_once() -> None:
    assert pins("server", "train") == [
        "numpy==1.26",
        "typer==0.15",
        "torch==2.6",
        "trl==1.16.*",
        "psycopg[binary]==3.2.1",
    ]


def test_a_requirement_without_a_lower_bound_is_refused() -> None:
    with pytest.raises(lowest.NoLowerBound, match="rich"):
        pins("loose")


def test_every_requirement_of_this_package_has_a_lower_bound(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    extras = ["dev", "logging", "textworld", "scienceworld"]
    monkeypatch.setattr(sys, "argv", ["lowest.py", *extras, "--keep", "torch"])
    assert lowest.main() == 0
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) > 30
    assert not [one for one in printed if one.startswith("torch=")]


@pytest.fixture
def makefile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose ``make`` has a good and a bad target."""
    (tmp_path / "Makefile").write_text("good:\n\t@echo 3 passed\nbad:\n\t@echo 1 failed; false\n")
    monkeypatch.setattr(nightly, "ROOT", tmp_path)
    monkeypatch.setattr(nightly, "commit", lambda: "abc")
    for variable in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL"):  # of a make that runs these tests
        monkeypatch.delenv(variable, raising=False)
    return tmp_path


def night(folder: Path, *arguments: str) -> tuple[int, dict[str, dict[str, object]]]:
    """Exit status and record."""
    out = folder / "night.json"
    status = nightly.main([*arguments, "--out", str(out), "--logs", str(folder / "logs")])
    return status, json.loads(out.read_text())["parts"]


def test_a_night_goes_on_after_a_failing_part_and_fails_at_its_end(makefile: Path) -> None:
    status, parts = night(makefile, f"bad={sys.prefix}", "good=nowhere")
    assert status == 1
    assert [(name, part["passed"], part["output"]) for name, part in parts.items()] == [
        ("bad", False, ["1 failed"]),
        ("good", True, ["3 passed"]),
    ]
    assert parts["bad"]["versions"]["python"] == sys.version.split()[0]  # type: ignore[index]
    assert parts["good"]["versions"] == {}
    assert parts["good"]["command"] == "make good"
    assert parts["good"]["commit"] == "abc"


def test_parts_that_do_not_run_keep_their_last_record(makefile: Path) -> None:
    _, before = night(makefile, "good=x", "bad=x")
    status, after = night(makefile, "good=x", "bad=x", "--only", "good")
    assert status == 0
    assert after["bad"] == before["bad"]


def test_a_part_that_ran_elsewhere_meanwhile_keeps_its_record(makefile: Path) -> None:
    with (makefile / "Makefile").open("a") as file:
        file.write(f"long:\n\t@echo '{json.dumps({'parts': {'good': 'ran'}})}' > {makefile}/night.json\n")
    _, parts = night(makefile, "long=x")
    assert parts["good"] == "ran"
    assert parts["long"]["passed"]


def test_a_part_that_there_is_not_is_refused(makefile: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        night(makefile, "good=x", "--only", "god")
    assert "no such part: god" in capsys.readouterr().err
