"""The queue: first come first served, applied to the library in force, nothing tried twice."""

from __future__ import annotations

from reskill_agents.library import Operation, Proposal, SkillLibrary
from reskill_agents.skill import Skill
from reskill_agents.trials import Challenger, ChallengerQueue


def skill(name: str) -> Skill:
    return Skill(name, f"About {name}.", f"Do {name}.")


def add(name: str) -> Challenger:
    return Challenger(Proposal((Operation.add(skill(name)),)), origin=f"creation of {name}")


EMPTY = SkillLibrary()


def test_challengers_come_in_order_and_meet_the_library_in_force() -> None:
    queue = ChallengerQueue()
    queue.offer(add("first"))
    queue.offer(add("second"))
    first = queue.next(EMPTY)
    assert first is not None
    second = queue.next(first[1])
    assert second is not None
    assert [one.name for one in second[1]] == ["first", "second"]
    assert queue.next(second[1]) is None


def test_a_proposal_that_no_longer_applies_is_dropped() -> None:
    queue = ChallengerQueue(waiting=[add("same"), add("other")])
    taken = queue.next(SkillLibrary((skill("same"),)))
    assert taken is not None
    assert taken[0].origin == "creation of other"


def test_the_same_candidate_is_not_tried_twice_against_the_same_library() -> None:
    queue = ChallengerQueue(waiting=[add("again"), add("again")])
    assert queue.next(EMPTY) is not None
    assert queue.next(EMPTY) is None
    restored = ChallengerQueue(waiting=[add("again")], tried=queue.tried)
    assert restored.next(EMPTY) is None
    assert ChallengerQueue(waiting=[add("again")], tried=queue.tried).next(SkillLibrary((skill("x"),))) is not None


def test_the_oldest_gives_way_when_the_queue_is_full() -> None:
    queue = ChallengerQueue(limit=2, waiting=[add("one"), add("two")])
    gone = queue.offer(add("three"))
    assert gone is not None
    assert gone.origin == "creation of one"
    assert [one.origin for one in queue.waiting] == ["creation of two", "creation of three"]
