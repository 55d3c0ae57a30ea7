"""Episodes to training rows: one row per root-to-leaf path of the model calls, every sampled token trained once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from reskill_agents.episodes import Episode, ModelCall


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
    """

    episode_id: str
    token_ids: tuple[int, ...]
    trained: tuple[bool, ...]
    logprobs: tuple[float, ...]
    advantage: float = 0.0

    @property
    def first_trained(self) -> int:
        """Index of the first trained token (at least 1: a prompt comes before)."""
        return self.trained.index(True)

    @property
    def trained_tokens(self) -> int:
        """How many tokens are trained."""
        return sum(self.trained)


@dataclass(slots=True)
class _Path:
    token_ids: list[int] = field(default_factory=list)
    trained: list[bool] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)

    def take(self, call: ModelCall) -> None:
        new = call.prompt_ids[len(self.token_ids) :]
        self.token_ids += [*new, *call.sampled_ids]
        self.trained += [False] * len(new) + [True] * len(call.sampled_ids)
        self.logprobs += [0.0] * len(new) + list(call.logprobs)


def rows_of(episode: Episode, advantage: float = 0.0) -> list[Row]:
    """The rows of one episode: one for a linear agent, more where the history forked or branched.

    A call extends the longest earlier path that its prompt begins with; otherwise a new row starts.
    """
    paths = paths_of([turn.call for turn in episode.turns if turn.call is not None and turn.call.sampled_ids])
    return [Row(episode.episode_id, tuple(p.token_ids), tuple(p.trained), tuple(p.logprobs), advantage) for p in paths]


def paths_of(calls: Iterable[ModelCall]) -> list[_Path]:
    """Root-to-leaf paths of model calls in the order in which they were made."""
    paths: list[_Path] = []
    for call in calls:
        fitting = [path for path in paths if _begins_with(call.prompt_ids, path.token_ids)]
        if fitting:
            path = max(fitting, key=lambda candidate: len(candidate.token_ids))
        else:
            path = _Path()
            paths.append(path)
        path.take(call)
    return paths


def _begins_with(prompt: Sequence[int], path: Sequence[int]) -> bool:
    return len(path) <= len(prompt) and list(prompt[: len(path)]) == list(path)


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
