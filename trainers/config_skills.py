"""Settings of skills: trials, creation, pruning, and the memory of method ``memory``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from reskill_agents.trainers.config_group import Settings, setting
from reskill_agents.trials import TrialMethodName


class TrialConfig(Settings):
    """How two libraries are compared. Defaults: the 5 % whole-trial null measured in ``trials/boundary``."""

    rule: Literal[TrialMethodName.PAIRED, TrialMethodName.DISCOUNTED_BETA] = setting(
        TrialMethodName.PAIRED, "paired (default) or discounted_beta (paper)."
    )
    max_steps: PositiveInt = setting(12, "paired: steps a trial lasts at most (measured; the paper's: 5).")
    effect: PositiveFloat = setting(
        0.3, "paired: effect worth finding, in within-group standard deviations (trials/boundary)."
    )
    paired: bool = setting(
        True,
        "Off, for an ablation: the outcomes of a step are compared as one group, whatever the task (removals stay paired).",
    )
    discount: bool = setting(
        True,
        "Off, for an ablation: finished trials teach nothing about how evidence goes stale (no forgetting, M = inf).",
    )


class CreatorConfig(Settings):
    """When skills are written and from what."""

    author: str = setting("offline", "offline, openai:MODEL[@BASE_URL], or langchain:SPEC.")
    prices: tuple[NonNegativeFloat, NonNegativeFloat] | None = setting(
        None,
        "What a million tokens of a model's prompts and of its answers cost; none: unknown, only tokens are counted.",
    )
    warm_up: PositiveInt = setting(100, "Episodes in the reservoir before the first creation (paper: 100).")
    reservoir: PositiveInt = setting(600, "Episodes the reservoir holds (paper: 200; induction wants more).")
    every: PositiveInt = setting(1, "Steps between the end of a trial and the next creation, at least.")
    join_after: PositiveInt = setting(2, "Steps after which a proposal joins; fixed before it is written.")
    deadline_s: PositiveFloat = setting(120.0, "Seconds the loop waits for a late proposal; ignored when reproducible.")
    capacity: PositiveInt = setting(8, "Skills in a library at most (paper: 8).")
    max_creations: PositiveInt = setting(100, "Creation rounds a run at most.")
    decoupled_every: PositiveInt = setting(
        10, "Method decoupled: steps between validation rounds that feed the creator."
    )
    holdout_tasks: PositiveInt = setting(64, "Method decoupled: train tasks set aside for its validation rounds.")
    general_triggers: bool = setting(False, "For an ablation: every skill is always on, whatever its author wrote.")
    assertions: bool = setting(
        True, "Off, for an ablation: nothing is graded, confirmed on held-out tasks or handed on between creations."
    )
    adopt_all: bool = setting(
        False, "For an ablation of the methods that try: every proposal is adopted at once, and nothing is pruned."
    )


class PruningConfig(Settings):
    """Removing skills that stopped helping. Budget and thresholds: ``trials/pruning``, ``trials/removal``."""

    enabled: bool = setting(True, "Screen the skills between trials and try to remove the weakest.")
    min_age: NonNegativeInt = setting(5, "Steps a skill is in force before a removal is tried.")


class MemoryConfig(Settings):
    """Method memory: what is remembered and shown."""

    capacity: PositiveInt = setting(500, "Episodes remembered, one a task; the least useful goes (MemRL keeps all).")
    candidates: PositiveInt = setting(10, "Most similar tasks looked at (first phase).")
    shown: PositiveInt = setting(1, "Of those, episodes shown in a prompt (second phase).")
    rate: Annotated[float, Field(gt=0, le=1)] = setting(0.1, "Of the exponential average of outcomes.")
