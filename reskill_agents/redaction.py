"""Personal data leaves an episode before anything of it is written."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache

from reskill_agents.environment import Choice, Task
from reskill_agents.episodes import Episode, Turn
from reskill_agents.errors import ConfigError

TextRedactor = Callable[[str], str]
Redactor = Callable[[Episode], Episode]

PII_TYPES = ("email", "credit_card", "ip", "mac_address")  # LangChain's, without url: addresses are often the work

NEEDS_LANGCHAIN = (
    "redaction by default needs langchain (pip install 'reskill-agents[embed]'); or give redact and redact_metadata of "
    "your own (None for none), or capture='outcomes_only'"
)


def redaction_available() -> bool:
    """Whether LangChain's detectors are installed."""
    return importlib.util.find_spec("langchain") is not None


@cache
def _rules() -> tuple[Callable[[str], tuple[str, object]], ...]:
    try:
        from langchain.agents.middleware import RedactionRule
    except ImportError as error:
        raise ConfigError(NEEDS_LANGCHAIN) from error
    return tuple(RedactionRule(pii_type=kind, strategy="redact").resolve().apply for kind in PII_TYPES)


def redact_text(text: str) -> str:
    """``text`` with e-mail addresses, card numbers, IP and MAC addresses replaced by ``[REDACTED_<TYPE>]``.

    By LangChain's detectors. Names, postal addresses and telephone numbers stay: they need a detector of your own.

    Raises:
        ConfigError: langchain is not installed.
    """
    for rule in _rules():
        text = rule(text)[0]
    return text


def redact_pii(episode: Episode) -> Episode:
    """The default ``redact`` hook: :func:`redact_text` over every text of the episode.

    Raises:
        ConfigError: langchain is not installed.
    """
    return map_texts(episode, redact_text)


def map_texts(episode: Episode, change: TextRedactor) -> Episode:
    """``episode`` with ``change`` applied to every text a person or tool may have written.

    Names of skills and tools, ids of episodes and digests stay. Equal texts stay equal, so that an action is still
    one of its choices. Token ids are dropped: they spell the text.
    """
    task = episode.task
    tags: Mapping[str, str] = {key: change(value) for key, value in task.tags.items()}
    return replace(
        episode,
        task=Task(change(task.task_id), change(task.text), task.split, tags),
        turns=tuple(_turn(turn, change) for turn in episode.turns),
        task_shown=change(episode.task_shown),
        final_observation=change(episode.final_observation),
        error=change(episode.error),
    )


def _turn(turn: Turn, change: TextRedactor) -> Turn:
    return replace(
        turn,
        observation=change(turn.observation),
        action=change(turn.action),
        response=change(turn.response),
        choices=tuple(Choice(change(c.action), change(c.text), c.kind, change(c.group)) for c in turn.choices),
        call=None,
    )
