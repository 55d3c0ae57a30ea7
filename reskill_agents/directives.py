"""A closed grammar of advice: what the offline author may say, and what following it means.

A directive is one sentence about kinds of choices ("before `x`, take every y the task names"). Its slots are filled
from the action vocabulary of a log, never from a list of remedies, so the grammar knows no world. The offline
author renders directives to skill text; the stand-in policy is cloned on scripted agents that obey them. Most
sentences of the grammar are useless or harmful in any given world: only a trial can tell.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from reskill_agents.environment import Choice

_WORD = re.compile(r"[a-z0-9]+(?:\.[0-9]+)?")
STOP_WORDS = frozenset(
    "a an and are as at be but by for from i if in into is it its me my no not of on or such that the their then "
    "there these they this to was will with want need looking find would like am lower than".split()
)


@lru_cache(maxsize=65_536)
def content_words(text: str) -> frozenset[str]:
    """The lower-case words of ``text`` less function words."""
    return frozenset(_WORD.findall(text.lower())) - STOP_WORDS


class Form(StrEnum):
    """The sentences of the grammar."""

    BEFORE = "before"  # before target, take other
    AFTER = "after"  # after target, take other
    AMONG = "among"  # among several of target's kind, take the one by criterion
    AVOID = "avoid"  # do not take target (or: one marked with a word)
    SOON = "soon"  # take target as soon as it is offered
    ONCE = "once"  # never take target twice


class Criterion(StrEnum):
    """How to choose among several choices of a kind."""

    MOST_TASK_WORDS = "most_task_words"
    FIRST_LISTED = "first_listed"
    LAST_LISTED = "last_listed"


@dataclass(frozen=True, slots=True, order=True)
class ActionClass:
    """A set of choices.

    Args:
        kind: the choices' kind.
        text: one exact text of that kind (e.g. a button); empty: any choice of the kind.
        named: only choices that share words with the task.
    """

    kind: str
    text: str = ""
    named: bool = False

    def holds(self, choice: Choice, task_words: frozenset[str]) -> bool:
        """Whether ``choice`` belongs to this class."""
        if choice.kind != self.kind or (self.text and choice.text != self.text):
            return False
        return not self.named or bool(content_words(choice.text) & task_words)


@dataclass(frozen=True, slots=True, order=True)
class Directive:
    """One sentence of advice. ``other`` is read by before/after, ``criterion`` by among, ``mark`` by avoid.

    ``mark`` is a word in the text of a choice: "do not take an item marked `mark`".
    """

    form: Form
    target: ActionClass
    other: ActionClass | None = None
    criterion: Criterion | None = None
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Situation:
    """What a follower of directives looks at.

    ``taken``: earlier choices that still count (the caller decides how far back), oldest first.
    """

    choices: tuple[Choice, ...]
    task_words: frozenset[str]
    taken: tuple[Choice, ...] = ()


def overlap(choice: Choice, task_words: frozenset[str]) -> int:
    """How many words of the task the choice's text holds."""
    return len(content_words(choice.text) & task_words)


def pick_by(criterion: Criterion, choices: Sequence[Choice], task_words: frozenset[str]) -> Choice:
    """The choice that ``criterion`` asks for; ties go to the first listed. ``choices`` must not be empty."""
    if criterion is Criterion.FIRST_LISTED:
        return choices[0]
    if criterion is Criterion.LAST_LISTED:
        return choices[-1]
    return max(choices, key=lambda choice: overlap(choice, task_words))


def obey(directives: Sequence[Directive], situation: Situation, proposal: Choice) -> Choice:
    """What an agent that would take ``proposal`` takes when it follows ``directives``.

    Order: soon, after, before, among, then avoid and once as filters. Among several directives of a form the first
    that applies wins. Deterministic; always returns one of ``situation.choices`` (or the proposal).
    """
    by_form = defaultdict[Form, list[Directive]](list)
    for directive in directives:
        by_form[directive.form].append(directive)
    words = situation.task_words
    choice = proposal
    for directive in by_form[Form.SOON]:
        offered = [c for c in situation.choices if directive.target.holds(c, words)]
        if offered:
            choice = offered[0]
            break
    if situation.taken:
        for directive in by_form[Form.AFTER]:
            if directive.target.holds(situation.taken[-1], words) and directive.other:
                offered = [c for c in situation.choices if directive.other.holds(c, words)]
                if offered:
                    choice = offered[0]
                    break
    due = False
    for directive in by_form[Form.BEFORE]:
        if directive.other and directive.target.holds(choice, words):
            pending = _pending(directive.other, situation)
            if pending:
                choice, due = pending[0], True
                break
    forbidden = _forbidden(by_form[Form.AVOID] + by_form[Form.ONCE], situation)
    if not due:
        for directive in by_form[Form.AMONG]:
            offered = [c for c in situation.choices if directive.target.holds(c, words) and c.action not in forbidden]
            if directive.criterion and directive.target.holds(choice, words) and len(offered) > 1:
                choice = pick_by(directive.criterion, offered, words)
                break
    if choice.action in forbidden:
        allowed = [c for c in situation.choices if c.action not in forbidden]
        same_kind = [c for c in allowed if c.kind == choice.kind]
        if same_kind or allowed:
            choice = (same_kind or allowed)[0]
    return choice


