"""From names in the config to functions of an episode."""

from __future__ import annotations

from collections.abc import Callable

from reskill_agents.episodes import Episode, graded_outcome, success_reward
from reskill_agents.trainers.config import RewardName

EpisodeFunction = Callable[[Episode], float | None]  # 0..1, higher is better; None: a fault outside the agent


def episode_function(name: RewardName) -> EpisodeFunction:
    """The function of that name."""
    return _FUNCTIONS[name]


def _score(episode: Episode) -> float | None:
    return episode.score


_FUNCTIONS: dict[RewardName, EpisodeFunction] = {
    RewardName.SUCCESS: success_reward,
    RewardName.GRADED: graded_outcome,
    RewardName.SCORE: _score,
}
