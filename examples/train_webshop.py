"""Train an agent and its skills together on WebShop: see it fail, write skills, test them in its training batches.

    python examples/train_webshop.py                                  # a generated shop, a tiny built-in policy
    python examples/train_webshop.py --data ../shared/data/webshop    # official WebShop files
    python examples/train_webshop.py --method grpo                    # the same without skills
    python examples/train_webshop.py --model Qwen/Qwen3-4B --engine vllm --creator openai:gpt-5-mini

Needs reskill-agents[train]. The run folder ends up with report.html and with pack/, the skills for any agent.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from reskill_agents.envs.renamed import RenamedWorld
from reskill_agents.envs.webshop import ObservationMode, WebShopWorld
from reskill_agents.errors import ReSkillError
from reskill_agents.trainers.job_options import add_options, read_options

CATALOGUE_SEED = 7


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder of official files (default: a generated shop)")
    parser.add_argument("--products", type=int, metavar="N", help="only the first N of --data (default: all)")
    parser.add_argument(
        "--catalogue-seed",
        type=int,
        default=CATALOGUE_SEED,
        metavar="N",
        help=f"of the generated shop and of goals made from products (default: {CATALOGUE_SEED})",
    )
    parser.add_argument("--renamed", action="store_true", help="every word of the shop's pages becomes an invented one")
    add_options(parser)
    arguments = parser.parse_args()
    options = read_options(arguments)
    os.environ["OMP_NUM_THREADS"] = str(options.threads)  # before torch is loaded

    from reskill_agents.trainers.job import run_job

    compact = options.standin or arguments.renamed  # a language model gets the original pages
    try:
        world: WebShopWorld | RenamedWorld = WebShopWorld(
            arguments.data,
            catalogue_seed=arguments.catalogue_seed,
            mode=ObservationMode.COMPACT if compact else ObservationMode.TEXT_RICH,
            products=arguments.products,
        )
        if arguments.renamed:
            world = RenamedWorld(world, arguments.catalogue_seed)
        words = ["webshop", options.method.value, f"s{options.seed}"]
        words += [word for word in ("renamed", "aa", "quick") if vars(arguments)[word]]
        words += ["real"] if arguments.data else []
        return run_job(options, world, label="-".join(words))
    except ReSkillError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
