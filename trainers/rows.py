"""Episodes to training rows: one row per root-to-leaf path of the model calls, every sampled token trained once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reskill_agents.episodes import Episode
from reskill_agents.trainers.trie import paths_of


@dataclass(frozen=True, slots=True)
class Row:
    """One token sequence to train on.

    Args:
        episode_id: where it comes from.
        token_ids: the whole path, prompts and answers.
        trained: same length; true for sampled tokens that this row trains. Skill, observation and template tokens are
            false, and so are sampled tokens that an earlier row of the episode trains already (invariant 2).
        logprobs: same length; behaviour log-probs in nats where ``trained``, else 0.
        advantage: of the episode.
        versions: same length; of the weights that sampled each trained token, else -1. Empty: not known.
    """

    episode_id: str
    token_ids: tuple[int, ...]
    trained: tuple[bool, ...]
    logprobs: tuple[float, ...]
    advantage: float = 0.0
    versions: tuple[int, ...] = ()

    @property
    def first_trained(self) -> int:
        """Index of the first trained token (at least 1: a prompt comes before)."""
        return self.trained.index(True)

    @property
    def trained_tokens(self) -> int:
        """How many tokens are trained."""
        return sum(self.trained)


def rows_of(episode: Episode, advantage: float = 0.0) -> list[Row]:
    """The rows of one episode: one for a linear agent, more where the history forked or branched.

    The rows are the paths of the prefix trie of its calls (:mod:`~reskill_agents.trainers.trie`).
    """
    paths = paths_of([turn.call for turn in episode.turns if turn.call is not None])
    return [
        Row(
            episode.episode_id,
            tuple(path.token_ids),
            tuple(path.trained),
            tuple(path.logprobs),
            advantage,
            tuple(path.versions),
        )
        for path in paths
    ]


def sampled_tokens(episode: Episode) -> int:
    """How many tokens the policy sampled in this episode."""
    return sum(len(turn.call.sampled_ids) for turn in episode.turns if turn.call is not None)


def micro_batches(rows: Sequence[Row], *, max_tokens: int) -> list[list[Row]]:
    """Rows sorted by length and cut so that each batch holds at most ``max_tokens`` padded tokens (one row at least).

    Deterministic: ties keep the order given.
    """
    batches: list[list[Row]] = []
    for row in sorted(rows, key=lambda item: -len(item.token_ids)):
        if batches and (len(batches[-1]) + 1) * len(batches[-1][0].token_ids) <= max_tokens:
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches


def dealt(batches: Sequence[list[Row]], ranks: int) -> list[list[list[Row]]]:
    """Micro-batches for each of ``ranks`` processes, as many for one as for another, no row twice.

    Where they do not divide, the widest are halved; where nothing is left to halve, empty ones fill.
    """
    cut = list(batches)
    while len(cut) % ranks and (parts := [batch for batch in cut if len(batch) > 1]):
        widest = max(parts, key=lambda batch: len(batch) * len(batch[0].token_ids))
        place = next(index for index, batch in enumerate(cut) if batch is widest)
        half = (len(widest) + 1) // 2
        cut[place : place + 1] = [widest[:half], widest[half:]]
    cut += [[] for _ in range(-len(cut) % ranks)]
    return [cut[rank::ranks] for rank in range(ranks)]
