"""Drills: many pieces of advice asked about one episode, in one sequence.

An unadvised episode is a shared prefix; each question is a branch at one of its turns that sees the episode so far and
itself only, and has the position ids it would have in a conversation: before the first observation (system message) or
after the one in question. So a question costs some twenty-five tokens instead of two hundred, and the sudden steps in which
a small model learns to read advice come early.
"""

from __future__ import annotations

import dataclasses
import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from reskill_agents.action_format import ActionFormat
from reskill_agents.directives import Directive, Form, Situation, body_for, content_words, obey
from reskill_agents.environment import Choice, Environment, Observation, ScriptedWorld, Split, Task
from reskill_agents.graphs.messages import observation_text, system_text
from reskill_agents.induction_candidates import contradict
from reskill_agents.rendering import render_skill
from reskill_agents.skill import Skill
from reskill_agents.trainers.advice import FORM_WEIGHTS, AdviceSampler, Category, held_out
from reskill_agents.trainers.encoding import Branching, EncodedEpisode, EpisodeEncoder
from reskill_agents.trainers.scripted import Memory
from reskill_agents.vocabulary import ActionVocabulary

QUESTIONS = 12  # branches an episode
LONGEST = 220  # tokens of the shared episode; later turns are left out
GAPS = (0, 15, 30, 45, 60)  # token positions kept free before the first observation for advice in the system message
COUNT_WEIGHTS = (0.55, 0.30, 0.15)  # directives a question, 1 to 3
_SYSTEM_CHANCE = 0.65  # advice stands before the page, where there is room
_IDLE_CHANCE = 0.04
_IDLE_WEIGHT = 0.3  # loss weight of a question that advice does not decide
_FILLER_CHANCE = 0.08
_PER_CATEGORY = 6  # directives looked at to find one of a category that bites
_WANDER = 0.5


@dataclass(frozen=True, slots=True)
class Moment:
    """One turn of an unadvised episode: what is seen, what counts, what the careless actor would do, what was done."""

    observation: Observation
    previous: tuple[Choice, ...]
    situation: Situation
    proposal: Choice
    chosen: Choice

    def number(self, choice: Choice) -> int:
        """The number of ``choice`` in the list shown."""
        return 1 + next(n for n, c in enumerate(self.observation.choices) if c.action == choice.action)


def wander(
    world: ScriptedWorld, environment: Environment, task: Task, rng: random.Random, vocabulary: ActionVocabulary
) -> Iterator[Moment]:
    """One episode whose player now and then takes anything, so that all sorts of pages and pasts come up."""
    actor, memory = world.actor(rng.getrandbits(40)), Memory.of(vocabulary)
    observation = environment.reset(task, seed=rng.getrandbits(40))
    words, previous = content_words(observation.task or task.text), tuple[Choice, ...]()
    for _ in range(world.max_turns):
        proposal = choice = actor.act(observation)
        if rng.random() < _WANDER:
            kind = rng.choice(sorted({choice.kind for choice in observation.choices}))
            choice = rng.choice([choice for choice in observation.choices if choice.kind == kind])
        situation = Situation(observation.choices, words, tuple(memory.taken))
        yield Moment(observation, previous, situation, proposal, choice)
        memory.add(choice)
        previous = observation.choices
        result = environment.step(choice.action)
        if result.done:
            return
        observation = result.observation


