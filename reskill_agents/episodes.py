"""What the agent saw, did and sampled: turns, episodes, groups."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

from reskill_agents.environment import Choice, Task
from reskill_agents.trials.arm import Arm


class StopReason(StrEnum):
    """Why an episode ended. Only ``fault`` has no outcome (invariant 4)."""

    DONE = "done"
    TURN_LIMIT = "turn_limit"
    CONTEXT_LIMIT = "context_limit"
    FAULT = "fault"


class Suppression(StrEnum):
    """Why a matching skill did not enter the prompt."""

    COOLDOWN = "cooldown"
    IN_CONTEXT = "in_context"
    BUDGET = "budget"


@dataclass(frozen=True, slots=True)
class Firing:
    """A skill whose trigger matched on a turn; ``suppressed`` says why its text stayed out, if it did."""

    skill: str
    digest: str
    turn: int
    suppressed: Suppression | None = None


@dataclass(frozen=True, slots=True)
class ModelCall:
    """One exact model call: whole prompt, sampled ids, their log-probs (nats, at ``temperature``), weights version."""

    prompt_ids: tuple[int, ...]
    sampled_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    version: int
    temperature: float
    skill_tokens: int = 0  # how many prompt tokens of this turn's new part are skill text


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn: the observation before the action, what the policy answered, the canonical action taken.

    ``action`` is empty when nothing usable was parsed from ``response``; ``valid`` says whether the environment
    took the action.
    """

    index: int
    observation: str
    action: str
    response: str = ""
    valid: bool = True
    choices: tuple[Choice, ...] = ()
    firings: tuple[Firing, ...] = ()
    tools: tuple[str, ...] = ()
    call: ModelCall | None = None

    @property
    def chosen(self) -> Choice | None:
        """The admissible choice that was taken, if the world listed its choices."""
        return next((choice for choice in self.choices if choice.action == self.action), None)


@dataclass(frozen=True)
class Episode:
    """One task played once.

    Args:
        episode_id: unique within a run.
        task: the task.
        turns: in order.
        score: 0..1 from the environment; ``None`` for a fault outside the agent.
        stop: why it ended.
        arm: the arm of the trial it took part in, if any.
        library_digest: the library it carried.
        task_shown: the task in the wording of the observations (choices share words with it).
        model: the model or policy that acted (confounds logs from several models).
        step: training step, -1 outside training.
        final_observation: what the agent saw after its last action.
        error: the fault, if ``stop`` is ``fault``.
    """

    episode_id: str
    task: Task
    turns: tuple[Turn, ...]
    score: float | None
    stop: StopReason = StopReason.DONE
    arm: Arm | None = None
    library_digest: str = ""
    task_shown: str = ""
    model: str = ""
    step: int = -1
    final_observation: str = ""
    error: str = ""

    @property
    def success(self) -> bool:
        """The full score."""
        return self.score is not None and self.score >= 1.0

    @cached_property
    def fired(self) -> frozenset[str]:
        """Names of the skills whose text entered the prompt."""
        return frozenset(f.skill for turn in self.turns for f in turn.firings if f.suppressed is None)

    @cached_property
    def actions(self) -> tuple[str, ...]:
        """Canonical actions in order (empty strings for unparsable answers)."""
        return tuple(turn.action for turn in self.turns)


@dataclass(frozen=True)
class Group:
    """G episodes of one task in one step."""

    task: Task
    episodes: tuple[Episode, ...] = field(default=())


def success_reward(episode: Episode) -> float | None:
    """Default train reward: 1 for the full score, else 0; ``None`` for a fault."""
    return None if episode.score is None else float(episode.success)


def graded_outcome(episode: Episode) -> float | None:
    """Default trial outcome: (score + success) / 2; success alone cannot see one right skill (method.md)."""
    return None if episode.score is None else (episode.score + float(episode.success)) / 2
