"""The processes that share an update (started by ``torchrun`` or ``accelerate launch``): what rank 0 says, and who failed.

Rank 0 owns the run: world, rollouts, skills, logs, checkpoints, engine. The others wait for what it says. A rank that fails
writes why on a board that all can read and exits, which breaks the connections that others wait on; they read the board and
raise an error that names it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Self, cast

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from reskill_agents.errors import ConfigError, RankError, ReSkillError
from reskill_agents.trainers.config import EngineName, RunConfig

_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True, slots=True)
class Stop:
    """The last thing rank 0 says.

    Args:
        result: of the run, where it ended well.
        error: why it ended, else empty.
        interrupted: by a person.
    """

    result: object = None
    error: str = ""
    interrupted: bool = False


def launched() -> tuple[int, int]:
    """This process's rank and how many there are, by the launcher's environment; (0, 1) without one."""
    if not all(os.environ.get(name) for name in _VARIABLES):
        return 0, 1
    return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])


def sharding_asked() -> bool:
    """Whether the launcher was told to cut the model over the processes (``accelerate`` with FSDP)."""
    return os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"


def check_shared(config: RunConfig, processes: int) -> None:
    """Whether ``processes`` can share the update.

    Raises:
        ConfigError: they cannot; the message says what to do.
    """
    if processes == 1:
        return
    if config.engine is EngineName.VLLM_COLOCATED:
        raise ConfigError(
            f"vLLM inside the update's process works in one process, not in {processes}; start a server on a device of "
            "its own and name it with --engine-url"
        )
    if os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() == "true":
        raise ConfigError(
            "DeepSpeed is not supported: it steps inside backward; use FSDP (examples/accelerate/fsdp.yaml)"
        )


class Ranks:
    """All processes of a run, seen from one of them; use it as a context manager. One process alone needs no launcher.

    Args:
        config: says which device is used and how long a rank waits (``config.ranks``).
        alone: pay no heed to a launcher.

    Raises:
        ConfigError: settings that several processes cannot share.
        RankError: the others did not come.
    """

    def __init__(self, config: RunConfig, *, alone: bool = False) -> None:
        self.rank, self.size = (0, 1) if alone else launched()
        self._turn = 0
        self._working = self._stopped = False
        if self.size == 1:
            return
        check_shared(config, self.size)
        from accelerate import PartialState  # type: ignore[import-untyped]

        self._wait_s, self._timeout_s = config.ranks.wait_s, config.ranks.timeout_s
        limit = timedelta(seconds=self._timeout_s)
        try:
            PartialState(cpu=config.device == "cpu", timeout=limit)
            group = dist.new_group(backend="gloo", timeout=timedelta(seconds=self._wait_s))
            self._orders = cast("dist.ProcessGroup", group)
            self._figures = dist.new_group(backend="gloo", timeout=limit)
            store, _, _ = next(rendezvous("env://", self.rank, self.size, timeout=limit))
        except RuntimeError as error:
            raise RankError(f"rank {self.rank} of {self.size} found no connection to the others: {error}") from error
        self._board = dist.distributed_c10d.PrefixStore("reskill", store)

    @classmethod
    def alone(cls, config: RunConfig) -> Self:
        """This process, whatever was launched beside it."""
        return cls(config, alone=True)

    @property
    def follows(self) -> bool:
        """Whether this process does what rank 0 says."""
        return self.rank > 0

    def say(self, order: object) -> None:
        """Rank 0: tell the others. ``order`` is pickled."""
        if self.size > 1:
            with self.working("order"):
                dist.broadcast_object_list([order], src=0, group=self._orders)

    def hear(self) -> object:
        """The others: wait for what rank 0 says.

        Raises:
            RankError: rank 0 is gone, or silent for longer than ``ranks.wait_s``.
        """
        heard: list[object] = [None]
        with self.working("order"):
            dist.broadcast_object_list(heard, src=0, group=self._orders)
        return heard[0]

    def total(self, values: Sequence[float]) -> list[float]:
        """Sums over the ranks; all of them must ask."""
        return self._reduced(values, dist.ReduceOp.SUM)

    def largest(self, values: Sequence[float]) -> list[float]:
        """Maxima over the ranks; all of them must ask."""
        return self._reduced(values, dist.ReduceOp.MAX)

    def _reduced(self, values: Sequence[float], how: dist.ReduceOp.RedOpType) -> list[float]:
        if self.size == 1:
            return list(values)
        tensor = torch.tensor(list(values), dtype=torch.float64)
        dist.all_reduce(tensor, op=how, group=self._figures)
        return [float(value) for value in tensor]

    @contextmanager
    def working(self, what: str) -> Iterator[None]:
        """Something that all ranks do together.

        Raises:
            RankError: another rank failed in it or did not come.
        """
        if self.size == 1:
            yield
            return
        self._turn += 1
        self._board.set(f"at/{self.rank}", f"{self._turn}")
        self._working = True
        try:
            yield
        except ReSkillError:  # found by all ranks alike
            self._working = False
            raise
        except RuntimeError as error:
            found = self._judged(error, what)
            if found is None:
                raise
            raise found from error
        self._working = False

    def _judged(self, error: RuntimeError, what: str) -> RankError | None:
        """Another rank's failure behind a collective that failed here; ``None`` where the failure is our own."""
        if isinstance(error, torch.OutOfMemoryError):
            return None
        try:
            for rank in range(self.size):
                if rank != self.rank and self._board.check([f"failed/{rank}"]):
                    why = self._board.get(f"failed/{rank}").decode()
                    return RankError(f"rank {rank} of {self.size} failed: {why}")
            behind = [rank for rank in range(self.size) if self._reached(rank) < self._turn]
        except RuntimeError:  # the board went with rank 0
            return RankError(f"rank 0 of {self.size} is gone; its own message says why")
        if not (isinstance(error, dist.DistError) or "gloo" in str(error)):
            return None
        who = ", ".join(f"rank {rank}" for rank in behind) or "another rank"
        limit = self._wait_s if what == "order" and self.follows else self._timeout_s
        return RankError(
            f"{who} of {self.size} did not come to the same {what} within {limit:g} s, or is gone: {error}"
        )

    def _reached(self, rank: int) -> int:
        return int(self._board.get(f"at/{rank}")) if self._board.check([f"at/{rank}"]) else 0

    def fail(self, error: BaseException) -> None:
        """Write on the board why this rank leaves."""
        if self.size > 1 and not isinstance(error, RankError):
            try:
                self._board.set(f"failed/{self.rank}", f"{type(error).__name__}: {error}")
            except RuntimeError:
                return  # nobody is left to read it

    def stop(self, stop: Stop) -> None:
        """Rank 0: let the others go, unless they are in the middle of something that failed."""
        if self.size > 1 and not (self._stopped or self._working or self.follows):
            self._stopped = True
            self.say(stop)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.size == 1:
            return
        if error is None:
            self.stop(Stop())
            dist.destroy_process_group()
            return
        self.fail(error)
        interrupted = isinstance(error, KeyboardInterrupt | asyncio.CancelledError)
        try:
            self.stop(Stop(error=f"{type(error).__name__}: {error}", interrupted=interrupted))
        except RankError:
            return  # those that are gone need not be told
