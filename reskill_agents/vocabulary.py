"""The action vocabulary of a log: which kinds of choices there are, which of them are always the same."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from reskill_agents.directives import ActionClass, content_words
from reskill_agents.environment import Choice

MIN_TASKS = 5  # a text seen in fewer tasks never becomes a slot value (what one episode says is not vocabulary)
LITERAL_SHARE = 0.5  # a literal is offered in at least this share of the tasks in which its kind is offered


@dataclass(frozen=True, slots=True)
class OfferedChoices:
    """The choices offered on one turn of one task, and the task in the wording of the observations."""

    task_id: str
    task_shown: str
    choices: tuple[Choice, ...]


@dataclass(frozen=True, slots=True)
class ActionVocabulary:
    """What directives may name.

    Args:
        kinds: open classes: choices of the kind differ from task to task (named and unnamed variants are implied).
        literals: single choices that recur (buttons, commands).
        marks: (kind, word): words that some but not all choices of an open kind carry and no task names. Words with a digit
            are quantities or labels, never marks.
    """

    kinds: tuple[ActionClass, ...] = ()
    literals: tuple[ActionClass, ...] = ()
    marks: tuple[tuple[str, str], ...] = ()

    @property
    def classes(self) -> tuple[ActionClass, ...]:
        """Literals, open kinds, and open kinds restricted to what the task names."""
        named = tuple(ActionClass(target.kind, named=True) for target in self.kinds)
        return self.literals + self.kinds + named


def learn_vocabulary(offered: Iterable[OfferedChoices], *, min_tasks: int = MIN_TASKS) -> ActionVocabulary:
    """The vocabulary of a set of turns; deterministic, order of the input does not matter."""
    kind_tasks: dict[str, set[str]] = defaultdict(set)
    text_tasks: dict[tuple[str, str], set[str]] = defaultdict(set)
    sharing: Counter[tuple[str, str]] = Counter()
    word_counts: dict[str, Counter[str]] = defaultdict(Counter)
    word_tasks: dict[tuple[str, str], set[str]] = defaultdict(set)
    totals: Counter[str] = Counter()
    for turn in offered:
        task_words = content_words(turn.task_shown)
        for choice in turn.choices:
            key = (choice.kind, choice.text)
            words = content_words(choice.text)
            kind_tasks[choice.kind].add(turn.task_id)
            text_tasks[key].add(turn.task_id)
            sharing[key] += bool(words & task_words)
            totals[choice.kind] += 1
            for word in words - task_words:
                if any(character.isdigit() for character in word):
                    continue
                word_counts[choice.kind][word] += 1
                word_tasks[choice.kind, word].add(turn.task_id)
    kinds = sorted(kind for kind, tasks in kind_tasks.items() if len(tasks) >= min_tasks)
    literals = sorted(
        ActionClass(kind, text)
        for (kind, text), tasks in text_tasks.items()
        if kind in kinds
        and len(tasks) >= max(min_tasks, LITERAL_SHARE * len(kind_tasks[kind]))
        and not sharing[kind, text]
    )
    literal_texts = {(target.kind, target.text) for target in literals}
    open_kinds = [kind for kind in kinds if any(key[0] == kind and key not in literal_texts for key in text_tasks)]
    marks = sorted(
        (kind, word)
        for kind in open_kinds
        for word, count in word_counts[kind].items()
        if len(word_tasks[kind, word]) >= min_tasks and 0.1 <= count / totals[kind] <= 0.9
    )
    return ActionVocabulary(tuple(ActionClass(kind) for kind in open_kinds), tuple(literals), tuple(marks))
