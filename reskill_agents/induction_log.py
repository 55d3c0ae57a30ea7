"""Advice induced from a log of plain texts: templates of actions and observations, judged while episodes still run.

An agent that fails goes on for longer, so whatever can happen once a turn "explains" failure in whole episodes. Here
every comparison is between episodes of one model that are all still running after the same number of turns, by what
they did until then (sequential landmarks); the action that ends an episode is never among it. Length, model and the
outcome itself cannot be restated that way.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import re2

from reskill_agents.assertions import AssertionStatistics
from reskill_agents.assertions.checks import (
    ActionBefore,
    ActionCount,
    ActionExists,
    ActionNotExists,
    Check,
    InvalidRatioAtMost,
    NoConsecutiveRepeat,
    NoRetryAfterError,
    RepeatAtMost,
    ToolErrorFollowedBy,
)
from reskill_agents.episodes import Episode
from reskill_agents.induction_advice import Advice, TextAdvice
from reskill_agents.induction_effects import Bools, Floats, Ints
from reskill_agents.induction_result import Induced, InductionConfig
from reskill_agents.induction_selection import Comparison, Preference, numbers, select
from reskill_agents.induction_templates import ERROR, Template, TemplateVocabulary, learn_templates
from reskill_agents.induction_triggers import TriggerFit
from reskill_agents.trigger import Trigger, TriggerKind

ALWAYS = 0.8  # share of turns from which on a sign in the observation is no occasion any more
INSTEAD = 0.3  # share of the turns that do without something from which on what they do is worth saying
GOOD_Z = 1.5  # effect over error from which on it is said
FINISHES = 0.8  # share of the successes that must end with the same action for it to be called the way to finish
LANDMARKS = 10  # episodes are compared after 1, 2, ... turns, at most so many


@dataclass(frozen=True)
class Candidate:
    """A check that might be kept, with its dose on every row of the landmark table (0..1; NaN: does not apply)."""

    check: Check
    templates: tuple[Template, ...]
    dose: Floats


@dataclass(frozen=True)
class LandmarkTable:
    """One row an episode and a number of turns after which it still ran.

    Args:
        vocabulary: the templates.
        episode: (R,) index of the row's episode.
        landmark: (R,) how many turns it has seen.
        acted: (E, L, A) the action of the turn matches the template.
        seen: (E, L, O) the observation before that action matches.
        repeats: (E, L) the action is the same as the one before.
        copies: (E, L) how often that very action was taken up to and with this turn.
        invalid: (E, L) no usable action.
        turns: (E, L) the episode has this turn.
    """

    vocabulary: TemplateVocabulary
    episode: Ints
    landmark: Ints
    acted: Bools
    seen: Bools
    repeats: Bools
    copies: Ints
    invalid: Bools
    turns: Bools

    def rows(self, values: Floats) -> Floats:
        """(R,) of an (E, L) table that holds, per turn, the value up to and with that turn."""
        return values[self.episode, self.landmark - 1]


def tabulate_landmarks(
    episodes: Sequence[Episode], vocabulary: TemplateVocabulary, landmarks: int = LANDMARKS
) -> LandmarkTable:
    """The table of ``episodes``; those of a single turn have no row."""
    shape = (len(episodes), landmarks)
    actions, observations = _Matcher(vocabulary.actions), _Matcher(vocabulary.observations)
    acted = np.zeros((*shape, len(vocabulary.actions)), dtype=bool)
    seen = np.zeros((*shape, len(vocabulary.observations)), dtype=bool)
    repeats, invalid, turns = (np.zeros(shape, dtype=bool) for _ in range(3))
    copies = np.zeros(shape, dtype=np.int64)
    rows: list[tuple[int, int]] = []
    for number, episode in enumerate(episodes):
        counts: Counter[str] = Counter()
        last = ""
        for turn in episode.turns[:landmarks]:
            action = " ".join(turn.action.lower().split())
            acted[number, turn.index] = actions.match(turn.action)
            seen[number, turn.index] = observations.match(turn.observation) if turn.index else False
            repeats[number, turn.index] = bool(action) and action == last
            counts[action] += bool(action)
            copies[number, turn.index] = counts[action]
            invalid[number, turn.index] = not action or not turn.valid
            turns[number, turn.index] = True
            last = action
        rows += [(number, landmark) for landmark in range(1, min(len(episode.turns) - 1, landmarks) + 1)]
    index = np.array(rows, dtype=np.int64).reshape(-1, 2)
    return LandmarkTable(vocabulary, index[:, 0], index[:, 1], acted, seen, repeats, copies, invalid, turns)


class _Matcher:
    """Which templates a text matches, remembered."""

    def __init__(self, templates: Sequence[Template]) -> None:
        self._patterns = [re2.compile(template.pattern) for template in templates]
        self._known: dict[str, Bools] = {}

    def match(self, text: str) -> Bools:
        if text not in self._known:
            self._known[text] = np.array([bool(p.search(text)) for p in self._patterns], dtype=bool)
        return self._known[text]


def enumerate_checks(table: LandmarkTable) -> Iterator[Candidate]:
    """Every check over the templates that a skill could change, with its dose; what to do before what not to do."""
    yield from _about_reactions(table, never=False)
    yield from _about_repeats(table)
    yield from _about_order(table)
    yield from _about_use(table)
    yield from _about_reactions(table, never=True)
    yield from _about_limits(table)


def _about_use(table: LandmarkTable) -> Iterator[Candidate]:
    counts = np.cumsum(table.acted, axis=1)
    for column, template in enumerate(table.vocabulary.actions):
        taken = table.rows(counts[:, :, column].astype(float))
        yield Candidate(ActionExists(template.pattern), (template,), (taken > 0).astype(float))
    bad = np.cumsum(table.invalid, axis=1) / np.arange(1, table.invalid.shape[1] + 1)
    yield Candidate(InvalidRatioAtMost(0.0), (), (table.rows(bad) == 0).astype(float))


def _about_limits(table: LandmarkTable) -> Iterator[Candidate]:
    counts = np.cumsum(table.acted, axis=1)
    for column, template in enumerate(table.vocabulary.actions):
        taken = table.rows(counts[:, :, column].astype(float))
        yield Candidate(ActionNotExists(template.pattern), (template,), (taken == 0).astype(float))
        for most in (1, 2):
            within = np.where(taken > 0, (taken <= most).astype(float), np.nan)
            yield Candidate(ActionCount(template.pattern, most=most), (template,), within)


def _about_order(table: LandmarkTable) -> Iterator[Candidate]:
    ever = np.cumsum(table.acted, axis=1) > 0
    first = np.where(table.acted.any(axis=1), table.acted.argmax(axis=1), table.acted.shape[1])
    for later, target in enumerate(table.vocabulary.actions):
        applies = table.rows(ever[:, :, later].astype(float)) > 0
        for earlier, other in enumerate(table.vocabulary.actions):
            if earlier != later and not _nested(other, target):
                before = (first[:, earlier] < first[:, later])[table.episode]
                dose = np.where(applies, before.astype(float), np.nan)
                yield Candidate(ActionBefore(other.pattern, target.pattern), (other, target), dose)


def _nested(a: Template, b: Template) -> bool:
    """A word is often part of the very action: an order between the two says nothing."""
    return bool(a.holds) or bool(b.holds)


def _about_repeats(table: LandmarkTable) -> Iterator[Candidate]:
    repeated = np.cumsum(table.repeats, axis=1) > 0
    several = np.where(table.landmark > 1, 1.0, np.nan)
    yield Candidate(NoConsecutiveRepeat(), (), several * (1 - table.rows(repeated.astype(float))))
    most = np.maximum.accumulate(table.copies, axis=1)
    for times in (1, 2):
        dose = np.where(table.landmark > times, (table.rows(most.astype(float)) <= times).astype(float), np.nan)
        yield Candidate(RepeatAtMost(times), (), dose)
    for column, template in enumerate(table.vocabulary.actions):
        if template.holds:
            continue
        own = np.maximum.accumulate(np.where(table.acted[:, :, column], table.copies, 0), axis=1)
        known = table.rows(own.astype(float))
        dose = np.where(known > 0, (known <= 1).astype(float), np.nan)
        yield Candidate(RepeatAtMost(1, template.pattern), (template,), dose)


def _about_reactions(table: LandmarkTable, *, never: bool) -> Iterator[Candidate]:
    later = table.turns.copy()
    later[:, :1] = False
    for place, sign in enumerate(table.vocabulary.observations):
        seen = table.seen[:, :, place] & table.turns
        if sign != ERROR and seen.sum() > ALWAYS * later.sum():
            continue  # "right after" what nearly every observation holds is "always"
        times = np.cumsum(seen, axis=1)
        if sign == ERROR and not never:
            again = np.cumsum(seen & table.repeats, axis=1) > 0
            dose = np.where(table.rows(times.astype(float)) > 0, 1 - table.rows(again.astype(float)), np.nan)
            yield Candidate(NoRetryAfterError(sign.pattern), (sign,), dose)
        for column, template in enumerate(table.vocabulary.actions):
            kept = np.cumsum(seen & table.acted[:, :, column], axis=1)
            share = np.divide(kept, times, out=np.full(times.shape, np.nan), where=times > 0)
            dose = 1 - table.rows(share) if never else table.rows(share)
            check = ToolErrorFollowedBy(sign.pattern, template.pattern, never)
            instead = _instead(table, seen, column) if never else ()
            yield Candidate(check, (sign, template, *instead), dose)


def _instead(table: LandmarkTable, seen: Bools, column: int) -> tuple[Template, ...]:
    """What is mostly done after ``seen`` by those who do not do what ``column`` says; nothing if there is no such thing."""
    others = seen & ~table.acted[:, :, column]
    counts = (table.acted & others[:, :, None]).sum(axis=(0, 1)).tolist()
    spoken = [(n, t) for n, t in zip(counts, table.vocabulary.actions, strict=True) if not t.holds]
    most = max((n for n, _ in spoken), default=0)
    if most < INSTEAD * max(int(others.sum()), 1):
        return ()
    return (next(t for n, t in spoken if n == most),)


def _actionable(candidate: Candidate, common: str) -> bool:
    """Advice a person would give: about whole actions, not a word in them, and not "less of what you mostly do"."""
    if any(template.holds for template in candidate.templates):
        return False
    limits = isinstance(candidate.check, ActionCount | ActionNotExists)
    return not (limits and candidate.templates[0].pattern == common)


def _with_good_alternatives(found: Sequence[Candidate], comparison: Comparison) -> list[Candidate]:
    """``found``, where what is done instead is only said if doing it goes with better outcomes.

    That many do it is no reason: what fails often, or was planted, is done often, too.
    """
    wanted = {(c.templates[0].pattern, c.templates[2].pattern) for c in found if len(c.templates) > 2}
    doses = {
        (c.check.error, c.check.action): c.dose
        for c in found
        if isinstance(c.check, ToolErrorFollowedBy) and not c.check.never
    }
    asked = sorted(pair for pair in wanted if pair in doses)
    good: set[tuple[str, str]] = set()
    if asked and len(comparison.outcomes):
        effects = comparison.effects(np.stack([doses[pair] for pair in asked], axis=1))
        slopes = np.nan_to_num(effects.slope)
        good = {pair for n, pair in enumerate(asked) if slopes[n] > 0 and slopes[n] >= GOOD_Z * effects.error[n]}
    return [
        replace(c, templates=c.templates[:2])
        if len(c.templates) > 2 and (c.templates[0].pattern, c.templates[2].pattern) not in good
        else c
        for c in found
    ]


def _with_a_way_out(
    found: Sequence[Candidate], episodes: Sequence[Episode], actions: Sequence[Template], min_tasks: int
) -> list[Candidate]:
    """``found``, where "never again" also names the one action with which successes end: those who go in circles do not."""
    endings: dict[str, set[str]] = {}
    for episode in episodes:
        if episode.success and episode.actions:
            endings.setdefault(episode.actions[-1], set()).add(episode.task.task_id)
    won = set().union(*endings.values()) if endings else set[str]()
    for template in actions:
        if template.pattern.endswith("$"):  # a whole action, said as it is
            compiled = re2.compile(template.pattern)
            tasks = set[str]().union(*(where for action, where in endings.items() if compiled.search(action)))
            if len(tasks) >= max(min_tasks, FINISHES * len(won)):
                return [replace(c, templates=(template,)) if c.check == RepeatAtMost(1) else c for c in found]
    return list(found)


def _most_common(table: LandmarkTable) -> str:
    """The pattern that most actions match."""
    counts = table.acted.sum(axis=(0, 1)).tolist()
    names = [template.pattern for template in table.vocabulary.actions]
    return max(zip(counts, names, strict=True), default=(0, ""))[1]


@dataclass(frozen=True)
class TextInduction:
    """What a log of texts taught; see :class:`~reskill_agents.induction_result.Induction`."""

    confirmed: tuple[Induced, ...]
    doubtful: tuple[Induced, ...]
    table: LandmarkTable = field(repr=False)
    comparison: Comparison = field(repr=False)
    candidates: Mapping[TextAdvice, Floats] = field(repr=False)

    @property
    def opening(self) -> tuple[str, ...]:
        """Nothing: texts have no kinds."""
        return ()

    def sayable(self) -> Sequence[Advice]:
        """All advice over the templates of the log."""
        return tuple(self.candidates)

    def doses(self, advice: Advice) -> Floats:
        """(E,) how well each episode kept ``advice``, over its landmarks."""
        rows = self.row_doses(advice)
        applied = np.bincount(self.table.episode, weights=~np.isnan(rows), minlength=self.comparison.n_episodes)
        kept = np.bincount(self.table.episode, weights=np.nan_to_num(rows), minlength=self.comparison.n_episodes)
        share: Floats = np.divide(kept, applied, out=np.full(len(applied), np.nan), where=applied > 0)
        return share

    def row_doses(self, advice: Advice) -> Floats:
        """(R,) how well each row kept ``advice``; KeyError for what this log cannot say."""
        if not isinstance(advice, TextAdvice) or advice not in self.candidates:
            raise KeyError("a log of texts is asked only about what it can say")
        return self.candidates[advice]

    def statistics(self, found: Induced) -> AssertionStatistics:
        """What an assertion about ``found`` carries."""
        return self.comparison.statistics(found, self.row_doses(found.advice))

    def trigger_for(self, advice: Advice) -> TriggerFit:
        """When ``advice`` should arrive: with the observation or after the action it is about, else at the start."""
        check = advice.check if isinstance(advice, TextAdvice) else None
        if isinstance(check, ToolErrorFollowedBy | NoRetryAfterError):
            return TriggerFit(Trigger(TriggerKind.OBSERVATION_PATTERN, check.error), 1.0, 1.0)
        if isinstance(check, ActionCount | RepeatAtMost) and check.pattern != ".":
            return TriggerFit(Trigger(TriggerKind.ACTION_PATTERN, check.pattern), 1.0, 1.0)
        if isinstance(check, ActionBefore | ActionExists | ActionNotExists):
            return TriggerFit(Trigger(TriggerKind.BEGINNING), 1.0, 1.0)
        return TriggerFit(Trigger(TriggerKind.GENERAL), 1.0, 1.0)

    def measure(self, advice: Advice, *, after_step: int | None = None) -> Induced:
        """The figures of any advice over these templates."""
        return self.comparison.measure(advice, self.row_doses(advice), after_step=after_step)


def induce_texts(episodes: Sequence[Episode], *, rng: random.Random, config: InductionConfig) -> TextInduction:
    """What ``episodes``, all with an outcome, teach. Deterministic in ``rng`` and the episodes."""
    table = tabulate_landmarks(episodes, learn_templates(episodes, min_tasks=config.min_tasks))
    models = numbers([(episode.model, episode.library_digest) for episode in episodes])
    strata = numbers(list(zip(models[table.episode].tolist(), table.landmark.tolist(), strict=True)))
    comparison = Comparison.of_rows(episodes, table.episode, strata=strata, wider=strata, within_share=0.0)
    common = _most_common(table)
    found = [candidate for candidate in enumerate_checks(table) if _actionable(candidate, common)]
    found = _with_good_alternatives(found, comparison)
    found = _with_a_way_out(found, episodes, table.vocabulary.actions, config.min_tasks)
    candidates = {TextAdvice(candidate.check, candidate.templates): candidate.dose for candidate in found}
    doses = np.stack(list(candidates.values()), axis=1) if candidates else np.zeros((len(table.episode), 0))
    confirmed, doubtful = select(
        list(candidates), doses, comparison, rng=rng, config=config, preference=Preference.SURE
    )
    return TextInduction(confirmed, doubtful, table, comparison, candidates)
