"""What know-how is worth in TextWorld cooking: a careless scripted cook with and without it, on train and on unseen foods.

    python tests/benchmarks/textworld_knowhow.py --out tests/benchmarks/results/textworld.md      # needs [textworld], 2 minutes

"All" are the four sentences that the compact pages were made for, always in the context; each is then left out. "Told facts"
replaces looking at appliances by skills that fire on the recipe ("fry": not the oven; "roast": not the stove). Standard
errors in brackets, in points.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from reskill_agents.directives import ActionClass, Criterion, Directive, Form, body_for, sentence
from reskill_agents.environment import Split
from reskill_agents.envs.textworld import CACHE, GameCounts, ObservationMode, TextWorldCooking
from reskill_agents.library import SkillLibrary
from reskill_agents.selection import SkillSelector
from reskill_agents.skill import Skill
from reskill_agents.trainers.scripted import Advice, play_scripted
from reskill_agents.trigger import Trigger, TriggerKind

CLONED = "## A stand-in cloned"  # the section of textworld_clone.py, which stays
APPLIANCE = ActionClass("appliance")
Told = tuple[Directive, str]  # the advice, and the pattern on observations that it waits for (none: always)
READ: Told = (Directive(Form.SOON, ActionClass("book", "cookbook")), "")
LOOK: Told = (Directive(Form.BEFORE, APPLIANCE, ActionClass("look")), "")
MATCH: Told = (Directive(Form.AMONG, APPLIANCE, criterion=Criterion.MOST_TASK_WORDS), "")
STOP: Told = (Directive(Form.AFTER, APPLIANCE, ActionClass("meal", "prepare meal")), "")
FRY: Told = (Directive(Form.AVOID, APPLIANCE, mark="oven"), r"\bfry\b")
ROAST: Told = (Directive(Form.AVOID, APPLIANCE, mark="stove"), r"\broast\b")
SETS: Mapping[str, tuple[Told, ...]] = {
    "nothing": (),
    "all": (READ, LOOK, MATCH, STOP),
    "all but reading the cookbook first": (LOOK, MATCH, STOP),
    "all but looking at appliances": (READ, MATCH, STOP),
    "all but taking the one that fits": (READ, LOOK, STOP),
    "all but not cooking twice": (READ, LOOK, MATCH),
    "told facts": (READ, FRY, ROAST, STOP),
    "told facts, for any recipe (no trigger)": (READ, (FRY[0], ""), (ROAST[0], ""), STOP),
    "harmful: `prepare meal` as soon as it is offered": (
        READ, LOOK, MATCH, STOP, (Directive(Form.SOON, ActionClass("meal", "prepare meal")), "")),
}  # fmt: skip


def advice_of(told: Sequence[Told]) -> Advice:
    """The advice as skills."""
    skills, directives = [], {}
    for number, (directive, pattern) in enumerate(told):
        kind = TriggerKind.OBSERVATION_PATTERN if pattern else TriggerKind.GENERAL
        skill = Skill(f"advice-{number}", "advice", body_for(directive), Trigger(kind, pattern))
        skills.append(skill)
        directives[skill.name] = directive
    return Advice(SkillSelector(SkillLibrary(tuple(skills))), directives)


def row(world: TextWorldCooking, name: str, told: Sequence[Told], splits: Sequence[Split], episodes: int) -> str:
    """One line of the table."""
    advice, environment, cells = advice_of(told), world.make(), []
    for split in splits:
        tasks = world.tasks(split)
        scores = [
            play_scripted(world, environment, tasks[n % len(tasks)], 1_000 + n, advice).score for n in range(episodes)
        ]
        won = sum(score >= 1 for score in scores) / episodes
        error = math.sqrt(won * (1 - won) / episodes)
        cells.append(f"{100 * won:.1f} % (+- {100 * error:.1f}), {sum(scores) / episodes:.2f}")
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=400, help="a cell (default: 400)")
    parser.add_argument("--games", type=int, default=60, help="games a split (default: 60)")
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    started = time.perf_counter()
    n = arguments.games
    world = TextWorldCooking(
        mode=ObservationMode.COMPACT, games=GameCounts(n, n, n, n), seed=101, cache=arguments.cache
    )  # games of their own
    made = time.perf_counter()
    splits = (Split.SEEN_TEST, Split.UNSEEN_TEST)
    lines = [
        "# TextWorld cooking: what know-how is worth to a scripted cook",
        "",
        f"`python tests/benchmarks/textworld_knowhow.py --episodes {arguments.episodes} --games {n}`: success and mean score, "
        f"{arguments.episodes} episodes a cell on {n} games a split, textworld {world.describe()['textworld']}.",
        "",
        "| know-how | train foods | foods never seen in training |",
        "|---|---|---|",
        *(row(world, name, told, splits, arguments.episodes) for name, told in SETS.items()),
        "",
        "The four sentences, and those of the told facts:",
        "",
        *(f"- {sentence(directive)}" for directive, _ in (READ, LOOK, MATCH, STOP)),
        *(f"- on an observation with `{pattern}`: {sentence(directive)}" for directive, pattern in (FRY, ROAST)),
    ]
    text = "\n".join(lines)
    print(text)
    print(f"games {made - started:.0f} s, episodes {time.perf_counter() - made:.0f} s")
    if arguments.out:
        _, cloned, rest = arguments.out.read_text(encoding="utf-8").partition(f"\n{CLONED}")
        arguments.out.write_text(f"{text}\n{cloned}{rest}", encoding="utf-8")


if __name__ == "__main__":
    main()
