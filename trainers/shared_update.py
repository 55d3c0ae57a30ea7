"""One update by several processes: rank 0 calls, the others do the same call on their own copy or shard."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch

from reskill_agents.errors import ConfigError, EngineMismatch, RankError
from reskill_agents.trainers.arithmetic import settle_arithmetic
from reskill_agents.trainers.config import RunConfig
from reskill_agents.trainers.ranks import Ranks, Stop, sharding_asked
from reskill_agents.trainers.rows import Row
from reskill_agents.trainers.sharding import is_sharded
from reskill_agents.trainers.update import PolicyUpdater, UpdateReport


@dataclass(frozen=True, slots=True)
class Begin:
    """The first order: what to train. Paths must mean the same on every machine."""

    config: RunConfig
    policy_path: Path
    work_dir: Path


@dataclass(frozen=True, slots=True)
class Call:
    """A method of :class:`~reskill_agents.trainers.update.PolicyUpdater` that all ranks run together."""

    method: str
    arguments: tuple[object, ...] = ()
    named: Mapping[str, object] = field(default_factory=dict)


class LeadingUpdater(PolicyUpdater):
    """Rank 0's updater: every call is made on all ranks."""

    def update(self, rows: Sequence[Row], *, episodes: int, version: int | None = None, lag: int = 0) -> UpdateReport:
        with self._together("update", rows, episodes=episodes, version=version, lag=lag):
            return super().update(rows, episodes=episodes, version=version, lag=lag)

    def weights(self) -> Mapping[str, torch.Tensor]:
        with self._together("weights"):
            return super().weights()

    def score(self, rows: Sequence[Row]) -> list[tuple[float, ...]]:
        with self._together("score", rows):
            return super().score(rows)

    def log_probs(self, prompt: Sequence[int], tokens: Sequence[int]) -> tuple[float, ...]:
        with self._together("log_probs", tuple(prompt), tuple(tokens)):
            return super().log_probs(prompt, tokens)

    def save_weights(self, folder: Path) -> None:
        with self._together("save_weights", folder):
            super().save_weights(folder)

    def save_adapters(self, folder: Path) -> None:
        with self._together("save_adapters", folder):
            super().save_adapters(folder)

    def save(self, folder: Path) -> None:
        with self._together("save", folder):
            super().save(folder)

    def load(self, folder: Path) -> None:
        with self._together("load", folder):
            super().load(folder)

    @contextmanager
    def _together(self, method: str, *arguments: object, **named: object) -> Iterator[None]:
        ranks = cast("Ranks", self.ranks)
        ranks.say(Call(method, arguments, named))
        with ranks.working(method):
            yield


def open_updater(config: RunConfig, policy_path: Path, work_dir: Path, ranks: Ranks) -> PolicyUpdater:
    """The policy under training; with several processes rank 0's, and the others begin with it."""
    if ranks.size == 1:
        return _make(PolicyUpdater, Begin(config, policy_path, work_dir), ranks)
    begin = Begin(config, policy_path.resolve() if policy_path.exists() else policy_path, work_dir.resolve())
    ranks.say(begin)
    with ranks.working("start"):
        return _make(LeadingUpdater, begin, ranks)


def follow(ranks: Ranks) -> object:
    """What every rank but 0 does: as it is told, to the end. Ctrl-C reaches all of them; rank 0 says what follows from it.

    Returns:
        What rank 0 ended with.

    Raises:
        RankError: rank 0 ended with an error, or another rank failed; the message names it.
        KeyboardInterrupt: rank 0 was interrupted.
        Exception: this rank's own failure, which the others are told of.
    """
    with _deaf_to_interrupts():
        return _follow(ranks)


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _follow(ranks: Ranks) -> object:
    updater: PolicyUpdater | None = None
    while True:
        order = ranks.hear()
        if isinstance(order, Stop):
            if order.interrupted:
                raise KeyboardInterrupt
            if order.error:
                raise RankError(f"rank 0 of {ranks.size} ended the run: {order.error}")
            return order.result
        if isinstance(order, Begin):
            settle_arithmetic(order.config)
            with ranks.working("start"):
                updater = _make(PolicyUpdater, order, ranks)
        elif isinstance(order, Call) and updater is not None:
            try:
                with ranks.working(order.method):
                    getattr(updater, order.method)(*order.arguments, **cast("dict[str, Any]", order.named))
            except EngineMismatch:  # all ranks found it alike, nothing was changed; rank 0 decides
                continue


def _make(kind: type[PolicyUpdater], begin: Begin, ranks: Ranks) -> PolicyUpdater:
    config = begin.config
    updater = kind(
        begin.policy_path,
        config.update,
        temperature=config.rollout.temperature,
        steps=config.steps,
        work_dir=begin.work_dir,
        seed=config.seed,
        use_cpu=config.device == "cpu",
        max_logprob_gap=config.update.max_logprob_gap,
        corrected=config.corrected,
        ranks=ranks,
    )
    if ranks.size > 1 and sharding_asked() and not is_sharded(updater.model):
        raise ConfigError(
            f"FSDP was asked for, but on {config.device!r} accelerate keeps a whole copy in each process; "
            "train with --device cuda, or ask for copies (examples/accelerate/ddp.yaml)"
        )
    return updater
