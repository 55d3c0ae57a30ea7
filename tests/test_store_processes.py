"""Two processes, one store, killed at random (``python tests/store_hammer.py --seconds 60`` for longer)."""

from __future__ import annotations

from pathlib import Path

from store_hammer import hammer


def test_nothing_is_lost_doubled_or_torn_when_processes_are_killed(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    tally = hammer(str(tmp_path / "live.db"), notes, 3.0, seed=1)
    assert tally.kills >= 3
    assert tally.told > 100
