"""Stop strings on token sequences: where an answer ends, to the token and to the character."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Decode = Callable[[Sequence[int]], str]


def cut_at_stop(decode: Decode, ids: Sequence[int], stops: Sequence[str]) -> tuple[int, str]:
    """(tokens to keep, text before the first stop string).

    The tokens go on to the one that completes the stop string: that many were sampled before the answer was known to be
    over, and what was sampled after them never influenced them.
    """
    text = decode(ids)
    found = [at for at in (text.find(stop) for stop in stops if stop) if at >= 0]
    if not found:
        return len(ids), text
    kept = next(count for count in range(1, len(ids) + 1) if any(stop in decode(ids[:count]) for stop in stops if stop))
    return kept, text[: min(found)]


class StreamText:
    """What of an answer may be shown while it is still sampled.

    Held back: an unfinished character, white space that may turn out to be the end, anything that may become one of
    ``marks`` (a stop string, the start of a tool call) and all that follows one.
    """

    def __init__(self, decode: Decode, marks: Sequence[str]) -> None:
        self._decode = decode
        self._marks = [mark for mark in marks if mark]
        self._ids: list[int] = []
        self.shown = ""

    def push(self, token: int, answer_of: Callable[[str], str]) -> str:
        """The new text to show after ``token``; ``answer_of`` takes the whole text to its answer part."""
        self._ids.append(token)
        text = self._decode(self._ids)
        if text.endswith("\ufffd"):
            return ""
        answer = answer_of(text)
        for mark in self._marks:
            answer = answer.partition(mark)[0]
        answer = answer[: len(answer) - max((_overlap(answer, mark) for mark in self._marks), default=0)].rstrip()
        if not answer.startswith(self.shown):
            return ""
        delta, self.shown = answer[len(self.shown) :], answer
        return delta


def _overlap(text: str, mark: str) -> int:
    """How many last characters of ``text`` begin ``mark``."""
    return next((n for n in range(min(len(text), len(mark) - 1), 0, -1) if text.endswith(mark[:n])), 0)
