"""Skills that evolve live: what an app's threads carry, and what a verdict needs."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from langgraph.store.memory import InMemoryStore
from live_app import POLICY, START, LiveApp, library, skill

from reskill_agents.coordination import InMemoryCoordinator
from reskill_agents.errors import ConfigError, StoreError
from reskill_agents.graphs.evolution_ledger import Ending, Purpose, read_trials, standings
from reskill_agents.graphs.evolution_policy import Approval, EvolutionPolicy
from reskill_agents.graphs.evolution_trials import EventKind, TrialDesk, current_trial
from reskill_agents.graphs.evolver import SkillEvolver, StepReport
from reskill_agents.library import Operation, Proposal, SkillLibrary
from reskill_agents.live_records import ActivationKind
from reskill_agents.store import LiveStore, StoreSettings
from reskill_agents.trials.arm import Arm


def trial_app(**settings: object) -> LiveApp:
    """An app in whose first trial a skill worth 0.3 is tested."""
    app = LiveApp({"good": 0.3}, ["good"], **settings)  # type: ignore[arg-type]
    app.serve(12)
    app.step()
    assert app.store.open_trial() is not None
    return app


def endings(app: LiveApp) -> list[Ending]:
    return [trial.ending for trial in read_trials(app.store)]


def test_a_skill_that_helps_is_promoted_and_one_that_does_not_is_rejected() -> None:
    app = LiveApp({"good": 0.3, "bad": -0.2}, ["bad", "good"])
    app.live_on(400)
    assert endings(app)[:2] == [Ending.REJECTED, Ending.PROMOTED]
    assert [one.name for one in app.store.active().library] == ["good"]
    told = app.creator.told[1]
    assert [(verdict.accepted, verdict.proposal.operations[0].name) for verdict in told] == [(False, "bad")]


def test_a_thread_keeps_its_library_when_the_trial_ends() -> None:
    app = trial_app()
    pins = app.serve(60)
    assert {pin.arm for pin in pins} == set(Arm)
    loser = next(pin for pin in pins if pin.arm is Arm.INCUMBENT)
    app.live_on(200)
    assert endings(app)[0] is Ending.PROMOTED
    assert app.store.active().library.digest != loser.library
    assert app.run(loser.thread_id).library == loser.library


def test_a_thread_that_began_before_the_trial_never_enters_it() -> None:
    app = LiveApp({"good": 0.3}, ["good"])
    first = app.serve(12)
    app.step()
    assert all(app.run(pin.thread_id).trial == "" for pin in first)


def test_another_worker_gives_a_thread_the_same_library() -> None:
    app = trial_app()
    other = LiveApp({}, base=app.base)
    for number in range(40):
        mine, _ = app.live.assign(f"shared-{number}", "any")
        theirs, _ = other.live.assign(f"shared-{number}", "any")
        assert mine.digest == theirs.digest


def test_the_share_changes_only_at_window_borders() -> None:
    app = trial_app()
    shares: dict[int, set[float]] = {}
    for _ in range(12):
        for pin in app.serve(10):
            if pin.trial:
                shares.setdefault(pin.window, set()).add(pin.share)
        app.step()
    assert len(shares) >= 2
    assert all(len(seen) == 1 for seen in shares.values())
    assert max(share for seen in shares.values() for share in seen) <= POLICY.share


def test_a_canary_share_is_never_exceeded() -> None:
    app = trial_app(policy=replace(POLICY, share=0.1))
    arms = [pin.arm for pin in app.serve(200)]
    assert 5 <= arms.count(Arm.CANDIDATE) <= 40


def test_one_value_per_thread_however_often_it_runs() -> None:
    app = trial_app()
    busy = app.serve(1)[0].thread_id
    for _ in range(50):
        app.run(busy)
    app.serve(29)
    app.step()
    window = app.store.sealed_windows(read_trials(app.store)[0].trial_id)[0]
    assert sum(len(group) for group in window.groups) == 30


def test_two_evolvers_on_one_store_do_not_work_at_once_and_give_one_verdict() -> None:
    coordinator, base = InMemoryCoordinator(clock=lambda: START), InMemoryStore()
    app = trial_app(base=base, coordinator=coordinator)
    twin = app.new_evolver()
    held = coordinator.acquire("reskill/shop", "somebody", 60.0)
    assert held is not None
    assert app.step(twin).idle == "another evolver is at work"
    coordinator.release(held)
    for _ in range(20):
        app.serve(10)

        async def both() -> None:
            await asyncio.gather(app.evolver.step(app.now), twin.step(app.now))

        asyncio.run(both())
    promotions = [entry for entry in app.store.history() if entry.kind is ActivationKind.VERDICT]
    assert len(promotions) == 1
    assert len(app.store.verdicts()) == 1


def test_two_processes_on_one_file_give_one_verdict(tmp_path: Path) -> None:
    app = LiveApp({"good": 0.3}, ["good"], path=tmp_path / "live.db")
    twin = LiveApp({}, ["good"], path=tmp_path / "live.db")
    app.serve(12)
    app.step()
    for _ in range(6):
        app.serve(20)
        twin.now = app.now
        with ThreadPoolExecutor(2) as pool:
            reports = list(pool.map(lambda one: asyncio.run(one.evolver.step(one.now)), (app, twin)))
        assert not any(report.fault for report in reports)
    assert len([entry for entry in twin.store.history() if entry.kind is ActivationKind.VERDICT]) == 1
    assert [trial.ending for trial in read_trials(twin.store)] == [Ending.PROMOTED]
    assert len(twin.store.verdicts()) == 1
    assert not app.store.one_evolver_only
    app.store.close()
    twin.store.close()


@pytest.mark.parametrize("dies_at", ["save_trial", "record_verdict", "promote", "put_record"])
def test_a_crash_between_verdict_and_promotion_is_resumed_exactly(
    dies_at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    unbroken = trial_app()
    unbroken.live_on(200)
    broken = trial_app()
    broken.names = []
    real = getattr(broken.store, dies_at)
    deaths = []

    def die(*args: object, **kwargs: object) -> object:
        if not deaths:
            deaths.append(dies_at)
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(broken.store, dies_at, die)
    for _ in range(20):
        broken.serve(10)
        try:
            broken.step()
        except KeyboardInterrupt:
            broken.step(broken.new_evolver())  # before another request comes in
    assert deaths
    first, second = (app.store.verdicts()[0] for app in (unbroken, broken))
    assert replace(first, at=0.0) == replace(second, at=0.0)
    assert endings(broken) == endings(unbroken) == [Ending.PROMOTED]
    assert broken.store.active().library == unbroken.store.active().library
    assert sum(entry.kind is ActivationKind.VERDICT for entry in broken.store.history()) == 1


def test_a_freeze_stops_trials_and_promotions_at_once() -> None:
    app = trial_app()
    candidate = next(pin for pin in app.serve(40) if pin.arm is Arm.CANDIDATE)
    app.store.freeze(by="anna")
    assert app.run(candidate.thread_id).library == SkillLibrary().digest
    assert all(not pin.trial for pin in app.serve(60))
    assert app.step().events == ()
    assert not app.store.verdicts()
    app.store.unfreeze(by="anna")
    app.live_on(200)
    assert endings(app)[0] is Ending.PROMOTED


def test_a_pinned_library_is_served_to_everybody() -> None:
    app = trial_app()
    pins = app.serve(40)
    app.store.put_library(library("mine"))
    app.store.pin(library("mine").digest, by="anna")
    assert {app.run(pin.thread_id).library for pin in pins} == {library("mine").digest}
    assert app.step().events == ()


def test_a_rollback_is_instant_for_running_threads_and_ends_the_trial() -> None:
    app = LiveApp({"good": 0.3, "more": 0.0}, ["good", "more"])
    app.live_on(200)
    assert endings(app)[0] is Ending.PROMOTED
    pins = app.serve(20)
    app.store.rollback(by="anna", reason="customers complain")
    assert {app.run(pin.thread_id).library for pin in pins} == {SkillLibrary().digest}
    app.step()
    assert endings(app)[-1] in (Ending.SUPERSEDED, Ending.REJECTED, Ending.RUNNING)
    assert not app.store.active().library.skills
    running = current_trial(read_trials(app.store))
    assert running is None or running.record.incumbent == SkillLibrary().digest


def test_nothing_takes_effect_that_a_person_must_approve() -> None:
    app = trial_app(policy=replace(POLICY, approval=Approval.PROMOTIONS))
    app.live_on(200)
    assert endings(app) == [Ending.AWAITING]
    assert not app.store.active().library.skills
    assert all(not pin.trial for pin in app.serve(10))
    waiting = read_trials(app.store)[0].trial_id
    app.evolver.approve(waiting, by="anna", reason="looks right")
    app.step()
    assert endings(app)[0] is Ending.PROMOTED
    assert app.store.history()[-1].by == "anna"


def test_a_person_can_refuse_what_won() -> None:
    app = trial_app(policy=replace(POLICY, approval=Approval.PROMOTIONS))
    app.live_on(200)
    app.evolver.approve(read_trials(app.store)[0].trial_id, by="anna", approved=False)
    app.step()
    assert endings(app)[0] is Ending.REFUSED
    assert not app.store.active().library.skills


def test_min_outcomes_hold_a_promotion_back() -> None:
    eager, patient = trial_app(), trial_app(policy=replace(POLICY, min_outcomes=40))
    for app in (eager, patient):
        app.live_on(200)
    first, second = (app.store.verdicts()[0] for app in (eager, patient))
    assert first.accepted
    assert second.accepted
    assert (
        min(float(second.facts[f"threads_{arm}"] or 0) for arm in Arm)
        >= 40
        > float(first.facts["threads_candidate"] or 0)
    )


def test_a_candidate_without_traffic_gets_too_old() -> None:
    app = trial_app()
    app.now += POLICY.max_age_s + 1.0
    app.step()
    assert endings(app)[0] is Ending.EXPIRED


def test_a_skill_that_harms_is_removed_and_one_that_helps_is_kept() -> None:
    policy = replace(POLICY, prune_every=1, prune_rest=4, window_units=40)
    app = LiveApp({"old": -0.2, "vital": 0.25}, ["noise"], policy)
    app.store.activate(library("old", "vital"), by="team")
    strata = iter(range(10**6))
    assign = app.live.assign
    app.live.assign = lambda thread, stratum="", **more: assign(thread, f"s{next(strata) % 4}")  # type: ignore[method-assign]
    app.live_on(640, every=20)
    by_target = {trial.target: trial.ending for trial in read_trials(app.store) if trial.purpose.removes}
    assert by_target["old"] is Ending.REMOVED
    assert by_target.get("vital", Ending.KEPT) is Ending.KEPT
    assert "vital" in app.store.active().library.by_name


def test_a_rare_skill_is_never_left_out() -> None:
    app = LiveApp({}, ["n1", "n2"], replace(POLICY, prune_every=1), rare=frozenset({"seldom"}))
    app.store.activate(library("seldom"), by="team")
    app.live_on(400, every=20)
    assert [trial for trial in read_trials(app.store) if trial.verdict]
    assert not [trial for trial in read_trials(app.store) if trial.purpose.removes]


def test_another_model_sends_skills_back_to_trial_while_they_stay_served() -> None:
    app = trial_app(policy=replace(POLICY, prune_every=50))
    app.live_on(200)
    trials, active = read_trials(app.store), app.store.active().library
    assert standings(app.store, trials, active)[0].proven_for("m1")
    app.model = "m2"
    app.serve(12)
    events = app.step().events
    assert EventKind.MODEL in {event.kind for event in events}
    running = read_trials(app.store)[-1]
    assert (running.purpose, running.target, running.record.model) == (Purpose.RETRIAL, "good", "m2")
    assert app.store.active().library == active
    assert not standings(app.store, read_trials(app.store), active)[0].proven_for("m2")
    app.live_on(300, every=20)
    assert standings(app.store, read_trials(app.store), active)[0].proven_for("m2")


def test_a_change_of_model_in_mid_trial_gives_the_trial_up() -> None:
    app = trial_app()
    app.serve(10)
    app.step()
    app.model = "m2"
    app.serve(12)
    app.step()
    assert endings(app)[0] is Ending.MODEL_CHANGED


def test_tenants_do_not_mix() -> None:
    base = InMemoryStore()
    mine, theirs = LiveApp({"good": 0.3}, ["good"], base=base), LiveApp({}, base=base, namespace=("other",))
    for _ in range(20):
        mine.serve(10)
        mine.step()
        theirs.serve(10)
        theirs.step()
    assert mine.store.active().library.skills
    assert not theirs.store.active().library.skills
    assert not theirs.store.trials()
    shown = {name for names in theirs.creator.shown for name in names}
    assert shown <= {run.run_id for run in theirs.store.runs()}


def test_a_persons_proposal_gets_its_trial() -> None:
    app = LiveApp({"good": 0.3})
    app.serve(5)
    app.evolver.offer(Proposal((Operation.add(skill("good")),), "I think so"), by="anna")
    app.evolver.offer(Proposal((Operation.delete("unknown"),)), by="anna")
    app.live_on(200)
    trials = read_trials(app.store)
    assert [(trial.origin, trial.ending) for trial in trials] == [("person anna", Ending.PROMOTED)]


def test_a_fault_never_leaves_the_evolver_or_the_library() -> None:
    app = trial_app()

    def broken(*_: object, **__: object) -> object:
        raise StoreError("the disk is full")

    pin = app.serve(1)[0]
    app.store.active = broken  # type: ignore[method-assign,assignment]
    report = asyncio.run(app.evolver.step(app.now))
    assert "the disk is full" in report.fault
    served, _ = app.live.assign("new-thread")
    assert served.digest in (pin.library, SkillLibrary().digest)


def test_a_creator_that_fails_is_a_fault_and_asked_again_later() -> None:
    app = LiveApp({"good": 0.3}, ["good"], replace(POLICY, create_every_s=100.0))
    app.serve(12)
    working = app.evolver.creator

    async def broken(*_: object, **__: object) -> object:
        raise RuntimeError("no model")

    app.evolver.creator = broken  # type: ignore[assignment]
    assert "no model" in asyncio.run(app.evolver.step(app.now)).fault
    app.evolver.creator = working
    app.live_on(200)
    assert endings(app)[0] is Ending.PROMOTED


def test_the_background_thread_steps_and_stops() -> None:
    app = LiveApp({"good": 0.3}, ["good"])
    app.serve(12)
    app.evolver.start(every_s=0.01)
    app.evolver.start(every_s=0.01)
    for _ in range(500):
        if app.store.trials():
            break
        asyncio.run(asyncio.sleep(0.01))
    assert app.evolver.stop()
    assert len(app.store.trials()) == 1


def test_whoever_asks_is_told_of_every_step_that_did_something(caplog: pytest.LogCaptureFixture) -> None:
    app, told = LiveApp({"good": 0.3}, ["good"]), list[StepReport]()

    def tell(report: StepReport) -> None:
        told.append(report)
        raise RuntimeError("the pager is off")

    app.evolver = SkillEvolver(app.store, app.creator, POLICY, clock=lambda: app.now, on_step=tell)
    app.step()
    assert told == []
    app.serve(12)
    app.step()
    assert [event.kind for event in told[0].events] == [EventKind.CREATED, EventKind.OPENED]
    assert "on_step failed" in caplog.text


def test_the_evolver_keeps_the_stores_retention_once_an_hour_even_when_frozen() -> None:
    app = LiveApp({}, base=InMemoryStore())
    app.store = LiveStore.over(
        app.base, app.namespace, settings=StoreSettings(redact=None, retention_days=1.0), clock=lambda: app.now
    )
    app.evolver = app.new_evolver()
    app.serve(3)
    app.store.freeze()
    app.step()
    assert len(app.store.runs()) == 3
    app.now += 86_400.0 + 1_000.0
    app.step()
    assert app.store.runs() == app.store.episodes() == []


def test_identical_libraries_are_hardly_ever_promoted() -> None:
    promoted = 0
    for seed in range(3):
        app = LiveApp({}, policy=replace(POLICY, aa=True), seed=seed)
        app.live_on(300)
        assert endings(app)
        promoted += Ending.PROMOTED in endings(app)
    assert promoted == 0


def test_a_sealed_window_found_after_a_crash_is_used_as_it_is() -> None:
    app = trial_app()
    app.serve(30)
    live = read_trials(app.store)[0]
    app.store.seal_window(live.trial_id, 0)
    app.serve(5)  # late for the window
    advanced, _ = TrialDesk(app.store, POLICY).advance(live, app.now)
    assert advanced.record.window == 1


def test_a_policy_says_everything_that_is_wrong_with_it() -> None:
    with pytest.raises(ConfigError, match=r"share.*window_units"):
        EvolutionPolicy(share=1.5, window_units=0)
