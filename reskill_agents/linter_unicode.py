"""Invisible characters, look-alike letters, and the plain reading of a text."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import cache

import re2

_ALLOWED_CONTROLS = frozenset("\n\t")
_EMOJI_JOINERS = frozenset("\ufe0f\u200d")  # part of ordinary emoji, invisible anywhere else
_LOOK_ALIKE_SCRIPTS = frozenset({"CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE"})
_STYLED_LATIN = frozenset({"FULLWIDTH", "MATHEMATICAL", "CIRCLED", "SQUARED", "PARENTHESIZED"})
_WORD = re.compile(r"[^\W\d_]+")  # linear: one class; RE2's classes know ASCII only
_LOOK_ALIKES = str.maketrans(
    "аеорсухіјѕԁԛԝьвнкмтАВЕКМНОРСТУХІЈЅαορινκτυχΑΒΕΖΗΙΚΜΝΟΡΤΥΧ",
    "aeopcyxijsdqwbbhkmtABEKMHOPCTYXIJSaopivktuxABEZHIKMNOPTYX",
)
_SPACED = re2.compile(r"\b(?:[A-Za-z][ .\-_*|]){3,}[A-Za-z]\b")
_JOINT = re.compile(r"(?<=[^\W_])[_.\-]+(?=[^\W_])")
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z][a-z])")
_LEET = str.maketrans("01345@$", "oieasas")
_LEET_WORD = re2.compile(r"[A-Za-z0-9@$]*(?:[A-Za-z][01345@$]|[01345@$][A-Za-z])[A-Za-z0-9@$]*")


def invisible_characters(text: str) -> Iterator[str]:
    """Each kind of invisible, direction-changing, tag or private character in ``text``, once."""
    seen: set[str] = set()
    for position, character in enumerate(text):
        if character in seen or character in _ALLOWED_CONTROLS or not _invisible(character):
            continue
        if character in _EMOJI_JOINERS and position and unicodedata.category(text[position - 1]) in ("So", "Sk"):
            continue
        seen.add(character)
        yield character


@cache
def _invisible(character: str) -> bool:
    if unicodedata.category(character) in ("Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"):
        return True
    code = ord(character)
    variation = 0xFE00 <= code <= 0xFE0F or 0xE0100 <= code <= 0xE01EF
    fillers = code in (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFFA0, 0x2800)
    odd_space = unicodedata.category(character) == "Zs" and character not in (" ", "\u00a0")
    return variation or fillers or odd_space


def mixed_script_words(text: str) -> Iterator[str]:
    """Words that mix Latin with letters of another script that look like Latin, and words in styled Latin letters."""
    for word in dict.fromkeys(_WORD.findall(text)):
        if word.isascii():
            continue
        scripts = {_script(letter) for letter in word}
        if ("LATIN" in scripts and scripts & _LOOK_ALIKE_SCRIPTS) or scripts & _STYLED_LATIN:
            yield word


@cache
def _script(letter: str) -> str:
    return unicodedata.name(letter, "COMMON").split(" ", 1)[0]


def fold(text: str) -> str:
    """The text as it reads: compatibility forms and look-alikes in plain Latin, invisible characters gone."""
    plain = unicodedata.normalize("NFKC", text).translate(_LOOK_ALIKES)
    plain = "".join(c for c in plain if c in _ALLOWED_CONTROLS or c == "\ufffd" or not _invisible(c))
    decomposed = unicodedata.normalize("NFD", plain)
    return "".join(c for c in decomposed if not unicodedata.combining(c))


def separated(text: str) -> str:
    """``ignore_all_rules`` and ``ignoreAllRules`` as words: a name can carry a sentence."""
    return _HUMP.sub(" ", _JOINT.sub(" ", text))


def squeezed(text: str) -> str:
    """``i g n o r e`` as ``ignore``, ``1gn0re`` as ``ignore``."""
    joined = _SPACED.sub(lambda match: "".join(c for c in match.group(0) if c.isalpha()), text)
    return str(_LEET_WORD.sub(lambda match: match.group(0).translate(_LEET), joined))
