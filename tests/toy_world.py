"""A tiny scripted world for tests: fetch the right crate, put the right tag on it, ship it.

Import it as ``from toy_world import ToyWorld``. Three pieces of advice help: take the crate that shares the most words
with the task, no crate marked ``sealed``, and before ``ship`` every tag the task names.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reskill_agents.directives import content_words
from reskill_agents.environment import Choice, Observation, ScriptedActor, Split, StepResult, Task

WORDS = tuple(f"k{number}" for number in range(1, 9))
BUTTONS = ("back", "ship", "leave")
_GRAMMAR = ("gate", "page", "task", "crate", "tag", "on", "open", "sealed", "button", "fetch", "what", "the", "names")


@dataclass(frozen=True, slots=True)
class Crate:
    """Two words on the lid, and whether it may not be shipped."""

    words: tuple[str, str]
    sealed: bool

    @property
    def text(self) -> str:
        """What is shown of it."""
        return " ".join((*self.words, *(("sealed",) if self.sealed else ())))


@dataclass(frozen=True)
class ToyWorld:
    """``tasks_per_split`` tasks a split, all from ``seed``; ``unseen_test`` uses pairs of words no other split has."""

    tasks_per_split: int = 48
    seed: int = 0
    name: str = "toy"
    max_turns: int = 6

    def tasks(self, split: Split) -> Sequence[Task]:
        """The tasks of ``split``."""
        rng = random.Random(f"{self.seed}-{split}")
        unseen = split is Split.UNSEEN_TEST
        tasks: list[Task] = []
        while len(tasks) < self.tasks_per_split:
            words = rng.sample(WORDS, 3)
            if ((WORDS.index(words[0]) + WORDS.index(words[1])) % 5 == 0) is unseen:
                tags = {"words": "unseen" if unseen else "seen"}
                tasks.append(Task(f"{split}-{len(tasks)}", f"fetch {' '.join(words)}", split, tags))
        return tasks

    def make(self) -> ToyEnvironment:
        """A new environment."""
        return ToyEnvironment()

    def describe(self) -> Mapping[str, str | int | float | bool]:
        """The settings."""
        return {"world": self.name, "seed": self.seed, "tasks_per_split": self.tasks_per_split}

    def system_prompt(self) -> str:
        """What the agent is told."""
        return "fetch the crate the task names"

    def vocabulary(self) -> Sequence[str]:
        """Every word of the world."""
        return (*_GRAMMAR, *BUTTONS, *WORDS)

    def actor(self, seed: int) -> ScriptedActor:
        """A careless player."""
        return CarelessActor(seed)


class ToyEnvironment:
    """One crate to find among four, one tag to find among three."""

    def reset(self, task: Task, *, seed: int) -> Observation:
        """At the gate, the crates in an order given by ``seed``."""
        self._words = tuple(task.text.split()[1:])
        rng = random.Random(f"{task.task_id}-{task.text}-{seed}")
        first, second, tag = self._words
        others = [word for word in WORDS if word not in self._words]
        rng.shuffle(others)
        pairs = [(first, second), (first, second), (first, others[0]), (others[1], second)]
        self._crates = [Crate(pair, sealed) for pair, sealed in zip(pairs, (False, True, False, True), strict=True)]
        self._tags = [tag, *others[2:4]]
        rng.shuffle(self._crates)
        rng.shuffle(self._tags)
        self._opened: Crate | None = None
        self._tag = ""
        return self._gate()

    def step(self, action: str) -> StepResult:
        """Take an action of the current page; any other one changes nothing."""
        offered = {choice.action: choice for choice in self._page().choices}
        if action not in offered:
            return StepResult(self._page(), score=0.0, valid=False)
        choice = offered[action]
        if choice.kind == "crate":
            self._opened, self._tag = self._crates[int(action[len("open[") : -1])], ""
        elif choice.kind == "tag":
            self._tag = choice.text
        elif choice.text == "back":
            self._opened = None
        else:
            return StepResult(self._page(), done=True, score=self._score() if choice.text == "ship" else 0.0)
        return StepResult(self._page())

    def _score(self) -> float:
        if self._opened is None:
            return 0.0
        first, second, tag = self._words
        right = [first in self._opened.words, second in self._opened.words, self._tag == tag, not self._opened.sealed]
        return sum(right) / len(right)

    def _page(self) -> Observation:
        return self._gate() if self._opened is None else self._crate_page(self._opened)

    def _gate(self) -> Observation:
        shown = " ".join(self._words)
        crates = [Choice(f"open[{index}]", crate.text, "crate") for index, crate in enumerate(self._crates)]
        return Observation(f"gate page . task : {shown}", (*crates, Choice("press[leave]", "leave", "button")), shown)

    def _crate_page(self, crate: Crate) -> Observation:
        tags = [Choice(f"tag[{tag}]", tag, "tag", group="tag") for tag in self._tags]
        buttons = [Choice(f"press[{text}]", text, "button") for text in ("back", "ship")]
        text = f"crate page . on : {self._tag}" if self._tag else f"crate page {crate.text} . open"
        return Observation(text, (*tags, *buttons), " ".join(self._words))


class CarelessActor:
    """Takes any crate, mostly ships it as it is."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)

    def act(self, observation: Observation) -> Choice:
        """A careless choice; now and then the right one."""
        rng, words = self._rng, content_words(observation.task)
        crates = [choice for choice in observation.choices if choice.kind == "crate"]
        if crates:
            right = [c for c in crates if len(content_words(c.text) & words) == 2 and "sealed" not in c.text]
            poor = [c for c in crates if c not in right]
            if rng.random() < 0.02:
                return observation.choices[-1]
            return right[0] if rng.random() < 0.12 else rng.choice(poor)
        tags = [choice for choice in observation.choices if choice.kind == "tag"]
        chance = rng.random()
        if chance < 0.1 and ": " not in observation.text:
            return next(choice for choice in tags if choice.text in words)
        if chance < 0.2 and ": " not in observation.text:
            return rng.choice(tags)
        return observation.choices[-2 if chance < 0.24 else -1]
