"""Logs with known causes: a console agent whose success depends on eight habits, and decoys that only go with failure.

Decoys: failures are longer (so everything that happens once a turn is more frequent in them), models differ in success and
in the commands they like, and observations of failures are wordier.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from reskill_agents.environment import Task
from reskill_agents.episodes import Episode, StopReason, Turn

MODELS = {"alpha": 0.9, "beta": 0.0, "gamma": -0.9}  # logit of success
LIKES = {"alpha": "glance", "beta": "ponder", "gamma": "zap"}  # a command each model overuses: a decoy
COMMANDS = ("glance", "ponder", "zap", "query", "sort", "merge", "commit")
EFFECT = 1.1  # logit of each habit
HABITS = ("help", "widen", "change", "plan", "check", "fresh", "no reset", "one undo")


@dataclass
class _Play:
    rng: random.Random
    habits: frozenset[str]
    model: str
    words: tuple[str, ...]

    def action(self, seen: str, turn: int, taken: list[str]) -> str:
        """The next command."""
        rng = self.rng
        if seen.startswith("error"):
            if "change" not in self.habits and rng.random() < 0.4:
                return taken[-1]
            if "help" in self.habits and rng.random() < 0.85:
                return "help"
        if seen.startswith("no rows") and "widen" in self.habits and rng.random() < 0.85:
            return "widen"
        if turn == 0 and "plan" in self.habits:
            return "plan steps"
        if "fresh" not in self.habits and len(taken) > 1 and rng.random() < 0.25:
            return rng.choice(taken)
        if "no reset" not in self.habits and rng.random() < 0.15:
            return "reset all"
        if rng.random() < 0.2 and not ("one undo" in self.habits and "undo last" in taken):
            return "undo last"
        if rng.random() < 0.25:
            command = LIKES[self.model]
        else:
            command = rng.choice(COMMANDS)
        if command == "commit" and "check" in self.habits and "check state" not in taken:
            return "check state"
        if command == "commit":
            return "commit now"
        return f"{command} {rng.choice(self.words)} {rng.randrange(1000)}"


@dataclass(frozen=True)
class PlantedLog:
    """Episodes, and which habits each of them really had."""

    episodes: tuple[Episode, ...]
    habits: tuple[frozenset[str], ...]


def planted_log(count: int = 1600, *, tasks: int = 400, seed: int = 0) -> PlantedLog:
    """``count`` episodes over ``tasks`` tasks. Given habits and model, success does not depend on what is done."""
    rng = random.Random(seed)
    made = [_episode(rng, number, f"t{rng.randrange(tasks)}") for number in range(count)]
    return PlantedLog(tuple(episode for episode, _ in made), tuple(habits for _, habits in made))


def _episode(rng: random.Random, number: int, task: str) -> tuple[Episode, frozenset[str]]:
    words = tuple(random.Random(task).sample([f"item{n}" for n in range(200)], 4))
    model = rng.choice(list(MODELS))
    habits = frozenset(habit for habit in HABITS if rng.random() < 0.5)
    logit = MODELS[model] + EFFECT * (len(habits) - len(HABITS) / 2) + 0.3 * (rng.random() - 0.5)
    success = rng.random() < 1 / (1 + math.exp(-logit))
    length = rng.randint(6, 10) if success else rng.randint(8, 14)
    play = _Play(rng, habits, model, words)
    turns: list[Turn] = []
    taken: list[str] = []
    seen = f"ready: {' '.join(words)}"
    for index in range(length):
        action = play.action(seen, index, taken)
        turns.append(Turn(index, seen, action))
        taken.append(action)
        draw = rng.random()
        wordy = "" if success or rng.random() < 0.5 else " still more to do here"
        seen = "error: command failed" if draw < 0.25 else "no rows found today" if draw < 0.4 else f"ok done{wordy}"
    turns.append(Turn(length, seen, "finish" if success else "give up"))
    episode = Episode(
        f"e{number}", Task(task, " ".join(words)), tuple(turns), float(success), StopReason.DONE, model=model
    )
    return episode, habits
