"""Scripted episodes as token ids: exactly what the chat template makes of them (a test holds that)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, cast

from reskill_agents.trainers.scripted import ScriptedEpisode
from reskill_agents.trainers.standin_tokenizer import ASSISTANT, END, SYSTEM, USER

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_REMEMBERED = 50_000


@dataclass(frozen=True, slots=True)
class EncodedEpisode:
    """Token ids with, for each token to be said, the position before it and its loss weight."""

    ids: tuple[int, ...]
    positions: tuple[int, ...]
    weights: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class LossWeights:
    """How much each kind of token to be said counts: a choice that advice decided, a careless choice, the end token."""

    advised: float = 3.0
    careless: float = 1.0
    end: float = 0.1


@dataclass(frozen=True)
class Frame:
    """The ids that frame messages and answers."""

    tokenizer: PreTrainedTokenizerFast

    def _id(self, token: str) -> int:
        return cast("int", self.tokenizer.convert_tokens_to_ids(token))

    @cached_property
    def system(self) -> int:
        """Opens the system message."""
        return self._id(SYSTEM)

    @cached_property
    def user(self) -> int:
        """Opens a user message."""
        return self._id(USER)

    @cached_property
    def assistant(self) -> int:
        """Opens an answer."""
        return self._id(ASSISTANT)

    @cached_property
    def end(self) -> int:
        """Ends an answer."""
        return self._id(END)

    @cached_property
    def _labels(self) -> dict[int, int]:
        return {}

    def label(self, number: int) -> int:
        """The answer ``number``."""
        if number not in self._labels:
            self._labels[number] = self._id(str(number))
        return self._labels[number]


@dataclass(frozen=True)
class EpisodeEncoder:
    """Scripted episodes to token ids.

    Args:
        tokenizer: the stand-in's.
        max_tokens: longer episodes are cut at a turn.
    """

    tokenizer: PreTrainedTokenizerFast
    max_tokens: int = 448
    _known: dict[str, tuple[int, ...]] = field(default_factory=dict)

    @cached_property
    def frame(self) -> Frame:
        """The framing ids."""
        return Frame(self.tokenizer)

    def ids(self, text: str, *, remember: bool = True) -> tuple[int, ...]:
        """Token ids of the text of one message or part of it."""
        found = self._known.get(text)
        if found is None:
            found = tuple(self.tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids)
            if remember:
                self._known[text] = found
        return found

    def encode(self, episodes: Sequence[ScriptedEpisode], weights: LossWeights) -> list[EncodedEpisode]:
        """All ``episodes``; each at most ``max_tokens`` long, cut at a turn (the first turn always stays)."""
        if len(self._known) > _REMEMBERED:
            self._known.clear()
        texts = dict.fromkeys(text for e in episodes for text in (e.system, *(turn.shown for turn in e.turns)))
        new = [text for text in texts if text not in self._known]
        encodings = self.tokenizer.backend_tokenizer.encode_batch_fast(new, add_special_tokens=False)
        self._known.update((text, tuple(encoding.ids)) for text, encoding in zip(new, encodings, strict=True))
        return [self._encode_one(episode, weights) for episode in episodes]

    def _encode_one(self, episode: ScriptedEpisode, by_kind: LossWeights) -> EncodedEpisode:
        frame = self.frame
        ids = [frame.system, *self._known[episode.system]]
        positions: list[int] = []
        weights: list[float] = []
        for turn in episode.turns:
            shown = self._known[turn.shown]
            if positions and len(ids) + len(shown) + 4 > self.max_tokens:
                break
            ids += [frame.user, *shown, frame.assistant, frame.label(turn.number), frame.end]
            positions += [len(ids) - 3, len(ids) - 2]
            weights += [by_kind.advised if turn.decided else by_kind.careless, by_kind.end]
        return EncodedEpisode(tuple(ids), tuple(positions), tuple(weights))
