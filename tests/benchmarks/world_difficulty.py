"""How hard a world is for a careless actor, alone and with advice: success and mean score per set of directives.

Run: ``python tests/benchmarks/world_difficulty.py [--data DIR] [--tasks N] [--seed N]``
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reskill_agents.directives import (
    ActionClass,
    Criterion,
    Directive,
    Form,
    Situation,
    content_words,
    obey,
)
from reskill_agents.environment import Choice, ScriptedWorld, Split, Task
from reskill_agents.envs.webshop import WebShopWorld

BUY = ActionClass("button", "buy now")
OPTION = ActionClass("option")
ITEM = ActionClass("item")
USEFUL: Mapping[str, Directive] = {
    "search": Directive(Form.AMONG, ActionClass("search"), criterion=Criterion.MOST_TASK_WORDS),
    "item": Directive(Form.AMONG, ITEM, criterion=Criterion.MOST_TASK_WORDS),
    "options": Directive(Form.BEFORE, BUY, ActionClass("option", named=True)),
    "price": Directive(Form.AVOID, ITEM, mark="above"),
}
HARMFUL: Mapping[str, Directive] = {
    "avoid option": Directive(Form.AVOID, OPTION),
    "soon buy now": Directive(Form.SOON, BUY),
    "last search": Directive(Form.AMONG, ActionClass("search"), criterion=Criterion.LAST_LISTED),
    "last item": Directive(Form.AMONG, ITEM, criterion=Criterion.LAST_LISTED),
    "first item": Directive(Form.AMONG, ITEM, criterion=Criterion.FIRST_LISTED),
    "description before buy": Directive(Form.BEFORE, BUY, ActionClass("button", "description")),
    "avoid within": Directive(Form.AVOID, ITEM, mark="within"),
    "soon next": Directive(Form.SOON, ActionClass("button", "next")),
    "once item": Directive(Form.ONCE, ITEM),
    "after option buy": Directive(Form.AFTER, OPTION, BUY),
}


@dataclass(frozen=True, slots=True)
class Measured:
    """Means over episodes; ``words``: whitespace words of all observations and choices of an episode."""

    success: float
    score: float
    turns: float
    words: float


def sets() -> dict[str, tuple[Directive, ...]]:
    """None, each, each pair, each triple, all four, and harmful ones alone and beside the four."""
    table: dict[str, tuple[Directive, ...]] = {"none": ()}
    for size in (1, 2, 3, 4):
        for names in itertools.combinations(USEFUL, size):
            table[" + ".join(names)] = tuple(USEFUL[name] for name in names)
    four = tuple(USEFUL.values())
    for name, directive in HARMFUL.items():
        table[f"({name})"] = (directive,)
        table[f"(all four, {name})"] = (directive, *four)
    return table


def play(world: ScriptedWorld, task: Task, directives: Sequence[Directive], seed: int) -> tuple[float, int, int]:
    """One episode of the careless actor under advice: score, turns, words seen."""
    env, actor = world.make(), world.actor(seed)
    observation = env.reset(task, seed=seed)
    taken: list[Choice] = []
    previous: tuple[Choice, ...] = ()
    words = 0
    for turn in range(world.max_turns):
        words += len(observation.text.split()) + 1
        if observation.choices != previous:
            words += sum(len(choice.text.split()) + 3 for choice in observation.choices)
        previous = observation.choices
        situation = Situation(observation.choices, content_words(observation.task), tuple(taken))
        choice = obey(directives, situation, actor.act(observation))
        if choice.kind in ("item", "search"):
            taken = [earlier for earlier in taken if not earlier.group]
        taken.append(choice)
        result = env.step(choice.action)
        assert result.valid, choice
        observation = result.observation
        if result.done:
            return result.score, turn + 1, words
    return 0.0, world.max_turns, words


def measure(world: ScriptedWorld, tasks: Sequence[Task], directives: Sequence[Directive], seed: int) -> Measured:
    """Means over ``tasks``, one episode each."""
    played = [play(world, task, directives, seed * 100_003 + number) for number, task in enumerate(tasks)]
    count = max(len(played), 1)
    return Measured(
        sum(score >= 1 for score, _, _ in played) / count,
        sum(score for score, _, _ in played) / count,
        sum(turns for _, turns, _ in played) / count,
        sum(words for _, _, words in played) / count,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=300, help="episodes a cell")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--catalogue-seed", type=int, default=7)
    parser.add_argument("--data", type=Path, default=None, help="folder of official files")
    parser.add_argument("--repeat", type=int, default=1, help="episodes a task (small splits)")
    arguments = parser.parse_args()
    started = time.perf_counter()
    world = WebShopWorld(arguments.data, catalogue_seed=arguments.catalogue_seed)
    print(f"built in {time.perf_counter() - started:.1f} s: {dict(world.describe())}")
    for split in Split:
        for source in sorted({task.tags["goals"] for task in world.tasks(split)}):
            tasks = [task for task in world.tasks(split) if task.tags["goals"] == source][: arguments.tasks]
            report(world, f"{split.value}, {source} goals", tasks * arguments.repeat, arguments.seed)


def report(world: ScriptedWorld, title: str, tasks: Sequence[Task], seed: int) -> None:
    """Print the table of one set of tasks."""
    print(f"\n{title} ({len(tasks)} episodes a row)\n{'directives':45} success  score  turns  words")
    started, steps = time.perf_counter(), 0.0
    for name, directives in sets().items():
        m = measure(world, tasks, directives, seed)
        steps += m.turns * len(tasks)
        print(f"{name:45} {m.success:7.3f} {m.score:6.3f} {m.turns:6.1f} {m.words:6.0f}")
    print(f"{steps / (time.perf_counter() - started):.0f} steps/s")


if __name__ == "__main__":
    main()
