"""Checks have three values and show the turns that decided them."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path

import pytest
from creator_episodes import careless, episode
from hypothesis import given
from hypothesis import strategies as st

from reskill_agents.assertions import (
    Assertion,
    AssertionStatistics,
    Check,
    GradeResult,
    assertion_from_json,
    assertion_to_json,
    grade,
    load_assertions,
    save_assertions,
)
from reskill_agents.assertions.checks import (
    ActionAfterObservation,
    ActionBefore,
    ActionCount,
    ActionExists,
    ActionNotExists,
    FinalAction,
    FollowsDirective,
    InvalidRatioAtMost,
    MaxSteps,
    MinSteps,
    NoConsecutiveRepeat,
    NoRetryAfterError,
    ObservationContains,
    ObservationNotContains,
    RepeatAtMost,
    ToolErrorFollowedBy,
)
from reskill_agents.directives import ActionClass, Directive, Form
from reskill_agents.episodes import Episode
from reskill_agents.errors import SkillError

PASSED, FAILED, NOT_APPLICABLE = GradeResult.PASSED, GradeResult.FAILED, GradeResult.NOT_APPLICABLE
TAG_BEFORE_SHIP = FollowsDirective(
    Directive(Form.BEFORE, ActionClass("button", "ship"), ActionClass("tag", named=True)), ("crate",)
)
ALL: list[Check] = [
    ActionExists("ship"),
    ActionNotExists("back"),
    ActionBefore(r"^tag\[", "ship"),
    NoConsecutiveRepeat(),
    FinalAction("ship"),
    MinSteps(2),
    MaxSteps(4),
    ActionCount("tag", 1, 2),
    ObservationContains("gate"),
    ObservationNotContains("sealed"),
    ActionAfterObservation("crate page", "^tag"),
    RepeatAtMost(1),
    ToolErrorFollowedBy("chosen", "x"),
    NoRetryAfterError("gate"),
    InvalidRatioAtMost(0.1),
    TAG_BEFORE_SHIP,
]


def log(*steps: str, final: str = "") -> Episode:
    """An episode from ``observation > action`` steps."""
    pairs = [step.split(" > ") for step in steps]
    return dataclasses.replace(episode("x", [(seen, act, []) for seen, act in pairs]), final_observation=final)


QUERY = log("ask > describe t", "rows > select a", "Error 1 > select a", "Error 1 > describe u", final="rows")


@pytest.mark.parametrize(
    ("check", "result", "evidence"),
    [
        (ActionExists("^describe"), PASSED, (0, 3)),
        (ActionExists("drop"), FAILED, ()),
        (ActionNotExists("^select"), FAILED, (1, 2)),
        (ActionNotExists("drop"), PASSED, ()),
        (ActionBefore("^describe", "^select"), PASSED, (0, 1)),
        (ActionBefore("^select", "^describe"), FAILED, (0,)),
        (ActionBefore("^describe", "drop"), NOT_APPLICABLE, ()),
        (NoConsecutiveRepeat(), FAILED, (2,)),
        (FinalAction("^describe"), PASSED, (3,)),
        (FinalAction("^select"), FAILED, (3,)),
        (MinSteps(4), PASSED, ()),
        (MinSteps(5), FAILED, ()),
        (MaxSteps(3), FAILED, ()),
        (ActionCount("^select", 1, 1), FAILED, (1, 2)),
        (ActionCount("^select", 2), PASSED, (1, 2)),
        (ObservationContains("rows"), PASSED, (1, 4)),
        (ObservationNotContains("Error"), FAILED, (2, 3)),
        (ActionAfterObservation("Error", "^describe"), PASSED, (2, 3)),
        (ActionAfterObservation("Error", "^describe", within=1), FAILED, (2,)),
        (ActionAfterObservation("nothing", "^describe"), NOT_APPLICABLE, ()),
        (RepeatAtMost(1), FAILED, (1, 2)),
        (RepeatAtMost(1, "^describe"), PASSED, ()),
        (RepeatAtMost(1, "drop"), NOT_APPLICABLE, ()),
        (ToolErrorFollowedBy("Error", "^describe"), FAILED, (2,)),
        (ToolErrorFollowedBy("Error", "drop", never=True), PASSED, (2, 3)),
        (ToolErrorFollowedBy("Panic", "^describe"), NOT_APPLICABLE, ()),
        (NoRetryAfterError("Error"), FAILED, (2,)),
        (NoRetryAfterError("ask"), NOT_APPLICABLE, ()),
        (InvalidRatioAtMost(0.0), PASSED, ()),
    ],
)
def test_each_check_on_a_short_log(check: Check, result: GradeResult, evidence: tuple[int, ...]) -> None:
    ((found,),) = [entry.grades for entry in grade([QUERY], [Assertion(check)])]
    assert (found.result, found.evidence) == (result, evidence)


def test_reasoning_is_never_matched() -> None:
    thinking = dataclasses.replace(
        QUERY, turns=tuple(dataclasses.replace(turn, response="I will drop it") for turn in QUERY.turns)
    )
    assert grade([thinking], [Assertion(ActionExists("drop"))])[0].grades[0].result is FAILED


def test_an_episode_without_actions_fails_nothing_it_could_not_do() -> None:
    silent = episode("x", [("ask", "", [])])
    results = {entry.assertion_id: entry.result for entry in grade([silent], [Assertion(c) for c in ALL])[0].grades}
    assert [name.rsplit("-", 1)[0] for name, result in results.items() if result is FAILED] == [
        "min_steps",
        "observation_contains",
        "invalid_ratio_at_most",
    ]


def test_directives_are_graded_as_induction_judges_them() -> None:
    episodes = careless(64)
    grades = [entry.grades[0] for entry in grade(episodes, [Assertion(TAG_BEFORE_SHIP)])]
    assert {entry.result for entry in grades} == {PASSED, FAILED, NOT_APPLICABLE} or {
        entry.result for entry in grades
    } == {PASSED, FAILED}
    failed = next(n for n, entry in enumerate(grades) if entry.result is FAILED)
    assert [episodes[failed].turns[turn].action for turn in grades[failed].evidence] == ["press[ship]"]


def test_the_pass_rate_counts_what_applies() -> None:
    asserted = [
        Assertion(ActionExists("^describe")),
        Assertion(ActionExists("drop")),
        Assertion(ActionBefore("a", "drop")),
    ]
    assert grade([QUERY], asserted)[0].pass_rate == 0.5
    assert grade([QUERY], asserted[2:])[0].pass_rate is None


def test_bad_patterns_and_numbers_are_refused_when_the_check_is_made() -> None:
    with pytest.raises(SkillError, match="look-around"):
        ActionExists("(?!x)")
    with pytest.raises(SkillError, match="empty"):
        ActionExists("")
    with pytest.raises(SkillError, match="negative"):
        MinSteps(-1)
    with pytest.raises(SkillError, match="check"):
        assertion_from_json({"check": {"type": "action_exists", "pattern": "("}})
    with pytest.raises(SkillError, match="check"):
        assertion_from_json({"check": {"type": "no_such_check"}})


@pytest.mark.parametrize("check", ALL, ids=lambda check: check.type)
def test_assertions_survive_json(check: Check) -> None:
    statistics = AssertionStatistics(9, 0.5, 0.7, 0.2, 0.3, 0.1, 0.5, 0.25, None, 0.2)
    assertion = Assertion(check, statistics=statistics)
    assert assertion_from_json(json.loads(json.dumps(assertion_to_json(assertion)))) == assertion


def test_the_file_of_assertions_reports_every_problem(tmp_path: Path) -> None:
    path = tmp_path / "assertions.json"
    save_assertions([Assertion(check) for check in ALL], path)
    assert [a.check for a in load_assertions(path)] == ALL
    path.write_text('{"assertions": [{"check": {"type": "action_exists", "pattern": "("}}, 3]}')
    with pytest.raises(SkillError) as caught:
        load_assertions(path)
    assert len(caught.value.problems) == 2


def test_ten_thousand_episodes_take_seconds() -> None:
    episodes = [dataclasses.replace(e, episode_id=str(n)) for n, e in enumerate(careless(400) * 25)]
    started = time.process_time()
    assert len(grade(episodes, [Assertion(check) for check in ALL])) == 10_000
    assert time.process_time() - started < 8


@given(st.lists(st.tuples(st.text(max_size=12), st.text(max_size=12)), max_size=6))
def test_no_log_makes_grading_raise(pairs: list[tuple[str, str]]) -> None:
    strange = episode("x", [(seen, action, []) for seen, action in pairs])
    (entry,) = grade([strange], [Assertion(check) for check in ALL])
    assert all(0 <= turn <= len(pairs) for g in entry.grades for turn in g.evidence)
