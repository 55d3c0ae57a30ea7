"""When a piece of advice should arrive: the trigger that fires where it is needed and hardly anywhere else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import re2

from reskill_agents.directives import Directive, Form
from reskill_agents.episodes import Episode
from reskill_agents.induction_turns import Bools, TurnTable
from reskill_agents.trigger import Trigger, TriggerKind

MIN_FIT = 0.8  # a pattern must reach this F1 on the turns that need the advice; else the skill is general
_HEAD_WORDS = 60  # markers are looked for in the first words of an observation
_LONGEST_MARKER = 3


@dataclass(frozen=True, slots=True)
class TriggerFit:
    """A trigger and how it fits: of the turns it fires on, how many need it; of those in need, how many it meets."""

    trigger: Trigger
    precision: float
    recall: float


@dataclass(frozen=True)
class TurnTexts:
    """Per row of a :class:`TurnTable`: the observation's markers and the action of the turn before."""

    markers: tuple[frozenset[str], ...]
    previous: tuple[str, ...]
    tasks: tuple[str, ...]

    @classmethod
    def of(cls, episodes: Sequence[Episode], *, min_tasks: int = 5) -> TurnTexts:
        """Markers are runs of one to three words that no task of theirs names and at least ``min_tasks`` tasks show."""
        grams: list[set[str]] = []
        previous: list[str] = []
        tasks: list[str] = []
        seen: dict[str, set[str]] = {}
        for episode in episodes:
            named = set((episode.task_shown or episode.task.text).lower().split())
            action = ""
            for turn in episode.turns:
                if turn.chosen is not None:
                    found = _grams(turn.observation.split()[:_HEAD_WORDS], named)
                    for gram in found:
                        seen.setdefault(gram, set()).add(episode.task.task_id)
                    grams.append(found)
                    previous.append(action)
                    tasks.append(episode.task.task_id)
                action = turn.action
        frequent = {gram for gram, where in seen.items() if len(where) >= min_tasks}
        return cls(tuple(frozenset(found & frequent) for found in grams), tuple(previous), tuple(tasks))


def _grams(words: Sequence[str], named: set[str]) -> set[str]:
    found: set[str] = set()
    for start in range(len(words)):
        for end in range(start + 1, min(start + _LONGEST_MARKER, len(words)) + 1):
            if words[end - 1].lower() in named:
                break
            found.add(" ".join(words[start:end]))
    return found


def choose_trigger(directive: Directive, table: TurnTable, texts: TurnTexts) -> TriggerFit:
    """The narrowest trigger that meets the need: beginning, observation pattern, action pattern, else general."""
    needed = table.relevant(directive)
    share = float(needed.mean()) if len(needed) else 0.0
    at_start = table.index == 0
    fallback = TriggerFit(Trigger(TriggerKind.GENERAL), share, 1.0)
    if not needed.any() or share > 0.95:
        return fallback
    start_recall, start_precision = float(at_start[needed].mean()), float(needed[at_start].mean())
    if start_recall >= 0.9 and start_precision >= 0.9:
        return TriggerFit(Trigger(TriggerKind.BEGINNING), start_precision, start_recall)
    fits = [fit for fit in (_by_observation(needed, texts), _by_action(directive, needed, table, texts)) if fit]
    best = max(fits, key=lambda fit: _f1(fit.precision, fit.recall), default=None)
    return best if best and _f1(best.precision, best.recall) >= MIN_FIT else fallback


def _f1(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _by_observation(needed: Bools, texts: TurnTexts) -> TriggerFit | None:
    hits: Counter[str] = Counter()
    everywhere: Counter[str] = Counter()
    for need, markers in zip(needed.tolist(), texts.markers, strict=True):
        everywhere.update(markers)
        if need:
            hits.update(markers)
    if not hits:
        return None
    total = int(needed.sum())

    def quality(marker: str) -> tuple[float, int, str]:
        fit = round(_f1(hits[marker] / everywhere[marker], hits[marker] / total), 6)
        readable = sum(character.isalpha() for character in marker)
        return fit, readable, marker

    marker = max(hits, key=quality)
    pattern = _marker_pattern(marker)
    trigger = Trigger(TriggerKind.OBSERVATION_PATTERN, pattern)
    return TriggerFit(trigger, hits[marker] / everywhere[marker], hits[marker] / total)


def _marker_pattern(marker: str) -> str:
    words = [re2.escape(word) for word in marker.split()]
    left = r"\b" if marker[0].isalnum() else ""
    right = r"\b" if marker[-1].isalnum() else ""
    return left + r"\s+".join(words) + right


def _by_action(directive: Directive, needed: Bools, table: TurnTable, texts: TurnTexts) -> TriggerFit | None:
    """The literal action, or the verb, that most often came right before the need."""
    if directive.form is Form.AFTER and not directive.target.text:
        patterns = Counter(_verb_pattern(action) for action in _where(texts.previous, needed))
    else:
        patterns = Counter(f"^{re2.escape(action)}$" for action in _where(texts.previous, needed) if action)
        common = {f"^{re2.escape(action)}$" for action in _widespread(texts)}
        patterns = Counter({pattern: count for pattern, count in patterns.items() if pattern in common})
    best: TriggerFit | None = None
    for pattern, _ in patterns.most_common(3):
        if not pattern:
            continue
        compiled = re2.compile(pattern)
        fires = np.array([bool(action and compiled.search(action)) for action in texts.previous])
        if not fires.any():
            continue
        fit = TriggerFit(
            Trigger(TriggerKind.ACTION_PATTERN, pattern), float(needed[fires].mean()), float(fires[needed].mean())
        )
        if best is None or _f1(fit.precision, fit.recall) > _f1(best.precision, best.recall):
            best = fit
    return best


def _where(actions: Sequence[str], rows: Bools) -> list[str]:
    return [action for action, row in zip(actions, rows.tolist(), strict=True) if row]


def _widespread(texts: TurnTexts, min_tasks: int = 5) -> set[str]:
    tasks: dict[str, set[str]] = {}
    for action, task in zip(texts.previous, texts.tasks, strict=True):
        tasks.setdefault(action, set()).add(task)
    return {action for action, where in tasks.items() if action and len(where) >= min_tasks}


def _verb_pattern(action: str) -> str:
    for bracket in "[(":
        head, found, _ = action.partition(bracket)
        if found and head:
            return f"^{re2.escape(head)}{re2.escape(bracket)}"
    return ""