def _pending(wanted: ActionClass, situation: Situation) -> list[Choice]:
    """Choices of ``wanted`` still to be taken: per group the best match to the task, none twice."""
    words = situation.task_words
    done_actions = {choice.action for choice in situation.taken}
    done_groups = {choice.group for choice in situation.taken if choice.group}
    offered = [c for c in situation.choices if wanted.holds(c, words) and c.action not in done_actions]
    if not wanted.named:  # "take one": any earlier one will do
        return [] if any(wanted.holds(choice, words) for choice in situation.taken) else offered
    best: dict[str, Choice] = {}
    for choice in offered:
        if choice.group and choice.group in done_groups:
            continue
        key = choice.group or choice.action
        if key not in best or _closeness(choice, words) > _closeness(best[key], words):
            best[key] = choice
    return list(best.values())


def _closeness(choice: Choice, task_words: frozenset[str]) -> tuple[int, int]:
    shared = overlap(choice, task_words)
    return shared, shared - len(content_words(choice.text))


def _forbidden(directives: Sequence[Directive], situation: Situation) -> set[str]:
    taken = {choice.action for choice in situation.taken}
    actions: set[str] = set()
    for directive in directives:
        for choice in situation.choices:
            if not directive.target.holds(choice, situation.task_words):
                continue
            if directive.form is Form.ONCE:
                if choice.action in taken:
                    actions.add(choice.action)
            elif not directive.mark or directive.mark in content_words(choice.text):
                actions.add(choice.action)
    return actions


def class_phrase(target: ActionClass) -> str:
    """The class in words: "`buy now`", "every option the task names", "an item"."""
    if target.text:
        return f"`{target.text}`"
    if target.named:
        return f"every {target.kind} the task names"
    return f"{_article(target.kind)} {target.kind}"


_CRITERIA = {
    Criterion.MOST_TASK_WORDS: "that shares the most words with the task",
    Criterion.FIRST_LISTED: "listed first",
    Criterion.LAST_LISTED: "listed last",
}


def sentence(directive: Directive) -> str:
    """The directive as one English sentence: the only wording the offline author uses."""
    target = class_phrase(directive.target)
    if directive.form in (Form.BEFORE, Form.AFTER):
        if directive.other is None:
            raise ValueError(f"a {directive.form} directive needs 'other'")
        return f"{directive.form.value.capitalize()} {target}, take {class_phrase(directive.other)}."
    if directive.form is Form.AMONG:
        if directive.criterion is None:
            raise ValueError("an among directive needs 'criterion'")
        return (
            f"When several {directive.target.kind} choices are offered, take the one {_CRITERIA[directive.criterion]}."
        )
    if directive.form is Form.AVOID:
        return f"Do not take {target} marked `{directive.mark}`." if directive.mark else f"Do not take {target}."
    if directive.form is Form.SOON:
        return f"Take {target} as soon as it is offered."
    return f"Never take {target} twice."


def when_phrase(directive: Directive) -> str:
    """When the advice matters: "`buy now` is offered", "several item choices are offered"."""
    if directive.form is Form.AMONG:
        return f"several {directive.target.kind} choices are offered"
    return f"{class_phrase(ActionClass(directive.target.kind, directive.target.text))} is offered"


def body_for(directive: Directive) -> str:
    """The body of a skill that gives this advice: when to use and the action, in the grammar's wording."""
    return f"**When to use:** {when_phrase(directive)}.\n**Action:** {sentence(directive)}"


def _article(word: str) -> str:
    return "an" if word[:1] in "aeiou" else "a"
