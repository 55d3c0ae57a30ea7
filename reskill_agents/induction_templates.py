"""Templates of a log's texts: what actions and observations have in common across tasks, with their slots left open.

For logs that list no choices. Nothing here knows a world or a language of commands: a template is a literal text, a
head, or a word that recurs in enough tasks without being a word of the task.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import re2

from reskill_agents.directives import STOP_WORDS, content_words
from reskill_agents.episodes import Episode

ERROR_PATTERN = (
    r"(?i)\b(error|exception|traceback|invalid|illegal|failed|failure|refused|denied|not found|no such|doesn't exist|"
    r"does not exist|unknown (column|table|command|option|name)|syntax)\b"
)
EMPTY_PATTERN = r"^\s*(\[\s*\]|\{\s*\}|\(\s*\)|none|null|nothing happens\.?)?\s*$"
_HEAD = re.compile(
    r"\s*([A-Za-z_][\w.-]*)(?=$|[\s\[(*]|[;,:](?:\s|$))\s*([\[(]?)"
)  # a name cut short by another sign is none
_CLOSING = {"[": "]", "(": ")"}
_WORD = re.compile(r"[A-Za-z_][A-Za-z_'*]*|\*")
_MOST = 24  # heads and whole actions, and observations, that are kept, the most widespread first
_MOST_WORDS = 12
_LONGEST_LITERAL = 40
_LONGEST_NAME = 48
_MOST_NAME_WORDS = 3
_MOST_CALLED_WORDS = 6  # find_user_id_by_name_zip(...)
_SPREAD = 0.03  # share of the tasks in which a template must occur
_TWIN = 0.9  # overlap (Jaccard) from which on two templates are one


@dataclass(frozen=True, slots=True, order=True)
class Template:
    """A set of texts.

    Args:
        pattern: RE2 pattern that finds it.
        shown: how a skill names it: ``SHOW TABLES``, ``search[...]``.
        holds: the word it holds, for templates that are "some action with this word".
    """

    pattern: str
    shown: str
    holds: str = ""


ERROR = Template(ERROR_PATTERN, "an error")
EMPTY = Template(EMPTY_PATTERN, "an empty result")


@dataclass(frozen=True, slots=True)
class TemplateVocabulary:
    """The templates of a log's actions and observations, the most widespread first."""

    actions: tuple[Template, ...]
    observations: tuple[Template, ...]


def learn_templates(episodes: Sequence[Episode], *, min_tasks: int) -> TemplateVocabulary:
    """The templates that at least ``min_tasks`` tasks share; deterministic, order of the input does not matter."""
    return TemplateVocabulary(_action_templates(episodes, min_tasks), _observation_templates(episodes, min_tasks))


def _action_templates(episodes: Sequence[Episode], min_tasks: int) -> tuple[Template, ...]:
    tasks: dict[Template, set[str]] = defaultdict(set)
    named: Counter[Template] = Counter()
    spelled: dict[Template, Counter[str]] = defaultdict(Counter)
    seen: Counter[Template] = Counter()
    for episode in episodes:
        words = content_words(episode.task.text)
        for action in episode.actions:
            for template, spelling in _templates_of(action):
                tasks[template].add(episode.task.task_id)
                spelled[template][spelling] += 1
                seen[template] += 1
                named[template] += bool(content_words(spelling) & words)
    total = len({episode.task.task_id for episode in episodes})
    kept = [
        Template(t.pattern, _show(t, spelled[t].most_common(1)[0][0]), t.holds)
        for t in tasks
        if max(min_tasks, _SPREAD * total) <= len(tasks[t])
        and named[t] <= 0.2 * seen[t]
        and (not t.holds or len(tasks[t]) < 0.9 * total)
    ]
    kept.sort(key=lambda t: (-len(tasks[Template(t.pattern, "", t.holds)]), t.pattern))
    actions = sorted({action for episode in episodes for action in episode.actions if action})
    distinct = _distinct(kept, actions)
    commands = [template for template in distinct if not template.holds][:_MOST]
    commands.sort(key=lambda template: not template.pattern.endswith("$"))  # whole actions first: they say most
    return (*commands, *[template for template in distinct if template.holds][:_MOST_WORDS])


