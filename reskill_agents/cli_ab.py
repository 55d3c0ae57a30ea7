"""``reskill ab``: does a skill pack help this agent?"""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

if TYPE_CHECKING:
    from reskill_agents.ab.answer import AbAnswer, ArmAccount
    from reskill_agents.ab.runner import Reward
    from reskill_agents.library import SkillLibrary


def ab(
    agent: Annotated[str, typer.Option(help="pkg.module:graph, or a factory (SkillLibrary) -> graph.")],
    tasks: Annotated[Path, typer.Option(help='JSON lines: {"id", "input" or "messages", ...}.')],
    b: Annotated[str, typer.Option("--b", help="Skill pack on trial (folder, .zip, .skill, plugin), or none.")],
    reward: Annotated[str, typer.Option(help="pkg.module:fn, (FinishedRun) -> number, bool or None; may be async.")],
    a: Annotated[str, typer.Option("--a", help="Skill pack to compare with, or none.")] = "none",
    out: Annotated[Path, typer.Option(help="Folder of the runs; the same folder goes on where it stopped.")] = Path(
        "ab-runs"
    ),
    inject: Annotated[str, typer.Option(help="factory, config, context or input; default: as the agent is.")] = "",
    repeats: Annotated[int, typer.Option(help="Pairs a task.")] = 1,
    seed: Annotated[int, typer.Option(help="Of the order and of the runs.")] = 0,
    concurrency: Annotated[int, typer.Option(help="Agent runs at once.")] = 8,
    max_runs: Annotated[int | None, typer.Option(help="Budget: agent runs of both arms.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Budget: tokens read and written.")] = None,
    max_money: Annotated[float | None, typer.Option(help="Budget: money, at the prices given.")] = None,
    max_seconds: Annotated[float | None, typer.Option(help="Budget: wall clock of this call.")] = None,
    price_prompt: Annotated[float, typer.Option(help="Price of a million tokens read.")] = 0.0,
    price_answer: Annotated[float, typer.Option(help="Price of a million tokens written.")] = 0.0,
    run_seconds: Annotated[float | None, typer.Option(help="A run that takes longer has no outcome.")] = None,
    margin: Annotated[float, typer.Option(help="A smaller effect is no difference worth having.")] = 0.1,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Run an agent with and without skills on the same tasks, and say whether they help. Costs what 2 runs a task cost.

    Skills reach a factory or a graph that reads them from its config or context; a graph that knows nothing of skills
    gets general and beginning skills in the system message of its input.
    """
    from reskill_agents.ab.budget import Budget
    from reskill_agents.ab.injection import Injection
    from reskill_agents.ab.loading import load_object
    from reskill_agents.ab.page import PAGE_NAME, write_page
    from reskill_agents.ab.run_log import read_records
    from reskill_agents.ab.runner import AbPlan, run_ab
    from reskill_agents.ab.tasks import read_tasks
    from reskill_agents.errors import ConfigError

    if inject and inject not in list(Injection):
        raise ConfigError(f"--inject: {inject!r} is none of {', '.join(Injection)}")
    function = load_object(reward, "--reward")
    if not callable(function):
        raise ConfigError(f"--reward: {reward} is no function")
    plan = AbPlan(
        agent=load_object(agent, "--agent"),
        tasks=read_tasks(tasks),
        a=_library(a),
        b=_library(b),
        reward=cast("Reward", function),
        injection=Injection(inject) if inject else None,
        repeats=repeats,
        seed=seed,
        concurrency=concurrency,
        budget=Budget(max_runs, max_tokens, max_money, max_seconds, price_prompt, price_answer),
        run_seconds=run_seconds,
        margin=margin,
        label=f"{agent} {reward}",
    )
    result = asyncio.run(run_ab(plan, out))
    page = write_page(result, list(read_records(out)), out / PAGE_NAME, a=f"A: {a}", b=f"B: {b}")
    if as_json:
        typer.echo(json.dumps({"sentence": result.sentence(), **asdict(result)}, ensure_ascii=False, indent=2))
        return
    for line in answer_lines(result):
        typer.echo(line)
    typer.echo(f"transcripts side by side: {page}")


def answer_lines(result: AbAnswer) -> list[str]:
    """The answer for a terminal."""
    lines = [result.sentence(), _arm_line("A", result.a), _arm_line("B", result.b)]
    if result.extra_tokens is not None:
        extra = result.extra_tokens
        lines.append(f"B costs {extra.mean:+,.0f} tokens a run ({extra.low:+,.0f} to {extra.high:+,.0f})")
    pairs = result.effect.pairs if result.effect else 0
    if result.same_transcripts:
        lines.append(f"in {result.same_transcripts} of {pairs} pairs the agent said the same in both arms")
    lines += list(result.reasons)
    if result.look > 1:
        lines.append(f"look {result.look} at growing data: the interval is wider, so that all looks together err 5 %")
    if result.stopped:
        lines.append(f"stopped early: {result.stopped}; {result.open_tasks} tasks have no complete pair")
    if result.more_tasks is not None and result.open_tasks < result.more_tasks:
        lines.append("the task file is too short for that: add tasks to it and run the same command again")
    return lines


def _arm_line(name: str, arm: ArmAccount) -> str:
    mean = "no outcome" if arm.mean is None else f"mean reward {arm.mean:.3f}"
    about = "about " if arm.tokens.estimated else ""
    money = f", cost {arm.money:.4f}" if arm.money else ""
    cut = f", {arm.cut_short} cut short" if arm.cut_short else ""
    return f"{name}: {mean}, {arm.runs} runs, {arm.missing} missing{cut}, {about}{arm.tokens_per_run:,.0f} tokens a run{money}"


def _library(spec: str) -> SkillLibrary:
    from reskill_agents.library import SkillLibrary

    if spec == "none":
        return SkillLibrary()
    from reskill_agents.pack_import import open_pack

    return open_pack(Path(spec)).pack.library
