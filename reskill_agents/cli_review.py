"""``reskill review``: look at a proposal with its evidence, then approve, edit or reject it."""

from __future__ import annotations

import asyncio
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from reskill_agents.review import Decision, EvidencePair, EvidenceSide, Review
    from reskill_agents.skill import Skill


def review(
    folder: Annotated[Path, typer.Argument(help="The --out folder of `reskill create`.")],
    approve: Annotated[bool, typer.Option("--approve", help="Let the proposal into library/.")] = False,
    reject: Annotated[
        bool, typer.Option("--reject", help="Keep the library as it was; never propose this again.")
    ] = False,
    edit: Annotated[
        Path | None, typer.Option(help="Approve with the skills in this folder instead of those proposed.")
    ] = None,
    admit: Annotated[
        list[str] | None, typer.Option(help="Let this quarantined skill in; may be given several times.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why; the next creation reads it.")] = "",
    show: Annotated[bool, typer.Option("--show", help="Show it and decide nothing.")] = False,
) -> None:
    """Show a proposal as a diff with evidence side by side; take approve, edit or reject."""
    from rich.console import Console

    from reskill_agents.errors import ConfigError
    from reskill_agents.graphs.creator_logs import decide
    from reskill_agents.review import Decision, Ruling, read_review

    if sum((approve, reject, edit is not None, show)) > 1:
        raise ConfigError("--approve, --reject, --edit and --show exclude each other")
    shown, console = read_review(folder), Console()
    if not (approve or reject or edit):
        print_review(shown, console)
    if show:
        return
    if approve or reject:
        decision = Decision(Ruling.APPROVE if approve else Ruling.REJECT, reason, (), tuple(admit or ()))
    elif edit is not None:
        decision = Decision(Ruling.EDIT, reason, _read_edited(edit), tuple(admit or ()))
    elif console.is_terminal and (shown.proposal or shown.quarantine):
        asked = _ask(shown, tuple(admit or ()), reason)
        if asked is None:
            return
        decision = asked
    else:
        typer.echo("decide with --approve, --edit FOLDER or --reject")
        return
    library = asyncio.run(decide(folder, decision))
    names = ", ".join(skill.name for skill in library) or "none"
    typer.echo(f"{'rejected and remembered' if decision.ruling is Ruling.REJECT else 'approved'}; skills: {names}")


def _read_edited(folder: Path) -> tuple[Skill, ...]:
    from reskill_agents.packs import import_pack
    from reskill_agents.skill_md import parse_skill_md

    if folder.is_file():
        return (parse_skill_md(folder.read_text("utf-8"), str(folder)),)
    return import_pack(folder).skills


def _ask(shown: Review, admitted: tuple[str, ...], reason: str) -> Decision | None:
    import click

    from reskill_agents.library import OperationKind
    from reskill_agents.review import Decision, Ruling
    from reskill_agents.skill_md import parse_skill_md, render_skill_md

    answer = typer.prompt("approve, edit, reject or later", default="later").strip().lower()
    if answer not in [ruling.value for ruling in Ruling]:
        typer.echo("nothing was decided")
        return None
    ruling, edited = Ruling(answer), []
    if ruling is Ruling.EDIT:
        after = shown.proposal.apply(shown.before) if shown.proposal else shown.before
        for operation in shown.proposal.operations if shown.proposal else ():
            if operation.kind is not OperationKind.DELETE:
                text = click.edit(render_skill_md(after.by_name[operation.name]), extension=".md")
                if text is not None:
                    edited.append(parse_skill_md(text, operation.name))
        if not edited:
            typer.echo("nothing was changed, nothing was decided")
            return None
    for item in shown.quarantine if ruling is not Ruling.REJECT else ():
        if item.operation.name not in admitted and typer.confirm(f"let {item.operation.name} in?", default=False):
            admitted = (*admitted, item.operation.name)
    reason = reason or typer.prompt("why", default="", show_default=False)
    return Decision(ruling, reason, tuple(edited), admitted)


def print_review(shown: Review, console: Console) -> None:
    """The proposal as a diff, what is in quarantine and why, and the evidence side by side."""
    from rich.text import Text

    console.print(Text(f"status: {shown.status.value}", style="bold"))
    if shown.proposal is None:
        console.print("nothing is proposed" + (", but skills are in quarantine" if shown.quarantine else ""))
    else:
        console.print(Text(f"why: {visible(shown.proposal.reason)}"))
        for line in shown.proposal.evidence:
            console.print(Text(f"  {visible(line)}"))
        console.print()
        styles = {"+": "green", "-": "red", "@": "dim"}
        for line in shown.diff().splitlines():
            console.print(Text(visible(line), style=styles.get(line[:1], "")), soft_wrap=True)
    for item in shown.quarantine:
        skill = item.operation.skill
        console.print(Text(f"\nin quarantine: {item.operation.name}", style="yellow"))
        for reason in item.reasons:
            console.print(Text(f"  found: {visible(reason)}"))
        body = skill.body if skill else item.operation.body or ""
        console.print(Text("\n".join(f"  | {visible(line)}" for line in body.splitlines())))
    for pair in shown.evidence:
        _print_pair(pair, console)


def _print_pair(pair: EvidencePair, console: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(visible(pair.statement)), title_justify="left", show_lines=False, expand=True)
    for label, side in (("kept", pair.kept), ("not kept", pair.broken)):
        score = "no outcome" if side.score is None else f"score {side.score:.2f}"
        turns = f", turns {', '.join(map(str, side.turns[:8]))}" if side.turns else ""
        table.add_column(Text(f"{label}: {visible(side.episode_id)} ({score}{turns})"), ratio=1, overflow="fold")
    table.add_row(_shown_side(pair.kept), _shown_side(pair.broken))
    console.print()
    console.print(table)


def _shown_side(side: EvidenceSide) -> Text:
    from rich.text import Text

    return Text("\n".join(visible(line) for line in side.transcript.splitlines()))


def visible(text: str) -> str:
    """``text`` with every character that a terminal would act on, or not show, written out: logs are not to be trusted."""
    return "".join(
        f"\\u{{{ord(c):x}}}" if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") else c
        for c in text
    )
