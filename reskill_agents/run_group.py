"""One group of a training run, read back from ``episodes.jsonl``: the same task played G times, side by side."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reskill_agents.episode_logs import LogError, episode_from_json
from reskill_agents.episodes import Episode, Turn
from reskill_agents.errors import RunFolderError

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

_PLACE = re.compile(r"s\d+-g(\d+)-r(\d+)")  # how a run names its training episodes
_CELL = 24  # characters of a column


@dataclass(frozen=True, slots=True)
class GroupMember:
    """One rollout of a group.

    Args:
        group: number of the group in its step; ``place`` in the group.
        episode: what was played (without token ids).
        role: ``active``, ``candidate``, ``masked`` or ``validation``.
        without: skills it went without, if masked.
        advantage: what its tokens were trained with; ``None``: it trained nothing (or the run is of an older version).
        versions: of the weights that sampled each turn; empty in logs of older versions.
    """

    group: int
    place: int
    episode: Episode
    role: str
    without: tuple[str, ...] = ()
    advantage: float | None = None
    versions: tuple[int | None, ...] = ()

    def version(self, turn: int) -> int | None:
        """Of the weights that sampled ``turn``; ``None``: unknown, or no call."""
        return self.versions[turn] if turn < len(self.versions) else None


def read_group(run: Path, step: int, task: str) -> tuple[GroupMember, ...]:
    """The rollouts of ``task`` in training step ``step``, in the order of the group.

    Args:
        run: a run folder.
        step: 0-based, as in ``metrics.jsonl``.
        task: a task id, or ``g3`` for the fourth group of the step.

    Raises:
        RunFolderError: there is no such group; the message says which there are.
    """
    path = run / "episodes.jsonl"
    members = [_member(entry) for entry in _entries(path, step)]
    if not members:
        raise RunFolderError(f"{path} holds no episodes of step {step}")
    found = [m for m in members if task in (m.episode.task.task_id, f"g{m.group}")]
    if not found:
        there = dict.fromkeys(f"g{m.group} {m.episode.task.task_id}" for m in members)
        raise RunFolderError(f"step {step} has no group of task {task!r}; there are: {', '.join(there)}")
    return tuple(sorted(found, key=lambda member: (member.group, member.place)))


def _entries(path: Path, step: int) -> Iterator[Mapping[str, object]]:
    try:
        lines = path.open(encoding="utf-8")
    except OSError as error:
        raise RunFolderError(f"{path}: {error.strerror}") from error
    with lines:
        for line in lines:
            if f'"step":{step},' in line:  # cheap; what it lets through is looked at
                try:
                    entry = json.loads(line)
                except ValueError:
                    continue  # the unfinished last line of a killed run
                if isinstance(entry, dict) and entry.get("step") == step:
                    yield entry


def _member(entry: Mapping[str, object]) -> GroupMember:
    try:
        episode = episode_from_json(entry)
    except LogError as error:
        raise RunFolderError(f"an episode cannot be read: {error}") from error
    place = _PLACE.fullmatch(episode.episode_id)
    group, number = (int(place[1]), int(place[2])) if place else (-1, -1)
    without, advantage, versions = entry.get("without"), entry.get("advantage"), entry.get("versions")
    return GroupMember(
        group,
        number,
        episode,
        str(entry.get("role", "")),
        tuple(str(name) for name in without) if isinstance(without, list) else (),
        float(advantage) if isinstance(advantage, int | float) else None,
        tuple(v if isinstance(v, int) else None for v in versions) if isinstance(versions, list) else (),
    )


def group_table(members: tuple[GroupMember, ...]) -> Table:
    """The rollouts as columns: arm and role, score, advantage, then turn by turn the skills that fired and the action."""
    from rich.table import Table
    from rich.text import Text

    first = members[0].episode
    table = Table(title=Text(f"{first.task.task_id}: {first.task_shown}"), title_justify="left", show_lines=True)
    table.add_column("")
    for member in members:
        table.add_column(f"r{member.place}", max_width=_CELL, overflow="fold")
    heads = {
        "role": [m.role + "".join(f"\n- {name}" for name in m.without) for m in members],
        "score": ["fault" if m.episode.score is None else f"{m.episode.score:.2f}" for m in members],
        "advantage": ["" if m.advantage is None else f"{m.advantage:+.3f}" for m in members],
        "ended": [m.episode.stop.value for m in members],
        "weights": [", ".join(str(v) for v in dict.fromkeys(m.versions) if v is not None) for m in members],
    }
    for name, cells in heads.items():
        table.add_row(name, *(Text(cell) for cell in cells))
    for index in range(max(len(m.episode.turns) for m in members)):
        shown = (m.episode.turns[index] if index < len(m.episode.turns) else None for m in members)
        table.add_row(f"turn {index}", *(_turn(turn) for turn in shown))
    return table


def _turn(turn: Turn | None) -> str | Text:
    from rich.text import Text

    if turn is None:
        return ""
    fired = [f"* {firing.skill}\n" for firing in turn.firings if firing.suppressed is None]
    return Text.assemble(("".join(fired), "cyan"), (turn.action or turn.response or "-", "" if turn.valid else "red"))


def table_width(members: tuple[GroupMember, ...]) -> int:
    """Columns of text that the table needs so that nothing is squeezed."""
    return 14 + len(members) * (_CELL + 3)


def group_facts(members: tuple[GroupMember, ...]) -> list[dict[str, object]]:
    """The same for machines, one object a rollout."""
    return [
        {
            "episode": member.episode.episode_id,
            "task": member.episode.task.task_id,
            "role": member.role,
            "arm": member.episode.arm.value if member.episode.arm else None,
            "without": list(member.without),
            "library": member.episode.library_digest,
            "score": member.episode.score,
            "success": member.episode.success,
            "advantage": member.advantage,
            "stop": member.episode.stop.value,
            "turns": [
                {
                    "action": turn.action,
                    "valid": turn.valid,
                    "version": member.version(index),
                    "fired": [firing.skill for firing in turn.firings if firing.suppressed is None],
                }
                for index, turn in enumerate(member.episode.turns)
            ],
        }
        for member in members
    ]
