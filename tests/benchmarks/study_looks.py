"""Every look at test results, in one file: when, at which commit, at what. And the rule that a commit looks once."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock

from reskill_agents.study.job import Job, Stage
from reskill_agents.study.plan import Plan

CODE = ("reskill_agents", "graphs", "trainers", "skill_templates", "examples", "pyproject.toml")
_LOCK = Lock()
_BEGUN, _READ = "begun", "read"


@dataclass(frozen=True)
class Code:
    """The code that runs.

    Args:
        commit: checked out; empty outside a repository.
        version: the last commit that changed code (results and docs are no code).
        changed: paths with changes that are not committed.
    """

    commit: str
    version: str
    changed: tuple[str, ...] = ()


def current_code(root: Path) -> Code:
    """What ``root`` has checked out."""
    version = _git(root, "log", "-1", "--format=%H", "--", *CODE).strip()
    changed = tuple(line[3:] for line in _git(root, "status", "--porcelain", "--", *CODE).splitlines())
    return Code(_git(root, "rev-parse", "HEAD").strip(), version, changed)


def _git(root: Path, *arguments: str) -> str:
    found = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
    return found.stdout if found.returncode == 0 else ""


@dataclass(frozen=True)
class Looks:
    """``looks.jsonl``: one JSON object a look, only ever appended to."""

    path: Path

    def begin(self, code: Code, plan_name: str, plan: Plan, job: Job) -> None:
        """Note that a job is about to open its test splits: a run that is cut short has looked as well."""
        self._append(code, plan_name, plan, job, config="", state=_BEGUN)

    def append(self, code: Code, plan_name: str, plan: Plan, job: Job, config: str) -> None:
        """Note that the test results of a job were looked at; once for each commit, job and config."""
        self._append(code, plan_name, plan, job, config=config, state=_READ)

    def _append(self, code: Code, plan_name: str, plan: Plan, job: Job, *, config: str, state: str) -> None:
        line = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": code.commit,
            "code": code.version,
            "plan": plan_name,
            "plan_digest": plan.digest,
            "job": job.name,
            "config": config,
            "state": state,
        }
        with _LOCK:
            same = ("code", "plan", "job", "config")
            if any(all(known.get(key) == line[key] for key in same) for known in self.lines()):
                return  # lines of before states were kept were all read
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(line) + "\n")

    def lines(self) -> list[dict[str, object]]:
        """All looks that can be read."""
        found = []
        for text in self.path.read_text("utf-8").splitlines() if self.path.is_file() else ():
            try:
                line = json.loads(text)
            except ValueError:
                continue  # torn by a kill
            if isinstance(line, dict):
                found.append(line)
        return found

    def opened(self, code: Code, plan_name: str, job: Job) -> bool:
        """Whether this code has read the results of that job before."""
        wanted = (code.version, plan_name, job.name)
        return any(
            (line.get("code"), line.get("plan"), line.get("job")) == wanted and line.get("state") != _BEGUN
            for line in self.lines()
        )


def refusal(plan: Plan, plan_name: str, job: Job, code: Code, looks: Looks, *, played: bool) -> str:
    """Why a final run of a registered plan may not start; empty if it may.

    Args:
        played: its run folder holds evaluations, so that it goes on with the same look.
    """
    if not plan.registered or job.stage is not Stage.FINAL:
        return ""
    if not code.version:
        return "a registered study runs in a git repository, so that its results name their code"
    if code.changed:
        return f"commit the code first, so that the result names it: {', '.join(code.changed[:3])}"
    if looks.opened(code, plan_name, job) and not played:
        return f"opened before with the code of {code.version[:10]}; bring its result file back, or change the method"
    return ""
