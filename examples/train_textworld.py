"""Train an agent and its skills together in TextWorld's cooking games: train foods to learn on, foods never seen to be tested on.

    python examples/train_textworld.py                                   # one room, compact pages, the built-in policy
    python examples/train_textworld.py --model Qwen/Qwen3-4B --engine vllm --creator openai:gpt-5-mini     # six rooms

Needs reskill-agents[train,textworld]. With the built-in policy foods are numbered slots, and recipes mark what they name;
language models get the games' own prose. Games are made once and kept in .cache/textworld. The stand-in is cloned by
--clone-updates (default here: 4800, some 40 core-minutes); a cloning that was killed goes on where it stood when the same
command is given again.
"""

from __future__ import annotations

import argparse
import os
import sys

from reskill_agents.envs.textworld import Kitchen, ObservationMode, TextWorldCooking
from reskill_agents.errors import ReSkillError
from reskill_agents.trainers.job_options import add_options, read_options

CLONE_UPDATES = 4800  # validation success 4 % without and 30 % with advice (tests/benchmarks/results/textworld.md)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--game-seed", type=int, default=0, metavar="N", help="of the games (default: 0)")
    parser.add_argument(
        "--rooms",
        type=int,
        choices=(1, 6, 9, 12),
        help="of a game; with more than one, doors and the fridge are closed (default: 1 for the stand-in, else 6)",
    )
    add_options(parser)
    parser.set_defaults(clone_updates=CLONE_UPDATES)
    arguments = parser.parse_args()
    options = read_options(arguments)
    os.environ["OMP_NUM_THREADS"] = str(options.threads)  # before torch is loaded

    from reskill_agents.trainers.job import run_job

    try:
        mode = ObservationMode.COMPACT if options.standin else ObservationMode.TEXT
        rooms = arguments.rooms or (1 if options.standin else 6)
        world = TextWorldCooking(mode=mode, kitchen=Kitchen(go=rooms, open=rooms > 1), seed=arguments.game_seed)
        words = ["textworld", f"{rooms}r", options.method.value, f"s{options.seed}"]
        words += [word for word in ("aa", "quick") if vars(arguments)[word]]
        return run_job(options, world, label="-".join(words))
    except ReSkillError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
