"""Pruning beside training: steps in which rollouts go without some skills, and what they say.

Such steps also keep the policy used to incomplete libraries: a policy trained with one and the same text only comes to
need it, one trained without loses the text's meaning (method.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from reskill_agents.environment import Task
from reskill_agents.library import Operation, OperationKind, Proposal, SkillLibrary
from reskill_agents.trainers.groups import GroupPlan, Member, PlayedGroup, Role
from reskill_agents.trainers.rewards import EpisodeFunction
from reskill_agents.trials import PruningScreen, ScreenedRollout


@dataclass
class Pruner:
    """The screen over the library in force, within its budget of rollouts.

    Args:
        outcome: the trial outcome of an episode.
        seed: of the masks.
        rollouts: training rollouts so far, of any kind.
    """

    outcome: EpisodeFunction
    seed: int
    rollouts: int = 0
    screen: PruningScreen = field(default_factory=lambda: PruningScreen(()))

    def __post_init__(self) -> None:
        self.screen = PruningScreen((), self.seed)

    def adopt(self, library: SkillLibrary, proposal: Proposal) -> None:
        """Screen ``library`` from now on; skills that ``proposal`` modified start unknown like new ones."""
        modified = {o.name for o in proposal.operations if o.kind is OperationKind.MODIFY}
        names = [skill.name for skill in library]
        self.screen = self.screen.for_library([name for name in names if name not in modified]).for_library(names)

    def plan(self, tasks: Sequence[Task], sizes: Sequence[int], library: SkillLibrary) -> list[GroupPlan] | None:
        """The groups of a pruning step; ``None`` when the library is empty or the budget is spent."""
        if not library.skills or not self.screen.within_budget(self.rollouts, sum(sizes)):
            return None
        return [GroupPlan(task, self._members(library, size)) for task, size in zip(tasks, sizes, strict=True)]

    def _members(self, library: SkillLibrary, size: int) -> tuple[Member, ...]:
        members = []
        for dropped in self.screen.masks(size):
            names = tuple(skill.name for skill in library if skill.name in dropped)
            role = Role.MASKED if names else Role.ACTIVE
            members.append(Member(role, library.without(*names), without=names))
        return tuple(members)

    def record(self, played: Sequence[PlayedGroup], *, pruning_step: bool) -> None:
        """Count the rollouts of a step; take the evidence of a pruning step."""
        self.rollouts += sum(len(one.group.episodes) for one in played)
        if pruning_step:
            self.screen.record_step(
                [
                    [ScreenedRollout(frozenset(m.without), e.fired, self.outcome(e)) for m, e in one.pairs]
                    for one in played
                ]
            )

    def weakest(self, step: int, since: Mapping[str, int], *, min_age: int) -> tuple[str, str] | None:
        """The skill to try to remove and why; none that is younger than ``min_age`` steps."""
        name = self.screen.weakest() if self.screen.names else None
        if name is None or step - since.get(name, 0) < min_age:
            return None
        effect = self.screen.effects()[name]
        return name, f"worth {effect.effect:+.3f} ± {effect.error:.3f} of the trial outcome in the pruning screen"

    def to_state(self) -> dict[str, object]:
        """JSON-able and exact."""
        return {"rollouts": self.rollouts, "screen": self.screen.to_state()}

    def restore(self, state: Mapping[str, object]) -> None:
        """The inverse of :meth:`to_state`.

        Raises:
            TypeError: when it is no such state.
        """
        rollouts, screen = state["rollouts"], state["screen"]
        if not isinstance(rollouts, int) or not isinstance(screen, Mapping):
            raise TypeError("the state of the pruner")
        self.rollouts, self.screen = rollouts, PruningScreen.from_state(screen)


def removal(name: str, reason: str) -> Proposal:
    """The proposal of a pruning trial."""
    return Proposal((Operation.delete(name),), reason)
