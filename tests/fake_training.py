"""Stands in for a training script: writes the run folder that a study reads, in no time. Called as a program.

What it was called with is appended to ``calls.jsonl`` beside it. A file ``fail-METHOD`` there makes that method fail; in a
run folder that holds one already, nothing is played again (``--resume``).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

LEVELS = {"grpo": 0.2, "reskill": 0.7}


def main() -> int:
    here = Path(__file__).parent
    with (here / "calls.jsonl").open("a") as calls:
        calls.write(json.dumps(sys.argv[1:]) + "\n")
    parser = argparse.ArgumentParser()
    for name in ("--method", "--run-dir", "--catalogue-seed", "--start", "--pack"):
        parser.add_argument(name)
    for name in ("--seed", "--steps", "--threads", "--clone-updates", "--start-seed"):
        parser.add_argument(name, type=int)
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--set", action="append", default=[])
    for name in ("--clone-only", "--quiet", "--resume", "--no-test"):
        parser.add_argument(name, action="store_true")
    options = parser.parse_args()
    if options.clone_only:
        return 0
    if (here / f"fail-{options.method}").exists():
        print("something broke\nno such thing", file=sys.stderr)
        return 1
    if (here / f"hang-{options.method}").exists():
        time.sleep(60)
    folder = Path(options.run_dir)
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "evaluation.json").exists():
        return 0
    (folder / "pack").mkdir()
    level = LEVELS[options.method] - abs(options.learning_rate - 3e-5) * 1e3
    config = {"method": options.method, "seed": options.seed, "settings": options.set, "rate": options.learning_rate}
    (folder / "config.json").write_text(json.dumps(config))
    arm = {"episodes": 128, "success": level, "score": level}
    steps = [
        {"step": step, "arms": {"active": arm}, "tokens": {"sampled": 900, "context": 12800}, "seconds": {"total": 1.5}}
        for step in range(options.steps)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(step) + "\n" for step in steps))
    splits = ["valid"] if options.no_test else ["valid", "seen_test", "unseen_test"]
    total = {"episodes": 200, "success": level, "success_se": 0.03, "score": level, "score_se": 0.02}
    if options.start:
        played = [
            {
                "policy": "frozen",
                "library": library,
                "split": split,
                "step": step,
                "total": total | {"success": success},
            }
            for split in ("train", "seen_test", "unseen_test")
            for library, step, success in (("none", 0, 0.1), ("source", 0, 0.2), ("adapted", options.steps, 0.6))
        ]
        (folder / "evaluation.json").write_text(json.dumps({"results": played}))
        return 0
    played = [{"policy": "after", "library": "none", "split": split, "total": total} for split in splits]
    (folder / "evaluation.json").write_text(json.dumps({"results": played}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
