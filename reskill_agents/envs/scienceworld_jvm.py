"""ScienceWorld's simulator in Java processes of our own: few, with bounded heaps, started anew when they die.

The package's own wrapper starts one process an environment, without a limit on its memory, and lists all valid actions on every
step (10 to 37 steps a second; without 220 to 300). Here environments share a few processes, each with an interface of its own.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import subprocess
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Protocol, cast

from reskill_agents.errors import ConfigError, EnvironmentFault

__all__ = ["JvmPool", "Process", "Simulator", "start_process"]

# With Java's own hash codes, by address, rooms list their things in another order each time an episode is played.
# Without the last one a process whose heap is full would stay, and fail for ever.
JAVA_OPTIONS = (
    "-XX:+UseSerialGC",
    "-XX:+UnlockExperimentalVMOptions",
    "-XX:hashCode=2",
    "-XX:+ExitOnOutOfMemoryError",
)

_DYING_S = 1.0  # that a killed process may still count as running, on a busy machine


class Simulator(Protocol):
    """The simulator's interface, by its Java names. Scores are -1..1."""

    def load(self, task: str, variation: int, simplifications: str, gold: bool) -> None:
        """Prepare a variation of a task."""
        ...

    def reset(self) -> None:
        """Back to its start. Score and completion stay those of the episode before until a step is made."""
        ...

    def step(self, action: str) -> str:
        """Take an action; what it says."""
        ...

    def getScore(self) -> float: ...  # noqa: N802

    def getCompleted(self) -> bool: ...  # noqa: N802

    def getTaskNames(self) -> Sequence[str]: ...  # noqa: N802

    def getTaskDescription(self) -> str: ...  # noqa: N802

    def getGoldActionSequence(self) -> Sequence[str]: ...  # noqa: N802

    def getVariationsTrain(self) -> Sequence[int]: ...  # noqa: N802

    def getVariationsDev(self) -> Sequence[int]: ...  # noqa: N802

    def getVariationsTest(self) -> Sequence[int]: ...  # noqa: N802


class Process(Protocol):
    """A started Java process."""

    def alive(self) -> bool:
        """Whether it runs."""
        ...

    def simulator(self) -> Simulator:
        """A new interface in it, with a world of its own (about 10 MB of heap)."""
        ...

    def close(self) -> None:
        """End it."""
        ...


class _JavaProcess:
    def __init__(self, heap_mb: int) -> None:
        try:
            py4j, constants = import_module("py4j.java_gateway"), import_module("scienceworld.constants")
        except ImportError as error:
            raise ConfigError(
                f"ScienceWorld needs its package and Java: pip install 'reskill-agents[scienceworld]' ({error})"
            ) from error
        logging.getLogger("py4j").setLevel(logging.CRITICAL)  # what fails is raised as well
        try:
            port, self._process = py4j.launch_gateway(
                classpath=constants.JAR_PATH,
                cwd=constants.BASEPATH,
                javaopts=[f"-Xmx{heap_mb}m", *JAVA_OPTIONS],
                die_on_exit=True,
                return_proc=True,
            )
        except (OSError, ValueError, py4j.Py4JError) as error:
            raise ConfigError(f"ScienceWorld's simulator does not start; is Java installed? ({error!r})") from error
        settings = py4j.GatewayParameters(auto_field=True, port=port)
        self._gateway = py4j.JavaGateway(gateway_parameters=settings, java_process=self._process)

    @property
    def pid(self) -> int:
        """Of the process."""
        return cast("subprocess.Popen[bytes]", self._process).pid

    def alive(self) -> bool:
        return cast("subprocess.Popen[bytes]", self._process).poll() is None

    def simulator(self) -> Simulator:
        return cast("Simulator", self._gateway.jvm.scienceworld.runtime.pythonapi.PythonInterface())

    def close(self) -> None:
        process = cast("subprocess.Popen[bytes]", self._process)
        with contextlib.suppress(Exception):  # a dead process has no gateway to shut down
            self._gateway.shutdown()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()  # the end of its input ends the process
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)


def start_process(heap_mb: int) -> Process:
    """Start the package's simulator with at most ``heap_mb`` MB of heap.

    Raises:
        ConfigError: the package or Java is missing.
    """
    return _JavaProcess(heap_mb)


class JvmPool:
    """A few processes that environments share; the one with the fewest is lent, a dead one is replaced.

    Args:
        count: processes.
        heap_mb: of each; an episode being played takes about 10 MB of it.
        start: what starts a process.
    """

    def __init__(self, count: int, heap_mb: int, start: Callable[[int], Process] = start_process) -> None:
        if count < 1 or heap_mb < 64:
            raise ConfigError(f"one process of 64 MB at least is needed, not {count} of {heap_mb} MB")
        self._heap_mb, self._start = heap_mb, start
        self._processes: list[Process | None] = [None] * count
        self._lent = [0] * count
        self._lock = threading.Lock()
        self.restarts = 0
        atexit.register(_close_if_there, weakref.ref(self))

    def lend(self) -> tuple[int, Simulator]:
        """The number of a process and a new interface in it; give the number back with :meth:`give_back`.

        Raises:
            ConfigError: the package or Java is missing.
            EnvironmentFault: a process that runs gives no interface.
        """
        with self._lock:
            number = min(range(len(self._lent)), key=lambda n: self._lent[n])
            simulator = self._simulator(number)
            self._lent[number] += 1
            return number, simulator

    def give_back(self, number: int) -> None:
        """An interface lent from process ``number`` is not used any more."""
        with self._lock:
            self._lent[number] = max(0, self._lent[number] - 1)

    def close(self) -> None:
        """End all processes; the next loan starts new ones."""
        with self._lock:
            for number, process in enumerate(self._processes):
                if process is not None:
                    process.close()
                self._processes[number], self._lent[number] = None, 0

    def _simulator(self, number: int) -> Simulator:
        failure = Exception("it never started")
        for _ in range(2):  # it may die just when it is asked
            process = self._processes[number]
            if process is not None and not process.alive():
                process.close()
                process, self._processes[number] = None, None
                self.restarts += 1
            if process is None:
                process = self._processes[number] = self._start(self._heap_mb)
            try:
                return process.simulator()
            except Exception as error:
                failure = error
                if not _dies(process):
                    break
        raise EnvironmentFault(f"ScienceWorld's simulator gives no interface: {failure!r}") from failure


def _dies(process: Process) -> bool:
    """Whether it is gone, or about to: a killed one answers no more before it counts as ended."""
    end = time.monotonic() + _DYING_S
    while process.alive():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def _close_if_there(pool: weakref.ref[JvmPool]) -> None:
    found = pool()
    if found is not None:
        found.close()
