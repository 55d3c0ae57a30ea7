"""How long jobs take on this machine: kept beside the run folders, because it is no result."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from threading import Lock


@dataclass
class Durations:
    """Seconds of finished jobs by kind.

    Args:
        path: one JSON object a line; what cannot be read is passed over.
        guesses: seconds by kind, until one of the kind was measured.
    """

    path: Path
    guesses: dict[str, float]
    _lines: list[dict[str, object]] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    def __post_init__(self) -> None:
        texts = self.path.read_text("utf-8").splitlines() if self.path.is_file() else []
        for text in texts:
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if isinstance(line, dict) and isinstance(line.get("seconds"), int | float):
                self._lines.append(line)

    def known(self, name: str) -> bool:
        """Whether that job was measured before."""
        with self._lock:
            return any(line.get("job") == name for line in self._lines)

    def expected(self, kind: str) -> float:
        """The median of the kind; the guess if none was measured; 0 without a guess."""
        with self._lock:
            found = [float(str(line["seconds"])) for line in self._lines if line.get("kind") == kind]
        return median(found) if found else self.guesses.get(kind, 0.0)

    def add(self, kind: str, name: str, seconds: float) -> None:
        """Keep one."""
        line: dict[str, object] = {"kind": kind, "job": name, "seconds": round(seconds, 1)}
        with self._lock:
            self._lines.append(line)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(line) + "\n")
