"""What a person is shown beside a proposal: episodes that kept the advice and episodes that did not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from reskill_agents.assertions import Assertion, GradeResult, grade
from reskill_agents.episodes import Episode, graded_outcome
from reskill_agents.graphs.creator_approval import quarantined
from reskill_agents.graphs.creator_prompts import transcript
from reskill_agents.graphs.creator_state import CreationResult
from reskill_agents.library import SkillLibrary
from reskill_agents.review import EvidencePair, EvidenceSide, Review, ReviewStatus

PAIRS = 6  # statements a person is shown episodes for; more is not read


def review_of(result: CreationResult, before: SkillLibrary, episodes: Sequence[Episode], thread: str = "") -> Review:
    """The review of a creation: waiting for a person, or written down untested."""
    status = ReviewStatus.WAITING if result.waiting else ReviewStatus.UNTESTED
    held = quarantined(result.quarantine)
    return Review(before, result.proposed, held, evidence_pairs(episodes, result.assertions), status, thread)


def evidence_pairs(episodes: Sequence[Episode], assertions: Sequence[Assertion]) -> tuple[EvidencePair, ...]:
    """For each assertion a good episode that keeps it beside a poor one that does not, of the same task if there is one.

    Where no assertion separates two episodes, the best and the worst episode of one task.
    """
    scored = [episode for episode in episodes if episode.score is not None and episode.turns]
    graded = grade(scored, assertions)
    pairs = []
    for column, assertion in enumerate(assertions):
        kept, broken = list[tuple[Episode, tuple[int, ...]]](), list[tuple[Episode, tuple[int, ...]]]()
        for episode, entry in zip(scored, graded, strict=True):
            found = entry.grades[column]
            if found.result is not GradeResult.NOT_APPLICABLE:
                (kept if found.result is GradeResult.PASSED else broken).append((episode, found.evidence))
        chosen = _pair(kept, broken)
        if chosen:
            pairs.append(EvidencePair(assertion.text, _side(*chosen[0]), _side(*chosen[1])))
    return tuple(pairs[:PAIRS]) or _contrast(scored)


def _pair(
    kept: Sequence[tuple[Episode, tuple[int, ...]]], broken: Sequence[tuple[Episode, tuple[int, ...]]]
) -> tuple[tuple[Episode, tuple[int, ...]], tuple[Episode, tuple[int, ...]]] | None:
    if not kept or not broken:
        return None
    by_task = {episode.task.task_id: (episode, turns) for episode, turns in sorted(kept, key=_rank)}  # the best stays
    worst_first = sorted(broken, key=_rank)
    same = [
        (by_task[episode.task.task_id], (episode, turns))
        for episode, turns in worst_first
        if episode.task.task_id in by_task
    ]
    better = [pair for pair in same if _outcome(pair[0][0]) > _outcome(pair[1][0])]
    return better[0] if better else (max(kept, key=_rank), worst_first[0])


def _rank(item: tuple[Episode, tuple[int, ...]]) -> tuple[float, int]:
    """By outcome; among equals the longer one is the poorer, so that short transcripts are shown for good ones."""
    return _outcome(item[0]), -len(item[0].turns)


def _outcome(episode: Episode) -> float:
    return graded_outcome(episode) or 0.0


def _contrast(scored: Sequence[Episode]) -> tuple[EvidencePair, ...]:
    by_task: dict[str, list[Episode]] = defaultdict(list)
    for episode in scored:
        by_task[episode.task.task_id].append(episode)
    for some in by_task.values():
        best, worst = max(some, key=_outcome), min(some, key=_outcome)
        if _outcome(best) > _outcome(worst):
            return (EvidencePair("The best and the worst episode of one task.", _side(best, ()), _side(worst, ())),)
    return ()


def _side(episode: Episode, turns: tuple[int, ...]) -> EvidenceSide:
    return EvidenceSide(episode.episode_id, episode.score, transcript(episode), turns)
