"""``reskill forget``, ``sweep``, ``account``, ``poll-langsmith``, ``serve-outcomes``: the live store."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from reskill_agents.live_records import Removed
    from reskill_agents.skill_account import Expense, Prices, SkillAccount
    from reskill_agents.store import LiveStore

Store = Annotated[str, typer.Option(help="The SQLite file of the live store, or postgresql://...")]
Tenant = Annotated[
    str, typer.Option("--namespace", help="The tenant, its labels joined by '/'; default: the nameless one.")
]
TOKEN_VARIABLE = "RESKILL_OUTCOME_TOKEN"


def forget(
    thread: Annotated[str, typer.Option(help="Id of the thread.")], store: Store, namespace: Tenant = ""
) -> None:
    """Delete everything kept about a thread: runs, outcomes, conversations. Verdicts stay; they name nobody."""
    with _open(store, namespace) as live:
        removed = live.forget(thread)
    typer.echo(f"forgotten: {_shown(removed)}" if removed.total else f"nothing is kept about thread {thread!r}")


def sweep(
    days: Annotated[float, typer.Option(help="Age from which on records are deleted.")],
    store: Store,
    namespace: Tenant = "",
) -> None:
    """Delete runs, outcomes and conversations older than so many days."""
    with _open(store, namespace, retention_days=days) as live:
        typer.echo(f"deleted: {_shown(live.sweep())}")


def account(
    store: Store,
    namespace: Tenant = "",
    days: Annotated[float, typer.Option(help="Only requests of the last so many days; 0: all.")] = 0.0,
    price_prompt: Annotated[float, typer.Option(help="Price of a million tokens read.")] = 0.0,
    price_answer: Annotated[float, typer.Option(help="Price of a million tokens written.")] = 0.0,
    price_cached: Annotated[float | None, typer.Option(help="The same read from the provider's cache.")] = None,
    latest: Annotated[int, typer.Option(help="List so many requests, the newest first.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Say what skills cost per request: tokens, and money at the prices given, for each library that was served."""
    import time

    from reskill_agents.skill_account import Prices, skill_account

    prices = Prices(price_prompt, price_answer, price_cached)
    with _open(store, namespace) as live:
        found = skill_account(live, since=time.time() - days * 86_400 if days > 0 else 0.0, latest=latest)
    if as_json:
        typer.echo(json.dumps(account_json(found, prices), indent=2))
        return
    typer.echo(f"all: {_expense(found.total, prices)}")
    for one in found.libraries:
        typer.echo(f"library {one.library[7:19]} ({', '.join(one.skills) or 'no skill fired'}): ", nl=False)
        typer.echo(_expense(one.expense, prices))
    for run in found.latest:
        skills = ", ".join(run.skills) or "no skills"
        usage = f", {run.prompt_tokens} read, {run.answer_tokens} written" if run.calls else ""
        typer.echo(f"{run.run_id}: {run.skill_tokens} skill tokens ({skills}){usage}")


def account_json(found: SkillAccount, prices: Prices) -> dict[str, object]:
    """The account as JSON values."""
    from reskill_agents.skill_account import expense_of

    def shown(expense: Expense) -> dict[str, object]:
        return {
            **asdict(expense),
            "skill_tokens_per_request": expense.skill_tokens_per_request,
            "tokens_per_request": expense.tokens_per_request,
            "money_per_request": expense.money(prices),
            "skill_money_per_request": expense.skill_money(prices),
        }

    return {
        "total": shown(found.total),
        "libraries": [{"library": o.library, "skills": o.skills, **shown(o.expense)} for o in found.libraries],
        "latest": [
            {
                "run": run.run_id,
                "thread": run.thread_id,
                "library": run.library,
                "skills": run.skills,
                "skill_tokens": run.skill_tokens,
                "prompt_tokens": run.prompt_tokens,
                "answer_tokens": run.answer_tokens,
                "skill_money": expense_of([run]).skill_money(prices),
                "money": expense_of([run]).money(prices),
            }
            for run in found.latest
        ],
    }


def _expense(expense: Expense, prices: Prices) -> str:
    parts = [f"{expense.requests} requests", f"{expense.skill_tokens_per_request:.1f} skill tokens each"]
    if expense.tokens_per_request is not None:
        parts.append(f"of {expense.tokens_per_request:.0f} tokens in all")
    if expense.share_of_prompts is not None:
        parts.append(f"{expense.share_of_prompts:.1%} of the prompts")
    if prices.prompt:
        parts.append(f"at most {expense.skill_money(prices):.6f} each")
    money = expense.money(prices)
    if money is not None and (prices.prompt or prices.answer):
        parts.append(f"{money:.6f} in all")
    return ", ".join(parts)


def poll_langsmith(
    store: Store,
    project: Annotated[str, typer.Option(help="LangSmith tracing project.")],
    key: Annotated[str, typer.Option(help="Name of the feedback, such as user_score.")],
    namespace: Tenant = "",
    highest: Annotated[float, typer.Option(help="The best score; what lies between 0 and it is divided by it.")] = 1.0,
    every: Annotated[float, typer.Option(help="Seconds between polls; 0: one and out (cron).")] = 0.0,
) -> None:
    """Record LangSmith feedback as outcomes. Keys and address are langsmith's own: LANGSMITH_API_KEY, LANGSMITH_ENDPOINT."""
    import time

    from langsmith import Client

    from reskill_agents.errors import ConfigError
    from reskill_agents.langsmith_feedback import poll_feedback

    if highest <= 0:
        raise ConfigError(f"--highest must be above 0, got {highest}")
    client = Client(auto_batch_tracing=False)
    with _open(store, namespace) as live:
        while True:
            found = poll_feedback(live, client, project=project, key=key, scale=lambda score: score / highest)
            typer.echo(
                f"{found.recorded} outcomes, {found.conflicting} conflicting, {found.unmatched} of runs unknown here, "
                f"{found.unusable} without a usable score"
            )
            if every <= 0:
                return
            time.sleep(every)


def serve_outcomes(
    store: Store,
    namespace: Tenant = "",
    host: Annotated[str, typer.Option(help="Any address but loopback needs a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free one.")] = 8712,
) -> None:
    """Take outcomes over HTTP: POST /outcomes. The token, if any, is in the environment: RESKILL_OUTCOME_TOKEN."""
    from reskill_agents.outcome_server import OutcomeServer

    with (
        _open(store, namespace) as live,
        OutcomeServer(live, host=host, port=port, token=os.environ.get(TOKEN_VARIABLE)) as server,
    ):
        typer.echo(f"http://{host}:{server.server_port}/outcomes")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            typer.echo("stopped", err=True)


def open_store(store: str, namespace: str = "", *, retention_days: float | None = None) -> LiveStore:
    """The live store a command names. It must exist: a mistyped path makes no new one."""
    return _open(store, namespace, retention_days=retention_days)


def _open(store: str, namespace: str, *, retention_days: float | None = None) -> LiveStore:
    from reskill_agents.errors import StoreError
    from reskill_agents.live_records import Capture
    from reskill_agents.store import LiveStore, StoreSettings

    if "://" not in store and not Path(store).is_file():
        raise StoreError(f"there is no store at {store}")
    settings = StoreSettings(capture=Capture.OUTCOMES_ONLY, retention_days=retention_days)  # commands capture nothing
    return LiveStore.open(store, tuple(namespace.split("/")) if namespace else (), settings=settings)


def _shown(removed: Removed) -> str:
    return f"{removed.runs} runs, {removed.outcomes} outcomes, {removed.episodes} conversations, {removed.pins} thread pins"
