"""The trigger contract: what fires, when again, in which order, and what stays out and why."""

from __future__ import annotations

import random

import pytest

from reskill_agents import Firing, Repeat, Skill, SkillLibrary, SkillSelector, Trigger, TriggerKind, TurnContext
from reskill_agents.episodes import Suppression
from reskill_agents.errors import SkillError
from reskill_agents.selection import compile_set


def skill(name: str, kind: TriggerKind, pattern: str = "", repeat: Repeat | None = None, cooldown: int = 3) -> Skill:
    return Skill(name, "d", "b", Trigger(kind, pattern, repeat, cooldown))


def fired(selector: SkillSelector, context: TurnContext, past: list[Firing] | None = None) -> list[str]:
    return [s.name for s in selector.select(context, past or []).skills]


ALL = SkillSelector(
    SkillLibrary(
        (
            skill("tool", TriggerKind.TOOL, "query_db"),
            skill("action", TriggerKind.ACTION_PATTERN, r"^search\["),
            skill("sight", TriggerKind.OBSERVATION_PATTERN, "(?i)error"),
            skill("start", TriggerKind.BEGINNING),
            skill("always", TriggerKind.GENERAL),
        )
    )
)


def test_general_and_beginning_enter_at_the_start_in_library_order() -> None:
    assert fired(ALL, TurnContext(0, "hello")) == ["start", "always"]


def test_an_action_pattern_fires_on_the_turn_after_the_action() -> None:
    assert fired(ALL, TurnContext(1, "results", "search[lamp]"), [Firing("always", "", 0)]) == ["action"]
    assert fired(ALL, TurnContext(1, "search[lamp]", "look"), [Firing("always", "", 0)]) == []


def test_patterns_search_the_raw_observation() -> None:
    assert fired(ALL, TurnContext(2, "an Error\noccurred", "x"), [Firing("always", "", 0)]) == ["sight"]


def test_a_tool_trigger_needs_the_exact_tool() -> None:
    past = [Firing("always", "", 0)]
    assert fired(ALL, TurnContext(1, "rows", "query_db({})", ("read", "query_db")), past) == ["tool"]
    assert fired(ALL, TurnContext(1, "rows", "query_db2({})", ("query_db2",)), past) == []


def test_after_a_rewrite_of_history_a_general_skill_enters_again_and_a_beginning_one_does_not() -> None:
    assert fired(ALL, TurnContext(7, "hello"), []) == ["always"]


def test_repeat_rules() -> None:
    kind = TriggerKind.OBSERVATION_PATTERN
    selector = SkillSelector(
        SkillLibrary(
            (
                skill("once", kind, "x", Repeat.ONCE),
                skill("every", kind, "x", Repeat.EVERY_FIRING),
                skill("cool", kind, "x", Repeat.AFTER_N_TURNS, 2),
            )
        )
    )
    past: list[Firing] = []
    shown: list[list[str]] = []
    for turn in range(4):
        selection = selector.select(TurnContext(turn, "x"), past)
        past.extend(selection.firings)
        shown.append([s.name for s in selection.skills])
    assert shown == [["once", "every", "cool"], ["every"], ["every", "cool"], ["every"]]
    reasons = {(f.turn, f.skill): f.suppressed for f in past if f.suppressed}
    assert reasons == {
        (1, "once"): Suppression.IN_CONTEXT,
        (1, "cool"): Suppression.COOLDOWN,
        (2, "once"): Suppression.IN_CONTEXT,
        (3, "once"): Suppression.IN_CONTEXT,
        (3, "cool"): Suppression.COOLDOWN,
    }


def test_budgets_suppress_and_record() -> None:
    library = SkillLibrary(
        tuple(skill(name, TriggerKind.OBSERVATION_PATTERN, "x", Repeat.EVERY_FIRING) for name in "abc")
    )
    selector = SkillSelector(
        library, max_skill_tokens_turn=20, max_skill_tokens_episode=30, count_tokens=lambda text: 10
    )
    first = selector.select(TurnContext(0, "x"))
    assert [s.name for s in first.skills] == ["a", "b"]
    assert first.firings[-1] == Firing("c", library.skills[2].digest, 0, Suppression.BUDGET)
    second = selector.select(TurnContext(1, "x"), first.firings)
    assert [s.name for s in second.skills] == ["a"]
    assert [f.suppressed for f in second.firings] == [None, Suppression.BUDGET, Suppression.BUDGET]


def test_suppressed_firings_of_the_past_are_not_in_context() -> None:
    selector = SkillSelector(SkillLibrary((skill("g", TriggerKind.GENERAL),)))
    assert fired(selector, TurnContext(3), [Firing("g", "", 2, Suppression.BUDGET)]) == ["g"]


def test_an_empty_library_selects_nothing() -> None:
    selection = SkillSelector(SkillLibrary()).select(TurnContext(0, "x"))
    assert (selection.skills, selection.firings) == ((), ())


def test_selection_is_a_pure_function() -> None:
    context = TurnContext(0, "error", "")
    assert ALL.select(context) == ALL.select(context) == SkillSelector(ALL.library).select(context)


def test_one_set_answers_as_the_patterns_one_by_one() -> None:
    rng = random.Random(5)
    words = ["go", "take", "look", "key", "lamp"]
    patterns = [rng.choice(words) + rng.choice(["$", r"\b", "", ".*key"]) for _ in range(40)]
    library = SkillLibrary(tuple(skill(f"s{i}", TriggerKind.ACTION_PATTERN, p) for i, p in enumerate(patterns)))
    selector = SkillSelector(library, max_skill_tokens_turn=10**9, max_skill_tokens_episode=10**9)
    for _ in range(50):
        action = " ".join(rng.choices(words, k=3))
        one_by_one = [
            s.name for s in library if fired(SkillSelector(SkillLibrary((s,))), TurnContext(1, "", action)) == [s.name]
        ]
        assert fired(selector, TurnContext(1, "", action)) == one_by_one


def test_a_pattern_that_would_stall_a_backtracking_matcher_does_not() -> None:
    selector = SkillSelector(SkillLibrary((skill("bomb", TriggerKind.OBSERVATION_PATTERN, "(a+)+$"),)))
    assert fired(selector, TurnContext(1, "a" * 100_000 + "b", "x")) == []


def test_a_refused_pattern_is_named() -> None:
    with pytest.raises(SkillError, match=r"invalid pattern '\('"):
        compile_set(["fine", "("])
