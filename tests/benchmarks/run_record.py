"""What a benchmark keeps of a run folder: evaluations, the course of training, what became of every proposed skill.

python tests/benchmarks/run_record.py runs/webshop-reskill-s0 tests/benchmarks/results/main-job.json
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

from reskill_agents.run_lines import Step
from reskill_agents.run_summary import fates
from reskill_agents.run_view import read_run
from reskill_agents.skill import digest_json

ROOT = Path(__file__).resolve().parents[2]


def record(run_dir: Path) -> dict[str, object]:
    """The record of a finished run, for a result file that is committed.

    Keys: ``commit``, ``config`` (digest), ``evaluation`` (``evaluation.json``), ``course`` (a row a step, see ``columns``),
    ``fates`` and ``skills`` (in force at the end).
    """
    view = read_run(run_dir)
    return {
        "commit": commit(),
        "config": digest_json(json.loads((run_dir / "config.json").read_text("utf-8"))),
        "evaluation": json.loads((run_dir / "evaluation.json").read_text("utf-8")),
        "columns": ["step", "episodes", "success", "score", "sampled", "skill_tokens", "context_tokens", "seconds"],
        "course": [_row(step) for step in view.steps],
        "fates": [dataclasses.asdict(fate) for fate in fates(view)],
        "skills": [skill.name for skill in view.library.library],
    }


def _row(step: Step) -> list[float]:
    """Means over all episodes of the step, whichever library they carried."""
    arms = [arm for arm in step.arms.values() if arm.success is not None]
    episodes = sum(arm.episodes for arm in arms)
    success, score = (
        sum(arm.episodes * (getattr(arm, name) or 0.0) for arm in arms) / max(1, episodes)
        for name in ("success", "score")
    )
    tokens, seconds = step.tokens, sum(value for name, value in step.seconds.items() if name == "total")
    numbers = (success, score, tokens.sampled, tokens.skill, tokens.context, seconds)
    return [step.step, episodes, *(round(number, 5) for number in numbers)]


def commit() -> str:
    """The commit that is checked out; empty outside a repository."""
    found = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return found.stdout.strip()


def main() -> int:
    """Command line: a finished run folder, and the file to write."""
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    text = json.dumps(record(Path(sys.argv[1])), sort_keys=True) + "\n"
    Path(sys.argv[2]).write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
