"""One training run of a study, as its result file names it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

Setting = bool | int | float | str


class Stage(StrEnum):
    """``tune``: validation split and development catalogue only. ``final``: the test splits are opened."""

    TUNE = "tune"
    FINAL = "final"


@dataclass(frozen=True)
class Job:
    """One run.

    Args:
        stage: tune or final.
        method: the arm's name in the plan (a method, or a variant of one).
        seed: of clone, tasks, sampling, arms and creator.
        rate: learning rate of the policy.
        steps: training steps.
        world: name of the world; empty for the first one of the plan.
        settings: what the arm changes in the run's config, by dotted name.
    """

    stage: Stage
    method: str
    seed: int
    rate: float
    steps: int
    world: str = ""
    settings: Mapping[str, Setting] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Stem of the result file."""
        where = f"{self.stage}-{self.world}" if self.world else str(self.stage)
        return f"{where}-{self.method}-s{self.seed}-lr{self.rate:g}-n{self.steps}"

    def line(self) -> dict[str, object]:
        """The job as its result file holds it."""
        line: dict[str, object] = {
            "stage": str(self.stage),
            "method": self.method,
            "seed": self.seed,
            "rate": self.rate,
            "steps": self.steps,
        }
        if self.world:
            line["world"] = self.world
        if self.settings:
            line["settings"] = dict(self.settings)
        return line
