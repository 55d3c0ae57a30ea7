"""Which advice of a grammar helps a scripted player: found by playing, so that a clone can be examined on it.

Used to examine a finished stand-in only. Creator, trials and trainer never see it.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol, runtime_checkable

from reskill_agents.directives import Directive, obey, sentence
from reskill_agents.environment import Environment, ScriptedWorld, Split
from reskill_agents.errors import ConfigError
from reskill_agents.induction_candidates import contradict
from reskill_agents.selection import SkillSelector
from reskill_agents.trainers.run_folder import write_atomically
from reskill_agents.trainers.scripted import Advice, ScriptedEpisode, play_scripted
from reskill_agents.trainers.standin_gate import library_of
from reskill_agents.vocabulary import ActionVocabulary

MIN_HEARD = 20  # episodes with a directive before its effect is looked at
_SCREENED, _SCREENED_EPISODES = 20, 32  # directives that a screen keeps, and episodes it plays with each
_PAIRED = 10  # directives of which pairs are tried
_MIN_GAIN = 0.03  # of the graded outcome, to count as useful and to join the best set


@dataclass
class EffectTable:
    """Mean graded outcome of scripted episodes by directive heard; others heard with it are independent draws."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0
    heard: dict[Directive, tuple[int, float]] = field(default_factory=dict)

    def add(self, episode: ScriptedEpisode) -> None:
        """Count one episode."""
        outcome = graded(episode)
        self.count += 1
        self.total += outcome
        self.squares += outcome**2
        for directive in episode.directives:
            count, total = self.heard.get(directive, (0, 0.0))
            self.heard[directive] = (count + 1, total + outcome)

    def effects(self) -> dict[Directive, tuple[float, float]]:
        """Per directive heard often enough: (difference to the overall mean, z)."""
        mean = self.total / max(1, self.count)
        deviation = math.sqrt(max(1e-9, self.squares / max(1, self.count) - mean**2))
        return {
            directive: (total / count - mean, (total / count - mean) * math.sqrt(count) / deviation)
            for directive, (count, total) in self.heard.items()
            if count >= MIN_HEARD
        }

    def useful(self, *, z: float = 3.0) -> list[Directive]:
        """Directives that clearly raise the graded outcome, and by more than a trifle, best first."""
        effects = self.effects()
        clear = (d for d, (gain, score) in effects.items() if score > z and gain > _MIN_GAIN)
        return sorted(clear, key=lambda d: -effects[d][0])

    def harmful(self, *, z: float = 3.0) -> list[Directive]:
        """Directives with a clearly negative effect, worst first."""
        effects = self.effects()
        return sorted((d for d, (_, score) in effects.items() if score < -z), key=lambda d: effects[d][0])

    def others_per_useful(self) -> float:
        """How often neutral or harmful directives were heard for each time a useful one was."""
        useful = set(self.useful())
        heard_useful = sum(count for directive, (count, _) in self.heard.items() if directive in useful)
        return (sum(count for count, _ in self.heard.values()) - heard_useful) / max(1, heard_useful)


def graded(episode: ScriptedEpisode) -> float:
    """(score + success) / 2, the default trial outcome."""
    return (episode.score + float(episode.score >= 1)) / 2


@dataclass(frozen=True)
class ScriptedTrial:
    """Plays training tasks under advice, the same ones with the same seeds on every call."""

    world: ScriptedWorld
    vocabulary: ActionVocabulary
    seed: int

    def episodes(self, advice: Sequence[Directive], count: int) -> list[ScriptedEpisode]:
        """The first ``count`` episodes."""
        return [self._play(advice, number) for number in range(count)]

    def outcome(self, advice: Sequence[Directive], base: Sequence[ScriptedEpisode]) -> float:
        """Mean graded outcome under ``advice``.

        Args:
            base: the first episodes under a part of the advice; where the rest would have changed nothing they are not
                played again.
        """
        outcomes = []
        for number, episode in enumerate(base):
            changed = any(obey(advice, t.situation, t.proposal).action != t.chosen.action for t in episode.turns)
            outcomes.append(graded(self._play(advice, number) if changed else episode))
        return sum(outcomes) / len(base)

    def _play(self, advice: Sequence[Directive], number: int) -> ScriptedEpisode:
        tasks, library = self.world.tasks(Split.TRAIN), library_of(advice)
        told = Advice(SkillSelector(library), {s.name: d for s, d in zip(library, advice, strict=True)})
        task = tasks[number * 7919 % len(tasks)]
        return play_scripted(self.world, self._environment, task, self.seed + number, told, self.vocabulary)

    @cached_property
    def _environment(self) -> Environment:
        return self.world.make()


