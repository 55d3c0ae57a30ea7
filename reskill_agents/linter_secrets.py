"""Encoded runs, card numbers and random-looking words."""

from __future__ import annotations

import base64
import binascii
import math
import string
from collections import Counter
from collections.abc import Iterator
from typing import Any

import re2

_BASE64 = re2.compile(r"[A-Za-z0-9+/_\-]{16,}={0,2}")
_HEX = re2.compile(r"(?:0x)?(?:[0-9A-Fa-f]{2}[\s:,]?){12,}")
_ESCAPES = re2.compile(r"(?:\\x[0-9A-Fa-f]{2}|\\u[0-9A-Fa-f]{4}|%[0-9A-Fa-f]{2}|&#x?[0-9A-Fa-f]+;|\\[0-7]{3}){3,}")
_BINARY = re2.compile(r"(?:[01]{8}[\s,]?){4,}")
_DIGITS = re2.compile(r"\d(?:[ \-]?\d)+")
_LONG_WORD = re2.compile(r"[A-Za-z0-9+/=_\-.]{24,}")
_MORSE = re2.compile(r"(?:[.\-]{1,5}[ /]){8,}")
_ENTROPY_BITS = 3.9  # of a character; English identifiers stay below 3.6, random base64 is above 4.2 at this length


def _runs(pattern: Any, text: str) -> Iterator[str]:
    for match in pattern.finditer(text):
        yield str(match.group(0))


def encoded_runs(text: str) -> Iterator[str]:
    """Runs that decode to text, or that only an encoder writes."""
    for pattern in (_ESCAPES, _BINARY, _MORSE):
        for run in _runs(pattern, text):
            yield run
    for run in _runs(_HEX, text):
        digits = "".join(c for c in run.removeprefix("0x") if c in string.hexdigits)
        if len(digits) >= 32 or _is_text(bytes.fromhex(digits[: len(digits) // 2 * 2])):
            yield run
    for run in _runs(_BASE64, text):
        mixed = any(c.isdigit() for c in run) or (any(c.isupper() for c in run[1:]) and any(c.islower() for c in run))
        if mixed and _is_text(_decode_base64(run)):
            yield run


def _decode_base64(run: str) -> bytes:
    body = run.rstrip("=").replace("-", "+").replace("_", "/")
    body = body[: len(body) - (len(body) % 4 == 1)]
    try:
        return base64.b64decode(body + "=" * (-len(body) % 4))
    except (binascii.Error, ValueError):
        return b""


def _is_text(data: bytes) -> bool:
    """Mostly letters and spaces: what an encoded sentence decodes to, and random bytes do not."""
    if len(data) < 8:
        return False
    readable = sum(chr(byte).isalpha() or chr(byte) in " .,'!?" for byte in data if byte < 128)
    return readable / len(data) >= 0.85


def card_numbers(text: str) -> Iterator[str]:
    """Runs of 13 to 19 digits that pass the Luhn check."""
    for run in _runs(_DIGITS, text):
        digits = [int(c) for c in run if c.isdigit()]
        if not 13 <= len(digits) <= 19:
            continue
        doubled = [d if i % 2 == 0 else (2 * d - 9 if d > 4 else 2 * d) for i, d in enumerate(reversed(digits))]
        if sum(doubled) % 10 == 0 and len(set(digits)) > 1:
            yield run


def random_looking(text: str) -> Iterator[str]:
    """Long words as random as a key; file paths and identifiers are not."""
    for word in _runs(_LONG_WORD, text):
        counts = Counter(word)
        bits = -sum(n / len(word) * math.log2(n / len(word)) for n in counts.values())
        digits = sum(c.isdigit() for c in word)
        if bits >= _ENTROPY_BITS and digits >= 3 and any(c.isalpha() for c in word):
            yield word
