"""Where the figures of a run go besides ``metrics.jsonl``: TensorBoard, Weights & Biases, trackio (extra ``logging``)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from reskill_agents.errors import ConfigError
from reskill_agents.trainers.config import LoggingConfig, RunConfig, Sink
from reskill_agents.trainers.listeners import Listeners
from reskill_agents.trainers.progress import (
    EvaluationResult,
    Phase,
    ProgressListener,
    ProposalEvent,
    StepMetrics,
    VerdictEvent,
)

_SINGLE = {
    "silent_groups": "groups/silent", "groups": "groups/played", "resampled": "groups/resampled",
    "limited": "rollout/limited", "forks": "rollout/forks", "reservoir": "skills/reservoir",
    "loss": "update/loss", "grad_norm": "update/grad_norm", "clip_rate": "update/clip_rate",
    "entropy": "update/entropy", "kl": "update/kl", "lr": "update/lr", "rows": "update/rows",
    "trained_tokens": "update/trained_tokens", "logprob_gap": "update/logprob_gap", "weight": "update/weight",
    "truncated_weights": "update/truncated_weights", "staleness": "update/staleness",
    "max_staleness": "update/max_staleness", "version": "update/version",
}  # fmt: skip


class Backend(Protocol):
    """One tracker. Its package is imported when it is opened."""

    def log(self, figures: Mapping[str, float], step: int) -> None:
        """Take figures by name at a step; after a resume steps come again and replace what was there."""
        ...

    def close(self) -> None:
        """Write what is still held."""
        ...


def figures_of(metrics: StepMetrics, *, usd_per_hour: float = 0.0) -> dict[str, float]:
    """The figures of a step by name, ``kind/what``: per arm, tokens by kind, seconds by phase, update, trial, cost."""
    fields = asdict(metrics)
    figures = {name: float(fields[field]) for field, name in _SINGLE.items()}
    for arm, values in fields["arms"].items():
        figures |= {f"{name}/{arm}": float(value) for name, value in _numbers(values)}
    figures |= {f"tokens/{name}": value for name, value in _numbers(fields["tokens"])}
    figures |= {f"seconds/{name}": value for name, value in _numbers(fields["seconds"])}
    figures |= {f"creator/{name}": value for name, value in _numbers(fields["creator"])}
    if fields["trial"]:
        figures |= {f"trial/{name}": value for name, value in _numbers(fields["trial"])}
    figures["skills/active"] = float(len(metrics.skills))
    if usd_per_hour:
        figures["cost/usd"] = usd_per_hour * metrics.seconds.get("total", 0.0) / 3600
    return figures


def _numbers(values: Mapping[str, object]) -> Iterator[tuple[str, float]]:
    for name, value in values.items():
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf"):
            yield name, float(value)


@dataclass(frozen=True)
class Sinks:
    """The open trackers as a listener of the run."""

    backends: tuple[Backend, ...] = ()
    usd_per_hour: float = 0.0

    def beside(self, listener: ProgressListener) -> ProgressListener:
        """``listener``, and these when there are any."""
        return Listeners((listener, self)) if self.backends else listener

    def close(self) -> None:
        """Close all of them."""
        for backend in self.backends:
            backend.close()

    def phase(self, phase: Phase, detail: str) -> None:
        """Not tracked."""

    def step(self, metrics: StepMetrics, steps: int) -> None:
        """The figures of a step."""
        self._log(figures_of(metrics, usd_per_hour=self.usd_per_hour), metrics.step)

    def proposal(self, event: ProposalEvent) -> None:
        """Not tracked; see ``trials.jsonl``."""

    def verdict(self, event: VerdictEvent) -> None:
        """Whether the candidate was taken."""
        self._log({f"verdict/{event.purpose.value}": float(event.verdict.accepted)}, event.step)

    def evaluation(self, result: EvaluationResult) -> None:
        """Score and success of a policy with a library on a split."""
        where = f"{result.split}/{result.library}/{'before' if result.policy == 'before' else 'trained'}"
        figures = {f"evaluation/{where}/success": result.total.success, f"evaluation/{where}/score": result.total.score}
        self._log(figures, result.step)

    def _log(self, figures: Mapping[str, float], step: int) -> None:
        for backend in self.backends:
            backend.log(figures, step)


def open_sinks(config: RunConfig, run_dir: Path) -> Sinks:
    """The trackers that ``config.logging`` names; the run is named after its folder and goes on there after a resume.

    Raises:
        ConfigError: a tracker's package is not installed.
    """
    settings = config.logging
    made: list[Backend] = []
    for sink in settings.sinks:
        try:
            made.append(_BACKENDS[sink](settings, config, run_dir))
        except ImportError as error:
            raise ConfigError(f"logging.sinks names {sink.value} ({error}); install reskill-agents[logging]") from error
    return Sinks(tuple(made), settings.usd_per_hour)


class TensorBoard:
    """Event files in ``tensorboard/`` of the run folder."""

    def __init__(self, settings: LoggingConfig, config: RunConfig, run_dir: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._make: Callable[..., Any] = SummaryWriter
        self._folder = run_dir / "tensorboard"
        self._writer: Any = None

    def log(self, figures: Mapping[str, float], step: int) -> None:
        """Scalars; the first step after a resume hides what was written from it on."""
        if self._writer is None:
            self._writer = self._make(str(self._folder), purge_step=step)
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        """Close the event file."""
        if self._writer is not None:
            self._writer.close()


class WeightsAndBiases:
    """A run of W&B; offline its files lie in ``wandb/`` of the run folder (``wandb sync``)."""

    def __init__(self, settings: LoggingConfig, config: RunConfig, run_dir: Path) -> None:
        wandb: Any = import_module("wandb")
        self._run = wandb.init(
            project=settings.project,
            name=run_dir.name,
            id=f"{run_dir.name}-{config.seed}",
            resume="allow",
            dir=str(run_dir),
            mode=settings.wandb_mode,
            config=config.model_dump(mode="json"),
        )

    def log(self, figures: Mapping[str, float], step: int) -> None:
        """Figures with the training step beside them, because W&B's own steps never go back."""
        self._run.log({**figures, "step": step})

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()


class Trackio:
    """A run in trackio's local database (``trackio show``)."""

    def __init__(self, settings: LoggingConfig, config: RunConfig, run_dir: Path) -> None:
        trackio: Any = import_module("trackio")
        self._module = trackio
        trackio.init(
            project=settings.project,
            name=run_dir.name,
            resume="allow",
            config=config.model_dump(mode="json"),
            embed=False,
        )

    def log(self, figures: Mapping[str, float], step: int) -> None:
        """Figures at a step."""
        self._module.log(dict(figures), step=step)

    def close(self) -> None:
        """Finish the run."""
        with suppress(RuntimeError):  # nothing to finish
            self._module.finish()


_BACKENDS: Mapping[Sink, Callable[[LoggingConfig, RunConfig, Path], Backend]] = {
    Sink.TENSORBOARD: TensorBoard,
    Sink.WANDB: WeightsAndBiases,
    Sink.TRACKIO: Trackio,
}
