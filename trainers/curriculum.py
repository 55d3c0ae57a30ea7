"""What the stand-in practises when: drills first, then drills among episodes, at the end episodes as they come."""

from __future__ import annotations

import dataclasses
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from reskill_agents.environment import Environment, ScriptedWorld, Split, Task
from reskill_agents.trainers.advice import AdviceSampler
from reskill_agents.trainers.drills import DrillMaker
from reskill_agents.trainers.encoding import EncodedEpisode, EpisodeEncoder, LossWeights
from reskill_agents.trainers.remedies import EffectTable
from reskill_agents.trainers.scripted import ScriptedEpisode, play_scripted

DRILLS_ONLY = 0.3  # share of the budget
DRILL_SHARE = 0.4  # of the batches after that, falling to none over the last stretch
NATURAL_FROM = 0.85  # from here on episodes come as they are: carelessness is learned at its true frequencies
_KEEP_UNADVISED = 0.15  # before that, episodes in which advice changed nothing are mostly left out
_CHUNK = 128


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
    _drills: deque[list[EncodedEpisode]] = field(default_factory=deque)
    _played: deque[list[EncodedEpisode]] = field(default_factory=deque)

    @cached_property
    def _rng(self) -> random.Random:
        return random.Random(f"curriculum/{self.seed}")

    @cached_property
    def _maker(self) -> DrillMaker:
        return DrillMaker(self.world, self.sampler, self.encoder)

    @cached_property
    def _stage(self) -> tuple[Environment, Sequence[Task]]:
        return self.world.make(), self.world.tasks(Split.TRAIN)

    def batch(self, share: float) -> list[EncodedEpisode]:
        """The next batch when ``share`` (0..1) of the budget is used."""
        drill = share < DRILLS_ONLY or self._rng.random() < DRILL_SHARE * min(1.0, (1 - share) / (1 - NATURAL_FROM))
        waiting = self._drills if drill else self._played
        if not waiting:
            made = self._maker.drills(self._rng, _CHUNK) if drill else self._episodes(share)
            buckets = length_buckets(made, self.tokens_per_batch)
            self._rng.shuffle(buckets)
            waiting.extend(buckets)
        return waiting.popleft()

    def _episodes(self, share: float) -> list[EncodedEpisode]:
        natural = share >= NATURAL_FROM
        kept: list[ScriptedEpisode] = []
        while len(kept) < _CHUNK:
            episode = self._play()
            if not natural:
                advised = [index for index, turn in enumerate(episode.turns) if turn.advised]
                if not advised and self._rng.random() > _KEEP_UNADVISED:
                    continue
                if advised:
                    # one turn more: that nothing is due any longer has to be learned too
                    episode = dataclasses.replace(episode, turns=episode.turns[: advised[-1] + 2])
            kept.append(episode)
        encoded = self.encoder.encode(kept, LossWeights())
        if natural:
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
