"""Drills: many pieces of advice asked about one page at once, in one sequence.

A page is a shared prefix; each question is a branch that sees the page and itself only, and has the position ids it would
have in an episode, before the page (system message) or after it. So a question costs a dozen tokens instead of two
hundred, and the sudden steps in which a small model learns to read advice come within a minute.
"""

from __future__ import annotations

import random
from collections import defaultdict
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
from reskill_agents.trainers.encoding import EncodedEpisode, EpisodeEncoder

QUESTIONS = 10  # branches a page
GAPS = (0, 15, 30, 45, 60)  # token positions kept free before the page for advice in the system message
COUNT_WEIGHTS = (0.55, 0.30, 0.15)  # directives a question, 1 to 3
_SYSTEM_CHANCE = 0.65  # advice stands before the page, where there is room
_IDLE_CHANCE = 0.04
_IDLE_WEIGHT = 0.3  # loss weight of a question that advice does not decide
_FILLER_CHANCE = 0.08
_PER_CATEGORY = 8  # directives looked at to find one of a category that bites
_WANDER = 0.5


@dataclass(frozen=True, slots=True)
class Page:
    """One page as first seen, and what the careless actor would do on it."""

    observation: Observation
    situation: Situation
    proposal: Choice


def wander(world: ScriptedWorld, environment: Environment, task: Task, rng: random.Random) -> Iterator[Page]:
    """The pages of one episode whose player now and then takes anything, so that all sorts of pages come up.

    A list of choices comes once: what was taken on it before would be part of the situation.
    """
    actor = world.actor(rng.getrandbits(40))
    observation = environment.reset(task, seed=rng.getrandbits(40))
    words, seen = content_words(observation.task or task.text), set[tuple[Choice, ...]]()
    for _ in range(world.max_turns):
        proposal = actor.act(observation)
        if observation.choices not in seen and len(observation.choices) > 1:
            seen.add(observation.choices)
            yield Page(observation, Situation(observation.choices, words), proposal)
        choice = proposal
        if rng.random() < _WANDER:
            kind = rng.choice(sorted({choice.kind for choice in observation.choices}))
            choice = rng.choice([choice for choice in observation.choices if choice.kind == kind])
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
        """What can bite on a page alone: not what depends on earlier choices."""
        found: dict[Category, list[Directive]] = defaultdict(list)
        for directive in self.sampler.exploration.grammar:
            if directive.form not in (Form.AFTER, Form.ONCE):
                found[Category.of(directive)].append(directive)
        return dict(found)

    @cached_property
    def _weights(self) -> dict[Category, float]:
        forms = {form: sum(c.hardness for c in self._categories if c.form is form) for form in Form}
        return {c: FORM_WEIGHTS[c.form] * c.hardness / forms[c.form] for c in self._categories}

    def drills(self, rng: random.Random, count: int) -> list[EncodedEpisode]:
        """``count`` drills at least."""
        environment, tasks = self.world.make(), self.world.tasks(Split.TRAIN)
        made: list[EncodedEpisode] = []
        while len(made) < count:
            made += [self.drill(page, rng) for page in wander(self.world, environment, rng.choice(tasks), rng)]
        return [drill for drill in made if drill.positions]

    def drill(self, page: Page, rng: random.Random) -> EncodedEpisode:
        """One page with its questions."""
        frame = self.encoder.frame
        system = self.encoder.ids(system_text(self.world.system_prompt(), ActionFormat.NUMBERED))
        shown = self.encoder.ids(observation_text(page.observation, ActionFormat.NUMBERED))
        gap, head = rng.choice(GAPS), 1 + len(system)
        ids = [frame.system, *system, frame.user, *shown]
        places = [*range(head), *range(head + gap, len(ids) + gap)]
        branches = [0] * len(ids)
        positions: list[int] = []
        weights: list[float] = []
        end, biting = len(ids) + gap, self._biting(page, rng)
        for branch in range(1, self.questions + 1):
            directives = self._ask(biting, rng)
            if not directives:
                break
            before: list[int] = []
            after: list[int] = []
            heard: tuple[list[Directive], list[Directive]] = ([], [])
            for directive, block in self._blocks(directives, rng):
                into_system = len(before) + len(block) <= gap and rng.random() < _SYSTEM_CHANCE
                (before if into_system else after).extend(block)
                if directive is not None:
                    heard[0 if into_system else 1].append(directive)
            chosen = obey(heard[0] + heard[1], page.situation, page.proposal)
            number = 1 + next(n for n, c in enumerate(page.observation.choices) if c.action == chosen.action)
            start = head + rng.randint(0, gap - len(before))
            ids += [*before, *after, frame.assistant, frame.label(number)]
            places += [*range(start, start + len(before)), *range(end, end + len(after) + 2)]
            branches += [branch] * (len(before) + len(after) + 2)
            positions.append(len(ids) - 2)
            weights.append(1.0 if chosen.action != page.proposal.action else _IDLE_WEIGHT)
        return EncodedEpisode(tuple(ids), tuple(positions), tuple(weights), tuple(branches), tuple(places))

    def _biting(self, page: Page, rng: random.Random) -> dict[Category, list[Directive]]:
        """By category, directives that change the careless choice on ``page`` (a few of each are looked at)."""
        found: dict[Category, list[Directive]] = {}
        for category, members in self._categories.items():
            tried = members if len(members) <= _PER_CATEGORY else rng.sample(members, _PER_CATEGORY)
            bite = [d for d in tried if obey((d,), page.situation, page.proposal).action != page.proposal.action]
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
