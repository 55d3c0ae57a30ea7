"""Grading many episodes by many assertions, fast: every pattern of all assertions is matched in one pass per text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

from reskill_agents.assertions.assertion import Assertion, Grade, GradeResult
from reskill_agents.assertions.checks import (
    PATTERN_FIELDS,
    ActionAfterObservation,
    ActionBefore,
    ActionCount,
    ActionExists,
    ActionNotExists,
    Check,
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
from reskill_agents.directives import ActionClass
from reskill_agents.episodes import Episode
from reskill_agents.induction_turns import tabulate
from reskill_agents.selection import compile_set
from reskill_agents.vocabulary import ActionVocabulary

_OBSERVED = frozenset({"observation", "error"})  # fields whose pattern is searched in observations
_OBSERVING = (ObservationContains, ObservationNotContains)
_Verdict = tuple[GradeResult, tuple[int, ...]]
_NONE: _Verdict = (GradeResult.NOT_APPLICABLE, ())


@dataclass(frozen=True, slots=True)
class EpisodeGrades:
    """All grades of one episode, in the order of the assertions."""

    episode_id: str
    grades: tuple[Grade, ...]

    @property
    def pass_rate(self) -> float | None:
        """Share passed of those that apply, 0..1; None when none does."""
        results = [g.result for g in self.grades if g.result is not GradeResult.NOT_APPLICABLE]
        return results.count(GradeResult.PASSED) / len(results) if results else None


def grade(episodes: Iterable[Episode], assertions: Sequence[Assertion]) -> list[EpisodeGrades]:
    """Grade every episode by every assertion. Never raises for what an episode holds."""
    listed = list(episodes)
    actions = _Matcher(_patterns(assertions, observed=False))
    observations = _Matcher(_patterns(assertions, observed=True))
    followed = _grade_directives(listed, assertions)
    graded = []
    for number, episode in enumerate(listed):
        hits = _Hits(episode, actions, observations)
        grades = tuple(
            Grade(a.id, *(followed[a.id][number] if isinstance(a.check, FollowsDirective) else _judge(a.check, hits)))
            for a in assertions
        )
        graded.append(EpisodeGrades(episode.episode_id, grades))
    return graded


def _patterns(assertions: Sequence[Assertion], *, observed: bool) -> list[str]:
    found: dict[str, None] = {}
    for assertion in assertions:
        for field in fields(assertion.check):
            if field.name in PATTERN_FIELDS:
                watches = field.name in _OBSERVED or isinstance(assertion.check, _OBSERVING)
                if watches is observed:
                    found[getattr(assertion.check, field.name)] = None
    return list(found)


class _Matcher:
    """All patterns in one RE2 set; texts seen before are not matched again."""

    def __init__(self, patterns: list[str]) -> None:
        self._patterns = patterns
        self._set = compile_set(patterns) if patterns else None
        self._seen: dict[str, frozenset[str]] = {}

    def match(self, text: str) -> frozenset[str]:
        if self._set is None:
            return frozenset()
        found = self._seen.get(text)
        if found is None:
            found = frozenset(self._patterns[index] for index in self._set.Match(text) or ())
            self._seen[text] = found
        return found


class _Hits:
    """What matched on which turn of one episode."""

    def __init__(self, episode: Episode, actions: _Matcher, observations: _Matcher) -> None:
        self.turns = episode.turns
        self.actions = [turn.action for turn in episode.turns]
        self._acted = [actions.match(action) if action else frozenset() for action in self.actions]
        seen = [turn.observation for turn in episode.turns]
        if episode.final_observation:
            seen.append(episode.final_observation)
        self._seen = [observations.match(text) for text in seen]

    def acted(self, pattern: str) -> list[int]:
        """Turns whose action matches."""
        return [turn for turn, found in enumerate(self._acted) if pattern in found]

    def seen(self, pattern: str) -> list[int]:
        """Observations that match; the one after the last action has the number of turns as its index."""
        return [turn for turn, found in enumerate(self._seen) if pattern in found]


def _verdict(passed: bool, evidence: Sequence[int]) -> _Verdict:
    return (GradeResult.PASSED if passed else GradeResult.FAILED), tuple(evidence)


def _judge(check: Check, hits: _Hits) -> _Verdict:
    """One check on one episode; see each check's docstring for what it asks and when it applies."""
    steps = len(hits.turns)
    match check:
        case MinSteps(least):
            return _verdict(steps >= least, ())
        case MaxSteps(most):
            return _verdict(steps <= most, ())
        case ObservationContains(pattern):
            seen = hits.seen(pattern)
            return _verdict(bool(seen), seen)
        case ObservationNotContains(pattern):
            seen = hits.seen(pattern)
            return _verdict(not seen, seen)
        case InvalidRatioAtMost(ratio):
            invalid = [turn.index for turn in hits.turns if not turn.valid or not turn.action]
            return _verdict(len(invalid) <= ratio * steps, invalid) if steps else _NONE
        case ActionExists() | ActionNotExists() | FinalAction() | ActionCount() | ActionBefore():
            return _judge_actions(check, hits) if any(hits.actions) else _NONE
        case NoConsecutiveRepeat() | RepeatAtMost() | NoRetryAfterError():
            return _judge_repeats(check, hits)
        case ActionAfterObservation() | ToolErrorFollowedBy():
            return _judge_reactions(check, hits)
        case _:
            return _NONE


