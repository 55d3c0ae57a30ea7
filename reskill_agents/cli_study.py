"""``reskill study``: what came of a comparison of methods over seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

PAGE_NAME = "study.html"


def study(
    folder: Annotated[Path, typer.Argument(help="Folder of result files; plan.toml in it says what was compared.")],
    out: Annotated[Path | None, typer.Option(help="HTML file to write; default: study.html in the folder.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the tables as Markdown instead, or as well.")] = None,
    plan: Annotated[Path | None, typer.Option(help="The plan, if the folder holds none.")] = None,
) -> None:
    """Make tables, learning curves and costs of a study of methods, as one HTML page or as Markdown."""
    from reskill_agents.study.page import write_study
    from reskill_agents.study.plan import load_plan

    target = out or (None if markdown else folder / PAGE_NAME)
    view = write_study(folder, out=target, markdown=markdown, plan=load_plan(plan) if plan else None)
    for warning in view.warnings:
        typer.echo(warning, err=True)
    typer.echo(view.headline)
    for path in (target, markdown):
        if path:
            typer.echo(path)
