"""Result files of a study that never ran: small, whole and deterministic."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from reskill_agents.study.job import Job

COMMIT = "c0ffee" + 34 * "0"
COLUMNS = ["step", "episodes", "success", "score", "sampled", "skill_tokens", "context_tokens", "seconds"]
LEVELS = {"grpo": 0.2, "static": 0.3, "decoupled": 0.35, "reskill-paper": 0.5, "reskill": 0.7}


def draw(*key: object) -> float:
    """A number from 0 to 1 that depends on ``key`` alone."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return int.from_bytes(digest[:6], "big") / float(1 << 48)


def entry(policy: str, library: str, split: str, success: float, step: int) -> dict[str, object]:
    """One evaluation as ``evaluation.json`` holds it."""
    total = {
        "episodes": 200, "faults": 0, "success": round(success, 3), "success_se": 0.03,
        "score": round(min(1.0, success + 0.2), 3), "score_se": 0.02,
    }  # fmt: skip
    return {
        "policy": policy, "library": library, "digest": "sha256-x", "split": split, "total": total,
        "by_tag": {}, "step": step,
    }  # fmt: skip


def fate(skill: str, outcome: str, proposed: int, **more: object) -> dict[str, object]:
    """One proposed change."""
    found: dict[str, object] = {
        "skill": skill, "change": "add", "purpose": "creation", "proposed": proposed, "outcome": outcome,
        "probability": 0.99, "episodes": 256, "ended": proposed + 2, "removed": None,
    }  # fmt: skip
    return found | more


def content(job: Job, level: float, *, splits: Sequence[str] = ("seen_test", "unseen_test")) -> dict[str, object]:
    """A result file's content; ``level`` is the success that the arm comes to."""
    skilled = job.method != "grpo"
    played = [entry("before", "none", split, 0.01 * job.seed % 0.05, 0) for split in splits]
    played += [entry(f"step-{step}", "none", "valid", level * step / job.steps, step) for step in (5, 15)]
    for split in ("valid", *splits):
        jitter = 0.1 * draw(job.name, split) - 0.05
        played.append(entry("after", "none", split, level / 4 if skilled else level + jitter, job.steps))
        if skilled:
            played.append(entry("after", "skills", split, level + jitter, job.steps))
    fates = [
        fate("match", "accepted", 3),
        fate("hurry", "rejected", 7),
        fate("options", "pruned", 9, removed=15),
        fate("options", "accepted", 12, change="delete", purpose="pruning", ended=15),
    ]
    return {
        "job": job.line(),
        "commit": COMMIT,
        "config": "sha256-" + hashlib.sha256(job.name.encode()).hexdigest(),
        "evaluation": {"results": played},
        "columns": COLUMNS,
        "course": [
            [
                step,
                128,
                round(level * step / job.steps, 5),
                0.5,
                900,
                1280 if skilled else 0,
                12800,
                1.5 + 0.5 * skilled,
            ]
            for step in range(job.steps)
        ],
        "fates": fates if skilled else [],
        "skills": ["match"] if skilled else [],
    }


def write_result(folder: Path, job: Job, level: float) -> Path:
    """The result file of a job."""
    path = folder / f"{job.name}.json"
    path.write_text(json.dumps(content(job, level), sort_keys=True) + "\n")
    return path
