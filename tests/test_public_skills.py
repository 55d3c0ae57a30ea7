"""Skills in the layout of Anthropic's public repository: parsed, carried whole, and judged as the reference validator does.

The fixtures are ours; they have that repository's features: long descriptions with colons and file endings, folded scalars,
licences, references beside the SKILL.md and below it, scripts with tests, binary assets, hidden files, bodies of a thousand
lines with code, tables, markup, braces, rules of dashes and CJK text.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import skills_ref

from reskill_agents.pack_formats import PackFormat, export_as
from reskill_agents.pack_import import APPROVABLE, import_skills, open_pack, problems_of
from reskill_agents.skill_md import FILE_NAME, read_skill_folder

BODY = """# Spreadsheets

## Overview

Read `references/formulas.md` first. Never use ₀₁₂ in cells; write `H<sub>2</sub>O` as markup.

---

```python
template = "{{ title }}: {% for row in rows %}{{ row }}{% endfor %}"
print(f"{template!r}", {"a": [1, 2]})
```

| task | tool | code |
|------|------|------|
| sum  | `=SUM(A1:A9)` | 表格示例 |

<example>
user: "It's <b>urgent</b> & due at 5 o'clock"
</example>

***

1. First.
   ---
2. Then.
"""
LONG = "\n".join(f"{number}. Step {number}: check cell `A{number}` & note 'done'." for number in range(1, 1200))


def written(name: str, front: str, body: str) -> str:
    return f"---\nname: {name}\n{front}---\n\n{body}"


SKILLS: dict[str, dict[str, str | bytes]] = {
    "xlsx": {
        FILE_NAME: written(
            "xlsx",
            'description: "Use this skill any time a spreadsheet is the input or output: open, read, edit, or fix an '
            ".xlsx, .xlsm, .csv, or .tsv file (e.g., adding columns, computing formulas, charting). Do NOT use when the "
            'deliverable is a report."\nlicense: Proprietary. LICENSE.txt has complete terms\n',
            BODY,
        ),
        "LICENSE.txt": "© 2025 Somebody.\n\nTerms.\n",
        "references/formulas.md": "# Formulas\n\n=SUM\n",
        "scripts/recalc.py": "#!/usr/bin/env python3\nraise SystemExit('never run')\n",
        "scripts/office/validators/base.py": "class Base: ...\n",
        "scripts/office/schemas/sheet.xsd": b'<?xml version="1.0"?>\n<xs:schema/>\n',
    },
    "pdf": {
        FILE_NAME: written(
            "pdf",
            "description: Use this skill whenever the user wants to do anything with PDF files, including text/tables, "
            "splitting PDFs apart, filling forms, and OCR. If the user mentions a .pdf file, use this skill.\n"
            "license: Proprietary. LICENSE.txt has complete terms\n",
            LONG,
        ),
        "forms.md": "Forms.\n",
        "reference.md": "Reference.\n",
        "scripts/tests/test_fill.py": "def test() -> None: ...\n",
    },
    "skill-creator": {
        FILE_NAME: written(
            "skill-creator",
            "description: >-\n  Create new skills, modify existing skills,\n  and measure skill performance.\n"
            "allowed-tools: Bash(python:*) Read Write\nmetadata:\n  author: somebody\n  version: '1.0'\n",
            "# Skill Creator\n\nRead agents/grader.md.\n",
        ),
        "agents/grader.md": "Grade.\n",
        "assets/viewer.html": "<!doctype html><script>1 < 2</script>\n",
        "references/schemas.md": "{}\n",
        "eval-viewer/generate.py": "print()\n",
    },
    "canvas-design": {
        FILE_NAME: written(
            "canvas-design",
            "description: 'Create visual art in .png and .pdf documents: it''s for posters, pieces of art, or other "
            "static pieces.'\nlicense: Complete terms in LICENSE.txt\ncompatibility: Needs Python 3.10 or later\n",
            "These are instructions: create a *philosophy*.\n\n---\n\nThen express it.\n",
        ),
        "canvas-fonts/Mono-Regular.ttf": bytes(range(256)) * 40,
        "canvas-fonts/Mono-OFL.txt": "SIL Open Font License\n",
        "templates/viewer.js": "export default {};\n",
    },
    "internal-comms": {
        FILE_NAME: written(
            "internal-comms",
            "description: |\n  A set of resources to help me write all kinds of internal communications.\n"
            "  Use it for 3P updates, newsletters, FAQ responses...\n",
            "## When to use this skill\n\n- 3P updates\n\n## Keywords\n\n3P, newsletter\n",
        ),
        "examples/3p-updates.md": "Progress, plans, problems.\n",
    },
}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``skills/<name>/...``, a marketplace file, a template and the specification beside them."""
    root = tmp_path_factory.mktemp("public") / "skills-main"
    files: dict[str, str | bytes] = {
        "README.md": "# Skills\n",
        ".claude-plugin/marketplace.json": '{"name": "public", "plugins": []}\n',
        "spec/agent-skills-spec.md": "See elsewhere.\n",
        "template/SKILL.md": "---\nname: template-skill\ndescription: Replace me.\n---\n\n# Insert instructions\n",
    }
    for name, own in SKILLS.items():
        files.update({f"skills/{name}/{path}": content for path, content in own.items()})
    for place, content in files.items():
        path = root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


