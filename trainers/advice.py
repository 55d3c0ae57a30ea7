"""Random advice over a world's action vocabulary: what the stand-in hears while it is cloned."""

from __future__ import annotations

import hashlib
import itertools
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import re2

from reskill_agents.directives import ActionClass, Directive, Form, body_for, class_phrase, obey, sentence
from reskill_agents.environment import action_verb
from reskill_agents.induction_candidates import contradict, enumerate_directives
from reskill_agents.library import SkillLibrary
from reskill_agents.selection import SkillSelector
from reskill_agents.skill import Skill
from reskill_agents.trainers.scripted import Advice, ScriptedEpisode
from reskill_agents.trigger import Repeat, Trigger, TriggerKind
from reskill_agents.vocabulary import MIN_TASKS, ActionVocabulary, learn_vocabulary

COUNT_WEIGHTS = (0.12, 0.20, 0.20, 0.22, 0.26)  # how many directives an episode hears, 0 to 4
RELATED_CHANCE = 0.5  # a further directive is about the kind of choice of an earlier one
TRIGGER_WEIGHTS = {
    TriggerKind.GENERAL: 0.35,
    TriggerKind.BEGINNING: 0.15,
    TriggerKind.OBSERVATION_PATTERN: 0.32,
    TriggerKind.ACTION_PATTERN: 0.18,
}
FILLER_CHANCE = 0.2
HELD_OUT_ONE_IN = 6  # pairs of directives that never come together in cloning
_IDLE_WEIGHT = 0.15  # advice that would change nothing is sampled less, but is sampled
_MAX_MARKERS = 40
_BITE_EPISODES = 40


@dataclass(frozen=True, slots=True, order=True)
class Category:
    """Directives that are equally hard to follow: same form, sort of target, criterion, sort of other, marked or not."""

    form: Form
    target: str
    criterion: str
    other: str
    marked: bool

    @classmethod
    def of(cls, directive: Directive) -> Category:
        """The category of ``directive``."""
        among = directive.form is Form.AMONG
        return cls(
            directive.form,
            directive.target.kind if among else _sort(directive.target),
            directive.criterion.value if directive.criterion else "",
            _sort(directive.other) if directive.other else "",
            bool(directive.mark),
        )

    def practice(self, grouped: frozenset[str]) -> float:
        """How much practice it gets, relative: what is decided by words of the task takes longest to learn (measured).

        Args:
            grouped: kinds whose choices are alternatives of one group; all others lead somewhere.
        """
        match self.form:
            case Form.AMONG:
                return 1.5 if self.target in grouped else 3.5
            case Form.BEFORE if self.target == "literal":
                return {"named": 7.0, "open": 1.0, "literal": 1.5}[self.other]
            case Form.BEFORE:
                return 0.7
            case Form.AFTER:
                return 1.0 if self.other == "named" else 0.6
            case Form.AVOID:
                return 6.0 if self.marked else 1.0
            case _:
                return 1.0


def _sort(target: ActionClass) -> str:
    return "literal" if target.text else "named" if target.named else "open"


@lru_cache(maxsize=200_000)
def held_out(a: Directive, b: Directive, *, one_in: int = HELD_OUT_ONE_IN) -> bool:
    """Whether this pair is kept out of cloning: a fixed sixth of all pairs, chosen by hash."""
    text = "|".join(sorted((sentence(a), sentence(b))))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) % one_in == 0


