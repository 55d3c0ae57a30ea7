"""A model's trigger must be precise: more firings on the failures it is for than elsewhere, and always-on only for many."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

import pytest
from creator_models import RECORD, SKILL, RecordedModel

from reskill_agents import Episode, OperationKind, Skill, SkillLibrary, Trigger, TriggerKind
from reskill_agents.creator_model import ClientConfig, ModelRequest
from reskill_agents.environment import Task
from reskill_agents.episodes import Turn
from reskill_agents.graphs.creator import CreationConfig, OfflineAuthor, create
from reskill_agents.graphs.creator_author import author_of
from reskill_agents.graphs.creator_clusters import served_tasks, tasks_of_problems
from reskill_agents.graphs.creator_state import (
    CreationWork,
    Diagnosis,
    Draft,
    Insight,
    Recommendation,
    TriggerGate,
)
from reskill_agents.graphs.creator_triggers import need_of, precision_of, precision_problems
from reskill_agents.graphs.creator_verify import verified
from reskill_agents.library import Operation

EMPTY = SkillLibrary()
FAILING = ("jam-0", "jam-1", "maze-0", "maze-1", "maze-2", "maze-3")
JAM = FAILING[:2]


def run(task: str, number: int, seen: Sequence[str], score: float) -> Episode:
    turns = tuple(Turn(index, text, f"go {index}") for index, text in enumerate(seen))
    return Episode(f"{task}/{number}", Task(task, "get out"), turns, score)


def jams_and_mazes() -> tuple[Episode, ...]:
    """Two tasks fail in a jam, four in a maze, six succeed; everybody passes the hall, failures are longer."""
    episodes = []
    for number in range(3):
        for task in FAILING:
            trouble = "jammed door" if task.startswith("jam") else "twisty maze"
            episodes.append(run(task, number, ["hall", *[trouble] * 3, "hall", "dark"], 0.0))
        episodes += [run(f"good-{n}", number, ["hall", "corridor", "lamp lit"], 1.0) for n in range(6)]
    return tuple(episodes)


def work(episodes: Sequence[Episode] = (), **settings: object) -> CreationWork:
    config = dataclasses.replace(CreationConfig(), **settings)  # type: ignore[arg-type]
    return CreationWork(tuple(episodes) or jams_and_mazes(), EMPTY, (), (), 0, config, OfflineAuthor())


def skill(kind: TriggerKind, pattern: str = "") -> Skill:
    return Skill("mind-the-door", "Use when a door jams.", "Lift the door before you push.", Trigger(kind, pattern))


def problems(trigger: Skill, tasks: Sequence[str], given: CreationWork | None = None) -> list[str]:
    return precision_problems(trigger, Recommendation(OperationKind.ADD, tasks=tuple(tasks)), given or work())


@pytest.mark.parametrize("kind", [TriggerKind.GENERAL, TriggerKind.BEGINNING])
def test_an_always_on_trigger_must_serve_half_of_the_failing_tasks(kind: TriggerKind) -> None:
    (problem,) = problems(skill(kind), JAM)
    assert f"`{kind}` is in every episode, but this advice serves 2 of 6 failing tasks" in problem
    assert problems(skill(kind), FAILING[:3]) == []
    assert len(problems(skill(kind), ())) == 1  # nobody says what it is for: not earned
    assert len(problems(skill(kind), ("good-0", "good-1", "good-2", "jam-0"))) == 1  # solved tasks do not count


def test_a_pattern_must_single_out_the_failures_it_is_for() -> None:
    observed = TriggerKind.OBSERVATION_PATTERN
    assert problems(skill(observed, "jammed"), JAM) == []
    (problem,) = problems(skill(observed, "hall"), JAM)
    assert "on 33% of the turns of the 6 failures it is for and on 33% of the same turns elsewhere, not more" in problem
    assert "serving 2 of 6 failing tasks" in problem
    (problem,) = problems(skill(observed, "twisty"), JAM)  # other failures are elsewhere too
    assert "on 0% of the turns" in problem


def test_advice_that_may_be_always_on_may_wait_for_its_moment_but_not_for_success() -> None:
    observed = TriggerKind.OBSERVATION_PATTERN
    assert problems(skill(observed, "hall"), FAILING) == []
    (problem,) = problems(skill(observed, "lamp lit"), FAILING)
    assert "goes with doing well" in problem


def test_being_longer_is_not_precision() -> None:
    """A sign that shows on every second turn of any episode is in all long ones and in half of the short ones."""
    episodes = [
        run(f"{kind}-{n}", k, ["sign" if (k + turn) % 2 else "wall" for turn in range(length)], float(kind == "good"))
        for n in range(8)
        for k in range(2)
        for kind, length in (("bad", 8), ("good", 1))
    ]
    sign, some = skill(TriggerKind.OBSERVATION_PATTERN, "sign"), ("bad-0", "bad-1", "bad-2")
    need = need_of(Recommendation(OperationKind.ADD, tasks=some), work(episodes))
    assert {len(e.turns) for e in need.addressed} == {8}
    assert precision_of(sign, need).z < 1
    assert problems(sign, some, work(episodes))


def test_precision_by_hand() -> None:
    need = need_of(Recommendation(OperationKind.ADD, tasks=JAM), work())
    assert (need.served, need.failing, len(need.addressed), len(need.elsewhere)) == (2, 6, 6, 30)
    found = precision_of(skill(TriggerKind.OBSERVATION_PATTERN, "hall"), need)
    # Elsewhere the hall shows at turn 0 (30 of 30) and turn 4 (12 of 12), never between: (1 + 0 + 0 + 0 + 1 + 0) / 6.
    assert found.addressed == pytest.approx(1 / 3)
    assert found.elsewhere == pytest.approx(1 / 3)
    assert found.z == 0.0


def test_without_any_success_the_worse_half_is_what_failed() -> None:
    episodes = [dataclasses.replace(e, score=0.5 if e.success else 0.0) for e in jams_and_mazes()]
    assert problems(skill(TriggerKind.OBSERVATION_PATTERN, "jammed"), JAM, work(episodes)) == []
    assert problems(skill(TriggerKind.OBSERVATION_PATTERN, "hall"), JAM, work(episodes))


def test_the_papers_gate_and_the_ablation_ask_nothing_more() -> None:
    general = skill(TriggerKind.GENERAL)
    assert problems(general, JAM)
    assert problems(general, JAM, work(gate=TriggerGate.PAPER)) == []
    assert problems(general, JAM, work(general_triggers=True)) == []


def test_the_offline_author_fits_its_own_triggers_and_a_kept_trigger_is_not_asked() -> None:
    given, recommended = work(), Recommendation(OperationKind.ADD, tasks=JAM)
    operation = Operation.add(skill(TriggerKind.GENERAL))
    refused, kept = (verified(given, [Draft(recommended, operation, author)])[0] for author in ("m", "offline"))
    assert not refused.sound
    assert kept.sound
    live = dataclasses.replace(given, library=SkillLibrary((skill(TriggerKind.GENERAL),)))
    modify = dataclasses.replace(recommended, kind=OperationKind.MODIFY, target="mind-the-door")
    body = Operation.modify("mind-the-door", body="Pull the door, then lift it.")
    assert verified(live, [Draft(modify, body, "m")])[0].sound
    moved = Operation.modify("mind-the-door", trigger=Trigger(TriggerKind.BEGINNING))
    assert not verified(live, [Draft(modify, moved, "m")])[0].sound


FOUND = (
    Insight("a", "It pushed a jammed door again and again."),
    Insight("b", "It walked in circles in the maze."),
    Insight("c", "The maze was walked twice.", failing=("walks in circles",)),
)
PROBLEMS = ("Jammed doors are pushed again.", "Mazes are walked in circles.")


def test_numbers_say_which_findings_a_problem_merges() -> None:
    assert tasks_of_problems(PROBLEMS, FOUND, [[1, 3], [2, 9, -1]]) == (("a", "c"), ("b",))
    assert tasks_of_problems(PROBLEMS, FOUND, [[2, 2]]) == (("b",), ())


def test_without_numbers_a_finding_counts_for_the_problem_closest_in_wording() -> None:
    assert tasks_of_problems(PROBLEMS, FOUND, []) == (("a",), ("b", "c"))
    assert tasks_of_problems(PROBLEMS, FOUND, [[77]]) == (("a",), ("b", "c"))


def test_a_change_serves_the_tasks_of_its_problems() -> None:
    diagnosis = Diagnosis(PROBLEMS, tasks=(("a",), ("b", "c")))
    assert served_tasks([2, 1], "", diagnosis, FOUND) == ("b", "c", "a")
    assert served_tasks([], "In a maze, never walk in circles.", diagnosis, FOUND) == ("b", "c")
    assert served_tasks([9], "In a maze, never walk in circles.", Diagnosis(PROBLEMS), FOUND) == ("b", "c")
    assert served_tasks([], "anything", Diagnosis(), FOUND) == ()


async def test_a_model_is_told_and_comes_back_with_a_precise_trigger() -> None:
    always = {**SKILL, "name": "mind-the-door", "trigger": {"kind": "general"}}
    precise = {**always, "trigger": {"kind": "observation_pattern", "pattern": "jammed"}}
    tries = iter([always, precise])

    def answer(request: ModelRequest) -> str:
        found: object = RECORD[request.node]
        if request.node == "analyse":
            found = {"insight": "a jam" if "jammed" in request.prompt else "a maze"}
        elif request.node == "diagnose":
            jams = [n for n in range(1, 13) if f"\n{n}. a jam" in request.prompt]
            found = {"problems": ["Doors jam.", "Mazes."], "found_in": [jams, []]}
        elif request.node == "recommend":
            found = {"changes": [{"kind": "add", "idea": "Lift the door.", "reason": "jams", "problems": [1]}]}
        elif request.node == "author":
            found = next(tries)
        return json.dumps(found)

    model = RecordedModel(answer=answer)
    author = author_of(model, config=ClientConfig(retries=0, backoff_s=0.0))
    result = await create(jams_and_mazes(), EMPTY, author=author, config=CreationConfig(tasks=12, explore=0))
    asked = [request.prompt for request in model.requests if request.node == "author"]
    assert "It is for 2 of 6 failing tasks that were analysed." in asked[0]
    assert "this advice serves 2 of 6 failing tasks" in asked[1]
    assert result.proposal is not None
    (operation,) = result.proposal.operations
    assert operation.skill is not None
    assert operation.skill.trigger.pattern == "jammed"
    assert any("mind-the-door serves 2 of 6 failing tasks" in line for line in result.proposal.evidence)
