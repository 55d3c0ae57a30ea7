"""From names in the config to functions of an episode."""

from __future__ import annotations

from collections.abc import Callable

from reskill_agents.episodes import Episode, graded_outcome, success_reward
from reskill_agents.trainers.config import RewardName

EpisodeFunction = Callable[[Episode], float | None]  # 0..1, higher is better; None: a fault outside the agent


def episode_function(name: RewardName) -> EpisodeFunction:
    """The function of that name."""
    return _FUNCTIONS[name]


def less_invalid(function: EpisodeFunction, penalty: float) -> EpisodeFunction:
    """``function`` less ``penalty`` times the share of turns whose action the environment did not take.

    A number of the whole episode: the baseline sees what each member lost, unlike a penalty on single rows.
    """
    if penalty == 0.0:
        return function

    def penalised(episode: Episode) -> float | None:
        reward = function(episode)
        if reward is None or not episode.turns:
            return reward
        return reward - penalty * sum(not turn.valid for turn in episode.turns) / len(episode.turns)

    return penalised


def _score(episode: Episode) -> float | None:
    return episode.score


_FUNCTIONS: dict[RewardName, EpisodeFunction] = {
    RewardName.SUCCESS: success_reward,
    RewardName.GRADED: graded_outcome,
    RewardName.SCORE: _score,
}