def _judge_actions(
    check: ActionExists | ActionNotExists | FinalAction | ActionCount | ActionBefore, hits: _Hits
) -> _Verdict:
    match check:
        case ActionExists(pattern):
            return _verdict(bool(hits.acted(pattern)), hits.acted(pattern))
        case ActionNotExists(pattern):
            return _verdict(not hits.acted(pattern), hits.acted(pattern))
        case FinalAction(pattern):
            last = max(turn for turn, action in enumerate(hits.actions) if action)
            return _verdict(last in hits.acted(pattern), (last,))
        case ActionCount(pattern, least, most):
            taken = hits.acted(pattern)
            return _verdict(len(taken) >= least and (most is None or len(taken) <= most), taken)
        case ActionBefore(first, second):
            later = hits.acted(second)
            if not later:
                return _NONE
            earlier = [turn for turn in hits.acted(first) if turn < later[0]]
            return _verdict(bool(earlier), (*earlier[:1], later[0]))


def _judge_repeats(check: NoConsecutiveRepeat | RepeatAtMost | NoRetryAfterError, hits: _Hits) -> _Verdict:
    pairs = [turn for turn in range(1, len(hits.actions)) if hits.actions[turn - 1]]
    again = [turn for turn in pairs if hits.actions[turn] == hits.actions[turn - 1]]
    match check:
        case NoConsecutiveRepeat():
            return _verdict(not again, again) if pairs else _NONE
        case RepeatAtMost(times, pattern):
            counted = Counter(hits.actions[turn] for turn in hits.acted(pattern))
            often = {action for action, count in counted.items() if count > times}
            turns = [turn for turn in hits.acted(pattern) if hits.actions[turn] in often]
            return _verdict(not often, turns) if counted else _NONE
        case NoRetryAfterError(error):
            failed = [turn for turn in hits.seen(error) if turn in pairs]
            return _verdict(not set(failed) & set(again), sorted(set(failed) & set(again))) if failed else _NONE


def _judge_reactions(check: ActionAfterObservation | ToolErrorFollowedBy, hits: _Hits) -> _Verdict:
    steps = len(hits.actions)
    if isinstance(check, ToolErrorFollowedBy):
        errors = [turn for turn in hits.seen(check.error) if 0 < turn < steps]
        matching = set(hits.acted(check.action))
        breaches = [turn for turn in errors if (turn in matching) is check.never]
        return _verdict(not breaches, breaches or errors) if errors else _NONE
    seen = [turn for turn in hits.seen(check.observation) if turn < steps]
    acted = hits.acted(check.action)
    window = check.within or steps
    unmet = [turn for turn in seen if not any(turn <= later < turn + window for later in acted)]
    return _verdict(not unmet, unmet or seen) if seen else _NONE


def _grade_directives(episodes: Sequence[Episode], assertions: Sequence[Assertion]) -> dict[str, list[_Verdict]]:
    """Per assertion about the closed grammar, the verdict on each episode."""
    wanted = {a.id: a.check for a in assertions if isinstance(a.check, FollowsDirective)}
    if not wanted:
        return {}
    table = tabulate(episodes, _vocabulary_of(wanted.values()))
    found: dict[str, list[_Verdict]] = {}
    for name, check in wanted.items():
        applies, kept = table.judge(check.directive)
        turns: list[tuple[list[int], list[int]]] = [([], []) for _ in episodes]
        for row in applies.nonzero()[0].tolist():
            turns[table.episode[row]][0 if kept[row] else 1].append(int(table.index[row]))
        found[name] = [_verdict(not broke, broke or did) if did or broke else _NONE for did, broke in turns]
    return found


def _vocabulary_of(checks: Iterable[FollowsDirective]) -> ActionVocabulary:
    """The least vocabulary over which ``checks`` can be judged."""
    classes: set[ActionClass] = set()
    marks: set[tuple[str, str]] = set()
    for check in checks:
        directive = check.directive
        classes.update(ActionClass(kind) for kind in check.opening)
        classes.add(directive.target)
        if directive.other is not None:
            classes.add(directive.other)
        if directive.mark:
            marks.add((directive.target.kind, directive.mark))
    kinds = sorted({target.kind for target in classes if not target.text})
    literals = sorted(target for target in classes if target.text)
    return ActionVocabulary(tuple(ActionClass(kind) for kind in kinds), tuple(literals), tuple(sorted(marks)))