def _templates_of(action: str) -> Iterable[tuple[Template, str]]:
    """The head, the whole when it is short, and the words of an action; with the spelling found."""
    flat = " ".join(action.split())
    head = _HEAD.match(flat)
    if head is None:
        return
    verb, bracket = head.group(1), head.group(2)
    if not _speakable(verb, called=bool(bracket)) or (bracket and not flat.rstrip("; ").endswith(_CLOSING[bracket])):
        return
    yield (
        Template(f"(?i)^\\s*{re2.escape(verb.lower())}" + (f"\\s*\\{bracket}" if bracket else r"\b"), ""),
        verb + bracket,
    )
    if len(flat) <= _LONGEST_LITERAL:
        literal = r"\s+".join(re2.escape(word) for word in flat.lower().rstrip(";").split())
        yield Template(f"(?i)^\\s*{literal}[\\s;]*$", ""), flat.rstrip(";")
    if bracket:
        argument = flat[head.end() :].split(" ", 1)[0].lower()
        if argument and not argument.endswith("]"):
            start = f"(?i)^\\s*{re2.escape(verb.lower())}\\s*\\{bracket}{re2.escape(argument)}\\s"
            yield Template(start, ""), f"{verb}{bracket}{argument} "
        return
    words = (found.lower() for found in _WORD.findall(flat[head.end() :]))
    for word in dict.fromkeys(word for word in words if word not in STOP_WORDS):
        yield Template(f"(?i)\\s{re2.escape(word)}\\b" if word[0].isalpha() else r"\s\*", "", word), word


def _speakable(name: str, *, called: bool) -> bool:
    """Whether a name is one: a sentence joined by underscores is what an attacker writes into a log."""
    most = _MOST_CALLED_WORDS if called else _MOST_NAME_WORDS
    return len(name) <= _LONGEST_NAME and len(re.split(r"[_.-]+", name.strip("_.-"))) <= most


def _show(template: Template, spelling: str) -> str:
    if template.holds:
        return spelling.upper() if spelling.isalpha() else spelling
    if template.pattern.endswith("$"):
        return spelling
    closing = {"[": "...]", "(": "...)"}.get(spelling.rstrip()[-1:] if spelling else "", "")
    if closing:
        return spelling + closing
    return spelling.rstrip() + " ..." + ("]" if "[" in spelling else ")" if "(" in spelling else "")


def _distinct(templates: Sequence[Template], texts: Sequence[str]) -> tuple[Template, ...]:
    """Of templates that find nearly the same texts one is kept: the whole or the head rather than a word it holds."""
    kept: list[tuple[Template, frozenset[int]]] = []
    for template in templates:
        compiled = re2.compile(template.pattern)
        hits = frozenset(number for number, text in enumerate(texts) if compiled.search(text))
        if not hits:
            continue
        twin = next((n for n, (_, other) in enumerate(kept) if len(hits & other) >= _TWIN * len(hits | other)), None)
        if twin is None:
            kept.append((template, hits))
        elif kept[twin][0].holds and not template.holds:
            kept[twin] = (template, hits)
    return tuple(template for template, _ in kept)


def _observation_templates(episodes: Sequence[Episode], min_tasks: int) -> tuple[Template, ...]:
    """Errors, empty results, and runs of words that observations of many tasks hold and no task names."""
    tasks: dict[str, set[str]] = defaultdict(set)
    for episode in episodes:
        words = frozenset(_plain(word) for word in episode.task.text.split())
        for turn in episode.turns[1:]:
            for gram in _grams(turn.observation):
                inner = gram.split()
                if not content_words(gram) & words and not {_plain(inner[0]), _plain(inner[-1])} & words:
                    tasks[gram].add(episode.task.task_id)
    wide = [gram for gram, where in tasks.items() if len(where) >= max(min_tasks, _SPREAD * _task_count(episodes))]
    wide.sort(key=lambda gram: (-len(tasks[gram]), -len(gram), gram))
    grams = [Template(r"\s+".join(re2.escape(word) for word in gram.split()), gram) for gram in wide[: 10 * _MOST]]
    texts = sorted({turn.observation for episode in episodes for turn in episode.turns[1:]})
    return _distinct([ERROR, EMPTY, *grams], texts)[:_MOST]


def _plain(word: str) -> str:
    return word.strip(".,:;!?()[]'\"").lower()


def _task_count(episodes: Sequence[Episode]) -> int:
    return len({episode.task.task_id for episode in episodes})


def _grams(text: str) -> set[str]:
    """Runs of two to four plain words among the first ones."""
    words = text.split()[:40]
    plain = [bool(re.fullmatch(r"[A-Za-z'’]+[:.]?", word)) for word in words]
    found: set[str] = set()
    for start in range(len(words)):
        for end in range(start + 2, min(start + 4, len(words)) + 1):
            if not all(plain[start:end]):
                break
            found.add(" ".join(words[start:end]))
    return found
