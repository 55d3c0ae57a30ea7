"""Corpus and question files, one JSON object a line.

Passages: ``{"id", "title", "text"}``; or ``{"id", "contents"}`` with the title in the first line of ``contents``, quoted
or not, as public Wikipedia dumps for retrieval have it. ``id`` and ``title`` may be missing.

Questions: ``{"id", "question", "answers"}``; the answers may also be called ``golden_answers`` or ``answer``, and be a
text or a list of texts. Optional: ``type`` (a text), ``hops`` (a number), and ``split`` (train, valid, seen_test or
unseen_test; for every question or for none).

Without splits in the file, a fifth of the types (where there are five or more) is held out for the unseen test, and the
other questions are 60/20/20 train, valid and seen test.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from reskill_agents.environment import Split
from reskill_agents.envs.json_stream import kind_of
from reskill_agents.errors import ConfigError

UNSEEN_SHARE = 0.2  # of the types
MIN_TYPES = 5  # below this no type is held out
SHARES = ((Split.TRAIN, 0.6), (Split.VALID, 0.8), (Split.SEEN_TEST, 1.0))  # cumulative
_ANSWERS = ("answers", "golden_answers", "answer")
_TITLE_QUOTES = "\"'“”"


@dataclass(frozen=True, slots=True)
class Passage:
    """What a search shows."""

    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Question:
    """A question.

    Args:
        question_id: unique.
        text: the question.
        answers: right answers, any of them; at least one.
        kind: its type, to hold out and to report by; empty: unknown.
        hops: pages that have to be read one after the other; 0: unknown.
        subject: what the question starts from; questions with one subject stay in one split. Empty: the question alone.
        split: where it belongs.
    """

    question_id: str
    text: str
    answers: tuple[str, ...]
    kind: str = ""
    hops: int = 0
    subject: str = ""
    split: Split = Split.TRAIN


@dataclass(frozen=True, slots=True)
class QuestionSet:
    """Passages in document order, questions in task order, where they come from and how the splits were made."""

    passages: tuple[Passage, ...]
    questions: tuple[Question, ...]
    source: str
    split_rule: str


def load_questions(corpus: Path, questions: Path, *, seed: int) -> QuestionSet:
    """Read both files.

    Raises:
        ConfigError: a file is missing, empty or malformed; names the file, the line and the field.
    """
    passages = tuple(_passage(item, where) for item, where in _objects(corpus))
    loaded: list[Question] = []
    given: list[bool] = []
    seen: set[str] = set()
    for number, (item, where) in enumerate(_objects(questions)):
        question = _question(item, where, number)
        if question.question_id in seen:
            raise ConfigError(f"{where}: 'id' {question.question_id!r} was used before")
        seen.add(question.question_id)
        loaded.append(question)
        given.append("split" in item)
    if all(given):
        rule = "file"
    elif any(given):
        raise ConfigError(f"{questions.name}: line {given.index(False) + 1} has no 'split' but others do; all or none")
    else:
        loaded, rule = split_questions(loaded, seed=seed), "type"
    if not any(question.split is Split.TRAIN for question in loaded):
        raise ConfigError(f"{questions.name}: no question is for training")
    return QuestionSet(passages, tuple(loaded), f"{corpus.name}+{questions.name}", rule)


def split_questions(questions: Sequence[Question], *, seed: int) -> list[Question]:
    """The questions with their splits: whole types are unseen, and questions of one subject never cross the others."""
    rng = random.Random(f"search-qa/splits/{seed}")
    kinds = sorted({question.kind for question in questions})
    held_out = set(rng.sample(kinds, max(1, round(UNSEEN_SHARE * len(kinds)))) if len(kinds) >= MIN_TYPES else [])
    subjects = sorted({_subject(question) for question in questions if question.kind not in held_out})
    rng.shuffle(subjects)
    split_of: dict[str, Split] = {}
    for number, subject in enumerate(subjects):
        split_of[subject] = next(split for split, share in SHARES if number < share * len(subjects))
    return [replace(q, split=Split.UNSEEN_TEST if q.kind in held_out else split_of[_subject(q)]) for q in questions]


def _subject(question: Question) -> str:
    return question.subject or question.question_id


def _objects(path: Path) -> Iterator[tuple[Mapping[str, object], str]]:
    """The objects of a JSONL file, each with where it stands."""
    number, empty = 0, True
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                where = f"{path.name}: line {number}"
                item = json.loads(line)
                if not isinstance(item, dict):
                    raise ConfigError(f"{where}: must be an object, not {kind_of(item)}")
                empty = False
                yield item, where
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path.name}: line {number}: is no JSON ({error.msg})") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from error
    if empty:
        raise ConfigError(f"{path.name}: holds nothing")


def _passage(item: Mapping[str, object], where: str) -> Passage:
    if "text" not in item and "contents" in item:
        title, _, text = _text(item, "contents", where).partition("\n")
        return Passage(title.strip(_TITLE_QUOTES + " "), text) if text.strip() else Passage("", title)
    return Passage(_text(item, "title", where, required=False), _text(item, "text", where))


def _question(item: Mapping[str, object], where: str, number: int) -> Question:
    name = item.get("id", number)
    if isinstance(name, bool) or not isinstance(name, str | int):
        raise ConfigError(f"{where}: 'id' must be a text or a number, not {kind_of(name)}")
    hops = item.get("hops", 0)
    if isinstance(hops, bool) or not isinstance(hops, int) or hops < 0:
        raise ConfigError(f"{where}: 'hops' must be a whole number, not {hops!r}")
    split = item.get("split", Split.TRAIN.value)
    if split not in [known.value for known in Split]:
        raise ConfigError(f"{where}: 'split' must be one of {', '.join(Split)}, not {split!r}")
    return Question(
        f"search-qa-{name}",
        _text(item, "question", where),
        _answers(item, where),
        _text(item, "type", where, required=False),
        hops,
        split=Split(split),
    )


def _answers(item: Mapping[str, object], where: str) -> tuple[str, ...]:
    field = next((name for name in _ANSWERS if name in item), None)
    if field is None:
        raise ConfigError(f"{where}: 'answers' is missing")
    value = item[field]
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or not listed or not all(isinstance(one, str) and one.strip() for one in listed):
        raise ConfigError(f"{where}: {field!r} must be a text or a list of texts, none of them empty")
    return tuple(listed)


def _text(item: Mapping[str, object], field: str, where: str, *, required: bool = True) -> str:
    value = item.get(field)
    if isinstance(value, str) and (value.strip() or not required):
        return value
    if value is None and not required:
        return ""
    raise ConfigError(f"{where}: {field!r} {'is missing' if value is None else f'must be text, not {value!r}'}")
