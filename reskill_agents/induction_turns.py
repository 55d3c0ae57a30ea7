"""The turns of a log as tables of truth values: which directives applied on a turn, and were they obeyed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import numpy.typing as npt

from reskill_agents.directives import ActionClass, Criterion, Directive, Form, content_words
from reskill_agents.environment import Choice
from reskill_agents.episodes import Episode
from reskill_agents.vocabulary import ActionVocabulary, OfferedChoices

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def offered_choices(episodes: Iterable[Episode]) -> list[OfferedChoices]:
    """What :func:`~reskill_agents.vocabulary.learn_vocabulary` reads of a log."""
    return [
        OfferedChoices(episode.task.task_id, episode.task_shown, turn.choices)
        for episode in episodes
        for turn in episode.turns
        if turn.choices
    ]


@dataclass(frozen=True)
class TurnTable:
    """One row a turn on which an admissible choice was taken; one column a class of ``classes``.

    Args:
        classes: the columns: literals, open kinds, open kinds restricted to what the task names.
        episode: (T,) index of the row's episode.
        index: (T,) the turn's index in its episode.
        n_episodes: number of episodes, those without a row included.
        offered: (T, C) a choice of the class is admissible.
        chosen: (T, C) the choice taken belongs to the class.
        previous: (T, C) so did the choice taken on the turn before.
        before: (T, C) so did some earlier choice of the episode.
        again: (T, C) a choice of the class that was taken before is admissible.
        repeated: (T, C) it was taken again.
        wanted: (T, C) the class has something to take, or had and it was taken.
        pending: (T, C) something of it is still to be taken (for named classes: per group the best match).
        among: (T, K) several choices of the kind are admissible and one was taken; K kinds as in ``kinds``.
        among_kept: (T, K, 4) the one taken is the one the criterion asks for (ties count).
        among_matters: (T, K, 4) not all choices do.
        mark_matters: (T, M) a choice of the mark's kind was taken where some but not all carried the mark.
        mark_taken: (T, M) it carried it.
    """

    vocabulary: ActionVocabulary
    episode: Ints
    index: Ints
    n_episodes: int
    offered: Bools
    chosen: Bools
    previous: Bools
    before: Bools
    again: Bools
    repeated: Bools
    wanted: Bools
    pending: Bools
    among_kept: Bools
    among_matters: Bools
    mark_matters: Bools
    mark_taken: Bools

    def column(self, target: ActionClass) -> int:
        """The column of ``target``."""
        return self.vocabulary.classes.index(target)

    def relevant(self, directive: Directive) -> Bools:
        """(T,) turns on which the advice is needed: its target is admissible and there is something to heed."""
        if directive.form is Form.AMONG:
            return self._several(directive.target)
        target = self.offered[:, self.column(directive.target)]
        if directive.mark:
            return self._several(directive.target)
        if directive.form is Form.AFTER and directive.other is not None:
            return self.previous[:, self.column(directive.target)] & self.offered[:, self.column(directive.other)]
        if directive.form is Form.BEFORE and directive.other is not None:
            return target & self.offered[:, self.column(directive.other)]
        return target

    def _several(self, target: ActionClass) -> Bools:
        return self.offered[:, self.column(target)]

    def judge(self, directive: Directive) -> tuple[Bools, Bools]:
        """(T,) on which turns ``directive`` applied to the choice taken, and where it was kept (a subset)."""
        column = self.column(directive.target)
        match directive.form:
            case Form.AMONG:
                kind = self.vocabulary.kinds.index(directive.target)
                criterion = list(Criterion).index(directive.criterion or Criterion.FIRST_LISTED)
                applies = self.among_matters[:, kind, criterion]
                return applies, applies & self.among_kept[:, kind, criterion]
            case Form.BEFORE:
                other = self.column(directive.other or directive.target)
                applies = self.chosen[:, column] & self.wanted[:, other]
                return applies, applies & ~self.pending[:, other]
            case Form.AFTER:
                other = self.column(directive.other or directive.target)
                applies = self.previous[:, column] & self.offered[:, other]
                return applies, applies & self.chosen[:, other]
            case Form.AVOID if directive.mark:
                mark = self.vocabulary.marks.index((directive.target.kind, directive.mark))
                applies = self.mark_matters[:, mark]
                return applies, applies & ~self.mark_taken[:, mark]
            case Form.AVOID:
                applies = self.offered[:, column]
                return applies, applies & ~self.chosen[:, column]
            case Form.SOON:
                applies = self.offered[:, column] & ~self.before[:, column]
                return applies, applies & self.chosen[:, column]
            case Form.ONCE:
                applies = self.again[:, column]
                return applies, applies & ~self.repeated[:, column]

    def dose(self, directive: Directive) -> Floats:
        """(E,) how well each episode kept ``directive``: 0..1, NaN where it never applied.

        "Do not" and "never twice" are broken by one breach; the other forms count the share of turns that kept them.
        """
        applies, kept = self.judge(directive)
        applied = np.bincount(self.episode[applies], minlength=self.n_episodes).astype(float)
        obeyed = np.bincount(self.episode[kept], minlength=self.n_episodes).astype(float)
        share: Floats = np.divide(obeyed, applied, out=np.full(self.n_episodes, np.nan), where=applied > 0)
        if (directive.form is Form.AVOID and not directive.mark) or directive.form is Form.ONCE:
            share = np.where(np.isnan(share), np.nan, np.floor(share))
        return share


@cache
def _words(text: str) -> frozenset[str]:
    return content_words(text)


@dataclass
class _Taken:
    """What an episode has taken so far and what of it still counts."""

    actions: set[str] = field(default_factory=set)
    columns: dict[int, bool] = field(default_factory=dict)  # class -> whether all of it were picks among alternatives
    groups: dict[str, str] = field(default_factory=dict)  # group -> the last action taken in it

    def add(self, choice: Choice, columns: Sequence[int], *, opens: bool) -> None:
        """Take ``choice``; a newly opened thing forgets what was picked among the alternatives of the last one."""
        if opens and not choice.group:
            self.groups.clear()
            self.columns = {column: picked for column, picked in self.columns.items() if not picked}
        self.actions.add(choice.action)
        for column in columns:
            self.columns[column] = self.columns.get(column, True) and bool(choice.group)
        if choice.group:
            self.groups[choice.group] = choice.action


def tabulate(episodes: Sequence[Episode], vocabulary: ActionVocabulary) -> TurnTable:
    """The table of ``episodes``; turns without admissible choices or with an invalid action have no row."""
    classes, kinds, marks = vocabulary.classes, vocabulary.kinds, vocabulary.marks
    by_kind: dict[str, list[int]] = {}
    for column, target in enumerate(classes):
        by_kind.setdefault(target.kind, []).append(column)
    kind_rank = {target.kind: rank for rank, target in enumerate(kinds)}
    kind_marks: dict[str, list[tuple[int, str]]] = {}
    for position, (kind, word) in enumerate(marks):
        kind_marks.setdefault(kind, []).append((position, word))
    rows = [
        (number, turn.index, turn.choices, turn.chosen)
        for number, episode in enumerate(episodes)
        for turn in episode.turns
        if turn.chosen is not None
    ]
    shape = (len(rows), len(classes))
    tables = {name: np.zeros(shape, dtype=bool) for name in _COLUMN_TABLES}
    among_kept = np.zeros((len(rows), len(kinds), len(Criterion)), dtype=bool)
    among_matters = np.zeros_like(among_kept)
    mark_matters = np.zeros((len(rows), len(marks)), dtype=bool)
    mark_taken = np.zeros_like(mark_matters)
    literals = {(target.kind, target.text) for target in vocabulary.literals}
    current, taken, last = -1, _Taken(), list[int]()
    for row, (number, _, choices, chosen) in enumerate(rows):
        assert chosen is not None
        if number != current:
            current, taken, last = number, _Taken(), []
        task_words = _words(episodes[number].task_shown)

        def columns_of(choice: Choice, task_words: frozenset[str] = task_words) -> list[int]:
            return [
                column
                for column in by_kind.get(choice.kind, ())
                if (not classes[column].text or classes[column].text == choice.text)
                and (not classes[column].named or _words(choice.text) & task_words)
            ]

        offered: dict[int, list[Choice]] = {}
        for choice in choices:
            for column in columns_of(choice):
                offered.setdefault(column, []).append(choice)
        here = columns_of(chosen)
        tables["previous"][row, last] = True
        tables["before"][row, list(taken.columns)] = True
        tables["chosen"][row, here] = True
        if chosen.action in taken.actions:
            tables["repeated"][row, here] = True
        for column, group in offered.items():
            tables["offered"][row, column] = True
            tables["again"][row, column] = any(choice.action in taken.actions for choice in group)
            if classes[column].named:
                tables["pending"][row, column] = _named_pending(group, taken, task_words)
            else:
                tables["pending"][row, column] = column not in taken.columns
        rank = kind_rank.get(chosen.kind)
        if rank is not None:
            same_kind = [choice for choice in choices if choice.kind == chosen.kind]
            among_matters[row, rank], among_kept[row, rank] = _among(chosen, same_kind, task_words)
        for position, word in kind_marks.get(chosen.kind, ()):
            carrying = [word in _words(choice.text) for choice in choices if choice.kind == chosen.kind]
            mark_matters[row, position] = any(carrying) and not all(carrying)
            mark_taken[row, position] = mark_matters[row, position] and word in _words(chosen.text)
        opens = rank is not None and (chosen.kind, chosen.text) not in literals
        taken.add(chosen, here, opens=opens)
        last = here
    return TurnTable(
        vocabulary=vocabulary,
        episode=np.array([row[0] for row in rows], dtype=np.int64),
        index=np.array([row[1] for row in rows], dtype=np.int64),
        n_episodes=len(episodes),
        wanted=tables["offered"] | tables["before"],
        among_kept=among_kept,
        among_matters=among_matters,
        mark_matters=mark_matters,
        mark_taken=mark_taken,
        **tables,
    )


_COLUMN_TABLES = ("offered", "chosen", "previous", "before", "again", "repeated", "pending")


def _named_pending(offered: Sequence[Choice], taken: _Taken, task_words: frozenset[str]) -> bool:
    """Whether in some group the best match of the offered named choices is not what was taken last in that group."""
    best: dict[str, Choice] = {}
    for choice in offered:
        key = choice.group or choice.action
        if key not in best or _closeness(choice, task_words) > _closeness(best[key], task_words):
            best[key] = choice
    return any(
        (taken.groups.get(choice.group) != choice.action) if choice.group else (choice.action not in taken.actions)
        for choice in best.values()
    )


def _closeness(choice: Choice, task_words: frozenset[str]) -> tuple[int, int]:
    shared = len(_words(choice.text) & task_words)
    return shared, shared - len(_words(choice.text))


def _among(
    chosen: Choice, same_kind: Sequence[Choice], task_words: frozenset[str]
) -> tuple[tuple[bool, ...], tuple[bool, ...]]:
    """For each criterion: does it tell the offered choices apart, and does the one taken meet it."""
    overlaps = [len(_words(choice.text) & task_words) for choice in same_kind]
    mine, several = len(_words(chosen.text) & task_words), len(same_kind) > 1
    differ = several and min(overlaps) < max(overlaps)
    kept = {
        Criterion.MOST_TASK_WORDS: mine == max(overlaps),
        Criterion.FIRST_LISTED: chosen.action == same_kind[0].action,
        Criterion.LAST_LISTED: chosen.action == same_kind[-1].action,
    }
    matters = (differ if criterion is Criterion.MOST_TASK_WORDS else several for criterion in Criterion)
    return tuple(matters), tuple(kept[criterion] for criterion in Criterion)
