"""Questions: single pages of a world, with advice of which at least one sentence changes what a careless player would do.

Most turns of an episode teach nothing about advice. A question is a conversation of one turn that does, at a fraction
of an episode's tokens, so that following advice is learned in minutes.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from reskill_agents.action_format import ActionFormat
from reskill_agents.directives import Directive, Situation, body_for, content_words, obey
from reskill_agents.environment import Choice, Environment, Observation, ScriptedWorld, Split, Task
from reskill_agents.graphs.messages import observation_text, system_text
from reskill_agents.induction_candidates import contradict
from reskill_agents.rendering import render_skill
from reskill_agents.skill import Skill
from reskill_agents.trainers.advice import AdviceSampler, Category, held_out
from reskill_agents.trainers.encoding import EncodedEpisode, EpisodeEncoder, LossWeights
from reskill_agents.trainers.scripted import Memory
from reskill_agents.vocabulary import ActionVocabulary

QUESTIONS_A_PAGE = 3
MAX_COMPANY = 3  # directives beside the one that bites
WANDERERS = 0.7  # share of the episodes whose player now and then takes anything
_WANDER = 0.5  # share of such a player's turns
_SYSTEM_CHANCE = 0.65  # advice stands in the system message, else after the page
_FILLER_CHANCE = 0.08
_RELATED_CHANCE = 0.5  # a further directive is one that bites here too
_PER_CATEGORY = 4  # directives looked at to find some of a category that bite
WEIGHTS = LossWeights(advised=3.0, careless=0.5, end=0.05)


@dataclass(frozen=True, slots=True)
class Moment:
    """One page: what is seen, what counts, what a careless player would do."""

    observation: Observation
    situation: Situation
    proposal: Choice

    def number(self, choice: Choice) -> int:
        """The number of ``choice`` in the list shown."""
        return 1 + next(n for n, c in enumerate(self.observation.choices) if c.action == choice.action)


def wander(
    world: ScriptedWorld,
    environment: Environment,
    task: Task,
    rng: random.Random,
    vocabulary: ActionVocabulary,
    *,
    chance: float = _WANDER,
) -> Iterator[Moment]:
    """One episode whose player takes anything with ``chance``, so that all sorts of pages and pasts come up."""
    actor, memory = world.actor(rng.getrandbits(40)), Memory.of(vocabulary)
    observation = environment.reset(task, seed=rng.getrandbits(40))
    words = content_words(observation.task or task.text)
    for _ in range(world.max_turns):
        proposal = choice = actor.act(observation)
        if rng.random() < chance:
            kind = rng.choice(sorted({choice.kind for choice in observation.choices}))
            choice = rng.choice([choice for choice in observation.choices if choice.kind == kind])
        yield Moment(observation, Situation(observation.choices, words, tuple(memory.taken)), proposal)
        memory.add(choice)
        result = environment.step(choice.action)
        if result.done:
            return
        observation = result.observation


@dataclass
class QuestionMaker:
    """Makes questions over a world's training tasks.

    Args:
        world: the world.
        sampler: what may be said.
        encoder: texts to ids.
    """

    world: ScriptedWorld
    sampler: AdviceSampler
    encoder: EpisodeEncoder
    blocks: dict[Directive, tuple[int, ...]] = field(default_factory=dict)

    @cached_property
    def _weights(self) -> dict[Category, float]:
        exploration = self.sampler.exploration
        return {category: category.practice(exploration.grouped) for category in exploration.categories}

    @cached_property
    def _system(self) -> tuple[int, ...]:
        return self.encoder.ids(system_text(self.world.system_prompt(), ActionFormat.NUMBERED))

    def questions(self, rng: random.Random, count: int) -> list[EncodedEpisode]:
        """At least ``count`` questions."""
        environment, tasks = self.world.make(), self.world.tasks(Split.TRAIN)
        vocabulary, made = self.sampler.exploration.vocabulary, list[EncodedEpisode]()
        while len(made) < count:
            chance = _WANDER if rng.random() < WANDERERS else 0.0
            seen = set[tuple[Choice, ...]]()
            for moment in wander(self.world, environment, rng.choice(tasks), rng, vocabulary, chance=chance):
                if moment.observation.choices not in seen:
                    seen.add(moment.observation.choices)
                    made += self.about(moment, rng)
        return made

    def about(self, moment: Moment, rng: random.Random) -> list[EncodedEpisode]:
        """Questions about one page, whose past is not shown and does not count; none where no advice bites."""
        moment = dataclasses.replace(moment, situation=dataclasses.replace(moment.situation, taken=()))
        biting = self._biting(moment, rng)
        return [self._question(moment, biting, rng) for _ in range(QUESTIONS_A_PAGE)] if biting else []

    def _question(self, moment: Moment, biting: dict[Category, list[Directive]], rng: random.Random) -> EncodedEpisode:
        told: tuple[list[int], list[int]] = ([], [])
        heard: tuple[list[Directive], list[Directive]] = ([], [])
        for directive, block in self._blocks(self._advice(biting, rng), rng):
            place = 0 if rng.random() < _SYSTEM_CHANCE else 1
            told[place].extend(block)
            if directive is not None:
                heard[place].append(directive)
        chosen = obey(heard[0] + heard[1], moment.situation, moment.proposal)
        frame, page = self.encoder.frame, self.encoder.ids(observation_text(moment.observation, ActionFormat.NUMBERED))
        ids = [frame.system, *self._system, *told[0], frame.user, *page, *told[1], frame.assistant]
        ids += [frame.label(moment.number(chosen)), frame.end]
        decided = chosen.action != moment.proposal.action
        weight = WEIGHTS.advised if decided else WEIGHTS.careless
        return EncodedEpisode(tuple(ids), (len(ids) - 3, len(ids) - 2), (weight, WEIGHTS.end))

    def _biting(self, moment: Moment, rng: random.Random) -> dict[Category, list[Directive]]:
        """By category, directives that change the careless choice (a few of each are tried)."""
        found: dict[Category, list[Directive]] = {}
        for category, members in self.sampler.exploration.categories.items():
            tried = members if len(members) <= _PER_CATEGORY else rng.sample(members, _PER_CATEGORY)
            careless = moment.proposal.action
            bite = [d for d in tried if obey((d,), moment.situation, moment.proposal).action != careless]
            if bite:
                found[category] = bite
        return found

    def _advice(self, biting: dict[Category, list[Directive]], rng: random.Random) -> list[Directive]:
        """The directives of one question: one that bites, and others beside it."""
        categories = list(biting)
        weights = [self._weights[category] for category in categories]
        chosen = [rng.choice(biting[rng.choices(categories, weights)[0]])]
        for _ in range(rng.randint(0, MAX_COMPANY)):
            new = self.sampler.one_more(chosen, rng)
            if rng.random() < _RELATED_CHANCE:
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
