"""Packs: out and in again without loss, the same bytes every time, and nothing touched that is not ours."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import skills_ref
from hypothesis import given, settings
from strategies import libraries

from reskill_agents import Episode, Skill, SkillLibrary, Trigger, TriggerKind, Turn
from reskill_agents.conformance import MAX_PER_OUTCOME, check_cases, parse_cases, record_cases, render_cases
from reskill_agents.environment import Task
from reskill_agents.errors import SkillError
from reskill_agents.packs import Lineage, export_pack, import_pack, read_pack, validate_pack

PLAN = Skill("plan-first", "Plan before acting.", "Write a plan.", Trigger(TriggerKind.BEGINNING))
LOOK = Skill("look-twice", "Look twice.", "Look again.", Trigger(TriggerKind.ACTION_PATTERN, r"^go\["))
LAMP = Skill("lamp", "Use the lamp.", "Light it.", Trigger(TriggerKind.OBSERVATION_PATTERN, "(?i)dark"))
LIBRARY = SkillLibrary((PLAN, LOOK, LAMP))


def episode(*turns: tuple[str, str]) -> Episode:
    """An episode from (observation, action) pairs."""
    made = tuple(Turn(index, observation, action) for index, (observation, action) in enumerate(turns))
    return Episode("e", Task("t", "find the key"), made, 1.0)


WALK = episode(("A hall.", "go[north]"), ("A Dark cellar.", "go[north]"), ("Dark.", "look"), ("Dark.", "take[key]"))


def pack(folder: Path) -> Path:
    lineage = {"lamp": Lineage(2, PLAN.digest, {"trial": "t3", "p_better": 0.991, "episodes": 256})}
    return export_pack(LIBRARY, folder, lineage=lineage, cases=record_cases(LIBRARY, [WALK]))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_pack_is_one_folder_a_skill_a_lock_and_trigger_cases(tmp_path: Path) -> None:
    folder = pack(tmp_path / "pack")
    assert sorted(files(folder)) == [
        "conformance/triggers.jsonl",
        "lamp/SKILL.md",
        "look-twice/SKILL.md",
        "plan-first/SKILL.md",
        "reskill.lock.json",
    ]
    assert validate_pack(folder) == []
    assert import_pack(folder) == LIBRARY
    assert import_pack(folder).digest == LIBRARY.digest
    read = read_pack(folder)
    assert read.lineage["lamp"] == Lineage(2, PLAN.digest, {"episodes": 256, "p_better": 0.991, "trial": "t3"})
    assert read.lineage["look-twice"] == Lineage()


def test_every_exported_skill_passes_the_reference_validator(tmp_path: Path) -> None:
    folder = pack(tmp_path / "pack")
    for skill in LIBRARY:
        assert skills_ref.validate(folder / skill.name) == []
    command = [str(Path(sys.executable).parent / "agentskills"), "validate", str(folder / "lamp")]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_the_same_library_gives_the_same_bytes_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    first = files(pack(tmp_path / "a" / "pack"))
    second = files(pack(tmp_path / "b" / "pack"))
    assert first == second
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["pack"]


@given(libraries)
@settings(max_examples=15, deadline=None)
def test_any_library_comes_back_in_order(tmp_path_factory: pytest.TempPathFactory, library: SkillLibrary) -> None:
    folder = export_pack(library, tmp_path_factory.mktemp("packs") / "pack", cases=record_cases(library, [WALK]))
    assert import_pack(folder) == library


def test_an_older_pack_is_replaced_whole(tmp_path: Path) -> None:
    folder = pack(tmp_path / "pack")
    export_pack(SkillLibrary((LOOK,)), folder)
    assert sorted(files(folder)) == ["look-twice/SKILL.md", "reskill.lock.json"]
    assert import_pack(folder) == SkillLibrary((LOOK,))


def test_a_folder_that_is_no_pack_is_never_overwritten(tmp_path: Path) -> None:
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    with pytest.raises(SkillError, match="no pack"):
        export_pack(LIBRARY, folder)
    assert files(folder) == {"thesis.txt": b"years of work"}


def test_a_plain_folder_of_skills_is_a_pack_without_a_lock(tmp_path: Path) -> None:
    folder = pack(tmp_path / "pack")
    (folder / "reskill.lock.json").unlink()
    read = read_pack(folder)
    assert not read.locked
    assert [skill.name for skill in read.library] == ["lamp", "look-twice", "plan-first"]
    assert import_pack(folder / "lamp") == SkillLibrary((LAMP,))


def test_tampering_is_seen(tmp_path: Path) -> None:
    folder = pack(tmp_path / "pack")
    (folder / "lamp" / "SKILL.md").write_text((folder / "lamp" / "SKILL.md").read_text().replace("Light", "Burn"))
    cases = folder / "conformance" / "triggers.jsonl"
    cases.write_text(cases.read_text().replace("A hall.", "A hell."))
    (folder / "extra").mkdir()
    (folder / "extra" / "SKILL.md").write_text("---\nname: extra\ndescription: d\n---\nb")
    assert validate_pack(folder) == [
        "conformance/triggers.jsonl: was changed after export (sha256 differs from reskill.lock.json)",
        "extra/SKILL.md: is not in reskill.lock.json",
        "lamp/SKILL.md: was changed after export (sha256 differs from reskill.lock.json)",
    ]
    with pytest.raises(SkillError):
        import_pack(folder)


def test_every_problem_of_every_skill_is_listed_with_its_file(tmp_path: Path) -> None:
    for name, text in {
        "one": "---\nname: one\ntitle: x\n---\nb",
        "two": "---\nname: too\ndescription: d\n---\nb",
        "ok": "---\nname: ok\ndescription: d\n---\nb",
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "SKILL.md").write_text(text)
    problems = validate_pack(tmp_path)
    assert [problem.split(":")[0] for problem in problems] == ["one/SKILL.md", "one/SKILL.md", "two/SKILL.md"]


@pytest.mark.parametrize(
    ("lock", "reason"),
    [
        ("{", "Invalid JSON"),
        ('{"format": "reskill-pack/9", "library": "x", "skills": []}', "reskill-pack/1"),
        ('{"format": "reskill-pack/1", "skills": []}', "library"),
    ],
)
def test_a_torn_lock_is_an_error_not_a_pack(lock: str, reason: str, tmp_path: Path) -> None:
    folder = pack(tmp_path / "pack")
    (folder / "reskill.lock.json").write_text(lock)
    with pytest.raises(SkillError, match=reason):
        import_pack(folder)


def test_links_and_huge_files_are_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "SKILL.md").write_text("---\nname: secret\ndescription: d\n---\nb")
    folder = tmp_path / "pack"
    folder.mkdir()
    (folder / "secret").symlink_to(secret)
    (folder / "huge").mkdir()
    (folder / "huge" / "SKILL.md").write_text("---\nname: huge\ndescription: d\n---\n" + "b" * (1 << 20))
    problems = "\n".join(validate_pack(folder))
    assert "huge/SKILL.md: has" in problems
    assert "secret/SKILL.md: is a link" in problems


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_a_folder_without_skills_is_said_to_be_one(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SkillError, match=r"does not exist|holds no skill"):
        import_pack(tmp_path / name)


def test_trigger_cases_show_firing_cooldown_and_beginning() -> None:
    cases = record_cases(LIBRARY, [WALK])
    assert [(case.context.turn, case.fires, dict(case.suppressed)) for case in cases] == [
        (0, ("plan-first",), {}),
        (1, ("look-twice", "lamp"), {}),
        (2, (), {"look-twice": "cooldown", "lamp": "cooldown"}),
        (3, (), {"lamp": "cooldown"}),
    ]
    assert check_cases(LIBRARY, cases) == []
    assert parse_cases(render_cases(cases)) == cases


def test_another_implementation_that_fires_otherwise_is_caught() -> None:
    cases = record_cases(LIBRARY, [WALK])
    other = SkillLibrary((PLAN, Skill("look-twice", "d", "b", Trigger(TriggerKind.ACTION_PATTERN, "^went")), LAMP))
    assert check_cases(other, cases) == [
        "case 2: fires [lamp]; recorded: fires [look-twice, lamp]",
        "case 3: fires [], lamp silent (cooldown); "
        "recorded: fires [], look-twice silent (cooldown), lamp silent (cooldown)",
    ]


def test_new_outcomes_are_kept_before_repetitions() -> None:
    many = [episode((f"Room {number}.", "wait")) for number in range(50)]
    cases = record_cases(LIBRARY, [*many, WALK])
    assert sum(case.context.turn == 0 for case in cases) == MAX_PER_OUTCOME
    few = record_cases(LIBRARY, [*many, WALK], limit=4)
    assert len({(case.fires, case.suppressed) for case in few}) == 4


def test_long_observations_are_left_out_not_cut() -> None:
    assert record_cases(LIBRARY, [episode(("x" * 5000, "go[north]"))]) == ()


def test_a_line_that_is_no_case_is_named() -> None:
    with pytest.raises(SkillError, match="line 2 is no trigger case"):
        parse_cases(render_cases(record_cases(LIBRARY, [WALK])[:1]) + json.dumps({"turn": 0}) + "\n")
