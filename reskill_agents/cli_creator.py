"""``reskill create`` and ``reskill grade``: skills and verdicts from failure logs, without any training."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from reskill_agents.assertions import Assertion
    from reskill_agents.episodes import Episode

Logs = Annotated[list[Path], typer.Option("--log", help="Episode log, JSON lines; may be given several times.")]


def create(
    log: Logs,
    out: Annotated[Path, typer.Option(help="Folder for library/, assertions.json and report.json.")],
    library: Annotated[Path | None, typer.Option(help="Skill pack in force; default: none.")] = None,
    creator: Annotated[str, typer.Option(help="offline, or openai:MODEL[@BASE_URL].")] = "offline",
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
) -> None:
    """Write skills from failure logs. They are untested: put them on trial before you trust them."""
    from reskill_agents.assertions import save_assertions
    from reskill_agents.conformance import record_cases
    from reskill_agents.graphs.creator import create as create_skills
    from reskill_agents.graphs.creator_author import author_from_spec
    from reskill_agents.library import SkillLibrary
    from reskill_agents.packs import Lineage, export_pack, read_pack
    from reskill_agents.progress_text import operations_text

    episodes = _read(log)
    pack = read_pack(library) if library else None
    before = pack.library if pack else SkillLibrary()
    author = author_from_spec(creator, cache=out / "answers", transcript=out / "transcript.jsonl")
    out.mkdir(parents=True, exist_ok=True)
    result = asyncio.run(create_skills(episodes, before, author=author, seed=seed))
    after = result.proposal.apply(before) if result.proposal else before
    known = pack.lineage if pack else {}
    lineage = {
        skill.name: known.get(skill.name, Lineage(evidence={"tested": False, "episodes": len(episodes)}))
        for skill in after
    }
    export_pack(after, out / "library", lineage=lineage, cases=record_cases(after, episodes))
    save_assertions(result.assertions, out / "assertions.json")
    (out / "report.json").write_text(json.dumps(asdict(result.report), indent=2, ensure_ascii=False) + "\n", "utf-8")
    for note in result.report.notes:
        typer.echo(f"note: {note}", err=True)
    if result.proposal is None:
        typer.echo("nothing worth trying")
        return
    typer.echo(f"proposed: {operations_text(result.proposal)}")
    typer.echo(f"because: {result.proposal.reason}")
    for line in result.proposal.evidence:
        typer.echo(f"  {line}")
    typer.echo(f"library: {out / 'library'} (untested)")


def grade(
    log: Logs,
    assertions: Annotated[Path, typer.Option(help="assertions.json of `reskill create`.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object an episode.")] = False,
) -> None:
    """Grade episodes by assertions: passed, failed or not applicable, with the turns that show it."""
    from reskill_agents.assertions import grade as grade_episodes
    from reskill_agents.assertions import load_assertions

    episodes, checks = _read(log), load_assertions(assertions)
    if not as_json:
        _print_rates(episodes, checks)
        return
    for episode, graded in zip(episodes, grade_episodes(episodes, checks), strict=True):
        expectations = [
            {"text": check.text, "passed": given.result.value, "evidence": list(given.evidence)}
            for check, given in zip(checks, graded.grades, strict=True)
        ]
        entry = {"episode": episode.episode_id, "score": episode.score, "expectations": expectations}
        typer.echo(json.dumps(entry, ensure_ascii=False))


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


def _read(paths: Sequence[Path]) -> list[Episode]:
    from reskill_agents.log_files import read_logs

    episodes, problems = read_logs(paths)
    for problem in problems[:10]:
        typer.echo(f"passed over: {problem}", err=True)
    if len(problems) > 10:
        typer.echo(f"passed over: {len(problems) - 10} more lines", err=True)
    return episodes
