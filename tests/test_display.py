"""What a person sees of a run: live in a terminal, lines elsewhere, nothing when quiet."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console
from run_folders import evaluation, write_run

from reskill_agents.display import LiveDisplay, PlainDisplay, QuietDisplay, make_display, sparkline
from reskill_agents.progress_text import duration, share
from reskill_agents.trainers.progress import Phase, ProgressListener


def console(terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=110, color_system=None)


def written(shown: Console) -> str:
    assert isinstance(shown.file, io.StringIO)
    return shown.file.getvalue()


def test_the_display_fits_the_console() -> None:
    assert isinstance(make_display(quiet=True), QuietDisplay)
    assert isinstance(make_display(console=console(True)), LiveDisplay)
    assert isinstance(make_display(console=console(False)), PlainDisplay)


def test_a_log_has_one_line_an_event(tmp_path: Path) -> None:
    shown = console(False)
    with make_display(console=shown) as display:
        listener: ProgressListener = display
        display.building("stand-in: clone", 0.31, "step 20")
        display.building("stand-in: clone", 0.35, "step 22")
        listener.phase(Phase.TRAINING, "60 steps")
        write_run(tmp_path / "run", listener=display)
        listener.evaluation(evaluation("after", "skills", "unseen_test", 0.66, 60))
    lines = [line.split(" s] ", 1)[1] for line in written(shown).splitlines()]
    assert lines[:2] == ["stand-in: clone 31 %  step 20", "training: 60 steps"]
    assert lines[2].startswith("step 1/60  success in force ")
    assert "creation 1: add take-named-options, add best-match: goes on trial" in lines
    assert any(line.startswith("REJECTED add finish-at-once (P better 0.0") for line in lines)
    assert any("trial of creation: P better" in line for line in lines)
    assert lines[-1] == ("unseen_test, after, with library: success 66 % (± 3.0), mean score 0.86, 200 episodes")
    assert sum(line.startswith("step ") for line in lines) == 60


def test_the_live_view_shows_steps_arms_trial_skills_and_what_happened(tmp_path: Path) -> None:
    display = LiveDisplay(console(True), "demo")
    display.phase(Phase.TRAINING, "60 steps")
    write_run(tmp_path / "run", listener=display)
    shown = console(False)
    shown.print(display.render())
    text = written(shown)
    for expected in (
        "demo",
        "training",
        "step 60/60",
        "0 s left",
        "in force",
        "less one skill",
        "best-match",
        "✓ ACCEPTED",
        "✗ REJECTED",
    ):
        assert expected in text


def test_the_live_view_shows_a_trial_under_way(tmp_path: Path) -> None:
    display = LiveDisplay(console(True))
    write_run(tmp_path / "run", steps=4, finished=False, gain=0.0, listener=display)
    shown = console(False)
    shown.print(display.render())
    assert "trial (creation)" in written(shown)


def test_the_live_view_leaves_the_terminal_clean() -> None:
    shown = console(True)
    with LiveDisplay(shown) as display:
        display.building("stand-in: clone", 0.5, "")
        display.phase(Phase.LOADING, "weights")
    assert "\x1b[?25h" in written(shown)  # the cursor is shown again


def test_quiet_says_nothing(tmp_path: Path) -> None:
    with QuietDisplay() as display:
        write_run(tmp_path / "run", steps=8, listener=display)


def test_numbers_for_people() -> None:
    assert [duration(seconds) for seconds in (-1, 42.4, 185, 3720)] == ["0 s", "42 s", "3 min 05 s", "1 h 02 min"]
    assert [share(value) for value in (None, 0.0, 0.666)] == ["–", "0 %", "67 %"]
    assert sparkline([0.0, 0.5, 1.0, float("nan")]) == "▁▅█·"
