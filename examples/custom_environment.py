"""A world of your own, training included: 40 lines of code below the imports.

    python examples/custom_environment.py --quick --steps 24    # two minutes: the machinery; too short to learn much
    python examples/custom_environment.py --steps 24            # eight minutes, five of them cloning, once
    python examples/custom_environment.py --model Qwen/Qwen3-4B --engine vllm --creator openai:gpt-5-mini

Take the parcel that is wanted, stamp it, send it. A language model needs ``PostRoom`` and ``PostWorld`` up to
``system_prompt``; ``vocabulary``, ``actor`` and ``Clerk`` are for the built-in policy, which is cloned on that careless
clerk. The tables at the end tell success before and after, with and without the skills written and tested on the way.
One run of the second command (seed 0, two busy cores): success 8 to 40 % on seen and 2 to 25 % on unseen parcels, all of
it by the weights; twelve skill changes were tried and rejected. Needs reskill-agents[train].
"""

from __future__ import annotations

import argparse
import random
from typing import NamedTuple

from reskill_agents.environment import Choice, Observation, Split, StepResult, Task
from reskill_agents.errors import EnvironmentFault
from reskill_agents.trainers.job import run_job
from reskill_agents.trainers.job_options import add_options, read_options

PARCELS = [f"{a} {b}" for a in "red blue white black grey".split() for b in "box tube bag roll case".split()]
BUTTONS = Choice("stamp", kind="button"), Choice("send", kind="button")


class PostRoom:
    """Nothing until a parcel is sent; then half a point for the right one, half for its stamp."""

    choices: tuple[Choice, ...] = ()

    def reset(self, task: Task, *, seed: int) -> Observation:
        if task.task_id.split("-")[0] not in list(Split):
            raise EnvironmentFault(f"no task {task.task_id!r} in the post room")
        others = random.Random(f"{task.task_id} {seed}").sample([text for text in PARCELS if text != task.text], 3)
        parcels = [Choice(text, kind="parcel") for text in sorted([task.text, *others])]
        self.wanted, self.past, self.choices = task.text, ["nothing"], (*parcels, *BUTTONS)
        return self.show()

    def show(self) -> Observation:
        return Observation(f"wanted : {self.wanted} . done : {' '.join(self.past)}", self.choices, self.wanted)

    def step(self, action: str) -> StepResult:
        if not self.choices:
            raise EnvironmentFault("step before reset")
        valid = action in [choice.action for choice in self.choices]
        self.past += [action] * valid
        earned = ([text for text in self.past if text in PARCELS][-1:] == [self.wanted]) + ("stamp" in self.past)
        return StepResult(self.show(), action == "send", (action == "send") * earned / 2, valid)


class Clerk(NamedTuple):
    """Takes any parcel and mostly forgets the stamp."""

    seed: int

    def act(self, observation: Observation) -> Choice:
        offered = observation.choices[:-2] if observation.text.endswith("nothing") else BUTTONS[:1] + BUTTONS[1:] * 9
        return random.Random(f"{self.seed} {observation.text}").choice(offered)


class PostWorld:
    """Parcels in five colours and five forms; five of the 25 are wanted in the unseen test only."""

    name, max_turns, make, actor = "post-room", 5, PostRoom, Clerk

    def tasks(self, split: Split) -> list[Task]:
        wanted = [text for number, text in enumerate(PARCELS) if (number % 6 == 0) is (split is Split.UNSEEN_TEST)]
        return [Task(f"{split}-{number}", wanted[number % len(wanted)], split) for number in range(60)]

    def describe(self) -> dict[str, str | int | float | bool]:
        return {"world": self.name, "tasks_a_split": 60}

    def system_prompt(self) -> str:
        return "send the wanted parcel"

    def vocabulary(self) -> list[str]:
        return sorted({*" ".join(PARCELS).split(), *"wanted : . done nothing parcel button stamp send the".split()})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    raise SystemExit(run_job(read_options(parser.parse_args()), PostWorld(), label="post-room"))
