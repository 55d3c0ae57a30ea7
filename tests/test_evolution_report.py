"""The report of a live app, its command line, and how fast a request is served."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest
from langgraph.store.memory import InMemoryStore
from live_app import POLICY, LiveApp, library, skill
from typer.testing import CliRunner

from reskill_agents.cli import app as cli
from reskill_agents.cli_evolve import read_policy
from reskill_agents.errors import ConfigError
from reskill_agents.graphs.evolution_ledger import next_level, read_trials
from reskill_agents.graphs.evolution_method import restore_trial, trial_level
from reskill_agents.graphs.evolution_policy import Approval
from reskill_agents.graphs.evolution_report import (
    Paragraph,
    Table,
    Verbatim,
    to_html,
    to_markdown,
    write_evolution_report,
)
from reskill_agents.graphs.evolution_view import read_evolution
from reskill_agents.graphs.live_library import LiveLibrary
from reskill_agents.library import SkillLibrary
from reskill_agents.live_records import Run
from reskill_agents.store import LiveStore, StoreSettings

CANARY = "zebra-9417"


@pytest.fixture(scope="module")
def evolved() -> LiveApp:
    """An app that promoted one skill and rejected another."""
    app = LiveApp({"good": 0.3, "bad": -0.2}, ["bad", "good"])
    app.live_on(300)
    return app


def test_the_report_has_the_evidence_of_every_decision(evolved: LiveApp, tmp_path: Path) -> None:
    page = write_evolution_report(evolved.store, tmp_path, title="Shop")
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    for trial in read_trials(evolved.store):
        assert trial.trial_id in text
        if trial.verdict is not None:
            assert f"{trial.verdict.facts['difference']:+.3f}" in text
            assert f"| threads | {trial.verdict.facts['threads_incumbent']:g} |" in text
    assert "rejected: add bad" in text
    assert "promoted: add good" in text
    html = page.read_text(encoding="utf-8")
    assert "<svg" in html
    assert not re.search(r"<script|https?://(?!www\.w3\.org)", html)


def test_the_report_says_what_is_unproven_for_another_model(evolved: LiveApp) -> None:
    assert read_evolution(evolved.store, model="m1").unproven == ()
    view = read_evolution(evolved.store, model="m2")
    assert [one.name for one in view.unproven] == ["good"]


def test_an_imported_skill_is_unproven_until_a_trial_missed_it() -> None:
    app = LiveApp({})
    app.store.activate(library("old"), by="team")
    assert [one.name for one in read_evolution(app.store, model="m1").unproven] == ["old"]


def test_nothing_of_a_tenant_is_in_the_report_of_another(tmp_path: Path) -> None:
    base = InMemoryStore()
    mine, theirs = LiveApp({}, base=base), LiveApp({}, base=base, namespace=("other",))
    mine.store.activate(library(CANARY), by=CANARY)
    theirs.serve(3)
    mine.serve(3)
    write_evolution_report(theirs.store, tmp_path)
    assert CANARY not in (tmp_path / "report.md").read_text() + (tmp_path / "report.html").read_text()
    served, _ = theirs.live.assign("someone")
    assert CANARY not in served.by_name


def test_skill_text_cannot_break_out_of_the_report() -> None:
    evil = "```\n<script>alert(1)</script>\n````"
    parts = [Verbatim("evil", evil), Table(("a",), [("x | <b>",)]), Paragraph("# not a heading")]
    assert "<script>" not in to_html(parts, "t")
    marked = to_markdown(parts)
    assert "`````text" in marked
    assert r"x \| \<b\>" in marked
    assert r"\# not a heading" in marked


def test_the_levels_of_a_lifetime_sum_to_the_promised_error() -> None:
    total = sum(trial_level(0.05, number, 0) for number in range(1, 200_000))
    assert total == pytest.approx(0.05, rel=2e-3)
    assert trial_level(0.05, 3, 2) == pytest.approx(3 * trial_level(0.05, 3, 0))


def test_the_next_level_counts_trials_and_promotions(evolved: LiveApp) -> None:
    ended = read_trials(evolved.store)[:2]  # one rejection, one promotion
    assert next_level(ended, 0.05) == pytest.approx(trial_level(0.05, 3, 1))


def test_a_trial_is_restored_with_its_own_settings(evolved: LiveApp) -> None:
    for live in read_trials(evolved.store):
        trial = restore_trial(live.record.state)
        assert trial.to_state() == live.record.state
        verdict = trial.verdict()
        assert (verdict is None) == (live.verdict is None)
        if verdict is not None and live.verdict is not None:
            assert verdict.accepted == live.verdict.accepted


def test_a_known_thread_is_served_from_memory_in_microseconds() -> None:
    app = LiveApp({"good": 0.3}, ["good"])
    app.serve(12)
    app.step()
    store = LiveStore.over(app.base, app.namespace, settings=StoreSettings(redact=None, refresh_s=60.0))
    live = LiveLibrary(store)
    live.assign("thread")
    times = []
    for _ in range(2000):
        started = time.perf_counter()
        live.assign("thread")
        times.append(time.perf_counter() - started)
    assert sorted(times)[1000] < 100e-6


def test_the_command_line_evolves_a_store(tmp_path: Path) -> None:
    path = tmp_path / "live.db"
    policy = tmp_path / "policy.json"
    policy.write_text(json.dumps({"aa": True, "window_units": 5, "grace_s": 0.0, "approval": "changes"}))
    with LiveStore.open(path, ("shop",), settings=StoreSettings(redact=None)) as store:
        store.activate(library("one"), by="team")
        store.activate(library("two"), by="team")
        store.record_run(Run("years-ago", "t", library("one").digest, 0.0))

    def run(*words: str) -> str:
        result = CliRunner().invoke(cli, [*words, "--namespace", "shop"])
        assert result.exit_code == 0, result.output
        return result.output

    assert "opened: aa" in run("evolve", str(path), "--policy", str(policy), "--retention-days", "365")
    assert library("one").digest in run("rollback", str(path), "--by", "anna")
    assert "superseded" in run("evolve", str(path), "--policy", str(policy))
    run("freeze", str(path), "--by", "anna")
    assert "frozen" in run("evolve", str(path))
    run("unfreeze", str(path))
    run("pin", str(path), library("two").digest)
    run("unpin", str(path))
    with LiveStore.open(path, ("shop",), settings=StoreSettings(redact=None)) as store:
        assert store.active().library == library("two")
        trial = read_trials(store)[-1].trial_id
        assert store.runs() == []
    run("pin", str(path), SkillLibrary().digest)
    with LiveStore.open(path, ("shop",), settings=StoreSettings(redact=None)) as store:
        assert not store.active().library.skills
    run("unpin", str(path))
    run("approve", str(path), trial, "--by", "anna")
    run("live-report", str(path), "--out", str(tmp_path / "report"))
    assert "superseded" in (tmp_path / "report" / "report.md").read_text()


def test_a_policy_file_names_known_settings_only(tmp_path: Path) -> None:
    file = tmp_path / "policy.json"
    file.write_text('{"share": 0.1, "approval": "promotions"}')
    assert read_policy(file).approval is Approval.PROMOTIONS
    file.write_text('{"sahre": 0.1}')
    with pytest.raises(ConfigError, match="sahre"):
        read_policy(file)


def test_only_threads_of_one_stratum_are_compared() -> None:
    app = LiveApp({"good": 0.3}, ["good"], replace(POLICY, window_units=20))
    app.serve(12)
    app.step()
    for number in range(24):
        carried, pin = app.live.assign(f"s{number}", f"stratum-{number % 2}", model="m1")
        app.now += 1.0
        app.store.record_run(
            Run(
                f"r{number}", f"s{number}", carried.digest, app.now, "m1",
                pin.trial, pin.arm, pin.window, pin.share, pin.stratum,
            )
        )  # fmt: skip
        app.store.record_outcome(f"r{number}", score=0.5)
    app.step()
    trial = read_trials(app.store)[0]
    assert [len(group) for group in app.store.sealed_windows(trial.trial_id)[0].groups] == [12, 12]
    assert skill("good").digest in {one.digest for one in app.store.library(trial.record.candidate)}
