"""The skills' side of the loop, without a policy: what is asked, tried, adopted, dropped and pruned."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest
from trainer_runs import PreparedAuthor, Watcher, skill, small_config

from reskill_agents.environment import Task
from reskill_agents.episodes import Episode, Firing, Group, Turn, graded_outcome
from reskill_agents.graphs.creator_state import CreationReport, CreationResult, PastVerdict
from reskill_agents.library import Operation, Proposal, SkillLibrary
from reskill_agents.methods import Method
from reskill_agents.trainers import creation
from reskill_agents.trainers.config import RunConfig
from reskill_agents.trainers.groups import GroupPlan, Member, PlayedGroup, Role, TaskCursor
from reskill_agents.trainers.journal import Journal
from reskill_agents.trainers.methods import trial_method
from reskill_agents.trainers.progress import TrialPurpose
from reskill_agents.trainers.pruning import removal
from reskill_agents.trainers.run_folder import RunFolder
from reskill_agents.trainers.skills_loop import SkillsLoop
from reskill_agents.trainers.skills_state import restore_skills, skills_to_state
from reskill_agents.trials import Arm

Scoring = Callable[[Member, int], float | None]
TASKS = [Task(f"t{number}", f"do {number}") for number in range(8)]


def play(plans: Sequence[GroupPlan], step: int, scoring: Scoring) -> list[PlayedGroup]:
    """Episodes whose score is a function of the member and its place."""
    played = []
    for number, plan in enumerate(plans):
        episodes = tuple(
            Episode(
                f"s{step}-g{number}-r{place}",
                plan.task,
                (Turn(0, "page", "go", firings=tuple(Firing(s.name, s.digest, 0) for s in member.library)),),
                scoring(member, place + number),
                arm=member.arm,
                library_digest=member.library.digest,
                task_shown=plan.task.text,
                step=step,
            )
            for place, member in enumerate(plan.members)
        )
        played.append(PlayedGroup(plan, Group(plan.task, episodes)))
    return played


async def prepared(
    episodes: Sequence[Episode], library: SkillLibrary, *, verdicts: Sequence[PastVerdict], **_: object
) -> CreationResult:
    """A creator that proposes ``prepared-0``, ``prepared-1``, ... by the number of verdicts and skills there are."""
    number = (len(verdicts) + len(library)) % len(PreparedAuthor.bodies)
    proposal = Proposal((Operation.add(skill(f"prepared-{number}", PreparedAuthor.bodies[number])),))
    return CreationResult(proposal, CreationReport("prepared"))


@pytest.fixture(autouse=True)
def prepared_creator(monkeypatch: pytest.MonkeyPatch) -> None:
    """No creator graph here: ``test_trainer_loop`` has the real one."""
    monkeypatch.setattr(creation, "create", prepared)


class MakeLoop(Protocol):
    def __call__(self, watcher: Watcher | None = None, **changes: object) -> SkillsLoop: ...


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[MakeLoop]:
    """Makes loops over run folders ``run-0``, ``run-1``, ...; closes the folders."""
    folders: list[RunFolder] = []

    def make(watcher: Watcher | None = None, **changes: object) -> SkillsLoop:
        settings: dict[str, object] = {"rollout": {"groups": 8, "group_size": 8}, "trial": {"max_steps": 8}}
        settings["creator"] = {"warm_up": 4, "join_after": 1}
        config: RunConfig = small_config(**{**settings, **changes})
        folders.append(RunFolder(tmp_path / f"run-{len(folders)}", config))
        return SkillsLoop(config, Journal(folders[-1], watcher or Watcher()), graded_outcome)

    yield make
    for folder in folders:
        folder.close()


async def train(under_test: SkillsLoop, steps: range, scoring: Scoring) -> None:
    for step in steps:
        await under_test.begin_step(step)
        under_test.record(step, play(under_test.plan(step, TASKS), step, scoring))


def helpful(name: str) -> Scoring:
    """Episodes with the skill score more; a little noise, so that groups have variance."""
    return lambda member, place: (0.9 if name in member.library.by_name else 0.3) + 0.05 * (place % 2)


def harmful(name: str) -> Scoring:
    return lambda member, place: (0.1 if name in member.library.by_name else 0.6) + 0.05 * (place % 2)


async def test_a_helpful_skill_is_adopted_by_verdict_with_its_evidence(loop: MakeLoop, tmp_path: Path) -> None:
    watcher = Watcher()
    under_test = loop(watcher)
    await train(under_test, range(5), helpful("prepared-0"))
    assert [s.name for s in under_test.active] == ["prepared-0"]
    assert watcher.verdicts[0].verdict.accepted
    lineage = under_test.lineage["prepared-0"]
    assert (lineage.version, lineage.parent, lineage.evidence["trial"]) == (1, None, "trial-001")
    assert (tmp_path / "run-0" / "libraries" / "v001" / "prepared-0" / "SKILL.md").is_file()


async def test_a_harmful_skill_is_rejected_and_remembered(loop: MakeLoop) -> None:
    watcher = Watcher()
    under_test = loop(watcher)
    await train(under_test, range(4), harmful("prepared-0"))
    assert not under_test.active.skills
    assert [v.accepted for v in under_test.verdicts] == [False]
    assert not watcher.verdicts[0].verdict.accepted


async def test_a_verdict_takes_effect_only_in_the_step_after_its_evidence(loop: MakeLoop) -> None:
    """What lies between is the checkpoint (invariant 8)."""
    under_test = loop()
    for step in range(10):
        if under_test.verdict_due:
            break
        await under_test.begin_step(step)
        plans = under_test.plan(step, TASKS)
        assert not under_test.active.skills
        under_test.record(step, play(plans, step, helpful("prepared-0")))
    assert not under_test.active.skills
    await under_test.begin_step(step)
    assert under_test.active.skills


async def test_both_arms_are_in_every_group_under_test_before_anything_is_sampled(loop: MakeLoop) -> None:
    under_test = loop()
    seen = 0
    for step in range(6):
        await under_test.begin_step(step)
        plans = under_test.plan(step, TASKS)
        if under_test.open_trial is not None:
            for plan in plans:
                arms = [member.arm for member in plan.members]
                assert min(arms.count(Arm.CANDIDATE), arms.count(Arm.INCUMBENT)) >= 2
                assert all(
                    member.library
                    == (under_test.open_trial.candidate if member.arm is Arm.CANDIDATE else under_test.active)
                    for member in plan.members
                )
                seen += 1
        under_test.record(step, play(plans, step, lambda member, place: 0.5 + 0.1 * (place % 3)))
    assert seen


async def test_a_trial_compares_only_episodes_of_the_same_group(loop: MakeLoop) -> None:
    """Invariant 6: tasks of very different difficulty, arms spread unequally over them, no difference inside."""
    under_test = loop()
    await train(under_test, range(2), lambda member, place: (place % 3) / 2)
    await under_test.begin_step(2)
    assert under_test.open_trial is not None
    plans = under_test.plan(2, TASKS)
    difficulty = {plan.task.task_id: number / len(TASKS) for number, plan in enumerate(plans)}
    played = []
    for one in play(plans, 2, lambda member, place: 0.0):
        episodes = tuple(replace(e, score=difficulty[e.task.task_id]) for e in one.group.episodes)
        played.append(PlayedGroup(one.plan, Group(one.plan.task, episodes)))
    under_test.record(2, played)
    belief = under_test.open_trial.trial.posterior()
    assert (belief.effect, belief.probability) == (0.0, 0.5)


async def test_nothing_is_asked_before_the_warm_up_and_while_a_trial_runs(loop: MakeLoop) -> None:
    under_test = loop(creator={"warm_up": 20, "join_after": 2})
    await under_test.begin_step(0)
    assert under_test.pending is None
    under_test.record(0, play(under_test.plan(0, TASKS), 0, lambda member, place: (place % 3) / 2))
    await under_test.begin_step(1)
    assert under_test.pending is not None
    assert under_test.pending.joins_at == 3
    await train(under_test, range(2, 4), lambda member, place: (place % 3) / 2)
    assert under_test.open_trial is not None
    assert under_test.pending is None


async def test_faults_are_no_evidence(loop: MakeLoop) -> None:
    under_test = loop()
    await train(under_test, range(2), lambda member, place: 0.5)
    await under_test.begin_step(2)
    assert under_test.open_trial is not None
    before = len(under_test.reservoir)
    under_test.record(2, play(under_test.plan(2, TASKS), 2, lambda member, place: None))
    assert under_test.open_trial.trial.missing().candidate > 0
    assert len(under_test.reservoir) == before


@pytest.mark.parametrize("method", [Method.STATIC, Method.DECOUPLED])
async def test_untested_methods_adopt_at_once_and_say_so(loop: MakeLoop, method: Method) -> None:
    under_test = loop(method=method, creator={"warm_up": 4, "join_after": 1, "decoupled_every": 2})
    await train(under_test, range(6), helpful("none"))
    assert len(under_test.active) == (1 if method is Method.STATIC else 2)
    assert all(lineage.evidence["untested"] is True for lineage in under_test.lineage.values())
    assert not under_test.verdicts


async def test_an_aa_trial_compares_a_library_with_itself(loop: MakeLoop) -> None:
    under_test = loop(aa=True)
    await train(under_test, range(2), lambda member, place: (place % 2) / 2)
    assert under_test.open_trial is not None
    assert under_test.open_trial.trial.is_aa
    plans = under_test.plan(2, TASKS)
    assert {member.library.digest for plan in plans for member in plan.members} == {under_test.active.digest}
    assert {member.arm for plan in plans for member in plan.members} == {Arm.INCUMBENT, Arm.CANDIDATE}


async def test_a_skill_that_does_nothing_is_screened_out_and_removed_on_evidence(loop: MakeLoop) -> None:
    watcher = Watcher()
    under_test = loop(
        watcher,
        rollout={"groups": 32, "group_size": 8},
        creator={"warm_up": 4, "join_after": 1, "max_creations": 1},
        pruning={"min_age": 0},
        trial={"max_steps": 12},
    )
    under_test.active = SkillLibrary((skill("useful"), skill("useless", "Never take `back` twice.")))
    under_test.creations = 1
    under_test.pruner.adopt(under_test.active, removal("none", ""))
    tasks = TASKS * 4

    for step in range(60):
        await under_test.begin_step(step)
        plans = under_test.plan(step, tasks)
        under_test.record(step, play(plans, step, helpful("useful")))
        if watcher.verdicts:
            break
    under_test.finish(60)
    assert watcher.verdicts[0].purpose is TrialPurpose.PRUNING
    assert [s.name for s in under_test.active] == ["useful"]
    assert under_test.verdicts[-1].accepted


async def test_pruning_steps_stay_within_their_budget(loop: MakeLoop) -> None:
    under_test = loop(creator={"warm_up": 10_000, "join_after": 1})
    under_test.active = SkillLibrary((skill("one"),))
    under_test.pruner.adopt(under_test.active, removal("none", ""))
    masked = total = 0
    for step in range(40):
        await under_test.begin_step(step)
        plans = under_test.plan(step, TASKS)
        masked += 64 * any(member.role is Role.MASKED for plan in plans for member in plan.members)
        total += 64
        under_test.record(step, play(plans, step, helpful("one")))
    assert 0.1 * total <= masked <= 0.15 * total


async def test_the_state_survives_json_exactly(loop: MakeLoop) -> None:
    scoring: Scoring = lambda member, place: (place % 4) / 3  # noqa: E731
    one = loop(trial={"max_steps": 3})
    await train(one, range(7), scoring)
    other = loop(trial={"max_steps": 3})
    restore_skills(other, json.loads(json.dumps(skills_to_state(one))))
    await train(one, range(7, 14), scoring)
    await train(other, range(7, 14), scoring)
    assert skills_to_state(one) == skills_to_state(other)


def test_the_cursor_gives_every_task_once_an_epoch_and_starts_anywhere() -> None:
    cursor = TaskCursor(TASKS, seed=1)
    first = [task.task_id for task in cursor.take(8)]
    second = [task.task_id for task in cursor.take(8)]
    assert sorted(first) == sorted(second) == sorted(task.task_id for task in TASKS)
    assert first != second
    assert [task.task_id for task in TaskCursor(TASKS, seed=1, position=5).take(6)] == (first + second)[5:11]


async def test_a_creation_that_breaks_is_noted_and_training_goes_on(
    loop: MakeLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("no episodes")

    monkeypatch.setattr(creation, "create", broken)
    watcher = Watcher()
    await train(loop(watcher), range(4), helpful("prepared-0"))
    assert [event.proposal for event in watcher.proposals] == [None]
    assert watcher.proposals[0].notes == ["ZeroDivisionError: no episodes"]


@pytest.mark.parametrize("method", [Method.RESKILL, Method.RESKILL_PAPER])
async def test_without_trials_every_proposal_is_adopted_and_labelled(loop: MakeLoop, method: Method) -> None:
    under_test = loop(method=method, creator={"warm_up": 4, "join_after": 1, "adopt_all": True})
    await train(under_test, range(6), harmful("prepared-0"))
    assert len(under_test.active) >= 2
    assert all(lineage.evidence["untested"] is True for lineage in under_test.lineage.values())
    assert (under_test.trials, under_test.open_trial) == (0, None)
    plans = under_test.plan(6, TASKS)
    assert {member.role for plan in plans for member in plan.members} == {Role.ACTIVE}  # no pruning steps either


async def test_an_unpaired_trial_is_fooled_by_the_tasks_its_arms_met(loop: MakeLoop) -> None:
    beliefs = {}
    for paired in (True, False):
        under_test = loop(trial={"max_steps": 8, "paired": paired})
        await train(under_test, range(2), lambda member, place: (place % 3) / 2)
        await under_test.begin_step(2)
        assert under_test.open_trial is not None
        members = {member.arm: member for plan in under_test.plan(2, TASKS) for member in plan.members}
        old, new = members[Arm.INCUMBENT], members[Arm.CANDIDATE]
        easy = [GroupPlan(task, (old, old, new, new, new, new)) for task in TASKS[:4]]
        hard = [GroupPlan(task, (old, old, old, old, new, new)) for task in TASKS[4:]]
        under_test.record(2, [*play(easy, 2, lambda *_: 1.0), *play(hard, 2, lambda *_: 0.0)])
        beliefs[paired] = under_test.open_trial.trial.posterior()
    assert (beliefs[True].effect, beliefs[True].information) == (0.0, 0.0)  # inside a group nothing differs
    assert beliefs[False].effect > 0
    assert beliefs[False].information > 0


async def test_without_discount_finished_trials_change_nothing(loop: MakeLoop) -> None:
    """Evidence that points one way early and the other late teaches the paper's rule a finite memory."""
    memories = {}
    for discount in (True, False):
        under_test = loop(method=Method.RESKILL_PAPER, trial={"discount": discount})
        for step in range(40):
            flip = (step // 3) % 2
            await train(
                under_test,
                range(step, step + 1),
                lambda member, place, flip=flip: float((place % 8 == 0) ^ flip),  # type: ignore[misc]
            )
        method = trial_method(under_test.config, TrialPurpose.CREATION, under_test.history)
        memories[discount] = method.settings()["memory"]
    assert memories[True] is not None
    assert memories[False] is None  # infinite


async def test_a_frozen_policy_is_asked_to_train_on_nothing_while_skills_evolve(loop: MakeLoop) -> None:
    under_test = loop(update={"frozen": True})
    for step in range(5):
        await under_test.begin_step(step)
        plans = under_test.plan(step, TASKS)
        assert not any(plan.trained for plan in plans)
        under_test.record(step, play(plans, step, helpful("prepared-0")))
    assert [s.name for s in under_test.active] == ["prepared-0"]


async def test_skills_that_a_run_starts_with_are_screened_for_pruning_too(loop: MakeLoop) -> None:
    made = loop(creator={"warm_up": 10_000, "join_after": 1})
    under_test = SkillsLoop(made.config, made.journal, graded_outcome, active=SkillLibrary((skill("one"),)))
    masked: set[str] = set()
    for step in range(20):
        await under_test.begin_step(step)
        plans = under_test.plan(step, TASKS)
        masked |= {name for plan in plans for member in plan.members for name in member.without}
        under_test.record(step, play(plans, step, helpful("one")))
    assert masked == {"one"}
    assert under_test.since == {"one": 0}