def _screen(trial: ScriptedTrial, grammar: Sequence[Directive], given: tuple[Directive, ...]) -> list[Directive]:
    """The directives that help a scripted player most beside ``given``, on the same training tasks and seeds."""
    fits = [d for d in grammar if d not in given and not any(contradict(d, old) for old in given)]
    base = trial.episodes(given, _SCREENED_EPISODES)
    values = {d: trial.outcome((*given, d), base) for d in fits}
    return sorted(fits, key=lambda d: -values[d])[:_SCREENED]


def best_advice(
    world: ScriptedWorld,
    grammar: Sequence[Directive],
    vocabulary: ActionVocabulary,
    *,
    size: int = 4,
    episodes: int = 128,
    seed: int = 0,
) -> tuple[Directive, ...]:
    """Greedy forward selection on training tasks: up to ``size`` directives that help a scripted player most together.

    Where no directive helps alone, the grammar is looked through again beside those chosen, and pairs of the most
    promising ones are tried: success may need both.
    """

    trial = ScriptedTrial(world, vocabulary, seed)
    chosen: tuple[Directive, ...] = ()
    base = trial.episodes(chosen, episodes)
    value = sum(map(graded, base)) / episodes
    pool, fresh = _screen(trial, grammar, chosen), True
    while pool and len(chosen) < size:
        values: dict[tuple[Directive, ...], float] = {(d,): trial.outcome((*chosen, d), base) for d in pool}
        if fresh and max(values.values()) < value + _MIN_GAIN and len(chosen) + 2 <= size:
            promising = sorted(pool, key=lambda d: -values[d,])[:_PAIRED]
            pairs = [pair for pair in itertools.combinations(promising, 2) if not contradict(*pair)]
            values |= {pair: trial.outcome((*chosen, *pair), base) for pair in pairs}
        best = max(values, key=lambda new: values[new] - _MIN_GAIN * len(new))
        if values[best] >= value + _MIN_GAIN * len(best):
            chosen, value, fresh = (*chosen, *best), values[best], False
            base = trial.episodes(chosen, episodes)
            pool = [d for d in pool if d not in best and not any(contradict(d, old) for old in chosen)]
        elif fresh:
            break
        else:
            pool, fresh = _screen(trial, grammar, chosen), True
    return chosen


@runtime_checkable
class KnowsRemedies(Protocol):
    """A scripted world that says itself what helps in it, so that a clone can be examined on that without a search."""

    def remedies(self) -> Sequence[Directive]:
        """Advice that lets the scripted player succeed; every sentence must be of the grammar over its vocabulary."""
        ...


def find_remedies(
    world: ScriptedWorld,
    grammar: Sequence[Directive],
    vocabulary: ActionVocabulary,
    *,
    episodes: int,
    seed: int,
    path: Path,
    key: str,
) -> tuple[Directive, ...]:
    """What a clone is examined on: what the world says itself, else the best advice that playing finds.

    Args:
        path: keeps what was found for the next call with this ``key`` (finding takes a minute or more).

    Raises:
        ConfigError: the world names advice that is not in the grammar.
    """
    if isinstance(world, KnowsRemedies):
        known = tuple(world.remedies())
        if strange := [sentence(one) for one in known if one not in grammar]:
            raise ConfigError(f"world {world.name!r} names remedies that its pages never offer: {'; '.join(strange)}")
        return known
    if path.is_file():
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["key"] == key:
            return tuple(grammar[number] for number in kept["best"])
    best = best_advice(world, grammar, vocabulary, episodes=episodes, seed=seed)
    write_atomically(path, json.dumps({"key": key, "best": [grammar.index(one) for one in best]}))
    return best
