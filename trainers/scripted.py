"""Scripted episodes: a careless actor of a world that does what the advice in its context says.

What the stand-in policy is cloned on. Which skills enter and when goes through :class:`SkillSelector`, and messages are
built as the agent graph builds them; only the player is scripted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from reskill_agents.action_format import ActionFormat
from reskill_agents.directives import Directive, Situation, content_words, obey
from reskill_agents.environment import Choice, Environment, ScriptedWorld, Task
from reskill_agents.episodes import Firing
from reskill_agents.graphs.messages import observation_text, split_skills, system_text
from reskill_agents.selection import SkillSelector, TurnContext
from reskill_agents.vocabulary import ActionVocabulary, OfferedChoices


@dataclass(frozen=True, slots=True)
class Advice:
    """A compiled library with the directive behind each skill; skills without one are filler that nobody follows."""

    selector: SkillSelector
    directives: Mapping[str, Directive] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ScriptedTurn:
    """One turn: what the user message says, the number answered, and what decided it.

    ``proposal`` is what the careless actor would have done; ``chosen`` what it did under the advice in context; ``afresh``
    what it would have done under it if nothing had been done before.
    """

    shown: str
    number: int
    situation: Situation
    proposal: Choice
    chosen: Choice
    text: str
    afresh: Choice

    @property
    def advised(self) -> bool:
        """Whether the advice changed what was done."""
        return self.chosen.action != self.proposal.action

    @property
    def decided(self) -> bool:
        """Whether advice, or advice fulfilled before, decided what was done."""
        return self.advised or self.afresh.action != self.chosen.action


@dataclass(frozen=True, slots=True)
class ScriptedEpisode:
    """One scripted episode as the policy would see it."""

    task: Task
    task_shown: str
    system: str
    turns: tuple[ScriptedTurn, ...]
    score: float
    directives: tuple[Directive, ...] = ()
    fired: frozenset[str] = frozenset()

    def offered(self) -> Iterator[OfferedChoices]:
        """The choices of every turn, for :func:`reskill_agents.vocabulary.learn_vocabulary`."""
        for turn in self.turns:
            yield OfferedChoices(self.task.task_id, self.task_shown, turn.situation.choices)


@dataclass
class Memory:
    """Earlier choices that still count: a newly opened thing forgets what was picked among the alternatives of the last.

    ``open_kinds``: the kinds whose choices differ from task to task (taking one, unless it is itself one of a group of
    alternatives, opens something new); ``literals`` are exempt.
    """

    open_kinds: frozenset[str] = frozenset()
    literals: frozenset[tuple[str, str]] = frozenset()
    taken: list[Choice] = field(default_factory=list)

    @classmethod
    def of(cls, vocabulary: ActionVocabulary | None) -> Memory:
        """A memory that knows the open kinds of ``vocabulary``."""
        if vocabulary is None:
            return cls()
        return cls(
            frozenset(target.kind for target in vocabulary.kinds),
            frozenset((target.kind, target.text) for target in vocabulary.literals),
        )

    def add(self, choice: Choice) -> None:
        """Take ``choice``."""
        opens = choice.kind in self.open_kinds and (choice.kind, choice.text) not in self.literals
        if opens and not choice.group:
            self.taken = [earlier for earlier in self.taken if not earlier.group]
        self.taken.append(choice)


def play_scripted(
    world: ScriptedWorld,
    environment: Environment,
    task: Task,
    seed: int,
    advice: Advice,
    vocabulary: ActionVocabulary | None = None,
) -> ScriptedEpisode:
    """Play ``task`` once, deterministic in ``seed``, obeying every directive whose skill is in the context by then."""
    actor = world.actor(seed)
    observation = environment.reset(task, seed=seed)
    memory = Memory.of(vocabulary)
    shown_task, score, action = observation.task or task.text, 0.0, ""
    words = content_words(shown_task)
    firings: list[Firing] = []
    heard: list[Directive] = []
    system = ""
    turns: list[ScriptedTurn] = []
    previous: tuple[Choice, ...] = ()
    for index in range(world.max_turns):
        selection = advice.selector.select(TurnContext(index, observation.text, action), firings)
        firings += [firing for firing in selection.firings if firing.suppressed is None]
        start, later = split_skills(selection.skills, index)
        new = [advice.directives[s.name] for s in (*start, *later) if s.name in advice.directives]
        heard += [directive for directive in new if directive not in heard]
        if index == 0:
            system = system_text(world.system_prompt(), ActionFormat.NUMBERED, start)
        situation = Situation(observation.choices, words, tuple(memory.taken))
        proposal = actor.act(observation)
        chosen = obey(heard, situation, proposal)
        number = 1 + next(i for i, choice in enumerate(observation.choices) if choice.action == chosen.action)
        shown = observation_text(observation, ActionFormat.NUMBERED, previous, later)
        afresh = obey(heard, Situation(observation.choices, words), proposal) if heard and memory.taken else chosen
        turns.append(ScriptedTurn(shown, number, situation, proposal, chosen, observation.text, afresh))
        previous, action = observation.choices, chosen.action
        memory.add(chosen)
        result = environment.step(action)
        observation, score = result.observation, result.score
        if result.done:
            break
    return ScriptedEpisode(
        task,
        shown_task,
        system,
        tuple(turns),
        score,
        tuple(heard),
        frozenset(firing.skill for firing in firings),
    )