@dataclass
class DrillMaker:
    """Makes drills over a world's training tasks.

    Args:
        world: the world.
        sampler: what may be said.
        encoder: texts to ids.
    """

    world: ScriptedWorld
    sampler: AdviceSampler
    encoder: EpisodeEncoder
    questions: int = QUESTIONS
    blocks: dict[Directive, tuple[int, ...]] = field(default_factory=dict)

    @cached_property
    def _categories(self) -> dict[Category, list[Directive]]:
        found: dict[Category, list[Directive]] = defaultdict(list)
        for directive in self.sampler.exploration.grammar:
            found[Category.of(directive)].append(directive)
        return dict(found)

    @cached_property
    def _weights(self) -> dict[Category, float]:
        forms = {form: sum(c.hardness for c in self._categories if c.form is form) for form in Form}
        return {c: FORM_WEIGHTS[c.form] * c.hardness / forms[c.form] for c in self._categories}

    def drills(self, rng: random.Random, count: int) -> list[EncodedEpisode]:
        """``count`` drills."""
        environment, tasks = self.world.make(), self.world.tasks(Split.TRAIN)
        vocabulary = self.sampler.exploration.vocabulary
        return [
            self.drill(list(wander(self.world, environment, rng.choice(tasks), rng, vocabulary)), rng)
            for _ in range(count)
        ]

    def drill(self, moments: Sequence[Moment], rng: random.Random) -> EncodedEpisode:
        """One episode with its questions."""
        frame = self.encoder.frame
        system = self.encoder.ids(system_text(self.world.system_prompt(), ActionFormat.NUMBERED))
        gap, head = rng.choice(GAPS), 1 + len(system)
        ids, ends = [frame.system, *system], list[int]()
        for moment in moments:
            shown = observation_text(moment.observation, ActionFormat.NUMBERED, moment.previous)
            seen = [frame.user, *self.encoder.ids(shown)]
            if ends and len(ids) + len(seen) > LONGEST:
                break
            ids += seen
            ends.append(len(ids))
            ids += [frame.assistant, frame.label(moment.number(moment.chosen)), frame.end]
        del ids[ends[-1] :]
        tree = _Tree(ids, head, gap)
        asked = sorted(rng.randrange(len(ends)) for _ in range(self.questions))
        for turn, times in Counter(asked).items():
            moment = moments[turn]
            biting = self._biting(moment, rng)
            for _ in range(times):
                self._question(tree, moment, ends[turn], biting, rng)
        return tree.encoded()

    def _question(
        self,
        tree: _Tree,
        moment: Moment,
        end: int,
        biting: dict[Category, list[Directive]],
        rng: random.Random,
    ) -> None:
        before: list[int] = []
        after: list[int] = []
        heard: tuple[list[Directive], list[Directive]] = ([], [])
        for directive, block in self._blocks(self._ask(biting, rng), rng):
            into_system = len(before) + len(block) <= tree.gap and rng.random() < _SYSTEM_CHANCE
            (before if into_system else after).extend(block)
            if directive is not None:
                heard[0 if into_system else 1].append(directive)
        directives = heard[0] + heard[1]
        chosen = obey(directives, moment.situation, moment.proposal)
        afresh = obey(directives, dataclasses.replace(moment.situation, taken=()), moment.proposal)
        decided = moment.proposal.action != chosen.action or afresh.action != chosen.action
        frame = self.encoder.frame
        tree.ask(
            before,
            [*after, frame.assistant, frame.label(moment.number(chosen))],
            end,
            rng.randint(0, tree.gap - len(before)),
            1.0 if decided else _IDLE_WEIGHT,
        )

    def _biting(self, moment: Moment, rng: random.Random) -> dict[Category, list[Directive]]:
        """By category, directives that change the careless choice (a few of each are looked at)."""
        found: dict[Category, list[Directive]] = {}
        for category, members in self._categories.items():
            tried = members if len(members) <= _PER_CATEGORY else rng.sample(members, _PER_CATEGORY)
            bite = [d for d in tried if _decides(d, moment)]
            if bite:
                found[category] = bite
        return found

    def _ask(self, biting: dict[Category, list[Directive]], rng: random.Random) -> list[Directive]:
        """The directives of one question: one that bites, and others beside it."""
        if not biting or rng.random() < _IDLE_CHANCE:
            alone = self.sampler.one_more((), rng)
            return [alone] if alone else []
        categories = list(biting)
        weights = [self._weights[category] for category in categories]
        chosen = [rng.choice(biting[rng.choices(categories, weights)[0]])]
        for _ in range(rng.choices(range(len(COUNT_WEIGHTS)), COUNT_WEIGHTS)[0]):
            new = self.sampler.one_more(chosen, rng)
            if rng.random() < 0.5:
                other = rng.choice(biting[rng.choice(categories)])
                fits = not any(other == old or contradict(other, old) or held_out(other, old) for old in chosen)
                new = other if fits else new
            if new is not None:
                chosen.insert(rng.randint(0, len(chosen)), new)
        return chosen

    def _blocks(
        self, directives: Sequence[Directive], rng: random.Random
    ) -> Iterator[tuple[Directive | None, tuple[int, ...]]]:
        """Each directive with the token ids of its skill; at times filler (no directive) among them."""
        filler = rng.randint(0, len(directives)) if rng.random() < _FILLER_CHANCE else -1
        for number, directive in enumerate(directives):
            if number == filler:
                yield None, self.encoder.ids(render_skill(self.sampler.filler(rng)), remember=False)
            if directive not in self.blocks:
                self.blocks[directive] = self.encoder.ids(render_skill(Skill("a", "a", body_for(directive))))
            yield directive, self.blocks[directive]


def _decides(directive: Directive, moment: Moment) -> bool:
    """Whether the directive changes the careless choice, or would have but for what was done before."""
    if obey((directive,), moment.situation, moment.proposal).action != moment.proposal.action:
        return True
    if not moment.situation.taken or directive.form is not Form.BEFORE:
        return False
    afresh = dataclasses.replace(moment.situation, taken=())
    return obey((directive,), afresh, moment.proposal).action != moment.proposal.action


@dataclass
class _Tree:
    """The shared episode and its branches while they are put together."""

    ids: list[int]
    head: int
    gap: int

    def __post_init__(self) -> None:
        count = len(self.ids)
        self.places = [*range(self.head), *range(self.head + self.gap, count + self.gap)]
        self.branches = [0] * count
        self.sees = list(range(1, count + 1))
        self.positions: list[int] = []
        self.weights: list[float] = []

    def ask(self, before: Sequence[int], after: Sequence[int], end: int, offset: int, weight: float) -> None:
        """A branch: ``before`` stands in the gap from ``offset`` on, ``after`` follows the first ``end`` shared tokens."""
        branch = len(self.positions) + 1
        self.ids += [*before, *after]
        first, next_ = self.head + offset, self.gap + end
        self.places += [*range(first, first + len(before)), *range(next_, next_ + len(after))]
        self.branches += [branch] * (len(before) + len(after))
        self.sees += [self.head] * len(before) + [end] * len(after)
        self.positions.append(len(self.ids) - 2)
        self.weights.append(weight)

    def encoded(self) -> EncodedEpisode:
        """The finished drill."""
        shape = Branching(tuple(self.branches), tuple(self.places), tuple(self.sees))
        return EncodedEpisode(tuple(self.ids), tuple(self.positions), tuple(self.weights), shape)
