"""The pruning screen on planted libraries: which of eight skills go, which stay?

A library holds four helpful skills, two useless ones, a harmful one, and one that is vital on a rare kind of task. A
skill that fires adds its effect (logits) to the chance of each of four conditions; outcomes are graded as in
``selection_worlds``. Every seventh step is a pruning step (14.3 % of the rollouts), the others serve a confirming trial
when one is open. The loop is the one a trainer runs: screen, weakest, confirming trial, remove or keep.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp

from numpy.random import Generator
from selection_worlds import CONDITIONS, generator

from reskill_agents.library import SkillLibrary
from reskill_agents.skill import Skill
from reskill_agents.trials import Arm, PruningScreen, ScreenedRollout, VersionTrial, confirming_trial

GROUPS, GROUP_SIZE, EVERY = 16, 8, 7


@dataclass(frozen=True, slots=True)
class Planted:
    """A planted skill: its effect in logits where it fires, and the share of tasks on which it fires."""

    name: str
    effect: float
    fires: float


LIBRARY = (
    Planted("helpful-always", 0.7, 1.0),
    Planted("helpful-mostly", 0.8, 0.8),
    Planted("helpful-often", 0.9, 0.6),
    Planted("helpful-half", 1.0, 0.5),
    Planted("useless-always", 0.0, 1.0),
    Planted("useless-often", 0.0, 0.6),
    Planted("harmful", -0.5, 0.9),
    Planted("vital-rare", 4.0, 0.05),
)
USELESS = frozenset({"useless-always", "useless-often", "harmful"})
VITAL = "vital-rare"


@dataclass(frozen=True, slots=True)
class PruningResult:
    """What one seed ended with.

    Args:
        seed: of the run.
        removed: skills in the order of their removal, with the step.
        trials: confirming trials.
        screened: share of all rollouts spent on the screen.
    """

    seed: int
    removed: tuple[tuple[str, int], ...]
    trials: int
    screened: float

    @property
    def right(self) -> bool:
        """The two useless skills and the harmful one went, the vital one stayed."""
        gone = {name for name, _ in self.removed}
        return gone >= USELESS and VITAL not in gone

    @property
    def helpful_lost(self) -> int:
        """Helpful skills that went."""
        return sum(name.startswith("helpful") for name, _ in self.removed)


class Shop:
    """Tasks and a slowly improving policy with a library."""

    def __init__(self, rng: Generator, *, spread: float = 1.5, base: float = -1.5, drift: float = 0.005) -> None:
        self._rng, self._spread, self._base, self._drift = rng, spread, base, drift
        self.steps = 0

    def tasks(self) -> list[tuple[float, frozenset[str]]]:
        """Difficulty and firing skills of each task of the next step."""
        level = self._base + self._drift * self.steps
        self.steps += 1
        fires = self._rng.random((GROUPS, len(LIBRARY)))
        difficulty = level + self._spread * self._rng.standard_normal(GROUPS)
        return [
            (float(b), frozenset(s.name for s, u in zip(LIBRARY, row, strict=True) if u < s.fires))
            for b, row in zip(difficulty, fires, strict=True)
        ]

    def play(self, task: tuple[float, frozenset[str]], skills: frozenset[str]) -> tuple[frozenset[str], float]:
        """The skills that fired and the trial outcome of one rollout."""
        difficulty, relevant = task
        fired = relevant & skills
        # the vital skill is needed where it is relevant: without it the task is out of reach
        logit = difficulty + sum(s.effect for s in LIBRARY if s.name in fired and s.name != VITAL)
        if VITAL in relevant and VITAL not in skills:
            logit -= LIBRARY[-1].effect
        met = int(self._rng.binomial(CONDITIONS, 1.0 / (1.0 + exp(-logit))))
        return fired, (met / CONDITIONS + (met == CONDITIONS)) / 2.0


def prune(seed: int, *, steps: int = 400) -> PruningResult:
    """Run the pruning loop on a planted library for ``steps`` training steps."""
    shop = Shop(generator(seed, "pruning"))
    library = SkillLibrary(tuple(Skill(s.name, f"Planted: {s.name}.", s.name) for s in LIBRARY))
    screen = PruningScreen([skill.name for skill in library], seed=seed)
    trial: VersionTrial | None = None
    tried = ""
    removed: list[tuple[str, int]] = []
    trials = 0
    for step in range(steps):
        tasks = shop.tasks()
        names = frozenset(library.by_name)
        if (
            step % EVERY == 0
            and trial is None
            and screen.within_budget(step * GROUPS * GROUP_SIZE, GROUPS * GROUP_SIZE)
        ):
            _screen(shop, screen, tasks, names)
            if (weakest := screen.weakest()) is not None:
                trials, tried = trials + 1, weakest
                trial = confirming_trial(library, weakest, seed=seed, trial_id=f"{seed}/{trials}")
            continue
        if trial is None:
            continue
        _try(shop, trial, tasks, names, tried)
        verdict = trial.verdict()
        if verdict is None:
            continue
        trial = None
        if verdict.accepted:
            removed.append((tried, step))
            library = library.without(tried)
            screen = screen.for_library([skill.name for skill in library])
        else:
            screen.kept(tried)
    return PruningResult(seed, tuple(removed), trials, screen.rollouts / (steps * GROUPS * GROUP_SIZE))


def _screen(
    shop: Shop, screen: PruningScreen, tasks: Sequence[tuple[float, frozenset[str]]], names: frozenset[str]
) -> None:
    groups = []
    for task in tasks:
        group = []
        for dropped in screen.masks(GROUP_SIZE):
            fired, outcome = shop.play(task, names - dropped)
            group.append(ScreenedRollout(dropped, fired, outcome))
        groups.append(group)
    screen.record_step(groups)


def _try(
    shop: Shop,
    trial: VersionTrial,
    tasks: Sequence[tuple[float, frozenset[str]]],
    names: frozenset[str],
    tried: str,
) -> None:
    trial.record_step(
        [
            [
                (arm, shop.play(task, names - {tried} if arm is Arm.CANDIDATE else names)[1])
                for arm in trial.assign(GROUP_SIZE)
            ]
            for task in tasks
        ]
    )


def removal_rates(seed: int, trials: int) -> list[dict[str, float]]:
    """How often a confirming trial removes a skill of a given worth (in units of the trial outcome)."""
    rates = []
    for spread, worth in ((1.0, 0.0), (1.0, 0.02), (1.0, 0.05), (1.0, 0.08), (3.0, 0.0), (3.0, 0.05), (3.0, -0.05)):
        rng = generator(seed, "removal", spread, worth)
        removed = steps = 0
        for number in range(trials):
            trial = VersionTrial("with", "without", method="removal", trial_id=f"{seed}/{spread}/{worth}/{number}")
            while (verdict := trial.verdict()) is None:
                trial.record_step(_worth_step(trial, rng, spread, worth))
            removed += verdict.accepted
            steps += verdict.steps
        rate = removed / trials
        rates.append(
            {
                "spread": spread,
                "worth": worth,
                "trials": trials,
                "removed": rate,
                "removed_se": (rate * (1.0 - rate) / trials) ** 0.5,
                "rollouts": steps * GROUPS * GROUP_SIZE / trials,
            }
        )
    return rates


def _worth_step(trial: VersionTrial, rng: Generator, spread: float, worth: float) -> list[list[tuple[Arm, float]]]:
    """Graded outcomes whose mean is exactly ``worth`` lower without the skill, whatever the task."""
    groups = []
    for level in rng.standard_normal(GROUPS):
        chance = 1.0 / (1.0 + exp(-spread * float(level)))
        chance = abs(worth) + (1.0 - 2.0 * abs(worth)) * chance  # room on both sides
        group = []
        for arm in trial.assign(GROUP_SIZE):
            mean = chance - worth if arm is Arm.CANDIDATE else chance
            group.append((arm, float(rng.binomial(CONDITIONS, mean)) / CONDITIONS))
        groups.append(group)
    return groups
