"""How a live app's skills may evolve: everything a person decides beforehand."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from reskill_agents.errors import ConfigError
from reskill_agents.library import DEFAULT_CAPACITY

HOUR_S = 3600.0
DAY_S = 24 * HOUR_S


class Approval(StrEnum):
    """Which verdicts wait for a person before they take effect."""

    NEVER = "never"
    PROMOTIONS = "promotions"  # candidates that won; removals take effect at once
    CHANGES = "changes"  # removals as well


@dataclass(frozen=True, slots=True)
class EvolutionPolicy:
    """What the evolver may do. Times are in seconds, counts are units (threads).

    Args:
        share: largest share of new threads that a candidate gets (a half shows most; a tenth is a canary).
        window_units: a window of a trial closes when so many threads began in it (the share changes only there).
        window_s: or when it is so old and any thread began in it.
        grace_s: how long a closed window waits for outcomes; a thread without one counts as missing then.
        effect: the smallest improvement worth finding, in standard deviations of the outcome within a window; smaller
            needs more traffic. The default is the one of training trials.
        min_outcomes: threads with an outcome that each arm needs before a promotion.
        max_windows: a candidate that has not won by then is rejected.
        removal_windows: the same for trials that leave a skill out (they look for smaller differences).
        max_age_s: a trial older than this is given up.
        false_promotions: bound on the expected share of false ones among all promotions of the app's life (e-LOND).
        approval: which verdicts wait for a person.
        capacity: most skills in a library.
        min_episodes: episodes with an outcome before the creator is asked.
        new_episodes: episodes that must have come since it was asked last.
        episodes: the latest so many are shown to it.
        create_every_s: least time between two requests.
        prune_every: after so many verdicts one trial leaves out the skill that was not proven for longest; 0: never.
            Skills unproven for the app's present model come first, before anything new is tried.
        min_fired: runs in which a skill's text must have entered before it may be left out (see ``Run.skills``).
        min_fired_share: the same as a share of the runs that carried it: rare skills are never pruned.
        prune_rest: verdicts (of any trial) a skill that a trial kept is left alone.
        aa: every trial is between two identical libraries (a check of the whole machinery).
    """

    share: float = 0.5
    window_units: int = 50
    window_s: float = DAY_S
    grace_s: float = HOUR_S
    effect: float = 0.31
    min_outcomes: int = 20
    max_windows: int = 24
    removal_windows: int = 40
    max_age_s: float = 30 * DAY_S
    false_promotions: float = 0.05
    approval: Approval = Approval.NEVER
    capacity: int = DEFAULT_CAPACITY
    min_episodes: int = 60
    new_episodes: int = 20
    episodes: int = 400
    create_every_s: float = HOUR_S
    prune_every: int = 3
    min_fired: int = 20
    min_fired_share: float = 0.1
    prune_rest: int = 6
    aa: bool = False

    def __post_init__(self) -> None:
        problems = []
        if not 0.0 < self.share <= 0.9:
            problems.append(f"share must be in (0, 0.9], got {self.share}")
        if not 0.0 < self.false_promotions < 1.0:
            problems.append(f"false_promotions must be in (0, 1), got {self.false_promotions}")
        if self.effect <= 0.0:
            problems.append(f"effect must be positive, got {self.effect}")
        counts = ("window_units", "min_outcomes", "max_windows", "removal_windows", "capacity", "min_episodes")
        problems += [
            f"{name} must be at least 1, got {getattr(self, name)}" for name in counts if getattr(self, name) < 1
        ]
        times = ("window_s", "grace_s", "max_age_s", "create_every_s")
        problems += [
            f"{name} must not be negative, got {getattr(self, name)}" for name in times if getattr(self, name) < 0
        ]
        if problems:
            raise ConfigError("; ".join(problems))
