"""From played groups to the figures of a step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from reskill_agents.episodes import Episode, StopReason
from reskill_agents.trainers.batches import Batch
from reskill_agents.trainers.groups import PlayedGroup, Role
from reskill_agents.trainers.progress import ArmMetrics, StepMetrics, TokenCounts
from reskill_agents.trainers.rewards import EpisodeFunction
from reskill_agents.trainers.rows import sampled_tokens
from reskill_agents.trainers.update import UpdateReport


def step_metrics(batch: Batch, report: UpdateReport, reward: EpisodeFunction, outcome: EpisodeFunction) -> StepMetrics:
    """The line of a step in ``metrics.jsonl``."""
    episodes = [episode for one in batch.played for episode in one.group.episodes]
    rows = batch.training.rows
    return StepMetrics(
        step=batch.step,
        version=batch.version,
        arms=arms_of(batch.played, reward, outcome),
        library=batch.library.digest,
        skills=tuple(skill.name for skill in batch.library),
        trial=batch.trial,
        groups=len(batch.played),
        silent_groups=batch.training.silent,
        forks=len(rows) - len({row.episode_id for row in rows}),
        loss=report.loss,
        grad_norm=report.grad_norm,
        clip_rate=report.clip_rate,
        entropy=report.entropy,
        kl=report.kl,
        lr=report.lr,
        rows=report.rows,
        trained_tokens=report.trained_tokens,
        logprob_gap=report.logprob_gap,
        tokens=tokens_of(episodes),
        reservoir=batch.reservoir,
        seconds=batch.clock.reading(),
        resampled=batch.resampled,
        limited=limited_share(episodes),
        weight=report.weight,
        truncated_weights=report.truncated,
        staleness=report.staleness,
        max_staleness=report.max_staleness,
        creator=batch.creator,
    )


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
    return TokenCounts(sampled, skill, context, max(0, context - skill - sampled))


def limited_share(episodes: Sequence[Episode]) -> float:
    """Share of episodes that the turn or context limit ended."""
    limits = (StopReason.TURN_LIMIT, StopReason.CONTEXT_LIMIT)
    return sum(episode.stop in limits for episode in episodes) / len(episodes) if episodes else 0.0


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None
