"""Assertions as JSON, and back: what ``assertions.json`` holds and a model author is asked for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from reskill_agents.assertions.assertion import Assertion, AssertionStatistics
from reskill_agents.assertions.checks import Check
from reskill_agents.errors import SkillError

_CHECK: TypeAdapter[Check] = TypeAdapter(Check)
_STATISTICS = TypeAdapter(AssertionStatistics)


def assertion_to_json(assertion: Assertion) -> dict[str, object]:
    """``id``, ``text``, ``check`` and, for induced ones, ``statistics``."""
    entry: dict[str, object] = {
        "id": assertion.id,
        "text": assertion.text,
        "check": _CHECK.dump_python(assertion.check, mode="json"),
    }
    if assertion.statistics is not None:
        entry["statistics"] = _STATISTICS.dump_python(assertion.statistics, mode="json")
    return entry


def assertion_from_json(entry: object) -> Assertion:
    """The assertion that :func:`assertion_to_json` describes.

    Raises:
        SkillError: with every problem found, bad patterns included.
    """
    if not isinstance(entry, Mapping):
        raise SkillError(f"an assertion must be an object, got {type(entry).__name__}")
    try:
        check = _CHECK.validate_python(entry.get("check"))
        statistics = entry.get("statistics")
        return Assertion(
            check,
            text=str(entry.get("text") or ""),
            id=str(entry.get("id") or ""),
            statistics=None if statistics is None else _STATISTICS.validate_python(statistics),
        )
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, part['loc']))}: {part['msg']}" for part in error.errors()]
        raise SkillError(problems, source="assertion") from error


def check_schema() -> dict[str, object]:
    """JSON schema of a check (for structured output)."""
    return dict(_CHECK.json_schema())


def save_assertions(assertions: Iterable[Assertion], path: Path) -> None:
    """Write ``assertions.json``."""
    entries = [assertion_to_json(assertion) for assertion in assertions]
    path.write_text(json.dumps({"assertions": entries}, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def load_assertions(path: Path) -> tuple[Assertion, ...]:
    """Read ``assertions.json``.

    Raises:
        SkillError: when the file is no such list, with every problem found.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SkillError(str(error), source=str(path)) from error
    entries = content.get("assertions") if isinstance(content, Mapping) else None
    if not isinstance(entries, list):
        raise SkillError("must hold an object with a list 'assertions'", source=str(path))
    found: list[Assertion] = []
    problems: list[str] = []
    for number, entry in enumerate(entries):
        try:
            found.append(assertion_from_json(entry))
        except SkillError as error:
            problems += [f"assertion {number}: {problem}" for problem in error.problems]
    if problems:
        raise SkillError(problems, source=str(path))
    return tuple(found)
