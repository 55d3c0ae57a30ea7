"""Seconds by phase of one step."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Clock:
    """Runs from its making; phases add up by name."""

    seconds: dict[str, float] = field(default_factory=dict)
    _started: float = field(default_factory=time.perf_counter)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count what happens inside towards ``name``."""
        started = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started

    def reading(self) -> dict[str, float]:
        """Seconds by phase, and ``total`` since the start, to the microsecond."""
        seconds = {**self.seconds, "total": time.perf_counter() - self._started}
        return {name: round(value, 6) for name, value in seconds.items()}
