"""What a live app learned leaves as a pack: with its evidence, without a word of its customers, by example and command."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import skills_ref
from live_app import LiveApp
from typer.testing import CliRunner

from reskill_agents.cli import app as cli
from reskill_agents.conformance import check_cases, made_cases
from reskill_agents.errors import StoreError
from reskill_agents.graphs.live_pack import live_pack
from reskill_agents.library import SkillLibrary
from reskill_agents.pack_import import open_pack, problems_of
from reskill_agents.packs import export_pack, read_pack
from reskill_agents.skill import Skill
from reskill_agents.trigger import Trigger, TriggerKind

ROOT = Path(__file__).parent.parent


def evolved(path: Path | None = None) -> LiveApp:
    """An app that adopted one skill on evidence, beside one the team had written."""
    app = LiveApp({"good": 0.3}, ["good"], path=path)
    app.store.activate(SkillLibrary((Skill("house-rule", "From the team.", "No shoes."),)), by="team")
    app.live_on(300)
    assert "good" in app.store.active().library.by_name
    return app


def test_a_pack_of_a_live_store_carries_what_its_trials_showed() -> None:
    app = evolved()
    pack = live_pack(app.store)
    assert pack.library == app.store.active().library
    [verdict] = app.store.verdicts()
    proven = pack.lineage["good"].evidence
    assert (proven["tested"], proven["trial"], proven["model"]) == (True, verdict.trial_id, "m1")
    difference = verdict.facts["difference"]
    assert isinstance(difference, float)
    assert proven["difference"] == round(difference, 4)
    assert pack.lineage["house-rule"].evidence == {"tested": False}


def test_versions_follow_the_history_and_an_old_one_can_be_had() -> None:
    app = evolved()
    library = app.store.active().library
    old = library.by_name["house-rule"]
    new = replace(old, body="No shoes, no hats.")
    app.store.activate(SkillLibrary(tuple(new if s.name == old.name else s for s in library)), by="team")
    now, before = live_pack(app.store), live_pack(app.store, version=1)
    assert (now.lineage["house-rule"].version, now.lineage["house-rule"].parent) == (2, old.digest)
    assert (before.lineage["house-rule"].version, before.lineage["house-rule"].parent) == (1, None)
    assert [skill.name for skill in before.library] == ["house-rule"]
    with pytest.raises(StoreError, match="no version 99"):
        live_pack(app.store, version=99)


def test_no_word_of_a_conversation_is_in_a_pack_unless_asked_for(tmp_path: Path) -> None:
    app = evolved()
    quiet, talkative = live_pack(app.store), live_pack(app.store, traffic=True)
    for name, pack in (("quiet", quiet), ("talkative", talkative)):
        export_pack(pack.library, tmp_path / name, lineage=pack.lineage, cases=pack.cases)
    written = "".join(file.read_text() for file in (tmp_path / "quiet").rglob("*") if file.is_file())
    assert "hello" not in written
    assert "hello" in (tmp_path / "talkative" / "conformance" / "triggers.jsonl").read_text()


def test_made_cases_fire_every_plain_trigger_and_hold() -> None:
    triggers = {
        "general": Trigger(),
        "beginning": Trigger(TriggerKind.BEGINNING),
        "seen": Trigger(TriggerKind.OBSERVATION_PATTERN, r"(?i)\brefund\b"),
        "done": Trigger(TriggerKind.ACTION_PATTERN, r"^click\[buy now\]$"),
        "tool": Trigger(TriggerKind.TOOL, "get_order"),
        "operators": Trigger(TriggerKind.OBSERVATION_PATTERN, "z{3,}"),
    }
    library = SkillLibrary(tuple(Skill(name, "d", "b", trigger) for name, trigger in triggers.items()))
    cases = made_cases(library)
    assert {name for case in cases for name in case.fires} == set(triggers) - {"operators"}
    assert check_cases(library, cases) == []
    slow = Skill("seen", "d", "b", Trigger(TriggerKind.OBSERVATION_PATTERN, "return"))
    changed = SkillLibrary(tuple(slow if skill.name == "seen" else skill for skill in library))
    assert check_cases(changed, cases)


def test_the_commands_take_a_live_store_where_they_take_a_pack(tmp_path: Path) -> None:
    app = evolved(tmp_path / "live.db")
    app.store.close()
    database, out = str(tmp_path / "live.db"), str(tmp_path / "pack")
    run = CliRunner()
    written = run.invoke(cli, ["export", database, out, "--namespace", "shop"])
    assert written.exit_code == 0, written.output
    assert run.invoke(cli, ["diff", database, out, "--namespace", "shop"]).output.strip() == "no difference"
    assert skills_ref.validate(tmp_path / "pack" / "good") == []
    older = run.invoke(cli, ["export", database, str(tmp_path / "old"), "--namespace", "shop", "--version", "1"])
    assert older.exit_code == 0, older.output
    assert [skill.name for skill in read_pack(tmp_path / "old").library] == ["house-rule"]
    empty = run.invoke(cli, ["export", database, str(tmp_path / "none"), "--namespace", "stranger"])
    assert not (tmp_path / "none" / "good").exists(), empty.output


def test_a_plugin_a_project_and_an_archive_can_be_validated(tmp_path: Path) -> None:
    pack = live_pack(evolved().store)
    export_pack(pack.library, tmp_path / "pack", lineage=pack.lineage, cases=pack.cases)
    run = CliRunner()
    for form, name in (("claude-plugin", "plugin"), ("agents-skills", "project"), ("zip", "pack.zip")):
        target = tmp_path / name
        assert run.invoke(cli, ["export", str(tmp_path / "pack"), str(target), "--to", form]).exit_code == 0
        assert run.invoke(cli, ["validate", str(target)]).output.strip() == f"{target}: valid"
    (tmp_path / "plugin" / "skills" / "good" / "SKILL.md").write_text("---\nname: Bad Name\n---\n")
    assert any("good/SKILL.md" in problem for problem in problems_of(tmp_path / "plugin"))
    assert run.invoke(cli, ["validate", str(tmp_path / "plugin")]).exit_code == 1


def test_the_example_exports_every_shape_and_each_reads_back_the_same(tmp_path: Path) -> None:
    paths = os.pathsep.join([str(ROOT / "examples"), str(ROOT)])
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "export_pack.py"), "--requests", "160", "--out", "out"],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert done.returncode == 0, done.stderr
    shapes = [line for line in done.stdout.splitlines() if ": valid, same" in line]
    assert len(shapes) == 6, done.stdout
    assert "tested True" in done.stdout
    assert open_pack(tmp_path / "out" / "shop-support.zip").pack.library.skills
