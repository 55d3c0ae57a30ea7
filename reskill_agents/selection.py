"""Which skills enter the prompt on a turn: one pure function behind every surface."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import re2

from reskill_agents.episodes import Firing, Suppression
from reskill_agents.errors import SkillError
from reskill_agents.library import SkillLibrary
from reskill_agents.rendering import render_skill
from reskill_agents.skill import Skill
from reskill_agents.trigger import Repeat, TriggerKind

_SET_MEMORY = 512 << 20  # RE2 budget for one compiled set; 10,000 patterns do not fit into the default 8 MB


@dataclass(frozen=True, slots=True)
class TurnContext:
    """What triggers look at.

    Args:
        turn: 0-based index of the turn about to be taken.
        observation: the raw observation, before any skill text.
        last_action: canonical action of the turn before; empty on turn 0 and after an unparsable answer.
        last_tools: names of the tools whose results just arrived.
    """

    turn: int
    observation: str = ""
    last_action: str = ""
    last_tools: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Selection:
    """The skills whose text enters now, in library order, and everything that matched (suppressed ones too)."""

    skills: tuple[Skill, ...] = ()
    firings: tuple[Firing, ...] = ()


def words_as_tokens(text: str) -> int:
    """A rough token count for budgets when no tokenizer is at hand: characters / 4, at least 1."""
    return max(1, len(text) // 4)


@dataclass(frozen=True)
class SkillSelector:
    """The compiled triggers of one library.

    Args:
        library: the skills.
        max_skill_tokens_turn: budget of skill text a turn, in tokens; skills over it are suppressed and recorded.
        max_skill_tokens_episode: the same for a whole episode.
        count_tokens: text -> tokens.
    """

    library: SkillLibrary
    max_skill_tokens_turn: int = 1000
    max_skill_tokens_episode: int = 4000
    count_tokens: Callable[[str], int] = words_as_tokens

    @cached_property
    def costs(self) -> dict[str, int]:
        """Tokens that each skill's block costs, by name."""
        return {skill.name: self.count_tokens(render_skill(skill)) for skill in self.library}

    @cached_property
    def _by_kind(self) -> dict[TriggerKind, list[Skill]]:
        kinds: dict[TriggerKind, list[Skill]] = {kind: [] for kind in TriggerKind}
        for skill in self.library:
            kinds[skill.trigger.kind].append(skill)
        return kinds

    @cached_property
    def _sets(self) -> dict[TriggerKind, re2.Set]:
        sets = {}
        for kind in (TriggerKind.ACTION_PATTERN, TriggerKind.OBSERVATION_PATTERN):
            if self._by_kind[kind]:
                sets[kind] = compile_set([skill.trigger.pattern for skill in self._by_kind[kind]])
        return sets

    def matching(self, context: TurnContext) -> list[Skill]:
        """The skills whose trigger matches, in library order; repeat rules and budgets are not looked at."""
        matched: set[str] = set()
        if context.turn == 0:
            matched.update(s.name for s in self._by_kind[TriggerKind.BEGINNING])
        matched.update(s.name for s in self._by_kind[TriggerKind.GENERAL])
        for kind, text in (
            (TriggerKind.ACTION_PATTERN, context.last_action),
            (TriggerKind.OBSERVATION_PATTERN, context.observation),
        ):
            if kind in self._sets and text:
                skills = self._by_kind[kind]
                matched.update(skills[index].name for index in self._sets[kind].Match(text) or ())
        matched.update(s.name for s in self._by_kind[TriggerKind.TOOL] if s.trigger.pattern in context.last_tools)
        return [skill for skill in self.library if skill.name in matched]

    def select(self, context: TurnContext, past: Sequence[Firing] = ()) -> Selection:
        """The skills to show now.

        Args:
            context: the turn.
            past: the unsuppressed firings whose text is still in the messages about to be sent. After a rewrite of
                history pass only what is left, and active skills fire again.
        """
        if not self.library.skills:
            return Selection()
        last = {firing.skill: firing.turn for firing in past if firing.suppressed is None}
        spent = sum(self.costs.get(firing.skill, 0) for firing in past if firing.suppressed is None)
        this_turn = 0
        shown: list[Skill] = []
        firings: list[Firing] = []
        for skill in self.matching(context):
            reason = _repeat_suppression(skill, last.get(skill.name), context.turn)
            cost = self.costs[skill.name]
            if reason is None and (
                this_turn + cost > self.max_skill_tokens_turn
                or spent + this_turn + cost > self.max_skill_tokens_episode
            ):
                reason = Suppression.BUDGET
            if reason is None:
                this_turn += cost
                shown.append(skill)
            elif reason is Suppression.IN_CONTEXT and skill.trigger.kind is TriggerKind.GENERAL:
                continue  # a general skill matches on every turn; recording each would be noise
            firings.append(Firing(skill.name, skill.digest, context.turn, reason))
        return Selection(tuple(shown), tuple(firings))


def _repeat_suppression(skill: Skill, last_turn: int | None, turn: int) -> Suppression | None:
    if last_turn is None:
        return None
    if skill.trigger.repeat is Repeat.ONCE:
        return Suppression.IN_CONTEXT
    if skill.trigger.repeat is Repeat.AFTER_N_TURNS and turn - last_turn < skill.trigger.cooldown:
        return Suppression.COOLDOWN
    return None


def compile_set(patterns: Sequence[str]) -> re2.Set:
    """One RE2 set that finds every matching pattern in one pass.

    Raises:
        SkillError: when a pattern is refused or the set does not fit into memory.
    """
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _SET_MEMORY
    compiled = re2.Set.SearchSet(options)
    for pattern in patterns:
        try:
            compiled.Add(pattern)
        except re2.error as error:
            raise SkillError(f"invalid pattern {pattern!r}: {error}") from error
    try:
        compiled.Compile()
    except re2.error as error:
        raise SkillError(
            f"the {len(patterns)} patterns of this library do not compile into one set: {error}"
        ) from error
    return compiled
