"""The elements of a JSON list in a file, one after another: what is not read yet takes no memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from reskill_agents.errors import ConfigError

_CHUNK = 1 << 20  # characters read at a time
_SPACE = " \t\r\n"


def stream_list(path: Path) -> Iterator[object]:
    """Yield the elements of the JSON list in ``path``, in order.

    The largest element, not the file, bounds the memory. A file that is broken behind the last element that was asked for is
    not noticed.

    Raises:
        ConfigError: the file can't be read, is no JSON or no list; names the file.
    """
    try:
        with path.open(encoding="utf-8") as file:
            yield from _Reader(file).elements()
    except _NoList as error:
        raise ConfigError(f"{path.name}: must be a list, not {error}") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ConfigError(f"{path.name}: cannot be read as JSON ({error})") from error


class _NoList(Exception):
    """The file holds one value of another kind."""


class _Reader:
    def __init__(self, file: TextIO) -> None:
        self._file, self._text, self._at = file, "", 0
        self._decode = json.JSONDecoder().raw_decode

    def elements(self) -> Iterator[object]:
        if self._peek() != "[":
            raise _NoList(kind_of(json.loads(self._text[self._at :] + self._file.read())))
        self._at += 1
        if self._peek() == "]":
            self._at += 1
        else:
            while True:
                yield self._element()
                mark = self._peek()
                self._at += 1
                if mark == "]":
                    break
                if mark != ",":
                    raise json.JSONDecodeError("Expecting ',' delimiter", self._text, self._at - 1)
                self._peek()
        if self._peek():
            raise json.JSONDecodeError("Extra data", self._text, self._at)

    def _peek(self) -> str:
        """The next character that is no space; empty at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in _SPACE:
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def _element(self) -> object:
        size = _CHUNK
        while True:
            try:
                value, end = self._decode(self._text, self._at)
                if end < len(self._text) or not self._more(size):  # a number may go on in the next chunk
                    self._at = end
                    return value
            except json.JSONDecodeError:
                if not self._more(size):
                    raise
            size *= 2  # so that a long element is not decoded again and again

    def _more(self, size: int = _CHUNK) -> bool:
        """Read on; what was decoded is dropped."""
        found = self._file.read(size)
        self._text, self._at = self._text[self._at :] + found, 0
        return bool(found)


def kind_of(value: object) -> str:
    """What a JSON value is, for error messages."""
    return "null" if value is None else type(value).__name__
