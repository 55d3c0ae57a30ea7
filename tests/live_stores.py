"""Builders for tests of the live store."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reskill_agents.environment import Task
from reskill_agents.episodes import Episode, Turn
from reskill_agents.library import SkillLibrary
from reskill_agents.live_records import Run, ThreadPin, TrialRecord, VerdictRecord
from reskill_agents.skill import Skill
from reskill_agents.store import LiveStore, StoreSettings
from reskill_agents.trials import Arm, VersionTrial

PLAIN = StoreSettings(redact=None, redact_metadata=None)


class Clock:
    """Seconds that a test moves."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def sqlite_store(
    folder: Path, *namespace: str, settings: StoreSettings = PLAIN, clock: Clock | None = None
) -> LiveStore:
    """A fresh store in ``folder``."""
    return LiveStore.open(folder / "live.db", namespace, settings=settings, clock=clock or Clock())


def library(*names: str) -> SkillLibrary:
    """A library of small skills."""
    return SkillLibrary(tuple(Skill(name, f"About {name}.", f"Do {name}.") for name in names))


def run(
    run_id: str = "run-1",
    thread_id: str = "thread-1",
    *,
    started: float = 1_000_000.0,
    trial: str = "",
    arm: Arm = Arm.INCUMBENT,
    window: int = 0,
    stratum: str = "",
) -> Run:
    """A run with everything else at its default."""
    share = 0.5 if trial else 0.0
    return Run(run_id, thread_id, "sha256-0", started, "model-a", trial, arm, window, share, stratum)


def episode(text: str, *, score: float | None = None) -> Episode:
    """One turn, all of whose texts hold ``text``."""
    turn = Turn(0, f"user says {text}", f"answer({text})", response=f"<answer>{text}</answer>")
    task = Task(f"task {text}", f"help with {text}", tags={"note": text})
    return Episode("episode", task, (turn,), score, final_observation=f"bye {text}", error=text)


def open_trial(store: LiveStore, name: str = "trial-1") -> TrialRecord:
    """A saved, open trial of ``library("new")`` against what is served (``library("old")`` where nothing is)."""
    if store.active().number == 0:
        store.activate(library("old"))
    incumbent, candidate = store.active().library, library("new")
    store.put_library(candidate)
    trial = VersionTrial(incumbent, candidate, trial_id=name)
    record = TrialRecord(name, incumbent.digest, candidate.digest, "model-a", 1_000_000.0, trial.to_state())
    store.save_trial(record)
    return record


def verdict(trial: str = "trial-1", *, accepted: bool = True, windows: tuple[int, ...] = ()) -> VerdictRecord:
    """A verdict."""
    return VerdictRecord(trial, accepted, "futility", "because", windows, "model-a", 1_000_000.0, {"effect": 0.2})


def pin(thread: str, arm: Arm = Arm.INCUMBENT) -> ThreadPin:
    """A pin outside trials."""
    return ThreadPin(thread, "sha256-0", 1_000_000.0, arm=arm)


@contextmanager
def postgres_server(folder: Path) -> Iterator[str | None]:
    """A fresh PostgreSQL on loopback and the address of its database; ``None`` where it is not installed."""
    programs = {name: shutil.which(name) or _debian_program(name) for name in ("initdb", "pg_ctl")}
    if None in programs.values():
        yield None
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    as_user = _ordinary_user(folder)
    data = folder / "data"
    options = f"-h 127.0.0.1 -p {port} -k {folder} -c fsync=off"
    commands = [
        [programs["initdb"], "-D", str(data), "-U", "tester", "-A", "trust", "--no-sync", "--no-locale", "-E", "UTF8"],
        [programs["pg_ctl"], "-D", str(data), "-w", "-l", str(folder / "log"), "-o", options, "start"],
    ]
    for command in commands:
        subprocess.run([*as_user, *map(str, command)], check=True, capture_output=True, cwd=folder)
    try:
        yield f"postgresql://tester@127.0.0.1:{port}/postgres"
    finally:
        stop = [*as_user, str(programs["pg_ctl"]), "-D", str(data), "-m", "immediate", "stop"]
        subprocess.run(stop, check=True, capture_output=True, cwd=folder)


def _debian_program(name: str) -> str | None:
    """Debian keeps the server's programs off the search path, one folder a version."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(found[-1]) if found else None


def _ordinary_user(folder: Path) -> list[str]:
    """PostgreSQL refuses to run as root: who is root becomes nobody."""
    import os

    if os.geteuid() != 0:
        return []
    shutil.chown(folder, "nobody")
    return ["setpriv", "--reuid=nobody", "--clear-groups"]
