"""Episodes played with skills, and the same episodes as they look without: the pairs that distillation trains on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from reskill_agents.engine import GenerateRequest, Generation
from reskill_agents.episodes import Episode
from reskill_agents.errors import EngineError
from reskill_agents.graphs.agent import Agent
from reskill_agents.graphs.chat_model import PolicyChatModel
from reskill_agents.graphs.rollout import Rollout, play_many
from reskill_agents.library import SkillLibrary
from reskill_agents.trainers.rows import Row, rows_of


@dataclass(frozen=True)
class Pair:
    """One episode twice, as the teacher saw it (with skills) and as the student will; their trained tokens are equal."""

    teacher: Row
    student: Row


async def pairs_of(agent: Agent, played: Sequence[tuple[Rollout, Episode]]) -> list[Pair]:
    """The episodes with their bare twins; episodes that cannot be replayed token for token are left out.

    Each is played again in its environment without skills, by an engine that answers with the tokens that were sampled.

    Args:
        agent: that played them.
        played: rollouts with their episodes; the environments are used again.
    """
    old = agent.model
    engine = _Replay({episode.episode_id: _answers(episode) for _, episode in played}, old.engine.max_context)
    model = PolicyChatModel(
        engine=engine, tokenizer=old.tokenizer, temperature=1.0, max_tokens=old.max_tokens, on_gap=old.on_gap
    )
    bare = Agent(model, replace(agent.config, temperature=1.0), agent.system_prompt)
    selector = bare.selector(SkillLibrary())
    twins = await play_many(bare, [replace(rollout, selector=selector, arm=None) for rollout, _ in played])
    pairs = (_pair(episode, twin) for (_, episode), twin in zip(played, twins, strict=True))
    return [pair for pair in pairs if pair is not None]


@dataclass
class _Replay:
    """An engine that says what was said before, session by session."""

    answers: Mapping[str, Iterator[tuple[int, ...]]]
    max_context: int
    version: int = 0

    def open(self, session: str) -> None:
        pass

    def release(self, session: str) -> None:
        pass

    async def generate(self, request: GenerateRequest) -> Generation:
        found = next(self.answers[request.session], None)
        if found is None:
            raise EngineError(f"the replay of {request.session} goes another way")
        ended = found[-1:] and found[-1] in request.params.stop_ids
        return Generation(found, (0.0,) * len(found), 0, "stop" if ended else "length")

    async def score(
        self, prompt_ids: Sequence[int], token_ids: Sequence[int], *, temperature: float = 1.0
    ) -> tuple[float, ...]:
        return (0.0,) * len(token_ids)

    async def publish(self, weights: object, version: int) -> None:
        pass

    async def aclose(self) -> None:
        pass


def _answers(episode: Episode) -> Iterator[tuple[int, ...]]:
    return iter([turn.call.sampled_ids for turn in episode.turns if turn.call is not None])


def _pair(episode: Episode, twin: Episode) -> Pair | None:
    teacher, student = rows_of(episode), rows_of(twin)
    if len(teacher) != 1 or len(student) != 1 or twin.score != episode.score or twin.actions != episode.actions:
        return None
    same = _trained_ids(teacher[0]) == _trained_ids(student[0])
    return Pair(teacher[0], student[0]) if same else None


def _trained_ids(row: Row) -> list[int]:
    return [token for token, on in zip(row.token_ids, row.trained, strict=True) if on]
