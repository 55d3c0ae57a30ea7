"""The live store: runs, threads, what is served, trials and verdicts."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
from langgraph.store.memory import InMemoryStore
from live_stores import PLAIN, Clock, library, open_trial, pin, run, sqlite_store, verdict

from reskill_agents.errors import CoordinationError, StoreError
from reskill_agents.live_records import ActivationKind
from reskill_agents.store import LiveStore, StoreSettings
from reskill_agents.store_protocol import SkillStore
from reskill_agents.store_tenant import label, tenant_label
from reskill_agents.trials import Arm, VersionTrial


def test_the_store_is_what_the_protocol_says(tmp_path: Path) -> None:
    assert isinstance(sqlite_store(tmp_path), SkillStore)


def test_a_run_is_completed_at_its_end_and_otherwise_never_changes(tmp_path: Path) -> None:
    store = sqlite_store(tmp_path)
    store.record_run(run())
    done = replace(run(), skills=("a", "b"), skill_tokens=120)
    store.record_run(done)
    store.record_run(done)
    assert store.run("run-1") == done
    assert store.runs() == [done]
    with pytest.raises(StoreError, match="other conditions"):
        store.record_run(replace(done, library="sha256-1"))
    assert store.run("run-2") is None


def test_the_first_pin_of_a_thread_wins(tmp_path: Path) -> None:
    store = sqlite_store(tmp_path)
    assert store.thread_pin("t") is None
    first = store.pin_thread(pin("t"))
    assert store.pin_thread(pin("t", Arm.CANDIDATE)) == first == store.thread_pin("t")


def test_nothing_is_served_until_something_is_activated(tmp_path: Path) -> None:
    active = sqlite_store(tmp_path).active()
    assert (len(active.library), active.number) == (0, 0)


def test_the_history_tells_every_change_and_a_rollback_gives_the_old_digest_again(tmp_path: Path) -> None:
    store = sqlite_store(tmp_path)
    old, new = library("old"), library("old", "new")
    store.activate(old, reason="first pack")
    store.activate(new, by="ann")
    assert store.active().library == new
    store.rollback(by="ann", reason="complaints")
    assert store.active().library.digest == old.digest
    assert [(entry.number, entry.kind, entry.library) for entry in store.history()] == [
        (1, ActivationKind.IMPORT, old.digest),
        (2, ActivationKind.DECISION, new.digest),
        (3, ActivationKind.ROLLBACK, old.digest),
    ]
    assert store.rollback(to=2).library == new.digest
    assert store.rollback(to=old.digest).library == old.digest
    with pytest.raises(StoreError, match="nothing in the history"):
        store.rollback(to="sha256-unknown")


def test_a_first_library_can_be_rolled_back_only_to_nothing_known(tmp_path: Path) -> None:
    store = sqlite_store(tmp_path)
    store.activate(library("only"))
    with pytest.raises(StoreError, match="no earlier library"):
        store.rollback()


def test_a_pin_holds_against_everything_until_it_is_lifted(tmp_path: Path) -> None:
    store = sqlite_store(tmp_path)
    store.activate(library("old"))
    store.activate(library("new"))
    store.pin(library("old").digest, by="ann")
    assert store.active().pinned
    assert store.active().library == library("old")
    for change in (lambda: store.activate(library("other")), store.rollback):
        with pytest.raises(StoreError, match="pinned"):
            change()
    store.unpin()
    store.activate(library("other"))
    assert store.active().library == library("other")


def test_another_process_sees_a_promotion_within_a_second(tmp_path: Path) -> None:
    here, there = sqlite_store(tmp_path), sqlite_store(tmp_path)
    assert there.active().number == 0
    here.activate(library("new"))
    assert here.active().library == library("new")
    promoted = time.monotonic()
    while there.active().library != library("new"):
        assert time.monotonic() - promoted < 1.0
        time.sleep(0.01)


async def test_a_coroutine_gets_the_active_library_too(tmp_path: Path) -> None:
    store = sqlite_store(tmp_path)
    store.activate(library("new"))
    assert (await store.aactive()).library == library("new")
    assert (await store.aactive()).library == library("new")


def test_the_pointer_is_a_cache_of_the_history(tmp_path: Path) -> None:
    base = InMemoryStore()
    store = LiveStore.over(base, settings=PLAIN)
    store.activate(library("old"))
    store.activate(library("new"))
    base.delete(("reskill", "~", "active"), "library")
    assert LiveStore.over(base, settings=PLAIN).active().library == library("new")
    assert LiveStore.over(base, settings=PLAIN).activate(library("third")).number == 3


def test_a_broken_database_does_not_stop_the_app(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = sqlite_store(tmp_path, settings=replace(PLAIN, refresh_s=0.0))
    store.activate(library("new"))
    assert store.active().library == library("new")
    store.close()
    assert store.active().library == library("new")
    assert "served on" in caplog.text
    with pytest.raises(StoreError):
        store.record_run(run())


def test_a_verdict_promotes_its_candidate_once(tmp_path: Path) -> None:
    store = sqlite_store(tmp_path)
    trial = open_trial(store)
    assert store.open_trial() == trial
    with pytest.raises(StoreError, match="no verdict"):
        store.promote("trial-1")
    assert store.record_verdict(verdict()) == store.record_verdict(replace(verdict(), at=2e6))
    assert store.open_trial() is None
    assert [one.open for one in store.trials()] == [False]
    first = store.promote("trial-1")
    assert store.promote("trial-1") == first
    assert store.active().library == library("new")
    assert store.verdicts() == [verdict()]


def test_a_trial_has_one_verdict_and_no_second_life(tmp_path: Path) -> None:
    store = sqlite_store(tmp_path)
    trial = open_trial(store)
    store.record_verdict(verdict(accepted=False))
    with pytest.raises(StoreError, match="another verdict"):
        store.record_verdict(verdict())
    with pytest.raises(StoreError, match="no verdict accepted"):
        store.promote("trial-1")
    with pytest.raises(StoreError, match="opened again"):
        store.save_trial(trial)
    store.save_trial(replace(trial, open=False, window=3))
    assert store.active().library == library("old")


def test_a_verdict_may_name_sealed_windows_only(tmp_path: Path) -> None:
    store = sqlite_store(tmp_path)
    open_trial(store)
    store.seal_window("trial-1", 0)
    with pytest.raises(StoreError, match="sealed windows"):
        store.record_verdict(verdict(windows=(0, 1)))
    store.record_verdict(verdict(windows=(0,)))


def test_frozen_means_no_trial_and_no_promotion_but_a_rollback(tmp_path: Path) -> None:
    store = sqlite_store(tmp_path)
    store.activate(library("older"))
    store.activate(library("old"))
    open_trial(store)
    store.freeze(by="ann", reason="incident")
    assert store.active().frozen
    assert store.open_trial() is None
    store.record_verdict(verdict())
    with pytest.raises(StoreError, match="frozen"):
        store.promote("trial-1")
    store.rollback()
    assert store.active().library == library("older")
    store.unfreeze()
    with pytest.raises(StoreError, match="is served now"):
        store.promote("trial-1")


def test_after_a_rollback_no_thread_enters_the_trial_against_the_library_rolled_back(tmp_path: Path) -> None:
    store = sqlite_store(tmp_path)
    store.activate(library("older"))
    store.activate(library("old"))
    open_trial(store)
    store.rollback()
    assert store.open_trial() is None


def test_a_lost_lease_writes_nothing(tmp_path: Path) -> None:
    clock = Clock()
    store, other = sqlite_store(tmp_path, clock=clock), sqlite_store(tmp_path, clock=clock)
    open_trial(store)
    lease = store.lease("evolver-a", 10.0)
    assert lease is not None
    assert other.lease("evolver-b", 10.0) is None
    clock.now += 11.0
    taken = other.lease("evolver-b", 10.0)
    assert taken is not None
    with pytest.raises(CoordinationError, match="nothing was written"):
        store.record_verdict(verdict(), lease=lease)
    assert store.verdict("trial-1") is None
    other.record_verdict(verdict(), lease=taken)
    other.release(taken)
    assert store.lease("evolver-a", 10.0) is not None


def test_a_sealed_window_is_what_the_trial_takes_in(tmp_path: Path) -> None:
    store = sqlite_store(tmp_path)
    trial = open_trial(store)
    for index, (arm, score) in enumerate([(Arm.INCUMBENT, 0.0), (Arm.INCUMBENT, 0.5), (Arm.CANDIDATE, 1.0)]):
        store.record_run(run(f"r{index}", f"t{index}", trial="trial-1", arm=arm))
        store.record_outcome(f"r{index}", score=score)
    store.record_run(run("r2b", "t2", trial="trial-1", arm=Arm.CANDIDATE))
    store.record_outcome("r2b", score=0.0)  # the unit's value is the mean of 1 and 0
    store.record_run(run("pending", "t3", trial="trial-1", arm=Arm.CANDIDATE))
    store.record_run(run("elsewhere", "t4", trial="trial-1", arm=Arm.CANDIDATE, stratum="b"))
    store.record_run(run("later", "t5", trial="trial-1", arm=Arm.CANDIDATE, window=1))
    for arm in Arm:  # a thread under both arms says nothing
        store.record_run(run(f"both-{arm}", "t6", trial="trial-1", arm=arm))
    sealed = store.seal_window("trial-1", 0)
    first, second = sealed.groups
    assert sorted(first, key=str) == sorted(
        [(Arm.INCUMBENT, 0.0), (Arm.INCUMBENT, 0.5), (Arm.CANDIDATE, 0.5), (Arm.CANDIDATE, None)], key=str
    )
    assert second == ((Arm.CANDIDATE, None),)
    again = VersionTrial.from_state(trial.state)
    again.record_step(sealed.groups)
    assert tuple(again.episodes()) == (2, 3)
    assert tuple(again.missing()) == (0, 2)


def test_a_sealed_window_never_changes_and_late_outcomes_say_so(tmp_path: Path) -> None:
    store = sqlite_store(tmp_path)
    open_trial(store)
    for name in ("a", "b"):
        store.record_run(run(name, name, trial="trial-1"))
    assert not store.record_outcome("a", success=True).late
    sealed = store.seal_window("trial-1", 0)
    assert store.record_outcome("b", success=True).late
    assert store.seal_window("trial-1", 0) == sealed
    assert store.sealed_windows("trial-1") == [sealed]
    assert sealed.groups == (((Arm.INCUMBENT, 1.0), (Arm.INCUMBENT, None)),)


def test_a_run_that_just_began_is_not_missing_yet(tmp_path: Path) -> None:
    clock = Clock()
    store = sqlite_store(tmp_path, clock=clock)
    open_trial(store)
    store.record_run(run("a", "a", trial="trial-1", started=clock.now - 100))
    store.record_run(run("b", "b", trial="trial-1", started=clock.now - 1))
    assert store.seal_window("trial-1", 0, grace_s=60).groups == (((Arm.INCUMBENT, None),),)


def test_facts_of_a_trial_are_written_once_each(tmp_path: Path) -> None:
    store = sqlite_store(tmp_path)
    trial = VersionTrial(library("old"), library("new"), trial_id="t")
    trial.record_step([[(Arm.INCUMBENT, 0.0), (Arm.CANDIDATE, 1.0)]])
    facts = trial.facts()
    store.append_facts("t", facts[:1], first=0)
    store.append_facts("t", facts, first=0)
    assert [fact["fact"] for fact in store.facts("t")] == ["opened", "step"]


def test_records_of_the_evolver(tmp_path: Path) -> None:
    store = sqlite_store(tmp_path)
    store.put_record("approvals", "p1", {"by": "ann"})
    assert store.record("approvals", "p1") == {"by": "ann"}
    assert store.record("approvals", "p2") is None
    assert store.records("approvals") == {"p1": {"by": "ann"}}


def test_a_deployments_own_store_serves_with_one_evolver() -> None:
    store = LiveStore.over(InMemoryStore(), ("acme",), settings=PLAIN)
    assert store.one_evolver_only
    open_trial(store)
    store.record_run(run("a", "a", trial="trial-1"))
    store.record_outcome("a", success=True)
    assert store.seal_window("trial-1", 0).groups == (((Arm.INCUMBENT, 1.0),),)


def test_labels_of_names_are_unambiguous() -> None:
    assert label("acme.com_x%") == "acme~2ecom~5fx~25"
    assert tenant_label(("a", "b")) != tenant_label(("a/b",))
    assert tenant_label(()) == "~"
    for wrong in ("", 3):
        with pytest.raises(StoreError):
            tenant_label((wrong,))  # type: ignore[arg-type]
    with pytest.raises(StoreError, match="tuple"):
        tenant_label("acme")  # type: ignore[arg-type]


def test_the_store_file_is_its_owners_only(tmp_path: Path) -> None:
    sqlite_store(tmp_path)
    assert {path.stat().st_mode & 0o077 for path in tmp_path.iterdir()} == {0}


def test_a_place_that_cannot_be_opened_is_our_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StoreError):
        LiveStore.open(tmp_path / "file" / "live.db", settings=StoreSettings(capture="outcomes_only"))  # type: ignore[arg-type]
    (tmp_path / "live.db").write_text("this is no database at all, just a text of some length" * 40)
    with pytest.raises(StoreError):
        sqlite_store(tmp_path)
