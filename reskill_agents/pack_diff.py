"""What changed between two packs, skill by skill."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from reskill_agents.packs import Carried, Pack
from reskill_agents.skill import Skill
from reskill_agents.skill_md import render_skill_md


@dataclass(frozen=True, slots=True)
class SkillChange:
    """One skill: ``added``, ``removed``, ``changed``, or ``files`` when only what it carries changed.

    ``lines`` is a unified diff of SKILL.md, then one line a file (``+``, ``-`` or ``~``).
    """

    name: str
    change: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PackDiff:
    """All changes from one pack to another; ``reordered`` when only the order of the common skills changed."""

    before: str
    after: str
    changes: tuple[SkillChange, ...] = ()
    reordered: bool = False

    @property
    def same(self) -> bool:
        """Nothing that enters a prompt or goes along changed. Versions, lineage and evidence do not count."""
        return not self.changes and not self.reordered


def diff_packs(a: Pack, b: Pack) -> PackDiff:
    """From ``a`` to ``b``, in the order of ``b``, what was removed at the end."""
    old, new = a.library.by_name, b.library.by_name
    changes = []
    for name in [*new, *(name for name in old if name not in new)]:
        before, after = old.get(name), new.get(name)
        lines = _text_lines(before, after)
        files = _file_lines(a.carried.get(name, Carried()), b.carried.get(name, Carried()))
        if lines or files:
            change = "added" if before is None else "removed" if after is None else "changed" if lines else "files"
            changes.append(SkillChange(name, change, tuple(lines + files)))
    common = [name for name in old if name in new]
    reordered = common != [name for name in new if name in old]
    return PackDiff(a.library.digest, b.library.digest, tuple(changes), reordered)


def _text_lines(before: Skill | None, after: Skill | None) -> list[str]:
    if before is not None and after is not None and before.digest == after.digest:
        return []
    old, new = ([] if skill is None else render_skill_md(skill).splitlines() for skill in (before, after))
    return list(difflib.unified_diff(old, new, "before", "after", lineterm="", n=2))[2:]


def _file_lines(before: Carried, after: Carried) -> list[str]:
    lines = []
    for path in sorted({*before.files, *after.files}):
        old, new = before.files.get(path), after.files.get(path)
        if old != new:
            lines.append(f"{'+' if old is None else '-' if new is None else '~'} file {path}")
    for key in sorted({*before.extra, *after.extra}):
        was, now = before.extra.get(key), after.extra.get(key)
        if was != now:
            lines.append(
                f"{'+' if was is None else '-' if now is None else '~'} key {key}: {now if now is not None else was}"
            )
    return lines


__all__ = ["PackDiff", "SkillChange", "diff_packs"]
