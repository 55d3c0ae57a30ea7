"""The YAML subset that SKILL.md front matter may use: block mappings of plain strings.

The reference validator reads front matter with strictyaml and cuts it at the first ``---`` anywhere. What is written
here reads the same there, in PyYAML and here; what strictyaml refuses (flow style, anchors, tags, duplicate keys) is
refused here too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TypeAlias

import yaml

from reskill_agents.errors import SkillError

FENCE = "---"
FrontValue: TypeAlias = "str | list[FrontValue] | dict[str, FrontValue]"

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9 .,;()/_+=~$-]*")
_AMBIGUOUS = frozenset(
    ["null", "true", "false", "yes", "no", "on", "off", "y", "n"]
)  # other readers do not see a string here


def split_front_matter(text: str) -> tuple[str, str]:
    """Front matter and body of a SKILL.md.

    Raises:
        SkillError: when there is no front matter, it is not closed, or ``---`` stands inside it.
    """
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if lines[0].startswith("\ufeff"):
        raise SkillError("the file starts with a byte order mark; save it as plain UTF-8")
    if lines[0].rstrip() != FENCE:
        raise SkillError("the file must start with a line '---' that opens the front matter")
    end = next((number for number, line in enumerate(lines[1:], 1) if line.rstrip() == FENCE), None)
    if end is None:
        raise SkillError("the front matter is not closed by a line '---'")
    front = "\n".join(lines[1:end])
    if FENCE in front:
        raise SkillError(
            "'---' stands inside the front matter, where other readers cut it; write '\\x2D--' in double quotes"
        )
    return front, "\n".join(lines[end + 1 :])


def parse_front_matter(front: str) -> dict[str, FrontValue]:
    """The front matter as strings, lists and mappings; every scalar stays the string it was written as.

    Raises:
        SkillError: with the line of the file and the reason.
    """
    events = iter(_events(front))
    for event in events:
        if isinstance(event, yaml.MappingStartEvent):
            try:
                return _mapping(event, events)
            except RecursionError as error:
                raise SkillError("the front matter is nested too deeply") from error
        if isinstance(event, (yaml.ScalarEvent, yaml.SequenceStartEvent)):
            break
    raise SkillError("the front matter must be a mapping of keys to values")


def _events(front: str) -> Iterator[yaml.Event]:
    try:
        yield from yaml.parse(front, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" at line {mark.line + 2}" if mark else ""
        raise SkillError(f"invalid YAML in the front matter{where}: {error.problem or error.context}") from error
    except yaml.YAMLError as error:  # unprintable characters
        raise SkillError(f"invalid YAML in the front matter: {error}") from error


def _value(event: yaml.Event, events: Iterator[yaml.Event]) -> FrontValue:
    line = _line(event)
    if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
        raise SkillError(f"line {line}: anchors and aliases (& *) are not allowed; put the text in quotes")
    if isinstance(event, yaml.ScalarEvent):
        _refuse_tag(event.tag, line)
        return str(event.value)
    if isinstance(event, yaml.SequenceStartEvent):
        _refuse_tag(event.tag, line)
        _refuse_flow(event.flow_style, line)
        return [_value(item, events) for item in _until(events, yaml.SequenceEndEvent)]
    if isinstance(event, yaml.MappingStartEvent):
        return _mapping(event, events)
    raise SkillError(f"line {line}: unexpected {type(event).__name__}")


def _mapping(start: yaml.MappingStartEvent, events: Iterator[yaml.Event]) -> dict[str, FrontValue]:
    line = _line(start)
    if start.anchor:
        raise SkillError(f"line {line}: anchors and aliases (& *) are not allowed; put the text in quotes")
    _refuse_tag(start.tag, line)
    _refuse_flow(start.flow_style, line)
    result: dict[str, FrontValue] = {}
    for event in _until(events, yaml.MappingEndEvent):
        key = _value(event, events)
        at = _line(event)
        if not isinstance(key, str):
            raise SkillError(f"line {at}: a key must be a string")
        if key in result:
            raise SkillError(f"line {at}: duplicate key {key!r}")
        result[key] = _value(next(events), events)
    return result


def _line(event: yaml.Event) -> int:
    """Line of the file, from 1; the front matter starts on line 2."""
    return event.start_mark.line + 2 if event.start_mark else 0


def _until(events: Iterator[yaml.Event], end: type[yaml.Event]) -> Iterator[yaml.Event]:
    for event in events:
        if isinstance(event, end):
            return
        yield event


def _refuse_tag(tag: str | None, line: int) -> None:
    if tag:
        raise SkillError(f"line {line}: tags ({tag}) are not allowed")


def _refuse_flow(flow_style: bool | None, line: int) -> None:
    if flow_style:
        raise SkillError(f"line {line}: flow style ({{...}} or [...]) is not allowed; put the text in quotes")


def render_front_matter(values: Mapping[str, str | Mapping[str, str]]) -> str:
    """``values`` between two fences, one key a line, in the order given; nested mappings are indented by two."""
    lines = [FENCE]
    for key, value in values.items():
        if isinstance(value, str):
            lines.append(f"{key}: {quote(value)}")
        elif value:
            lines.append(f"{key}:")
            lines.extend(f"  {inner}: {quote(text)}" for inner, text in value.items())
    return "\n".join([*lines, FENCE, ""])


def quote(text: str) -> str:
    """``text`` as a one-line YAML scalar that every reader takes as this string; never holds ``---``."""
    if FENCE not in text:
        if _PLAIN.fullmatch(text) and text.lower() not in _AMBIGUOUS and not text.endswith(" "):
            return text
        if text.isprintable():
            return "'" + text.replace("'", "''") + "'"
    return '"' + "".join(_escape(text)) + '"'


def _escape(text: str) -> Iterator[str]:
    previous = ""
    for character in text:
        if character in '"\\':
            yield "\\" + character
        elif character == "-" and previous == "-":
            yield "\\x2D"
        elif character.isprintable():
            yield character
        else:
            code = ord(character)
            yield f"\\x{code:02X}" if code < 0x100 else f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"
        previous = character
