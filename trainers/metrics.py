"""From played groups to the figures of a step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from reskill_agents.episodes import Episode
from reskill_agents.trainers.groups import PlayedGroup, Role
from reskill_agents.trainers.progress import ArmMetrics, TokenCounts
from reskill_agents.trainers.rewards import EpisodeFunction
from reskill_agents.trainers.rows import sampled_tokens


def arms_of(
    played: Sequence[PlayedGroup], reward: EpisodeFunction, outcome: EpisodeFunction
) -> Mapping[str, ArmMetrics]:
    """Figures by role, in a fixed order; roles without episodes are left out."""
    found: dict[str, ArmMetrics] = {}
    for role in Role:
        pairs = [(member, episode) for one in played for member, episode in one.pairs if member.role is role]
        if pairs:
            libraries = {member.library.digest for member, _ in pairs}
            digest = libraries.pop() if len(libraries) == 1 else ""
            found[role.value] = _arm(digest, [episode for _, episode in pairs], reward, outcome)
    return found


def _arm(digest: str, episodes: Sequence[Episode], reward: EpisodeFunction, outcome: EpisodeFunction) -> ArmMetrics:
    turns = sum(len(episode.turns) for episode in episodes)
    invalid = sum(not turn.valid for episode in episodes for turn in episode.turns)
    known = [episode for episode in episodes if episode.score is not None]
    return ArmMetrics(
        library=digest,
        episodes=len(episodes),
        faults=len(episodes) - len(known),
        success=_mean(float(episode.success) for episode in known),
        score=_mean(episode.score for episode in known),
        reward=_mean(map(reward, episodes)),
        outcome=_mean(map(outcome, episodes)),
        turns=turns / len(episodes),
        invalid=invalid / turns if turns else 0.0,
    )


def tokens_of(episodes: Iterable[Episode]) -> TokenCounts:
    """Tokens of episodes by kind. An episode's context is its last prompt with the answer to it."""
    sampled = skill = context = 0
    for episode in episodes:
        sampled += sampled_tokens(episode)
        calls = [turn.call for turn in episode.turns if turn.call is not None]
        skill += sum(call.skill_tokens for call in calls)
        if calls:
            context += len(calls[-1].prompt_ids) + len(calls[-1].sampled_ids)
    return TokenCounts(sampled, skill, context)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None
