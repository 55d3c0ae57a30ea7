"""``reskill export``, ``reskill import`` and ``reskill diff``: packs in and out."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from reskill_agents.packs import Pack

Source = Annotated[
    Path, typer.Argument(help="A run folder, pack, skill folder, .zip, .skill, plugin, or a project with skills in it.")
]


LiveSource = Annotated[
    str,
    typer.Argument(
        help="A run folder, pack, skill folder, .zip, .skill, plugin, project, or a live store (SQLite, postgresql://...)."
    ),
]
Tenant = Annotated[str, typer.Option("--namespace", help="Of a live store: the tenant, its labels joined by '/'.")]


def export(
    source: LiveSource,
    target: Annotated[Path, typer.Argument(help="Folder or archive; the root of a project for agents-/claude-skills.")],
    to: Annotated[
        str,
        typer.Option(
            help="folder, zip, skill, claude-plugin, codex-plugin, agents-skills or claude-skills; default: by the name."
        ),
    ] = "",
    version: Annotated[
        int | None,
        typer.Option(help="Library version of a run or number in a live store's history; default: in force."),
    ] = None,
    name: Annotated[str, typer.Option(help="Name of a plugin; default: the target's.")] = "",
    plugin_version: Annotated[str, typer.Option(help="Version of a plugin, major.minor.patch.")] = "1.0.0",
    force: Annotated[bool, typer.Option(help="In place: replace our own skills although they were edited.")] = False,
    namespace: Tenant = "",
) -> None:
    """Write the skills of a run or pack in the shape a client loads. The same skills give the same bytes."""
    from reskill_agents.errors import ConfigError
    from reskill_agents.pack_formats import PackFormat, export_as

    if to and to not in list(PackFormat):
        raise ConfigError(f"--to: {to!r} is none of {', '.join(PackFormat)}")
    form = PackFormat(to) if to else None
    written = export_as(_pack(source, version, namespace), target, form, name=name, version=plugin_version, force=force)
    for note in written.notes:
        typer.echo(f"note: {note}", err=True)
    for path in written.paths:
        typer.echo(path)


def import_(
    source: Annotated[Path, typer.Argument(help="A skill or pack folder, .zip, .skill, plugin, or a project.")],
    target: Annotated[Path | None, typer.Argument(help="Pack folder to write; without it, only look.")] = None,
    route: Annotated[str, typer.Option(help="Skills without a trigger: general, or description.")] = "general",
    approve: Annotated[bool, typer.Option(help="You have read the findings that people may approve.")] = False,
) -> None:
    """Take skills from anywhere: verified, linted, listed. Their scripts are kept as files and never run."""
    from reskill_agents.errors import ConfigError
    from reskill_agents.pack_import import APPROVABLE, Route, import_skills
    from reskill_agents.packs import export_pack

    if route not in list(Route):
        raise ConfigError(f"--route: {route!r} is none of {', '.join(Route)}")
    got = import_skills(source, route=Route(route), approve=APPROVABLE if approve else None)
    for skill in got.pack.library:
        trigger = f"{skill.trigger.kind.value} {skill.trigger.pattern}".rstrip()
        typer.echo(f"{skill.name}: {trigger}")
    for name, finding in got.findings:
        typer.echo(f"approved: {name}: {finding}", err=True)
    for note in got.notes:
        typer.echo(f"note: {note}", err=True)
    if target is not None:
        pack = got.pack
        typer.echo(export_pack(pack.library, target, lineage=pack.lineage, cases=pack.cases, carried=pack.carried))


def diff(
    a: Annotated[str, typer.Argument(help="Run folder, live store, or anything `import` reads.")],
    b: Annotated[str, typer.Argument(help="The same.")],
    namespace: Tenant = "",
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Show what changed from pack A to pack B; exit status 1 when something did."""
    from reskill_agents.pack_diff import diff_packs

    found = diff_packs(_pack(a, None, namespace), _pack(b, None, namespace))
    if as_json:
        typer.echo(json.dumps({"same": found.same, **asdict(found)}, indent=2, ensure_ascii=False))
    else:
        for change in found.changes:
            typer.echo(f"{change.name}: {change.change}")
            for line in change.lines:
                typer.echo(f"  {line}")
        if found.reordered:
            typer.echo("the order of the skills changed")
        if found.same:
            typer.echo("no difference")
    if not found.same:
        raise typer.Exit(1)


def _pack(given: str, version: int | None, namespace: str = "") -> Pack:
    """A pack from a run folder, a live store, or anything that can be imported. Reading is no import: it is not linted."""
    import tempfile

    from reskill_agents.pack_import import open_pack
    from reskill_agents.packs import read_pack
    from reskill_agents.run_pack import export_run

    source = Path(given)
    if "://" in given or _is_database(source):
        from reskill_agents.cli_live import open_store
        from reskill_agents.graphs.live_pack import live_pack

        with open_store(given, namespace) as live:
            return live_pack(live, version=version)
    if (source / "config.json").is_file() and not (source / "SKILL.md").is_file():
        with tempfile.TemporaryDirectory() as temporary:
            return read_pack(export_run(source, Path(temporary) / "pack", version=version))
    return open_pack(source).pack


def _is_database(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(16) == b"SQLite format 3\x00"
