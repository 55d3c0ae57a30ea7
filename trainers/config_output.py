"""Settings of what a run measures and leaves: evaluations, checkpoints, figures."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from reskill_agents.trainers.config_group import Settings, setting


class EvaluationConfig(Settings):
    """Evaluation: one arm, no trial, nothing trained."""

    tasks: PositiveInt = setting(200, "Tasks a split at most.")
    episodes: PositiveInt = setting(1, "Episodes a task.")
    temperature: NonNegativeFloat = setting(1.0, "1: as trained; 0: greedy.")
    every: NonNegativeInt = setting(0, "Steps between evaluations on the validation split; 0: only before and after.")
    valid_tasks: PositiveInt = setting(100, "Tasks of an evaluation on the validation split.")
    concurrency: PositiveInt = setting(128, "Episodes that run at the same time.")
    test: bool = setting(True, "Play the test splits; off while settings are chosen.")
    placebo: bool = setting(True, "Also play with the final library's texts replaced by foreign ones.")


class CheckpointConfig(Settings):
    """Checkpoints of the run folder."""

    every: PositiveInt = setting(5, "Steps between checkpoints; one is also written before each verdict.")
    keep: Annotated[int, Field(ge=2)] = setting(2, "Newest checkpoints kept.")


class Sink(StrEnum):
    """Where the figures of each step go besides ``metrics.jsonl`` (extra ``logging``)."""

    TENSORBOARD = "tensorboard"
    WANDB = "wandb"
    TRACKIO = "trackio"


class LoggingConfig(Settings):
    """Sinks for the figures of each step; ``metrics.jsonl`` is always written."""

    sinks: tuple[Sink, ...] = setting((), "Besides metrics.jsonl.")
    project: str = setting("reskill-agents", "Project of W&B and trackio; the run is named after its folder.")
    wandb_mode: Literal["offline", "online"] = setting(
        "offline", "offline: written to the run folder, for `wandb sync`; online: sent to a server."
    )
    usd_per_hour: NonNegativeFloat = setting(0.0, "Price of the machine; the cost of a step is its seconds times it.")
