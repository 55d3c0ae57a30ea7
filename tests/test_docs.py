"""What the documents say can be done as they say it: code blocks run, names, commands, files and line counts exist."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from reskill_agents.cli import app as cli

ROOT = Path(__file__).parent.parent
DOCS = (ROOT / "README.md", ROOT / "docs" / "embedding.md")
OFFLINE = """
import langchain.chat_models
from langchain_core.language_models.fake_chat_models import FakeListChatModel
langchain.chat_models.init_chat_model = lambda name: FakeListChatModel(responses=["It is on its way."])
"""


def blocks(file: Path, language: str = "python") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", file.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def test_the_readmes_embedding_blocks_run_as_they_stand(tmp_path: Path) -> None:
    live = [block for block in blocks(ROOT / "README.md") if "LiveStore.open" in block or "skill_node(" in block]
    assert len(live) == 2
    shown = """
print(store.runs()[0].thread_id, store.observations()[0].outcomes[0].score)
print(app.invoke({"messages": [("user", "I want a refund")]})["skills"][0]["name"])
"""
    done = subprocess.run(
        [sys.executable, "-c", "\n".join([OFFLINE, *live, shown])],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["customer-17 0.8", "check-the-order-first"]


@pytest.mark.parametrize("file", DOCS, ids=lambda file: file.name)
def test_commands_and_files_that_a_document_names_exist(file: Path) -> None:
    text = file.read_text("utf-8")
    known = set(typer.main.get_command(cli).commands)  # type: ignore[attr-defined]
    named = set(re.findall(r"`reskill ([a-z-]+)", text))
    assert named
    assert named <= known
    for place in set(re.findall(r"\]\(((?!https?:)[^)#]+)\)", text)):
        assert (file.parent / place).exists(), place
    for example in set(re.findall(r"examples/\w+\.py", text)):
        assert (ROOT / example).is_file(), example


def test_the_lines_that_are_compared_are_the_lines_that_are_shown() -> None:
    ours, *others = [block for block in blocks(DOCS[1]) if "# +" in block]
    assert [block.count("# +") for block in others] == [7, 4]
    assert ours.count("# +") + 2 == 8
    table = next(line for line in DOCS[1].read_text("utf-8").splitlines() if line.startswith("| lines added"))
    assert [int(cell) for cell in re.findall(r"\| (\d+) ", table)] == [8, 7, 4]
    marked = [(ROOT / "examples" / f"embed_{n}.py").read_text().count("  # +") for n in ("create_agent", "stategraph")]
    assert marked == [8, 12]