@pytest.mark.parametrize("name", sorted(SKILLS))
def test_each_skill_is_valid_here_and_by_the_reference(repository: Path, name: str) -> None:
    folder = repository / "skills" / name
    assert skills_ref.validate(folder) == []
    assert problems_of(folder) == []
    source = str(SKILLS[name][FILE_NAME])
    assert read_skill_folder(folder).skill.body == source.split("---\n\n", 1)[1].strip("\n")


def test_the_reference_command_says_the_same_of_what_we_write(repository: Path, tmp_path: Path) -> None:
    export_as(open_pack(repository).pack, tmp_path / "pack")
    command = Path(sys.executable).parent / "agentskills"
    assert command.is_file()
    for folder in (repository / "skills" / "xlsx", tmp_path / "pack" / "xlsx"):
        done = subprocess.run([command, "validate", folder], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "form", [PackFormat.FOLDER, PackFormat.ZIP, PackFormat.CLAUDE_PLUGIN, PackFormat.AGENTS_SKILLS]
)
def test_the_repository_round_trips_byte_for_byte(repository: Path, tmp_path: Path, form: PackFormat) -> None:
    taken = import_skills(repository, approve=APPROVABLE).pack
    assert set(taken.library.by_name) == set(SKILLS)
    target = tmp_path / ("out.zip" if form is PackFormat.ZIP else "out")
    export_as(taken, target, form, name="public")
    again = open_pack(target).pack
    assert again.library == taken.library
    assert problems_of(target) == []
    for name, own in SKILLS.items():
        assert dict(again.carried[name].files) == {
            path: content if isinstance(content, bytes) else content.encode()
            for path, content in own.items()
            if path != FILE_NAME
        }
    for name in SKILLS if target.is_dir() else ():
        [folder] = [path.parent for path in target.rglob(FILE_NAME) if path.parent.name == name]
        assert skills_ref.validate(folder) == []


def test_scripts_are_listed_and_never_run(repository: Path) -> None:
    notes = import_skills(repository, approve=APPROVABLE).notes
    assert "xlsx: scripts/recalc.py is kept as a file, never run" in notes
    assert any(note.startswith("pdf: about") for note in notes)


DAMAGED = {
    "no front matter": ("---\nname: pdf\n", "name: pdf\n"),
    "front matter never closed": ("---\n\n1. Step", "1. Step"),
    "no name": ("name: pdf\n", ""),
    "no description": ("description: Use this skill", "licence: Use this skill"),
    "empty description": ("description: Use this skill whenever", "description: ''\nlicense: whenever"),
    "another folder's name": ("name: pdf\n", "name: pdf-tools\n"),
    "capitals": ("name: pdf\n", "name: PDF\n"),
    "two hyphens": ("name: pdf\n", "name: p--f\n"),
    "hyphen first": ("name: pdf\n", "name: -pdf\n"),
    "underscore": ("name: pdf\n", "name: p_d_f\n"),
    "too long a name": ("name: pdf\n", f"name: {'p' * 65}\n"),
    "too long a description": ("description: Use", f"description: {'Use ' * 300}"),
    "unknown key": ("license: Proprietary.", "version: 3\nlicense: Proprietary."),
    "compatibility too long": ("license: Proprietary.", f"compatibility: {'c' * 501}\nlicense: Proprietary."),
    "no mapping": ("name: pdf\n", "- name: pdf\n"),
}


@pytest.mark.parametrize("damage", sorted(DAMAGED))
def test_what_the_reference_refuses_is_refused_here(repository: Path, tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "pdf"
    shutil.copytree(repository / "skills" / "pdf", folder)
    before, after = DAMAGED[damage]
    text = (folder / FILE_NAME).read_text()
    assert before in text
    changed = text.replace(before, after, 1)
    (folder / FILE_NAME).write_text(changed)
    assert skills_ref.validate(folder) != []
    assert problems_of(folder) != []


STRICTER = {
    "nested metadata": ("license: Proprietary.", "metadata:\n  author:\n    name: x\nlicense: Proprietary."),
    "a letter that is not ASCII": ("name: pdf\n", "name: pdé\n"),
    "an unknown key of ours": ("license: Proprietary.", "metadata:\n  reskill.nonsense: x\nlicense: Proprietary."),
}


@pytest.mark.parametrize("damage", sorted(STRICTER))
def test_where_we_are_stricter_than_the_reference(repository: Path, tmp_path: Path, damage: str) -> None:
    before, after = STRICTER[damage]
    text = (repository / "skills" / "pdf" / FILE_NAME).read_text().replace(before, after, 1)
    folder = tmp_path / ("pdé" if "pdé" in after else "pdf")
    folder.mkdir()
    (folder / FILE_NAME).write_text(text)
    assert skills_ref.validate(folder) == []
    assert problems_of(folder) != []
