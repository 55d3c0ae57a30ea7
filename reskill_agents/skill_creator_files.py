"""Files of Anthropic's skill-creator, so that its viewer opens what was measured here.

::

    FOLDER/evals/evals.json                                    tasks and what is expected on them
    FOLDER/iteration-N/eval-<id>/eval_metadata.json
    FOLDER/iteration-N/eval-<id>/{new,old}_skill/run-<k>/eval_metadata.json, grading.json
    FOLDER/iteration-N/eval-<id>/{new,old}_skill/run-<k>/outputs/episode.txt
    FOLDER/iteration-N/benchmark.json

Runs are logged episodes: those that carried the proposed library are ``new_skill``, all others ``old_skill``. A fresh
proposal has no ``new_skill`` runs, and no delta is made up for it; time and tokens are left out, the viewer then has no
such rows. Schema: skill-creator, ``references/schemas.md``. ``eval_metadata.json`` stands twice: the aggregator looks for it
in the folder of the eval, the viewer in that of the run. JSON is ASCII: the viewer reads it in the machine's encoding.

Open it with ``python eval-viewer/generate_review.py FOLDER/iteration-N --benchmark FOLDER/iteration-N/benchmark.json``.
"""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

from reskill_agents.assertions import Assertion, GradeResult, grade
from reskill_agents.assertions.grading import EpisodeGrades
from reskill_agents.episodes import Episode

TASKS = 12  # evals written: tasks with both outcomes first
RUNS = 4  # episodes of each configuration of a task
_NEW, _OLD = "new_skill", "old_skill"


@dataclass(frozen=True)
class _Run:
    eval_id: int
    task: str
    configuration: str
    number: int
    episode: Episode
    expectations: list[dict[str, object]]

    @property
    def summary(self) -> dict[str, float | int]:
        passed = sum(expectation["passed"] is True for expectation in self.expectations)
        total = len(self.expectations)
        rate = round(passed / total, 4) if total else 0.0
        return {"passed": passed, "failed": total - passed, "total": total, "pass_rate": rate}


def write_skill_creator_files(
    folder: Path,
    *,
    name: str,
    episodes: Sequence[Episode],
    assertions: Sequence[Assertion],
    candidate_digest: str,
    iteration: int,
    timestamp: str,
    show: Callable[[Episode], str],
) -> Path:
    """Write the files; gives the folder of the iteration.

    Args:
        folder: the workspace; other iterations in it are left alone.
        name: of the skill, or of the library.
        episodes: logged episodes.
        assertions: become the expectations; one that does not apply to an episode is left out there.
        candidate_digest: of the proposed library.
        iteration: from 1.
        timestamp: ISO 8601, for the metadata.
        show: an episode as text.
    """
    place = folder / f"iteration-{iteration}"
    if place.exists():
        shutil.rmtree(place)
    runs = _runs(episodes, assertions, candidate_digest)
    evals = {run.eval_id: run for run in runs}
    _write(
        folder / "evals" / "evals.json",
        {
            "skill_name": name,
            "evals": [
                {
                    "id": number,
                    "prompt": run.task,
                    "expected_output": "The task's full score.",
                    "files": [],
                    "expectations": [assertion.text for assertion in assertions],
                }
                for number, run in evals.items()
            ],
        },
    )
    for run in runs:
        above = place / f"eval-{run.eval_id}"
        metadata = {
            "eval_id": run.eval_id,
            "eval_name": run.episode.task.task_id,
            "prompt": run.task,
            "assertions": [assertion.text for assertion in assertions],
        }
        _write(above / "eval_metadata.json", metadata)
        at = above / run.configuration / f"run-{run.number}"
        _write(at / "eval_metadata.json", metadata)
        _write(at / "grading.json", {**_grading(run)})
        (at / "outputs").mkdir(parents=True)
        (at / "outputs" / "episode.txt").write_text(show(run.episode) + "\n", encoding="utf-8", errors="replace")
    _write(place / "benchmark.json", _benchmark(name, runs, timestamp))
    return place


