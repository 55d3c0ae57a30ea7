"""From played groups to what an update trains on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reskill_agents.creator_usage import NO_USAGE, CreatorUsage
from reskill_agents.library import SkillLibrary
from reskill_agents.trainers.advantages import Advantage, GroupRewards
from reskill_agents.trainers.clock import Clock
from reskill_agents.trainers.effect_adjusted import EffectAdjusted
from reskill_agents.trainers.groups import PlayedGroup
from reskill_agents.trainers.progress import TrialState
from reskill_agents.trainers.rewards import EpisodeFunction
from reskill_agents.trainers.rows import Row, rows_of, sampled_tokens


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """What an update gets: its rows, groups among them that carry no gradient, and episodes for the normaliser."""

    rows: list[Row]
    silent: int
    episodes: int

    @property
    def advantages(self) -> Mapping[str, float]:
        """By episode id."""
        return {row.episode_id: row.advantage for row in self.rows}


@dataclass(frozen=True, slots=True)
class Batch:
    """A step between its rollouts and its update, with the state of the skills at that moment.

    Args:
        version: of the weights when sampling began.
        library: in force while it was sampled.
        trial, reservoir: after its evidence.
        resampled: groups in ``played`` that dynamic sampling added.
        clock: counts on through the update.
        checkpoint, evaluation: due behind its update.
        creator: what the creation that joined before it asked of a model.
    """

    step: int
    version: int
    library: SkillLibrary
    trial: TrialState | None
    reservoir: int
    played: Sequence[PlayedGroup]
    resampled: int
    training: TrainingSet
    clock: Clock
    checkpoint: bool
    evaluation: bool
    creator: CreatorUsage = NO_USAGE

    @property
    def stops(self) -> bool:
        """Whether the next step must not begin before this one is updated and saved."""
        return self.checkpoint or self.evaluation


def is_silent(one: PlayedGroup, reward: EpisodeFunction) -> bool:
    """Whether a group has no variance in the train reward: it carries no policy gradient."""
    known = {value for episode in one.group.episodes if (value := reward(episode)) is not None}
    return len(known) < 2


def chosen(played: Sequence[PlayedGroup], reward: EpisodeFunction, count: int | None) -> list[PlayedGroup]:
    """The groups an update trains on: all, or ``count`` of them with silent ones only where others are missing."""
    trained = [one for one in played if one.plan.trained]
    if count is None or len(trained) <= count:
        return trained
    return sorted(trained, key=lambda one: is_silent(one, reward))[:count]


def training_set(played: Sequence[PlayedGroup], reward: EpisodeFunction, advantage: Advantage) -> TrainingSet:
    """Rewards, advantages, rows. An advantage that learns does so from these groups, behind its use on them."""
    groups = [
        GroupRewards(
            tuple(reward(episode) for episode in one.group.episodes),
            tuple(sampled_tokens(episode) for episode in one.group.episodes),
            tuple(member.library.digest for member in one.plan.members),
        )
        for one in played
    ]
    advantages = advantage(groups)
    if isinstance(advantage, EffectAdjusted):
        advantage.learn(groups)
    rows = [
        row
        for one, values in zip(played, advantages, strict=True)
        for episode, value in zip(one.group.episodes, values, strict=True)
        if value is not None
        for row in rows_of(episode, value)
    ]
    silent = sum(not any(values) for values in advantages)
    return TrainingSet(rows, silent, sum(value is not None for values in advantages for value in values))
