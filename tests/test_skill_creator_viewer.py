"""What Anthropic's skill-creator viewer and aggregator read, field by field, is there and of the right kind.

From ``anthropics/skills``, ``skills/skill-creator``: ``eval-viewer/generate_review.py`` and ``viewer.html`` (the viewer),
``scripts/aggregate_benchmark.py`` (the aggregator), ``references/schemas.md``. Nothing of them is copied here.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from creator_episodes import careless

from reskill_agents import Episode
from reskill_agents.episode_logs import episode_to_json
from reskill_agents.graphs.creator_logs import create_from_logs
from reskill_agents.graphs.creator_prompts import transcript
from reskill_agents.skill_creator_files import write_skill_creator_files

HIDDEN = {"transcript.md", "user_notes.md", "metrics.json"}  # in outputs/, the viewer does not show these
SHOWN_AS_TEXT = {".txt", ".md", ".json", ".csv"}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of a log in which a third of the episodes carried the proposal, with words of many scripts."""
    folder = tmp_path_factory.mktemp("viewer")
    episodes = [_foreign(episode) for episode in careless(240, seed=1)]
    log = folder / "log.jsonl"
    log.write_text("\n".join(json.dumps(episode_to_json(e)) for e in episodes), encoding="utf-8")
    import asyncio

    creation = asyncio.run(create_from_logs([log]))
    digest = creation.library.digest
    carried = [
        dataclasses.replace(e, library_digest=digest, episode_id=f"new-{e.episode_id}")
        for number, e in enumerate(episodes)
        if number // 8 % 3 == 2
    ]
    write_skill_creator_files(
        folder / "skill-creator",
        name="crates",
        episodes=[*episodes, *carried],
        assertions=creation.result.assertions,
        candidate_digest=digest,
        iteration=1,
        timestamp="2026-01-15T10:30:00+00:00",
        show=transcript,
    )
    return folder / "skill-creator"


def _foreign(episode: Episode) -> Episode:
    task = dataclasses.replace(episode.task, text=f"{episode.task.text} – größer 木箱 \ud800")
    return dataclasses.replace(episode, task=task)


def viewed(iteration: Path) -> list[Path]:
    """Where the viewer finds runs: every topmost folder with ``outputs/`` in it; it looks into most other folders."""
    found: list[Path] = []
    left = [iteration]
    while left:
        folder = left.pop()
        if (folder / "outputs").is_dir():
            found.append(folder)
        else:
            left += [child for child in folder.iterdir() if child.is_dir()]
    return sorted(found)


def loaded(path: Path) -> Any:
    """A file as the viewer opens it on a machine with any encoding."""
    return json.loads(path.read_text(encoding="ascii"))


def test_the_viewer_finds_every_run_with_prompt_outputs_and_grades(workspace: Path) -> None:
    runs = viewed(workspace / "iteration-1")
    assert len(runs) > 20
    for run in runs:
        # the prompt and the eval's number: from the run's folder or the one above, not from two above
        metadata = loaded(
            next(at for at in (run, run.parent) if (at / "eval_metadata.json").is_file()) / "eval_metadata.json"
        )
        assert metadata["prompt"].startswith("fetch ")
        assert isinstance(metadata["eval_id"], int)
        assert f"eval-{metadata['eval_id']}" in run.parts
        assert run.parent.name in ("new_skill", "old_skill")  # the badge, by the run's path
        shown = [file for file in (run / "outputs").iterdir() if file.name not in HIDDEN]
        assert shown
        assert all(file.suffix in SHOWN_AS_TEXT and file.read_text("utf-8") for file in shown)
        grading = loaded(run / "grading.json")
        assert {"passed", "failed", "total", "pass_rate"} <= set(grading["summary"])
        assert grading["summary"]["passed"] + grading["summary"]["failed"] == grading["summary"]["total"]
        assert 0 <= grading["summary"]["pass_rate"] <= 1
        for expectation in grading["expectations"]:
            assert isinstance(expectation["text"], str)
            assert isinstance(expectation["passed"], bool)
            assert isinstance(expectation["evidence"], str)


def test_the_viewers_benchmark_tab_has_what_it_computes_with(workspace: Path) -> None:
    benchmark = loaded(workspace / "iteration-1" / "benchmark.json")
    metadata = benchmark["metadata"]
    assert metadata["skill_name"] == "crates"
    assert isinstance(metadata["timestamp"], str)
    assert all(isinstance(number, int) for number in metadata["evals_run"])
    assert isinstance(metadata["runs_per_configuration"], int)
    summary = benchmark["run_summary"]
    assert list(summary) == [
        "new_skill",
        "old_skill",
        "delta",
    ]  # the first is shown on the left, delta is first minus second
    for configuration in ("new_skill", "old_skill"):
        for figures in summary[configuration].values():  # a row is drawn for time and tokens if they are there
            assert all(isinstance(figures[name], float | int) for name in ("mean", "stddev", "min", "max"))
        assert set(summary[configuration]) == {"pass_rate"}
    means = [summary[name]["pass_rate"]["mean"] for name in ("new_skill", "old_skill")]
    assert float(summary["delta"]["pass_rate"]) == pytest.approx(means[0] - means[1], abs=0.006)
    assert set(summary["delta"]) == {"pass_rate"}
    assert len(benchmark["runs"]) == len(viewed(workspace / "iteration-1"))
    for run in benchmark["runs"]:
        assert {"eval_id", "eval_name", "configuration", "run_number", "result", "expectations", "notes"} <= set(run)
        assert {"pass_rate", "passed", "failed", "total", "errors"} <= set(run["result"])
        assert all({"text", "passed", "evidence"} <= set(expectation) for expectation in run["expectations"])
    assert all(isinstance(note, str) for note in benchmark["notes"])


def test_the_aggregator_comes_to_the_same_summary(workspace: Path) -> None:
    iteration = workspace / "iteration-1"
    rates: dict[str, list[float]] = {}
    for evaluation in sorted(iteration.glob("eval-*")):
        assert loaded(evaluation / "eval_metadata.json")["eval_id"] == int(evaluation.name.split("-")[1])
        for configuration in sorted(child for child in evaluation.iterdir() if child.is_dir()):
            for run in configuration.glob("run-*"):
                assert run.name.split("-")[1].isdigit()
                rates.setdefault(configuration.name, []).append(loaded(run / "grading.json")["summary"]["pass_rate"])
    assert list(rates) == ["new_skill", "old_skill"]  # its delta is the first it meets minus the second
    summary = loaded(iteration / "benchmark.json")["run_summary"]
    for name, some in rates.items():
        assert summary[name]["pass_rate"]["mean"] == pytest.approx(sum(some) / len(some), abs=1e-4)


def test_evals_name_tasks_and_what_is_expected(workspace: Path) -> None:
    evals = loaded(workspace / "evals" / "evals.json")
    assert evals["skill_name"] == "crates"
    numbers = [entry["id"] for entry in evals["evals"]]
    assert sorted(set(numbers)) == sorted(numbers)
    for entry in evals["evals"]:
        assert {"id", "prompt", "expected_output", "files", "expectations"} == set(entry)
        assert entry["expectations"]