def _runs(episodes: Sequence[Episode], assertions: Sequence[Assertion], candidate: str) -> list[_Run]:
    scored = [episode for episode in episodes if episode.score is not None]
    graded = dict(zip((id(episode) for episode in scored), grade(scored, assertions), strict=True))
    by_task: dict[str, list[Episode]] = defaultdict(list)
    for episode in scored:
        by_task[episode.task.task_id].append(episode)
    chosen = sorted(by_task.values(), key=lambda some: _rank(some, candidate))
    runs = []
    for number, some in enumerate(chosen[:TASKS], 1):
        for configuration in (_NEW, _OLD):
            mine = [e for e in some if (e.library_digest == candidate) is (configuration == _NEW)]
            mine.sort(key=lambda episode: episode.score or 0.0)
            for run, episode in enumerate(_spread(mine), 1):
                expectations = _expectations(graded[id(episode)], assertions)
                text = episode.task.text or episode.task.task_id
                runs.append(_Run(number, text, configuration, run, episode, expectations))
    return runs


def _rank(some: Sequence[Episode], candidate: str) -> tuple[bool, bool, str]:
    """Tasks seen with and without the proposal first (the aggregator takes its sign from the first eval), then mixed ones."""
    carried = {episode.library_digest == candidate for episode in some}
    return len(carried) < 2, len({episode.success for episode in some}) < 2, some[0].task.task_id


def _spread(ranked: Sequence[Episode]) -> list[Episode]:
    """At most ``RUNS``, from the worst to the best."""
    if len(ranked) <= RUNS:
        return list(ranked)
    return [ranked[round(k * (len(ranked) - 1) / (RUNS - 1))] for k in range(RUNS)]


def _expectations(grades: EpisodeGrades, assertions: Sequence[Assertion]) -> list[dict[str, object]]:
    return [
        {
            "text": assertion.text,
            "passed": found.result is GradeResult.PASSED,
            "evidence": f"turns {', '.join(map(str, found.evidence))}" if found.evidence else "the whole episode",
        }
        for assertion, found in zip(assertions, grades.grades, strict=True)
        if found.result is not GradeResult.NOT_APPLICABLE
    ]


def _grading(run: _Run) -> dict[str, object]:
    episode = run.episode
    return {
        "expectations": run.expectations,
        "summary": run.summary,
        "execution_metrics": {
            "total_tool_calls": len(episode.turns),
            "total_steps": len(episode.turns),
            "errors_encountered": sum(not turn.valid for turn in episode.turns),
            "output_chars": sum(len(turn.response or turn.action) for turn in episode.turns),
        },
        "user_notes_summary": {"uncertainties": [], "needs_review": [_outcome_note(episode)], "workarounds": []},
    }


def _outcome_note(episode: Episode) -> str:
    return f"episode {episode.episode_id} of {episode.model or 'an unnamed model'} scored {episode.score:.2f}"


def _benchmark(name: str, runs: Sequence[_Run], timestamp: str) -> dict[str, object]:
    present = [c for c in (_NEW, _OLD) if any(run.configuration == c for run in runs)]
    rates = {c: [float(run.summary["pass_rate"]) for run in runs if run.configuration == c] for c in present}
    summary: dict[str, object] = {c: _statistics(rates[c]) for c in present}
    both = len(present) == 2
    delta = f"{mean(rates[_NEW]) - mean(rates[_OLD]):+.2f}" if both else "—"
    summary["delta"] = {"pass_rate": delta}
    notes = [
        "Runs are logged episodes; time and tokens are not measured.",
        "An expectation that does not apply to an episode is left out there.",
    ]
    if not both:
        notes.append(
            "No episode carried the proposed skills: this is the baseline only, there is nothing to compare yet."
        )
    return {
        "metadata": {
            "skill_name": name,
            "timestamp": timestamp,
            "evals_run": sorted({run.eval_id for run in runs}),
            "runs_per_configuration": max((run.number for run in runs), default=0),
        },
        "runs": [
            {
                "eval_id": run.eval_id,
                "eval_name": run.episode.task.task_id,
                "configuration": run.configuration,
                "run_number": run.number,
                "result": {
                    **run.summary,
                    "tool_calls": len(run.episode.turns),
                    "errors": sum(not turn.valid for turn in run.episode.turns),
                },
                "expectations": run.expectations,
                "notes": [_outcome_note(run.episode)],
            }
            for run in runs
        ],
        "run_summary": summary,
        "notes": notes,
    }


def _statistics(rates: Sequence[float]) -> dict[str, dict[str, float]]:
    spread = {
        "mean": round(mean(rates), 4),
        "stddev": round(stdev(rates), 4) if len(rates) > 1 else 0.0,
        "min": min(rates),
        "max": max(rates),
    }
    return {"pass_rate": spread}


def _write(path: Path, content: Mapping[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="ascii")
