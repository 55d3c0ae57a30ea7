"""Packs in every shape a client loads: out, in again, the same bytes, and nobody else's files touched."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
import skills_ref
from typer.testing import CliRunner

from reskill_agents import Repeat, Skill, SkillLibrary, Trigger, TriggerKind
from reskill_agents.cli import app
from reskill_agents.conformance import TriggerCase
from reskill_agents.errors import ConfigError, SkillError
from reskill_agents.pack_diff import diff_packs
from reskill_agents.pack_formats import PackFormat, export_as
from reskill_agents.pack_import import import_skills
from reskill_agents.packs import Carried, Lineage, Pack, export_pack, validate_pack
from reskill_agents.selection import TurnContext

PLAN = Skill("plan-first", "Plan before acting.", "Write a plan.", Trigger(TriggerKind.BEGINNING))
LOOK = Skill("look-twice", "Look twice.", "Look.", Trigger(TriggerKind.ACTION_PATTERN, r"^go\[", Repeat.EVERY_FIRING))
SCRIPT = b"#!/bin/sh\nexit 1\n"
PACK = Pack(
    SkillLibrary((PLAN, LOOK)),
    {"look-twice": Lineage(2, PLAN.digest, {"trial": "t1"}), "plan-first": Lineage()},
    (TriggerCase(TurnContext(0, "A hall."), (), ("plan-first",)),),
    True,
    {
        "look-twice": Carried(
            {"license": "MIT", "metadata.author": "ann: b"}, {"scripts/run.sh": SCRIPT, "ref.md": b"r"}
        )
    },
)
ONE = Pack(SkillLibrary((LOOK,)), {"look-twice": Lineage(2, PLAN.digest)}, carried=PACK.carried)
TARGETS = {
    PackFormat.FOLDER: "pack",
    PackFormat.ZIP: "pack.zip",
    PackFormat.CLAUDE_PLUGIN: "my-plugin",
    PackFormat.CODEX_PLUGIN: "my-plugin",
    PackFormat.AGENTS_SKILLS: "project",
    PackFormat.CLAUDE_SKILLS: "project",
}


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("form", list(TARGETS))
def test_every_format_comes_back_whole_and_has_the_same_bytes_each_time(form: PackFormat, tmp_path: Path) -> None:
    for place in ("a", "b"):
        export_as(PACK, tmp_path / place / TARGETS[form], form)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    got = import_skills(tmp_path / "a" / TARGETS[form]).pack
    assert got.library == PACK.library
    assert got.lineage == PACK.lineage
    assert got.carried == PACK.carried
    in_place = form in (PackFormat.AGENTS_SKILLS, PackFormat.CLAUDE_SKILLS)
    assert got.cases == (() if in_place else PACK.cases)
    export_as(PACK, tmp_path / "a" / TARGETS[form], form)  # our own is replaced
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert [path.name for path in (tmp_path / "a").iterdir()] == [TARGETS[form]]


def test_a_skill_archive_holds_one_top_folder(tmp_path: Path) -> None:
    exported = export_as(ONE, tmp_path / "look-twice.skill")
    with zipfile.ZipFile(exported.paths[0]) as archive:
        assert {name.split("/")[0] for name in archive.namelist()} == {"look-twice"}
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    got = import_skills(exported.paths[0]).pack
    assert (got.library, got.carried) == (ONE.library, ONE.carried)
    assert (got.lineage["look-twice"].version, got.lineage["look-twice"].parent) == (2, PLAN.digest)
    with pytest.raises(SkillError, match="holds one skill, this pack has 2"):
        export_as(PACK, tmp_path / "both.skill")
    both = export_as(PACK, tmp_path / "both", PackFormat.SKILL)
    assert [path.name for path in both.paths] == ["plan-first.skill", "look-twice.skill"]


@pytest.mark.parametrize("form", list(TARGETS))
def test_every_exported_skill_passes_the_reference_validator(form: PackFormat, tmp_path: Path) -> None:
    export_as(PACK, tmp_path / "x", form) if form is not PackFormat.ZIP else None
    for path in tmp_path.rglob("SKILL.md"):
        assert skills_ref.validate(path.parent) == []


def test_plugins_have_the_manifest_their_client_reads(tmp_path: Path) -> None:
    export_as(PACK, tmp_path / "p", PackFormat.CLAUDE_PLUGIN, name="shop-skills", version="1.2.3")
    manifest = json.loads((tmp_path / "p" / ".claude-plugin" / "plugin.json").read_text())
    assert manifest == {"name": "shop-skills", "version": "1.2.3", "description": "2 skills: plan-first, look-twice"}
    assert (tmp_path / "p" / "skills" / "look-twice" / "scripts" / "run.sh").read_bytes() == SCRIPT
    assert validate_pack(tmp_path / "p" / "skills") == []
    export_as(PACK, tmp_path / "c", PackFormat.CODEX_PLUGIN)
    manifest = json.loads((tmp_path / "c" / ".codex-plugin" / "plugin.json").read_text())
    assert (manifest["name"], manifest["skills"]) == ("c", "./skills/")
    with pytest.raises(SkillError) as error:
        export_as(PACK, tmp_path / "n", PackFormat.CODEX_PLUGIN, name="No Good", version="1")
    assert len(error.value.problems) == 2


def test_codex_gets_no_compatibility_key(tmp_path: Path) -> None:
    pack = Pack(SkillLibrary((LOOK,)), carried={"look-twice": Carried({"compatibility": "Python 3", "license": "MIT"})})
    export_as(pack, tmp_path / "codex", PackFormat.CODEX_PLUGIN)
    export_as(pack, tmp_path / "claude", PackFormat.CLAUDE_PLUGIN)
    assert import_skills(tmp_path / "codex").pack.carried["look-twice"].extra == {"license": "MIT"}
    assert import_skills(tmp_path / "claude").pack.carried == pack.carried


@pytest.mark.parametrize("form", [PackFormat.FOLDER, PackFormat.ZIP, PackFormat.CLAUDE_PLUGIN])
def test_what_is_no_pack_is_never_replaced(form: PackFormat, tmp_path: Path) -> None:
    target = tmp_path / TARGETS[form]
    if form is PackFormat.ZIP:
        target.write_text("my thesis")
    else:
        target.mkdir()
        (target / "thesis.txt").write_text("years")
    before = contents(tmp_path)
    with pytest.raises(SkillError, match="is no pack"):
        export_as(PACK, target, form)
    assert contents(tmp_path) == before


def test_in_place_leaves_other_skills_alone_and_removes_what_we_put_there(tmp_path: Path) -> None:
    other = tmp_path / ".agents" / "skills" / "theirs"
    other.mkdir(parents=True)
    (other / "SKILL.md").write_text("---\nname: theirs\ndescription: d\n---\nb\n")
    export_as(PACK, tmp_path, PackFormat.AGENTS_SKILLS)
    got = import_skills(tmp_path)
    assert got.pack.library == PACK.library
    assert any("theirs: is not in reskill.lock.json" in note for note in got.notes)
    export_as(ONE, tmp_path, PackFormat.AGENTS_SKILLS)
    there = sorted(path.name for path in (tmp_path / ".agents" / "skills").iterdir())
    assert there == ["look-twice", "reskill.lock.json", "theirs"]
    theirs = Pack(SkillLibrary((Skill("theirs", "d", "other"),)))
    with pytest.raises(SkillError, match="theirs: is there and is not ours"):
        export_as(theirs, tmp_path, PackFormat.AGENTS_SKILLS, force=True)


def test_in_place_an_edit_by_hand_is_replaced_only_by_force(tmp_path: Path) -> None:
    export_as(PACK, tmp_path, PackFormat.CLAUDE_SKILLS)
    path = tmp_path / ".claude" / "skills" / "plan-first" / "SKILL.md"
    path.write_text(path.read_text() + "By hand.\n")
    with pytest.raises(SkillError, match="plan-first: was edited by hand"):
        export_as(PACK, tmp_path, PackFormat.CLAUDE_SKILLS)
    assert "By hand." in path.read_text()
    export_as(PACK, tmp_path, PackFormat.CLAUDE_SKILLS, force=True)
    assert "By hand." not in path.read_text()


def test_tampered_files_and_added_scripts_are_seen(tmp_path: Path) -> None:
    folder = export_pack(PACK.library, tmp_path / "p", carried=PACK.carried)
    (folder / "look-twice" / "scripts" / "run.sh").write_bytes(b"rm")
    (folder / "plan-first" / "new.py").write_bytes(b"x")
    (folder / "look-twice" / "ref.md").unlink()
    assert validate_pack(folder) == [
        "look-twice/scripts/run.sh: was changed after export (sha256 differs from reskill.lock.json)",
        "plan-first/new.py: is not in reskill.lock.json",
        "reskill.lock.json: look-twice/ref.md is locked, but missing",
    ]


def test_long_listings_are_pointed_out(tmp_path: Path) -> None:
    many = SkillLibrary(tuple(Skill(f"skill-{n}", "d" * 900, "b") for n in range(10)))
    assert any("clients cut listings at 8000" in n for n in export_as(Pack(many), tmp_path / "p").notes)


def test_a_diff_names_what_changed_and_nothing_else(tmp_path: Path) -> None:
    reworded = Skill("plan-first", "Plan before acting.", "Write two plans.", PLAN.trigger)
    carried = {"look-twice": Carried({"license": "MIT"}, {"scripts/run.sh": b"other", "new.md": b"n"})}
    after = Pack(SkillLibrary((LOOK, reworded, Skill("lamp", "l", "l"))), carried=carried)
    found = diff_packs(PACK, after)
    assert [(change.name, change.change) for change in found.changes] == [
        ("look-twice", "files"),
        ("plan-first", "changed"),
        ("lamp", "added"),
    ]
    assert found.changes[0].lines == (
        "+ file new.md",
        "- file ref.md",
        "~ file scripts/run.sh",
        "- key metadata.author: ann: b",
    )
    assert {"-Write a plan.", "+Write two plans."} <= set(found.changes[1].lines)
    assert found.reordered
    assert diff_packs(PACK, Pack(PACK.library, carried=PACK.carried)).same
    assert [c.change for c in diff_packs(PACK, ONE).changes] == ["removed"]


def test_the_commands(tmp_path: Path) -> None:
    def reskill(*arguments: object) -> tuple[int, str]:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.output

    folder = export_pack(PACK.library, tmp_path / "p", carried=PACK.carried)
    status, output = reskill("export", folder, tmp_path / "p.zip")
    assert (status, output.splitlines()[-1]) == (0, str(tmp_path / "p.zip"))
    assert "2 files go along as they are" in output
    assert reskill("export", folder, tmp_path / "plug", "--to", "claude-plugin", "--name", "plug-in")[0] == 0
    assert reskill("diff", tmp_path / "p.zip", tmp_path / "plug") == (0, "no difference\n")
    status, output = reskill("import", tmp_path / "plug", tmp_path / "back")
    assert status == 0
    assert "look-twice: action_pattern ^go\\[" in output
    assert "note: look-twice: scripts/run.sh is kept as a file, never run" in output
    assert reskill("validate", tmp_path / "back")[0] == 0
    export_pack(SkillLibrary((PLAN,)), tmp_path / "small")
    status, output = reskill("diff", folder, tmp_path / "small")
    assert (status, output.splitlines()[0]) == (1, "look-twice: removed")
    assert json.loads(reskill("diff", folder, tmp_path / "small", "--json")[1])["same"] is False
    for wrong in (("export", folder, tmp_path / "x", "--to", "tar"), ("import", folder, "--route", "x")):
        with pytest.raises(ConfigError, match="is none of"):
            reskill(*wrong)
