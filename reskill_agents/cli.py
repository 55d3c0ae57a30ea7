"""The ``reskill`` command. Answers quickly: what a command needs is imported when it runs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reskill_agents.cli_ab import ab
from reskill_agents.cli_creator import create, grade
from reskill_agents.cli_evolve import register as register_evolution
from reskill_agents.cli_group import group
from reskill_agents.cli_live import account, forget, poll_langsmith, serve_outcomes, sweep
from reskill_agents.cli_packs import diff, export, import_
from reskill_agents.cli_review import review
from reskill_agents.cli_study import study
from reskill_agents.cli_training import adapt, distil
from reskill_agents.errors import ReSkillError

if TYPE_CHECKING:
    from reskill_agents.library import SkillLibrary
    from reskill_agents.run_view import RunView, Trial

app = typer.Typer(
    name="reskill",
    help="Skills that evolve: look at them, check them, take them along.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.command()(create)
app.command()(grade)
app.command()(ab)
app.command()(export)
app.command("import")(import_)
app.command()(diff)
app.command()(forget)
app.command()(sweep)
app.command()(account)
app.command()(poll_langsmith)
app.command()(serve_outcomes)
app.command()(review)
app.command()(study)
app.command()(group)
app.command()(adapt)
app.command()(distil)
register_evolution(app)

Folder = Annotated[Path, typer.Argument(help="A skill folder, a skill pack, or a folder of skill folders.")]
Anything = Annotated[
    Path, typer.Argument(help="A skill or pack folder, .zip, .skill, plugin, or a project with skills in it.")
]
Run = Annotated[Path, typer.Argument(help="A run folder (it holds config.json).")]


@app.command()
def validate(folder: Anything) -> None:
    """Check skills against the Agent Skills specification and our trigger keys; list every problem."""
    from reskill_agents.pack_import import problems_of

    problems = problems_of(folder)
    for problem in problems:
        typer.echo(problem, err=True)
    if problems:
        raise typer.Exit(1)
    typer.echo(f"{folder}: valid")


@app.command()
def show(
    folder: Annotated[Path, typer.Argument(help="A run folder, a skill pack or a skill folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Show the skills in a pack or run: when each fires and what it says."""
    library = _library(folder)
    if as_json:
        entries = [
            {
                "name": skill.name,
                "description": skill.description,
                "body": skill.body,
                "trigger": skill.trigger.kind.value,
                "pattern": skill.trigger.pattern,
                "repeat": skill.trigger.repeat.value if skill.trigger.repeat else None,
                "digest": skill.digest,
            }
            for skill in library
        ]
        typer.echo(json.dumps({"library": library.digest, "skills": entries}, indent=2, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.panel import Panel
    from rich.text import Text

    console = Console()
    for skill in library:
        when = Text(f"{skill.trigger.kind.value} {skill.trigger.pattern}".rstrip(), style="cyan")
        text = Text.assemble(when, "\n", (skill.description, "italic"), "\n\n", skill.body)
        console.print(Panel(text, title=Text(skill.name, style="bold"), title_align="left"))
    console.print(f"{len(library)} skills, library {library.digest[:19]}…", highlight=False)


@app.command()
def report(
    run: Run,
    out: Annotated[Path | None, typer.Option(help="File to write; default: report.html in the run folder.")] = None,
) -> None:
    """Write the report of a run as one self-contained HTML page."""
    from reskill_agents.report import write_report

    typer.echo(write_report(run, out))


@app.command()
def summary(run: Run) -> None:
    """Print what came of a run: scores before and after, and the fate of every skill."""
    from rich.console import Console

    from reskill_agents.run_summary import fate_table, headline, score_table

    view, console = _view(run), Console()
    console.print(score_table(view))
    console.print(fate_table(view))
    console.print(headline(view), highlight=False, soft_wrap=True)


@app.command()
def trials(run: Run, as_json: Annotated[bool, typer.Option("--json", help="One JSON object a trial.")] = False) -> None:
    """Print every trial of a run with its belief step by step and its verdict."""
    view = _view(run)
    if as_json:
        for trial in view.trials:
            typer.echo(json.dumps(_trial_facts(trial), ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from reskill_agents.display import sparkline

    table = Table()
    for name in ("trial", "steps", "what", "belief", "P better", "episodes", "verdict"):
        table.add_column(name, justify="right" if name in ("P better", "episodes") else "left")
    for trial in view.trials:
        last = trial.points[-1] if trial.points else None
        ending = trial.ending
        style = "dim" if ending is None else "green" if ending.accepted else "red"
        table.add_row(
            trial.trial,
            f"{trial.opened}–{trial.ended if trial.ended is not None else ''}",
            Text(trial.title),
            sparkline([point.posterior.probability for point in trial.points]),
            f"{last.posterior.probability:.3f}" if last else "–",
            str(sum(sum(point.episodes) for point in trial.points)),
            Text(ending.outcome if ending else "undecided", style=style),
        )
    Console().print(table)


def _trial_facts(trial: Trial) -> dict[str, object]:
    return {
        "trial": trial.trial,
        "purpose": trial.purpose,
        "method": trial.method,
        "opened": trial.opened,
        "ended": trial.ended,
        "candidate": trial.candidate.digest,
        "proposal": trial.proposal.model_dump() if trial.proposal else None,
        "points": [point.model_dump(exclude={"trial"}) for point in trial.points],
        "verdict": trial.ending.model_dump() if trial.ending else None,
    }


def _view(run: Path) -> RunView:
    from reskill_agents.run_view import read_run

    return read_run(run)


def _library(folder: Path) -> SkillLibrary:
    if (folder / "config.json").is_file() and not (folder / "SKILL.md").is_file():
        return _view(folder).library.library
    from reskill_agents.packs import import_pack

    return import_pack(folder)


def main() -> None:
    """Run the command line; our own errors become one line and exit status 2."""
    try:
        app()
    except ReSkillError as error:
        print(f"reskill: {error}", file=sys.stderr)
        raise SystemExit(2) from error


if __name__ == "__main__":
    main()
