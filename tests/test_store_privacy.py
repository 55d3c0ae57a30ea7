"""Tenants and privacy: nothing crosses a namespace, nothing personal is written, what must go is gone from the disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from langgraph.store.memory import InMemoryStore
from live_stores import PLAIN, Clock, episode, library, open_trial, pin, run, sqlite_store, verdict

from reskill_agents.episodes import Episode, ModelCall
from reskill_agents.errors import ConfigError, StoreError, UnknownRunError
from reskill_agents.live_records import Capture, Removed
from reskill_agents.redaction import map_texts, redact_text
from reskill_agents.store import LiveStore, StoreSettings

CANARY = "canary-7f3a"
DAY = 86_400.0


def fill(store: LiveStore, canary: str) -> None:
    """Plant ``canary`` in every kind of record."""
    store.activate(library(canary), reason=canary, by=canary)
    open_trial(store, canary)
    store.record_run(run(canary, canary, trial=canary))
    store.record_run(run(f"{canary}-2", f"{canary}-2"))
    store.pin_thread(pin(canary))
    store.record_outcome(canary, success=True, metadata={"text": canary})
    store.record_episode(canary, episode(canary))
    store.seal_window(canary, 0)
    store.record_verdict(replace(verdict(canary, windows=(0,)), reason=canary))
    store.put_record("notes", canary, {"text": canary})


def everything(store: LiveStore) -> str:
    """All that can be read under a namespace, as one text."""
    active = store.active()
    parts: list[object] = [active, store.open_trial(), store.history(), store.trials(), store.verdicts(), store.runs()]
    parts += [store.observations(), store.episodes(), store.records("notes")]
    parts += [[(skill.name, skill.body) for skill in active.library]]
    for trial in store.trials():
        parts += [store.sealed_windows(trial.trial_id), store.facts(trial.trial_id)]
    return repr(parts)


@pytest.mark.parametrize(
    "other", [(), ("b",), ("A",), ("a", "b"), ("ab",), ("a.b",), ("a/b",), ("a", "runs"), ("_",), ("%",), ("a%",)]
)
def test_a_canary_of_one_tenant_is_in_nothing_another_reads(tmp_path: Path, other: tuple[str, ...]) -> None:
    for store in (sqlite_store(tmp_path, "a"), LiveStore.over(InMemoryStore(), ("a",), settings=PLAIN)):
        fill(store, CANARY)
        neighbour = store.within(other)
        assert CANARY not in everything(neighbour)
        fill(neighbour, "neighbour")
        assert CANARY not in everything(neighbour)
        assert "neighbour" not in everything(store)
        assert neighbour.run(CANARY) is neighbour.thread_pin(CANARY) is neighbour.verdict(CANARY) is None
        assert neighbour.sealed_windows(CANARY) == []
        assert neighbour.record("notes", CANARY) is None
        with pytest.raises(StoreError):
            neighbour.library(library(CANARY).digest)
        with pytest.raises(UnknownRunError):
            neighbour.record_outcome(CANARY, success=True)
        assert neighbour.forget(CANARY) == Removed()
        assert CANARY in everything(store)


def test_a_namespace_has_one_store_object(tmp_path: Path) -> None:
    store = sqlite_store(tmp_path)
    assert store.within(("a",)) is store.within(("a",))
    assert store.within(()) is store


def test_sharing_gives_libraries_and_nothing_else(tmp_path: Path) -> None:
    settings = replace(PLAIN, share_from=(("common",),))
    store = sqlite_store(tmp_path, "acme", settings=settings)
    common = store.within(("common",))
    common.activate(library("shared"))
    common.record_run(run(CANARY, CANARY))
    assert store.active().library == library("shared")
    assert store.active().shared_from == ("common",)
    assert store.library(library("shared").digest) == library("shared")
    assert CANARY not in everything(store)
    store.activate(library("own"))
    assert store.active().library == library("own")
    assert common.active().library == library("shared")


def test_redaction_runs_before_anything_is_written(tmp_path: Path) -> None:
    def hide(text: str) -> str:
        return text.replace(CANARY, "[gone]")

    settings = StoreSettings(redact=lambda one: map_texts(one, hide), redact_metadata=hide)
    with sqlite_store(tmp_path, settings=settings) as store:
        store.record_run(run())
        assert store.record_episode("run-1", episode(CANARY))
        store.record_outcome("run-1", success=True, metadata={"text": f"see {CANARY}"})
        [kept] = store.episodes()
        assert kept.turns[0].observation == "user says [gone]"
        assert store.observations()[0].outcomes[0].metadata == {"text": "see [gone]"}
        assert_nowhere(tmp_path, CANARY)


def test_a_failing_redaction_writes_nothing(tmp_path: Path) -> None:
    def fail(one: Episode) -> Episode:
        raise ValueError("no")

    with sqlite_store(tmp_path, settings=StoreSettings(redact=fail)) as store:
        store.record_run(run())
        with pytest.raises(ValueError, match="no"):
            store.record_episode("run-1", episode(CANARY))
        assert store.episodes() == []
        assert_nowhere(tmp_path, CANARY)


def test_by_default_addresses_and_numbers_are_redacted(tmp_path: Path) -> None:
    pytest.importorskip("langchain")
    secret = "ann@example.org, 4111 1111 1111 1111, 10.1.2.3"
    assert redact_text(secret) == "[REDACTED_EMAIL], [REDACTED_CREDIT_CARD], [REDACTED_IP]"
    with sqlite_store(tmp_path, settings=StoreSettings()) as store:
        store.record_run(run())
        store.record_episode("run-1", episode(secret))
        store.record_outcome("run-1", success=True, metadata={"text": secret})
        assert "REDACTED_EMAIL" in everything(store)
        for part in ("ann@example.org", "4111", "10.1.2.3"):
            assert_nowhere(tmp_path, part)


def test_without_langchain_the_default_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="redact"):
        StoreSettings()
    StoreSettings(capture=Capture.OUTCOMES_ONLY)
    StoreSettings(redact=None)


def test_texts_change_everywhere_and_equal_texts_stay_equal() -> None:
    before = episode(CANARY)
    call = ModelCall((1,), (2,), (0.0,), 0, 1.0)
    before = replace(before, turns=tuple(replace(turn, call=call) for turn in before.turns))
    after = map_texts(before, lambda text: text.replace(CANARY, "x"))
    assert CANARY not in repr(after)
    assert after.turns[0].call is None
    assert after.turns[0].action == "answer(x)"


def test_outcomes_only_keeps_no_conversation(tmp_path: Path) -> None:
    settings = replace(PLAIN, capture=Capture.OUTCOMES_ONLY)
    with sqlite_store(tmp_path, settings=settings) as store:
        store.record_run(run())
        assert not store.record_episode("run-1", episode(CANARY))
        assert store.episodes() == []
        assert_nowhere(tmp_path, CANARY)


def test_conversations_carry_outcome_model_and_arm(tmp_path: Path) -> None:
    store = sqlite_store(tmp_path)
    for name, thread in (("r1", "t1"), ("r2", "t1"), ("r3", "t3")):
        store.record_run(run(name, thread, trial="t"))
        store.record_episode(name, episode(name))
    store.record_outcome("r1", score=0.25)
    store.record_outcome("t1", success=True)
    kept = {one.episode_id: one for one in store.episodes()}
    assert {name: one.score for name, one in kept.items()} == {"r1": 0.25, "r2": 1.0, "r3": None}
    assert (kept["r1"].model, kept["r1"].arm) == ("model-a", "incumbent")
    with pytest.raises(UnknownRunError):
        store.record_episode("r9", episode("x"))


def test_what_is_forgotten_is_gone_from_the_disk_and_verdicts_stay(tmp_path: Path) -> None:
    with sqlite_store(tmp_path) as store:
        open_trial(store)
        for thread in (CANARY, "other"):
            store.record_run(run(f"{thread}-r", thread, trial="trial-1"))
            store.record_run(run(f"{thread}-s", thread, trial="trial-1"))
            store.pin_thread(pin(thread))
            store.record_outcome(f"{thread}-r", success=True)
            store.record_outcome(thread, success=True)
            store.record_episode(f"{thread}-r", episode(thread))
        sealed = store.seal_window("trial-1", 0)
        assert store.forget(CANARY) == Removed(runs=2, outcomes=2, episodes=1, pins=1)
        assert store.forget(CANARY).total == 0
        assert store.sealed_windows("trial-1") == [sealed]
        assert [len(one.outcomes) for one in store.observations()] == [2, 0]
        assert_nowhere(tmp_path, CANARY)
        assert len(store.episodes()) == 1


def test_old_records_are_swept(tmp_path: Path) -> None:
    clock = Clock()
    with sqlite_store(tmp_path, settings=replace(PLAIN, retention_days=30), clock=clock) as store:
        store.activate(library("kept"))
        for name in ("old", "new"):
            store.record_run(run(name, name, started=clock.now))
            store.pin_thread(replace(pin(name), pinned=clock.now))
            store.record_episode(name, episode(f"{CANARY}-{name}"))
            store.record_outcome(name, success=True)
            clock.now += 20 * DAY
        assert store.sweep() == Removed(1, 1, 1, 1)
        assert store.sweep().total == 0
        assert [one.run_id for one in store.runs()] == ["new"]
        assert store.active().library == library("kept")
        assert_nowhere(tmp_path, f"{CANARY}-old")


def test_without_a_retention_nothing_is_swept(tmp_path: Path) -> None:
    store = sqlite_store(tmp_path)
    store.record_run(run(started=0.0))
    assert store.sweep().total == 0
    with pytest.raises(ConfigError, match="retention_days"):
        replace(PLAIN, retention_days=0)


def assert_nowhere(folder: Path, text: str) -> None:
    """``text`` is in no file of the database, log included."""
    found = [path.name for path in folder.iterdir() if text.encode() in path.read_bytes()]
    assert found == []
