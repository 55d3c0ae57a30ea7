"""The lowest dependencies that ``pyproject.toml`` admits, as pins: ``python tests/lowest.py train vllm > lowest.txt``.

For ``make test-lowest``. Each requirement of the package and of the extras named is pinned to its lower bound (``==`` as it
stands), so an installation of all pins proves that the bounds fit together, and tests there prove that they are enough.
``--keep NAME`` leaves a requirement out: what is installed already stays (torch, whose CPU builds begin later than its bound).
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"
_REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(\[(?P<extras>[\w,-]+)\])?(?P<bounds>[^;]*)")


class NoLowerBound(ValueError):
    """A requirement that admits any version can't be tested at its lowest."""


def requirements(extras: list[str], project: Mapping[str, object]) -> Iterator[str]:
    """The package's own requirements and those of ``extras``, with extras that name extras resolved.

    Raises:
        KeyError: there is no such extra.
    """
    yield from project["dependencies"]  # type: ignore[misc]
    left, seen = list(extras), set()
    while left:
        if (extra := left.pop(0)) in seen:
            continue
        seen.add(extra)
        for requirement in project["optional-dependencies"][extra]:  # type: ignore[index]
            match = _REQUIREMENT.match(requirement)
            if match and match["name"] == project["name"]:
                left += match["extras"].split(",")
            else:
                yield requirement


def pin(requirement: str) -> str:
    """``name==lowest version``.

    Raises:
        NoLowerBound: it has none.
    """
    match = _REQUIREMENT.match(requirement.replace(" ", ""))
    for bound in match["bounds"].split(",") if match else ():
        for operator in (">=", "=="):
            if match and bound.startswith(operator):
                extras = f"[{match['extras']}]" if match["extras"] else ""
                return f"{match['name']}{extras}=={bound.removeprefix(operator)}"
    raise NoLowerBound(requirement)


def main() -> int:
    """Print the pins."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else "")
    parser.add_argument("extras", nargs="*")
    parser.add_argument("--keep", action="append", default=[], help="leave this requirement out")
    options = parser.parse_args()
    project = tomllib.loads(PYPROJECT.read_text("utf-8"))["project"]
    pins = {pin(requirement) for requirement in requirements(options.extras, project)}
    print("\n".join(sorted(one for one in pins if re.split(r"[\[=]", one)[0] not in options.keep)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
