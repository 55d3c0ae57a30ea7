"""A training job from start policy to pack: what an example does once it has made its world."""

from __future__ import annotations

import asyncio
import sys
import warnings
from pathlib import Path

from rich.console import Console

from reskill_agents.display import hush_libraries, make_display
from reskill_agents.environment import World
from reskill_agents.errors import ConfigError
from reskill_agents.graphs.chat_model import TemplateWarning
from reskill_agents.report import write_report
from reskill_agents.run_pack import export_run
from reskill_agents.run_summary import fate_table, headline, score_table
from reskill_agents.run_view import read_run
from reskill_agents.trainers.config import RunConfig
from reskill_agents.trainers.job_options import JobOptions, run_config
from reskill_agents.trainers.job_policy import load_author, start_policy
from reskill_agents.trainers.loop import run
from reskill_agents.trainers.ranks import Ranks, launched
from reskill_agents.trainers.shared_update import follow

RUNS = Path("runs")


def run_job(options: JobOptions, world: World, *, label: str, console: Console | None = None) -> int:
    """Train on ``world`` as the options say, then write report and pack and print the tables.

    Args:
        label: for the name of the run folder.
        console: where the tables go (default: standard output).

    Returns:
        The exit status: 0, or 130 when interrupted (the run can be resumed).

    Raises:
        ReSkillError: options that do not fit, a stand-in that failed its examination, an unusable run folder.
    """
    run_dir = options.run_dir or choose_run_dir(RUNS, label, resume=options.resume)
    config = run_config(options)
    _quieten(options)
    rank, _ = launched()
    if options.dry_run:
        return dry_run(options, config, world, console or Console()) if rank == 0 else 0
    try:
        with Ranks(config) as ranks:
            if ranks.follows:
                follow(ranks)
                return 0
            if not _train(options, config, world, run_dir, ranks):
                return 0
    except KeyboardInterrupt:
        if rank == 0:
            print(f"\nstopped; go on with --resume --run-dir {run_dir}", file=sys.stderr)
        return 130
    finish(run_dir, console or Console())
    return 0


def _train(options: JobOptions, config: RunConfig, world: World, run_dir: Path, ranks: Ranks) -> bool:
    """Make the start policy and train it; false where only the former was asked for."""
    author = load_author(options.creator, run_dir, config.creator.prices)
    with make_display(quiet=options.quiet, title=run_dir.name) as display:
        policy = start_policy(options, world, run_dir, display)
        if options.clone_only:
            return False
        asyncio.run(
            run(
                config,
                world,
                policy_path=policy,
                run_dir=run_dir,
                resume=options.resume,
                listener=display,
                author=author,
                ranks=ranks,
            )
        )
    return True


def dry_run(options: JobOptions, config: RunConfig, world: World, console: Console) -> int:
    """Print the plan; 1 when it does not fit.

    Raises:
        ConfigError: the stand-in, which has no config before it is built.
    """
    if options.standin:
        raise ConfigError("--dry-run plans for --model NAME|PATH; the stand-in fits everywhere")
    from reskill_agents.trainers.dry_run import print_plan

    fits = print_plan(config, world, options.model, device_gb=options.device_gb, console=console)
    return 0 if fits else 1


def _quieten(options: JobOptions) -> None:
    hush_libraries()
    if options.standin:  # it calls no tools, so what its template would do with them is no concern
        warnings.filterwarnings("ignore", category=TemplateWarning)


def finish(run_dir: Path, console: Console) -> None:
    """Write ``report.html`` and ``pack/`` into the run folder and print what came of it."""
    report = write_report(run_dir)
    pack = export_run(run_dir, run_dir / "pack")
    view = read_run(run_dir)
    console.print(score_table(view))
    console.print(fate_table(view))
    console.print(headline(view), highlight=False, soft_wrap=True)
    console.print(f"report  {report}\npack    {pack}", highlight=False, soft_wrap=True)


def choose_run_dir(parent: Path, label: str, *, resume: bool) -> Path:
    """A new folder for ``label``, or to resume the newest one there is: ``label``, ``label-2``, ``label-3``, ..."""
    number = 1
    while (parent / _numbered(label, number) / "config.json").exists():
        number += 1
    return parent / _numbered(label, max(1, number - 1) if resume else number)


def _numbered(label: str, number: int) -> str:
    return label if number == 1 else f"{label}-{number}"
