"""The README says what the committed result files say."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))

import readme_results


def test_the_readme_is_up_to_date_with_the_committed_result_files(repository: Path) -> None:
    text = (repository / "README.md").read_text("utf-8")
    assert "<!-- results:selection -->" in text
    assert readme_results.stale(text) == [], "run `make results`"


def test_only_what_stands_between_markers_is_rewritten() -> None:
    text = "a\n<!-- results:x -->\nold\n<!-- /results -->\nb\n"
    fresh = readme_results.regenerate(text, {"x": lambda: "| new |"})
    assert fresh == "a\n<!-- results:x -->\n| new |\n<!-- /results -->\nb\n"
    assert readme_results.stale(text, {"x": lambda: "| new |"}) == ["x"]
    assert readme_results.stale(fresh, {"x": lambda: "| new |"}) == []


def test_a_lost_marker_and_an_unknown_block_are_said() -> None:
    with pytest.raises(ValueError, match="no block is called y; there are x"):
        readme_results.regenerate("<!-- results:y -->\n<!-- /results -->", {"x": str})
    with pytest.raises(ValueError, match="needs its"):
        readme_results.regenerate("<!-- results:x -->\n", {"x": str})