@dataclass(frozen=True)
class Exploration:
    """What careless, unadvised episodes show of a world: its action vocabulary, page markers, where advice bites."""

    episodes: tuple[ScriptedEpisode, ...]

    @cached_property
    def vocabulary(self) -> ActionVocabulary:
        """The learned action vocabulary."""
        return learn_vocabulary(offered for episode in self.episodes for offered in episode.offered())

    @cached_property
    def grammar(self) -> tuple[Directive, ...]:
        """Every directive over the vocabulary."""
        return enumerate_directives(self.vocabulary)

    @cached_property
    def markers(self) -> dict[str, int]:
        """How an observation begins (its first two words), with counts; the most frequent ones."""
        counts = Counter(_marker(turn.text) for episode in self.episodes for turn in episode.turns)
        return dict(counts.most_common(_MAX_MARKERS))

    @cached_property
    def markers_of(self) -> dict[ActionClass, list[str]]:
        """Per literal and open kind, the markers of the observations on which it is offered."""
        classes = self.vocabulary.literals + self.vocabulary.kinds
        found: dict[ActionClass, Counter[str]] = {target: Counter() for target in classes}
        for episode in self.episodes:
            for turn in episode.turns:
                marker = _marker(turn.text)
                kinds = {choice.kind for choice in turn.situation.choices}
                texts = {(choice.kind, choice.text) for choice in turn.situation.choices}
                for target in classes:
                    if target.kind in kinds and (not target.text or (target.kind, target.text) in texts):
                        found[target][marker] += 1
        return {target: [m for m in counts if m in self.markers] for target, counts in found.items()}

    @cached_property
    def action_patterns(self) -> tuple[str, ...]:
        """Patterns on actions: each verb, and each literal's action."""
        taken = {(turn.chosen.action, episode.task.task_id) for episode in self.episodes for turn in episode.turns}
        tasks = Counter(action for action, _ in taken)
        verbs = sorted({action_verb(action) for action in tasks} - {""})
        exact = sorted(action for action, count in tasks.items() if count >= MIN_TASKS)
        return tuple([f"^{re2.escape(verb)}" for verb in verbs] + [f"^{re2.escape(action)}$" for action in exact])

    @cached_property
    def grouped(self) -> frozenset[str]:
        """Kinds whose choices come in groups of alternatives."""
        choices = (choice for episode in self.episodes for turn in episode.turns for choice in turn.situation.choices)
        return frozenset(choice.kind for choice in choices if choice.group)

    @cached_property
    def categories(self) -> dict[Category, list[Directive]]:
        """The grammar by category."""
        found: dict[Category, list[Directive]] = defaultdict(list)
        for directive in self.grammar:
            found[Category.of(directive)].append(directive)
        return dict(found)

    @cached_property
    def max_choices(self) -> int:
        """The longest list of choices seen."""
        return max(len(turn.situation.choices) for episode in self.episodes for turn in episode.turns)

    def bite(self, *, episodes: int = _BITE_EPISODES) -> dict[Directive, float]:
        """Per directive, in which share of episodes following it would change at least one careless choice."""
        changed: Counter[Directive] = Counter()
        for episode in self.episodes[:episodes]:
            for directive in self.grammar:
                if any(obey([directive], t.situation, t.proposal).action != t.proposal.action for t in episode.turns):
                    changed[directive] += 1
        return {directive: changed[directive] / min(episodes, len(self.episodes)) for directive in self.grammar}


def _marker(text: str) -> str:
    return " ".join(text.split()[:2])


