"""What a pack's triggers do, as recorded cases: an input and what fires on it.

Another implementation of the trigger contract proves itself by answering every case the same. Cases are made by running
the selector over recorded observations and actions; budgets (how much skill text fits) are not part of the contract.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from reskill_agents.environment import Task
from reskill_agents.episodes import Episode, Firing, Suppression, Turn
from reskill_agents.errors import SkillError
from reskill_agents.library import SkillLibrary
from reskill_agents.selection import SkillSelector, TurnContext, compile_set
from reskill_agents.trigger import Trigger, TriggerKind
from reskill_agents.trigger_phrase import literal_of

MAX_CASES = 200  # a pack stays readable; every distinct outcome is kept before repetitions are
MAX_PER_OUTCOME = 8
MAX_CHARACTERS = 4000  # longer observations are left out, never cut: a cut text may match otherwise
_NO_BUDGET = 1 << 40


@dataclass(frozen=True, slots=True)
class TriggerCase:
    """One input and its firings.

    Args:
        context: what triggers look at.
        past: (skill, turn) of the firings whose text is still in the messages.
        fires: names of the skills that enter the prompt, in library order.
        suppressed: (skill, reason) of those that matched and stayed out.
    """

    context: TurnContext
    past: tuple[tuple[str, int], ...] = ()
    fires: tuple[str, ...] = ()
    suppressed: tuple[tuple[str, Suppression], ...] = ()


def record_cases(
    library: SkillLibrary, episodes: Iterable[Episode], *, limit: int = MAX_CASES
) -> tuple[TriggerCase, ...]:
    """Cases for ``library`` from what ``episodes`` saw and did; a fixed function of both.

    The library's own firings are replayed (what fired when the episode was played does not matter), and cases that
    show a new outcome come before repetitions of a known one.
    """
    selector = _selector(library)
    outcomes: Counter[tuple[object, ...]] = Counter()
    kept: dict[TriggerCase, int] = {}  # case -> how many of its outcome came before it
    for case in (case for episode in episodes for case in _replay(selector, episode)):
        outcome = (case.fires, case.suppressed, case.context.turn == 0)
        fits = len(case.context.observation) + len(case.context.last_action) <= MAX_CHARACTERS
        if fits and case not in kept and outcomes[outcome] < MAX_PER_OUTCOME:
            kept[case] = outcomes[outcome]
            outcomes[outcome] += 1
    chosen = set(sorted(kept, key=lambda case: kept[case])[:limit])
    return tuple(case for case in kept if case in chosen)


def made_cases(library: SkillLibrary) -> tuple[TriggerCase, ...]:
    """Cases for ``library`` without any log: what begins a conversation, and a text, action or tool for each pattern.

    Patterns with operators other than ``(?i)`` and ``\\b`` give no firing of their own here; their silence is recorded.
    """
    turns = [Turn(0, "A new conversation.", "", "")]
    for skill in library:
        kind, text = skill.trigger.kind, _sample(skill.trigger)
        if not text:
            continue
        seen = f"It says: {text}" if kind is TriggerKind.OBSERVATION_PATTERN else "It is done."
        action = text if kind is TriggerKind.ACTION_PATTERN else ""
        tools = (text,) if kind is TriggerKind.TOOL else ()
        turns.append(Turn(len(turns), "Nothing yet.", action, action, tools=tools))
        turns += [Turn(len(turns) + more, seen, "", "") for more in range(2)]  # fires, then is in context
    return record_cases(library, [Episode("made", Task("made", ""), tuple(turns), None)])


def _sample(trigger: Trigger) -> str:
    """A text the trigger fires on, where that is plain from its pattern."""
    if trigger.kind is TriggerKind.TOOL:
        return trigger.pattern
    plain = re.sub(r"^\(\?i\)|\\b", "", trigger.pattern)
    text = literal_of(plain)[0] if plain else ""
    return text if text and compile_set([trigger.pattern]).Match(text) else ""


def check_cases(library: SkillLibrary, cases: Iterable[TriggerCase]) -> list[str]:
    """How ``library`` answers otherwise than ``cases`` say; empty when it does not."""
    selector = _selector(library)
    problems: list[str] = []
    for number, case in enumerate(cases, 1):
        unknown = sorted({name for name, _ in case.past} - set(library.by_name))
        if unknown:
            problems.append(f"case {number}: no such skill: {', '.join(unknown)}")
            continue
        answer = _answer(selector, case.context, case.past)
        if answer != case:
            problems.append(f"case {number}: {_said(answer)}; recorded: {_said(case)}")
    return problems


def _said(case: TriggerCase) -> str:
    quiet = "".join(f", {name} silent ({reason})" for name, reason in case.suppressed)
    return f"fires [{', '.join(case.fires)}]{quiet}"


def _selector(library: SkillLibrary) -> SkillSelector:
    return SkillSelector(library, max_skill_tokens_turn=_NO_BUDGET, max_skill_tokens_episode=_NO_BUDGET)


def _answer(selector: SkillSelector, context: TurnContext, past: tuple[tuple[str, int], ...]) -> TriggerCase:
    by_name = selector.library.by_name
    selection = selector.select(context, [Firing(name, by_name[name].digest, turn) for name, turn in past])
    suppressed = tuple((f.skill, f.suppressed) for f in selection.firings if f.suppressed is not None)
    return TriggerCase(context, past, tuple(skill.name for skill in selection.skills), suppressed)


def _replay(selector: SkillSelector, episode: Episode) -> Iterator[TriggerCase]:
    past: tuple[tuple[str, int], ...] = ()
    action = ""
    tools: tuple[str, ...] = ()
    for turn in episode.turns:
        context = TurnContext(turn.index, turn.observation, action, tools)
        case = _answer(selector, context, past)
        yield case
        past += tuple((name, turn.index) for name in case.fires)
        action, tools = turn.action, turn.tools


def render_cases(cases: Iterable[TriggerCase]) -> str:
    """Cases as JSON lines with sorted keys."""
    lines = []
    for case in cases:
        content = {
            "turn": case.context.turn,
            "observation": case.context.observation,
            "last_action": case.context.last_action,
            "last_tools": list(case.context.last_tools),
            "past": [{"skill": name, "turn": turn} for name, turn in case.past],
            "fires": list(case.fires),
            "suppressed": [{"skill": name, "reason": reason.value} for name, reason in case.suppressed],
        }
        lines.append(json.dumps(content, sort_keys=True, ensure_ascii=False) + "\n")
    return "".join(lines)


def parse_cases(text: str, source: str | None = None) -> tuple[TriggerCase, ...]:
    """Cases from JSON lines.

    Raises:
        SkillError: naming every line that is no case.
    """
    cases: list[TriggerCase] = []
    problems: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            cases.append(_case(line))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            problems.append(f"line {number} is no trigger case: {type(error).__name__} {error}")
    if problems:
        raise SkillError(problems, source=source)
    return tuple(cases)


def _case(line: str) -> TriggerCase:
    content = json.loads(line)
    context = TurnContext(
        int(content["turn"]),
        str(content["observation"]),
        str(content["last_action"]),
        tuple(str(tool) for tool in content["last_tools"]),
    )
    return TriggerCase(
        context,
        tuple((str(firing["skill"]), int(firing["turn"])) for firing in content["past"]),
        tuple(str(name) for name in content["fires"]),
        tuple((str(item["skill"]), Suppression(item["reason"])) for item in content["suppressed"]),
    )
