"""``reskill group``: one group of a run, side by side."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer


def group(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    step: Annotated[int, typer.Argument(help="Training step, from 0.")],
    task: Annotated[str, typer.Argument(help="Task id, or g0, g1, ... for the groups of the step in order.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a rollout.")] = False,
) -> None:
    """Show a group side by side: the skills that fired, actions, rewards, advantages."""
    from reskill_agents.run_group import group_facts, group_table, read_group, table_width

    members = read_group(run, step, task)
    if as_json:
        for fact in group_facts(members):
            typer.echo(json.dumps(fact, ensure_ascii=False))
        return
    from rich.console import Console

    wide = None if sys.stdout.isatty() else table_width(members)  # into a file or pager: nothing is squeezed
    Console(width=wide).print(group_table(members))
