"""Which skill of a library is weakest: a screen over all of them at once, then one confirming trial.

In a pruning step each rollout goes without each skill with probability 1/4, blocked within its group. The regression of
the trial outcome on "skill present", within groups, gives every skill's worth with its interval. Only the
weakest goes to a confirming trial (``removal``). These rollouts are not evidence in version trials.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

from reskill_agents.errors import TrialError
from reskill_agents.library import SkillLibrary
from reskill_agents.trials.assignment import AssignmentStream, chosen_places, round_up_or_down
from reskill_agents.trials.history import TrialHistory
from reskill_agents.trials.linear import Moments
from reskill_agents.trials.normal import Z_05, Z_95
from reskill_agents.trials.removal import MARGIN
from reskill_agents.trials.state import integer, items, mapping
from reskill_agents.trials.verdict import TrialMethodName
from reskill_agents.trials.version_trial import VersionTrial

DROP = 0.25  # P(a rollout goes without a skill)
MIN_FIRED = 20  # episodes; a skill that fired in fewer is unknown, never pruned for rarity
MAX_ERROR = 0.03  # of the trial outcome: standard error from which on an effect says something
MAX_SHARE = 0.15  # of all rollouts may be spent on the screen
FORGETTING = 0.95  # per recorded step: the policy moves on
REST = 10  # recorded steps before a skill that a trial kept can be the weakest again
LOCAL_WORTH = 0.1  # of the trial outcome, in the groups where it fired: a rare skill may be vital there


class ScreenedRollout(NamedTuple):
    """One rollout of a pruning step: the skills it went without, those that fired, its trial outcome or ``None``."""

    dropped: frozenset[str]
    fired: frozenset[str]
    outcome: float | None


@dataclass(frozen=True, slots=True)
class SkillEffect:
    """What a skill is worth: trial outcome with it less without it, averaged over the tasks played.

    Args:
        name: the skill.
        effect, error, low, high: estimate, standard error (``inf`` without evidence), 95 % interval.
        fired: episodes in which it fired.
        known: whether it fired in enough episodes and ``error`` is small enough.
        where_fired, where_fired_error: the same within the groups in which it fired at all.
    """

    name: str
    effect: float
    error: float
    low: float
    high: float
    fired: int
    known: bool
    where_fired: float
    where_fired_error: float

    @property
    def may_be_vital(self) -> bool:
        """Whether it cannot be ruled out (one-sided 95 %) that it is worth 0.1 where it fires, however rare that is."""
        return self.where_fired + Z_05 * self.where_fired_error > LOCAL_WORTH


class PruningScreen:
    """The screen over one library.

    Args:
        library_names: its skills.
        seed: of the masks.
    """

    def __init__(self, library_names: Sequence[str], seed: int = 0) -> None:
        self.names = tuple(library_names)
        self.seed = seed
        self.steps = 0
        self.rollouts = 0
        self._stream = AssignmentStream(f"pruning|{seed}")
        self._all = Moments(len(self.names))
        self._where_fired = [Moments(1) for _ in self.names]
        self._fired = [0] * len(self.names)
        self._rests_until = [0] * len(self.names)

    def within_budget(self, total_rollouts: int, next_rollouts: int) -> bool:
        """Whether a pruning step of ``next_rollouts`` keeps the screen at 15 % of all rollouts at most."""
        return self.rollouts + next_rollouts <= MAX_SHARE * (total_rollouts + next_rollouts)

    def masks(self, group_size: int) -> list[frozenset[str]]:
        """The skills each rollout of the next group goes without: a quarter of the group for each skill."""
        rng = self._stream.next()
        dropped: list[set[str]] = [set() for _ in range(group_size)]
        for name in self.names:
            for place in chosen_places(group_size, round_up_or_down(group_size * DROP, rng), rng):
                dropped[place].add(name)
        return [frozenset(names) for names in dropped]

    def record_step(self, groups: Sequence[Sequence[ScreenedRollout]]) -> None:
        """Take in the groups of one pruning step; missing outcomes are left out.

        Raises:
            TrialError: for an outcome outside [0, 1] or an unknown skill.
        """
        for group in groups:
            for rollout in group:
                if rollout.outcome is not None and not 0.0 <= rollout.outcome <= 1.0:
                    raise TrialError(f"a trial outcome must be in [0, 1] or None, got {rollout.outcome!r}")
                if unknown := rollout.dropped - set(self.names):
                    raise TrialError(f"not in the screened library: {', '.join(sorted(unknown))}")
        for moments in (self._all, *self._where_fired):
            moments.forget(FORGETTING)
        for group in groups:
            self._take(group)
        self.steps += 1

    def effects(self) -> dict[str, SkillEffect]:
        """Every skill's worth, in library order."""
        estimates = self._all.solve()
        return {name: self._effect(index, *estimates[index]) for index, name in enumerate(self.names)}

    def weakest(self) -> str | None:
        """The skill to try to remove: of smallest worth among those known, below the margin, not resting, and surely
        not vital where they fire."""
        fit = [
            effect
            for index, effect in enumerate(self.effects().values())
            if effect.known
            and not effect.may_be_vital
            and effect.effect < MARGIN
            and self.steps >= self._rests_until[index]
        ]
        return min(fit, key=lambda effect: effect.effect).name if fit else None

    def kept(self, name: str) -> None:
        """A confirming trial kept the skill: leave it alone for the next ``REST`` recorded steps."""
        self._rests_until[self.names.index(name)] = self.steps + REST

    def for_library(self, library_names: Sequence[str]) -> PruningScreen:
        """The screen of a changed library: evidence on skills of the same name stays, new skills start unknown."""
        screen = PruningScreen(library_names, self.seed)
        old = {name: index for index, name in enumerate(self.names)}
        sources = [old.get(name) for name in screen.names]
        screen.steps, screen.rollouts = self.steps, self.rollouts
        screen._stream.counter = self._stream.counter
        screen._all = self._all.select(sources)
        for index, source in enumerate(sources):
            if source is not None:
                screen._where_fired[index] = self._where_fired[source]
                screen._fired[index] = self._fired[source]
                screen._rests_until[index] = self._rests_until[source]
        return screen

    def to_state(self) -> dict[str, object]:
        """JSON-able and exact."""
        return {
            "names": list(self.names),
            "seed": self.seed,
            "steps": self.steps,
            "rollouts": self.rollouts,
            "assigned": self._stream.counter,
            "all": self._all.to_state(),
            "where_fired": [moments.to_state() for moments in self._where_fired],
            "fired": list(self._fired),
            "rests_until": list(self._rests_until),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, object]) -> PruningScreen:
        """The inverse of :meth:`to_state`.

        Raises:
            TrialError: when it is not the state of a screen.
        """
        try:
            screen = cls([str(name) for name in items(state["names"])], integer(state["seed"]))
            screen.steps, screen.rollouts = integer(state["steps"]), integer(state["rollouts"])
            screen._stream.counter = integer(state["assigned"])
            screen._all = Moments.from_state(mapping(state["all"]))
            screen._where_fired = [Moments.from_state(mapping(one)) for one in items(state["where_fired"])]
            screen._fired = [integer(count) for count in items(state["fired"])]
            screen._rests_until = [integer(step) for step in items(state["rests_until"])]
        except (KeyError, TypeError, ValueError) as error:
            raise TrialError(f"not the state of a pruning screen: {error!r}") from error
        return screen

    def _take(self, group: Sequence[ScreenedRollout]) -> None:
        self.rollouts += len(group)
        seen = [rollout for rollout in group if rollout.outcome is not None]
        outcomes = [rollout.outcome for rollout in seen if rollout.outcome is not None]
        present = [[float(name not in rollout.dropped) for name in self.names] for rollout in seen]
        self._all.add_group(present, outcomes)
        for index, name in enumerate(self.names):
            fired = sum(name in rollout.fired for rollout in group)
            self._fired[index] += fired
            if fired:
                self._where_fired[index].add_group([[row[index]] for row in present], outcomes)

    def _effect(self, index: int, effect: float, error: float) -> SkillEffect:
        where, where_error = self._where_fired[index].solve()[0]
        return SkillEffect(
            name=self.names[index],
            effect=effect,
            error=error,
            low=effect - Z_95 * error if error < inf else -inf,
            high=effect + Z_95 * error if error < inf else inf,
            fired=self._fired[index],
            known=self._fired[index] >= MIN_FIRED and error <= MAX_ERROR,
            where_fired=where,
            where_fired_error=where_error,
        )


def confirming_trial(
    library: SkillLibrary, name: str, *, seed: int = 0, history: TrialHistory | None = None, trial_id: str | None = None
) -> VersionTrial:
    """The trial of ``library`` against itself without ``name``; accepted means removed."""
    return VersionTrial(
        library, library.without(name), method=TrialMethodName.REMOVAL, seed=seed, history=history, trial_id=trial_id
    )
