"""``reskill create`` and ``reskill grade``: skills and verdicts from failure logs, without any training."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from reskill_agents.assertions import Assertion
    from reskill_agents.episode_logs import LogProblem
    from reskill_agents.episodes import Episode
    from reskill_agents.graphs.creator_state import CreationResult

Logs = Annotated[
    list[Path], typer.Option("--log", help="JSON lines, or a .sqlite of LangGraph checkpoints; repeatable.")
]


def create(
    log: Logs,
    out: Annotated[Path, typer.Option(help="Folder for library/, assertions.json, report.json and review.json.")],
    library: Annotated[Path | None, typer.Option(help="Skill pack in force; default: none.")] = None,
    creator: Annotated[str, typer.Option(help="offline, openai:MODEL[@BASE_URL], or langchain:SPEC.")] = "offline",
    offline: Annotated[bool, typer.Option("--offline", help="The same as --creator offline.")] = False,
    approve: Annotated[
        bool, typer.Option("--approve", help="Wait for `reskill review` before anything changes.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    max_calls: Annotated[int, typer.Option(min=0, help="Calls a model author may make.")] = 300,
    max_tokens: Annotated[int, typer.Option(min=0, help="Tokens it may use, both ways.")] = 2_000_000,
    max_cost: Annotated[float | None, typer.Option(min=0, help="Money it may cost; needs --prices.")] = None,
    prices: Annotated[
        tuple[float, float], typer.Option(help="Price of a million tokens: of the prompts, of the answers.")
    ] = (0.0, 0.0),
) -> None:
    """Write skills from failure logs. They are untested: put them on trial before you trust them."""
    from reskill_agents.creator_model import Budget
    from reskill_agents.errors import ConfigError
    from reskill_agents.graphs.creator_author import author_from_spec
    from reskill_agents.graphs.creator_logs import create_from_logs
    from reskill_agents.packs import read_pack

    if offline and creator != "offline":
        raise ConfigError(f"--offline and --creator {creator} contradict each other")
    if max_cost is not None and not any(prices):
        raise ConfigError("--max-cost needs --prices: what a million tokens of the prompts and of the answers cost")
    budget = Budget(max_calls, max_tokens, max_cost, *prices)
    author = (
        None
        if creator == "offline"
        else author_from_spec(creator, budget=budget, cache=out / "answers", transcript=out / "transcript.jsonl")
    )
    pack = read_pack(library) if library else None
    out.mkdir(parents=True, exist_ok=True)
    creation = asyncio.run(
        create_from_logs(
            log,
            out,
            author=author,
            library=pack.library if pack else None,
            lineage=pack.lineage if pack else None,
            seed=seed,
            approve=approve,
        )
    )
    _say_skipped(creation.problems)
    _say_created(creation.result, out)


def _say_created(result: CreationResult, out: Path) -> None:
    from reskill_agents.progress_text import operations_text

    for note in result.report.notes:
        typer.echo(f"note: {note}", err=True)
    if result.proposed is None and not result.quarantine:
        typer.echo("nothing worth trying")
        return
    if result.proposed is not None:
        typer.echo(f"proposed: {operations_text(result.proposed)}")
        typer.echo(f"because: {result.proposed.reason}")
        for line in result.proposed.evidence:
            typer.echo(f"  {line}")
    for draft in result.quarantine:
        if draft.operation is not None:
            typer.echo(f"in quarantine: {draft.operation.name} ({'; '.join(draft.quarantine)})")
    if result.waiting:
        typer.echo(f"nothing changes before you say so: reskill review {out}")
    else:
        typer.echo(f"library: {out / 'library'} (untested; reskill review {out} shows the evidence)")


def grade(
    log: Logs,
    assertions: Annotated[Path, typer.Option(help="assertions.json of `reskill create`.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object an episode.")] = False,
) -> None:
    """Grade episodes by assertions: passed, failed or not applicable, with the turns that show it (0-based)."""
    from reskill_agents.assertions import load_assertions
    from reskill_agents.graphs.creator_logs import grade_logs

    if not as_json:
        _print_rates(_read(log), load_assertions(assertions))
        return
    graded = grade_logs(assertions, log)
    _say_skipped(graded.problems)
    for line in graded.lines():
        typer.echo(line)


def _print_rates(episodes: Sequence[Episode], checks: Sequence[Assertion]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from reskill_agents.assertions import GradeResult
    from reskill_agents.assertions import grade as grade_episodes

    graded = grade_episodes(episodes, checks)
    table = Table(title=f"{len(episodes)} episodes", title_justify="left")
    for name in ("assertion", "successes pass", "failures pass", "applies"):
        table.add_column(name, justify="left" if name == "assertion" else "right")
    for number, check in enumerate(checks):
        cells = []
        applies = [one for one in graded if one.grades[number].result is not GradeResult.NOT_APPLICABLE]
        chosen = {one.episode_id: one.grades[number].result is GradeResult.PASSED for one in applies}
        for success in (True, False):
            passed = [chosen[e.episode_id] for e in episodes if e.success is success and e.episode_id in chosen]
            cells.append(f"{sum(passed)} of {len(passed)}")
        table.add_row(Text(check.text), *cells, str(len(applies)))
    Console().print(table)


def _read(paths: Sequence[Path]) -> Sequence[Episode]:
    from reskill_agents.graphs.checkpoint_logs import read_log_files

    reading = read_log_files(paths, need_outcome=False)
    _say_skipped(reading.problems)
    return reading.episodes


def _say_skipped(problems: Sequence[LogProblem]) -> None:
    for problem in problems[:10]:
        typer.echo(f"passed over: {problem}", err=True)
    if len(problems) > 10:
        typer.echo(f"passed over: {len(problems) - 10} more entries", err=True)
