"""What the stand-in practises when: mostly questions at first, more and more whole episodes."""

from __future__ import annotations

import json
import random
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from reskill_agents.environment import Environment, ScriptedWorld, Split, Task
from reskill_agents.trainers.advice import AdviceSampler
from reskill_agents.trainers.encoding import EncodedEpisode, EpisodeEncoder, LossWeights
from reskill_agents.trainers.questions import QuestionMaker
from reskill_agents.trainers.remedies import EffectTable
from reskill_agents.trainers.scripted import ScriptedEpisode, play_scripted

QUESTION_SHARE = 0.8  # of the batches at the start, falling to none at the end
_KEPT_UNADVISED = 0.4  # of the episodes without advice
_QUESTIONS, _EPISODES = 192, 96  # made at a time


@dataclass
class Curriculum:
    """An endless source of batches of encoded episodes, deterministic in ``seed`` and the shares asked for.

    Args:
        world: what is played.
        sampler: what is said.
        encoder: texts to ids.
        seed: of everything drawn.
        tokens_per_batch: padded.
        effects: counts what was heard in scripted episodes, and how they ended.
    """

    world: ScriptedWorld
    sampler: AdviceSampler
    encoder: EpisodeEncoder
    seed: int
    tokens_per_batch: int
    effects: EffectTable = field(default_factory=EffectTable)
    episode_tokens: int = 0
    episodes: int = 0
    _asked: deque[list[EncodedEpisode]] = field(default_factory=deque)
    _played: deque[list[EncodedEpisode]] = field(default_factory=deque)

    @cached_property
    def _rng(self) -> random.Random:
        return random.Random(f"curriculum/{self.seed}")

    @cached_property
    def _maker(self) -> QuestionMaker:
        return QuestionMaker(self.world, self.sampler, self.encoder)

    @cached_property
    def _stage(self) -> tuple[Environment, Sequence[Task]]:
        return self.world.make(), self.world.tasks(Split.TRAIN)

    def batch(self, share: float) -> list[EncodedEpisode]:
        """The next batch when ``share`` (0..1) of the budget is used."""
        asked = self._rng.random() < QUESTION_SHARE * (1 - share)
        waiting = self._asked if asked else self._played
        if not waiting:
            made = self._maker.questions(self._rng, _QUESTIONS) if asked else self._whole_episodes()
            buckets = length_buckets(made, self.tokens_per_batch)
            self._rng.shuffle(buckets)
            waiting.extend(buckets)
        return waiting.popleft()

    def state(self) -> str:
        """What decides the batches to come, and what was counted, as JSON; directives by their place in the grammar."""
        version, internal, gauss = self._rng.getstate()
        place = {directive: number for number, directive in enumerate(self.sampler.exploration.grammar)}
        waiting = [
            [[(e.ids, e.positions, e.weights) for e in batch] for batch in batches]
            for batches in (self._asked, self._played)
        ]
        effects = self.effects
        return json.dumps(
            {
                "rng": [version, internal, gauss],
                "waiting": waiting,
                "counts": [self.episodes, self.episode_tokens],
                "drawn": [[place[directive], count] for directive, count in self.sampler.drawn.items()],
                "effects": [effects.count, effects.total, effects.squares],
                "heard": [[place[directive], *seen] for directive, seen in effects.heard.items()],
            }
        )

    def restore(self, state: str) -> None:
        """Go on from :meth:`state`."""
        kept, grammar = json.loads(state), self.sampler.exploration.grammar
        version, internal, gauss = kept["rng"]
        self._rng.setstate((version, tuple(internal), gauss))
        self._asked, self._played = (
            deque([EncodedEpisode(*map(tuple, parts)) for parts in batch] for batch in batches)
            for batches in kept["waiting"]
        )
        self.episodes, self.episode_tokens = kept["counts"]
        self.sampler.drawn = Counter({grammar[number]: count for number, count in kept["drawn"]})
        count, total, squares = kept["effects"]
        heard = {grammar[number]: (times, outcome) for number, times, outcome in kept["heard"]}
        self.effects = EffectTable(count, total, squares, heard)

    def _whole_episodes(self) -> list[EncodedEpisode]:
        kept: list[ScriptedEpisode] = []
        while len(kept) < _EPISODES:
            episode = self._play()
            if episode.directives or self._rng.random() < _KEPT_UNADVISED:
                kept.append(episode)
        encoded = self.encoder.encode(kept, LossWeights())
        self.episodes += len(encoded)
        self.episode_tokens += sum(len(episode.ids) for episode in encoded)
        return encoded

    def _play(self) -> ScriptedEpisode:
        environment, tasks = self._stage
        rng = self._rng
        advice, vocabulary = self.sampler.sample(rng), self.sampler.exploration.vocabulary
        episode = play_scripted(self.world, environment, rng.choice(tasks), rng.getrandbits(40), advice, vocabulary)
        self.effects.add(episode)
        return episode


def length_buckets(episodes: Sequence[EncodedEpisode], tokens_per_batch: int) -> list[list[EncodedEpisode]]:
    """``episodes`` sorted by length, cut into batches of at most ``tokens_per_batch`` padded tokens (at least one each)."""
    batches: list[list[EncodedEpisode]] = []
    for episode in sorted(episodes, key=lambda e: len(e.ids)):
        if batches and (len(batches[-1]) + 1) * len(episode.ids) <= tokens_per_batch:
            batches[-1].append(episode)
        else:
            batches.append([episode])
    return batches
