"""The package: quick to import, the same in a wheel as in a checkout, and ignorant of any particular world."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import reskill_agents

FOLDERS = ("reskill_agents", "graphs", "trainers", "skill_templates")


def python(code: str, cwd: Path | None = None, **environment: str) -> str:
    """What a fresh interpreter prints."""
    env = {**os.environ, **environment}
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, env=env, cwd=cwd, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_import_loads_neither_torch_nor_langchain_nor_any_world() -> None:
    heavy = python(
        "import sys, reskill_agents\n"
        "tops = {name.split('.')[0] for name in sys.modules}\n"
        "print(*sorted(tops & {'torch', 'transformers', 'trl', 'langchain', 'langchain_core', 'langgraph',\n"
        "                      'pydantic', 'openai', 'jinja2', 'rich', 'typer', 'numpy'}))\n"
        "print(*[name for name in sys.modules if name.startswith(('reskill_agents.graphs', 'reskill_agents.trainers',\n"
        "                                                         'reskill_agents.envs', 'reskill_agents.engines'))])"
    )
    assert heavy == ""


def test_import_takes_at_most_150_milliseconds_of_processor_time() -> None:
    code = "import time; start = time.process_time(); import reskill_agents; print(time.process_time() - start)"
    best = min(float(python(code)) for _ in range(5))
    assert best <= 0.150


def test_the_command_line_answers_without_loading_torch() -> None:
    loaded = python("import sys, reskill_agents.cli; print('torch' in sys.modules, 'langchain_core' in sys.modules)")
    assert loaded == "False False"


def test_every_public_name_exists_lazy_ones_too() -> None:
    for name in reskill_agents.__all__:
        assert getattr(reskill_agents, name) is not None
        assert name in dir(reskill_agents)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = reskill_agents.nothing  # type: ignore[attr-defined]


def test_the_version_is_that_of_the_distribution() -> None:
    assert reskill_agents.__version__ == importlib.metadata.version("reskill-agents")


def test_links_let_a_checkout_import_the_folders_by_their_package_names(repository: Path) -> None:
    for name in ("graphs", "trainers", "skill_templates"):
        link = repository / "reskill_agents" / name
        assert link.is_symlink()
        assert Path(os.readlink(link)) == Path("..") / name  # noqa: PTH115 (the relative text is the point)
        module = importlib.import_module(f"reskill_agents.{name}")
        assert module.__name__ == f"reskill_agents.{name}"


@pytest.mark.slow
def test_a_wheel_holds_the_whole_package_and_no_stray_top_level_one(repository: Path, tmp_path: Path) -> None:
    source, built, installed = tmp_path / "source", tmp_path / "built", tmp_path / "installed"
    source.mkdir()
    for name in FOLDERS:
        shutil.copytree(repository / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(repository / name, source)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(built), str(source)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    [wheel] = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(installed)
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"reskill_agents"}
    assert any(name.endswith("licenses/LICENSE") for name in names)
    for folder in FOLDERS:
        prefix = "reskill_agents/" if folder == "reskill_agents" else f"reskill_agents/{folder}/"
        for path in (repository / folder).rglob("*"):
            relative = path.relative_to(repository / folder)
            linked = folder == "reskill_agents" and relative.parts[0] in ("graphs", "trainers", "skill_templates")
            if path.is_file() and "__pycache__" not in path.parts and not linked:
                assert f"{prefix}{relative.as_posix()}" in names
    where = python(
        "import reskill_agents.graphs, reskill_agents.trainers, reskill_agents.cli; print(reskill_agents.__file__)",
        cwd=tmp_path,  # not the checkout, which would come first
        PYTHONPATH=str(installed),
    )
    assert where.startswith(str(installed))


# Words of one world's pages and actions. Core, graphs and trainers must learn such words from episodes.
WORLD_WORDS = re.compile(
    r"web_?shop|\basin\b|\bbuy now\b|back to search|\bclick\[|\bsearch\[|next >|< prev|amazon", re.IGNORECASE
)


def strings_and_names(source: str) -> list[str]:
    """String constants less docstrings, identifiers, and imported names."""
    tree = ast.parse(source)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            found.append(node.value)
        elif isinstance(node, ast.Name):
            found.append(node.id)
        elif isinstance(node, ast.ImportFrom):
            found.append(node.module or "")
        elif isinstance(node, ast.alias):
            found.append(node.name)
    return found


def test_no_module_outside_envs_names_the_words_of_a_world(repository: Path) -> None:
    named: list[str] = []
    for folder in FOLDERS:
        for path in sorted((repository / folder).rglob("*")):
            relative = path.relative_to(repository)
            linked = relative.parts[:2] in {("reskill_agents", name) for name in FOLDERS}
            if linked or not path.is_file() or {"envs", "__pycache__"} & set(relative.parts):
                continue
            text = path.read_text("utf-8")
            texts = strings_and_names(text) if path.suffix == ".py" else [text]
            named.extend(f"{relative}: {match[0]!r}" for part in texts for match in WORLD_WORDS.finditer(part))
    assert named == []


def test_the_word_test_itself_sees_words() -> None:
    assert WORLD_WORDS.search("\n".join(strings_and_names("x = 'click[buy now]'")))
    assert not WORLD_WORDS.search("\n".join(strings_and_names('"""Like click[buy now]."""\ny = 1')))