@dataclass
class AdviceSampler:
    """Draws advice: 0-4 directives in skills with random triggers, sometimes filler.

    Args:
        exploration: what is known of the world.
        weights: how often each directive is drawn, relative.
        words: words that filler is made of.
    """

    exploration: Exploration
    weights: dict[Directive, float]
    words: tuple[str, ...]
    drawn: Counter[Directive] = field(default_factory=Counter)

    @classmethod
    def of(cls, exploration: Exploration, words: Sequence[str]) -> AdviceSampler:
        """A sampler over the whole grammar.

        Categories by the practice they need, inside a category by how often the advice bites.
        """
        bite, weights = exploration.bite(), dict[Directive, float]()
        for category, members in exploration.categories.items():
            total = sum(_IDLE_WEIGHT + bite[directive] for directive in members)
            share = category.practice(exploration.grouped)
            weights |= {directive: share * (_IDLE_WEIGHT + bite[directive]) / total for directive in members}
        return cls(exploration, weights, tuple(words))

    @cached_property
    def _everything(self) -> _Urn:
        return _Urn.of(self.weights)

    @cached_property
    def _by_kind(self) -> dict[str, _Urn]:
        kinds = {directive.target.kind for directive in self.weights}
        return {k: _Urn.of({d: w for d, w in self.weights.items() if d.target.kind == k}) for k in sorted(kinds)}

    def sample(self, rng: random.Random) -> Advice:
        """Advice for one episode; never a held-out pair, seldom a contradiction."""
        directives = self.directives(rng)
        self.drawn.update(directives)
        skills: list[Skill] = []
        following: dict[str, Directive] = {}
        for number, directive in enumerate(directives):
            body = body_for(directive) if rng.random() < 0.95 else sentence(directive)
            skill = Skill(f"advice-{number}", "advice", body, self.trigger(directive.target, rng))
            skills.append(skill)
            following[skill.name] = directive
        if rng.random() < FILLER_CHANCE:
            skills.insert(rng.randint(0, len(skills)), self.filler(rng))
        return Advice(SkillSelector(SkillLibrary(tuple(skills))), following)

    def directives(self, rng: random.Random) -> list[Directive]:
        """0-4 different directives."""
        count = rng.choices(range(len(COUNT_WEIGHTS)), COUNT_WEIGHTS)[0]
        chosen: list[Directive] = []
        for _ in range(5 * count):
            if len(chosen) == count:
                break
            new = self.one_more(chosen, rng)
            if new is not None:
                chosen.append(new)
        return chosen

    def one_more(self, chosen: Sequence[Directive], rng: random.Random) -> Directive | None:
        """A directive that may stand beside ``chosen``, often about the same kind of choice; ``None``: no luck."""
        related = chosen and rng.random() < RELATED_CHANCE
        urn = self._by_kind[rng.choice(chosen).target.kind] if related else self._everything
        new = urn.draw(rng)
        clash = any(contradict(new, old) for old in chosen) and rng.random() < 0.9
        if new in chosen or clash or any(held_out(new, old) for old in chosen):
            return None
        return new

    def trigger(self, target: ActionClass, rng: random.Random) -> Trigger:
        """A random trigger; pattern triggers mostly, but not always, fire where ``target`` is offered."""
        kind = rng.choices(list(TRIGGER_WEIGHTS), list(TRIGGER_WEIGHTS.values()))[0]
        if kind is TriggerKind.OBSERVATION_PATTERN:
            near = self.exploration.markers_of.get(ActionClass(target.kind, target.text))
            markers = near if near and rng.random() < 0.8 else list(self.exploration.markers)
            pattern = r"\b" + r"\s+".join(re2.escape(word) for word in rng.choice(markers).split())
            return Trigger(kind, pattern, _repeat(rng))
        if kind is TriggerKind.ACTION_PATTERN:
            return Trigger(kind, rng.choice(self.exploration.action_patterns), _repeat(rng))
        return Trigger(kind)

    def filler(self, rng: random.Random) -> Skill:
        """A skill that says nothing that can be followed: shuffled advice, or words of the world."""
        directive = rng.choice(self.exploration.grammar)
        if rng.random() < 0.5:
            words = body_for(directive).replace("*", "").split()
            rng.shuffle(words)
        else:
            words = ["notes", *rng.choices(self.words, k=rng.randint(3, 10)), class_phrase(directive.target)]
        return Skill("filler", "filler", " ".join(words), self.trigger(directive.target, rng))


@dataclass(frozen=True, slots=True)
class _Urn:
    items: tuple[Directive, ...]
    cumulative: tuple[float, ...]

    @classmethod
    def of(cls, weights: dict[Directive, float]) -> _Urn:
        return cls(tuple(weights), tuple(itertools.accumulate(weights.values())))

    def draw(self, rng: random.Random) -> Directive:
        return rng.choices(self.items, cum_weights=self.cumulative)[0]


def _repeat(rng: random.Random) -> Repeat:
    return Repeat.AFTER_N_TURNS if rng.random() < 0.8 else Repeat.ONCE
