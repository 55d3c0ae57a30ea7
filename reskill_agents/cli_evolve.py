"""``reskill evolve`` and what a person says about a live store: rollback, freeze, pin, approve, offer, live-report."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reskill_agents.cli_live import open_store
from reskill_agents.errors import ConfigError, ReSkillError, StoreError

if TYPE_CHECKING:
    from reskill_agents.graphs.evolution_policy import EvolutionPolicy
    from reskill_agents.live_records import Activation

Store = Annotated[str, typer.Argument(help="The SQLite file of the live store, or postgresql://...")]
Tenant = Annotated[
    str, typer.Option("--namespace", help="The tenant, its labels joined by '/'; default: the nameless one.")
]
By = Annotated[str, typer.Option(help="Who says so; it is recorded.")]
Reason = Annotated[str, typer.Option(help="Why; it is recorded.")]


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    for command in (evolve, rollback, freeze, unfreeze, pin, unpin, approve, refuse, live_report):
        app.command()(command)


def evolve(
    store: Store,
    namespace: Tenant = "",
    policy: Annotated[Path | None, typer.Option(help="JSON file with settings of EvolutionPolicy.")] = None,
    creator: Annotated[str, typer.Option(help="offline, openai:MODEL[@BASE_URL], or langchain:SPEC.")] = "offline",
    model: Annotated[str, typer.Option(help="Identity of the app's model; default: as its latest runs say.")] = "",
    every: Annotated[float, typer.Option(help="Seconds between steps; 0: one step and out (cron).")] = 0.0,
    seed: Annotated[int, typer.Option(help="Of the creator.")] = 0,
    retention_days: Annotated[
        float | None, typer.Option(help="Delete runs, outcomes and conversations of this age; default: never.")
    ] = None,
) -> None:
    """Do what is due: seal a window, carry out a verdict, open the next trial. Safe to run from several places."""
    import asyncio

    from reskill_agents.graphs.creator_author import author_from_spec
    from reskill_agents.graphs.evolver import SkillEvolver

    rules = read_policy(policy)
    author = author_from_spec(creator)
    with open_store(store, namespace, retention_days=retention_days) as live:
        evolver = SkillEvolver(live, author, rules, model=model, seed=seed)
        if live.one_evolver_only:
            typer.echo("note: this store's locks bind one process; run one evolver only", err=True)
        while True:
            report = asyncio.run(evolver.step())
            for event in report.events:
                typer.echo(f"{event.kind}: {event.text}{f' [{event.trial}]' if event.trial else ''}")
            if report.fault:
                typer.echo(f"fault: {report.fault}", err=True)
            if every <= 0:
                if report.idle:
                    typer.echo(report.idle)
                raise typer.Exit(1 if report.fault else 0)
            time.sleep(every)


def rollback(
    store: Store,
    to: Annotated[str, typer.Option(help="Number in the history, or digest; default: the library before.")] = "",
    by: By = "",
    reason: Reason = "",
    namespace: Tenant = "",
) -> None:
    """Serve an earlier library again, at once; the trial that runs is given up."""
    with open_store(store, namespace) as live:
        _tell(live.rollback(to=_version(to), by=by, reason=reason))


def freeze(store: Store, by: By = "", reason: Reason = "", namespace: Tenant = "") -> None:
    """The kill switch: the library in force for everybody, no trials, no promotions."""
    with open_store(store, namespace) as live:
        _tell(live.freeze(by=by, reason=reason))


def unfreeze(store: Store, by: By = "", reason: Reason = "", namespace: Tenant = "") -> None:
    """Go on after a freeze."""
    with open_store(store, namespace) as live:
        _tell(live.unfreeze(by=by, reason=reason))


def pin(
    store: Store,
    digest: Annotated[str, typer.Argument(help="Digest of a library in the store.")],
    by: By = "",
    reason: Reason = "",
    namespace: Tenant = "",
) -> None:
    """Serve one library to everybody until `unpin`."""
    with open_store(store, namespace) as live:
        _tell(live.pin(digest, by=by, reason=reason))


def unpin(store: Store, by: By = "", reason: Reason = "", namespace: Tenant = "") -> None:
    """Let libraries change again."""
    with open_store(store, namespace) as live:
        _tell(live.unpin(by=by, reason=reason))


def approve(
    store: Store,
    trial: Annotated[str, typer.Argument(help="The trial that waits (see `live-report`).")],
    by: Annotated[str, typer.Option(help="Who says so; it is recorded.")],
    reason: Reason = "",
    namespace: Tenant = "",
) -> None:
    """Let a change that won its trial take effect at the next step."""
    _decide(store, namespace, trial, by, reason, approved=True)


def refuse(
    store: Store,
    trial: Annotated[str, typer.Argument(help="The trial that waits (see `live-report`).")],
    by: Annotated[str, typer.Option(help="Who says so; it is recorded.")],
    reason: Reason = "",
    namespace: Tenant = "",
) -> None:
    """Refuse a change although it won its trial."""
    _decide(store, namespace, trial, by, reason, approved=False)


def live_report(
    store: Store,
    out: Annotated[Path, typer.Option(help="Folder for report.md and report.html.")] = Path("evolution"),
    model: Annotated[str, typer.Option(help="The model that proofs are asked for; default: the latest.")] = "",
    namespace: Tenant = "",
) -> None:
    """Write how the skills evolved, with the evidence of every decision."""
    from reskill_agents.graphs.evolution_report import write_evolution_report

    with open_store(store, namespace) as live:
        typer.echo(write_evolution_report(live, out, title=namespace or "Skills", model=model))


def read_policy(file: Path | None) -> EvolutionPolicy:
    """The policy in a JSON file; the defaults without one.

    Raises:
        ConfigError: when it is no object of known settings.
    """
    from reskill_agents.graphs.evolution_policy import Approval, EvolutionPolicy

    if file is None:
        return EvolutionPolicy()
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
        if "approval" in settings:
            settings["approval"] = Approval(settings["approval"])
        return EvolutionPolicy(**settings)
    except ReSkillError:
        raise
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{file} is no policy: {error}") from error


def _decide(store: str, namespace: str, trial: str, by: str, reason: str, *, approved: bool) -> None:
    from reskill_agents.graphs.evolution_trials import say

    with open_store(store, namespace) as live:
        if live.trial(trial) is None:
            raise StoreError(f"no trial {trial!r} in this store")
        say(live, trial, by=by, reason=reason, approved=approved)
    typer.echo(f"{trial}: {'approved' if approved else 'refused'} by {by}; the next step carries it out")


def _version(to: str) -> str | int | None:
    return int(to) if to.isdigit() else to or None


def _tell(entry: Activation) -> None:
    typer.echo(f"{entry.number}: {entry.kind}, library {entry.library}")
