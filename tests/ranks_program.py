"""What several processes run in ``test_ranks.py``: ``python ranks_program.py UPDATES|RUN|FAIL POLICY OUT [SETTINGS] [sharded]``.

A launcher's environment says which rank this is. Without one, the same is done by one process.
"""

from __future__ import annotations

import json
import os
import random
import sys
import warnings
from pathlib import Path

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
warnings.simplefilter("ignore")

from trainer_runs import go, small_config  # noqa: E402

from reskill_agents.trainers.config import RunConfig  # noqa: E402
from reskill_agents.trainers.ranks import Ranks  # noqa: E402
from reskill_agents.trainers.rows import Row  # noqa: E402
from reskill_agents.trainers.shared_update import follow, open_updater  # noqa: E402
from reskill_agents.trainers.update import PolicyUpdater  # noqa: E402


def shard_on_cpu() -> None:
    """accelerate shards only on accelerators; this tells it to on CPUs as well, and the rest is its own code."""
    from accelerate.state import AcceleratorState
    from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin

    os.environ["ACCELERATE_USE_FSDP"] = "true"
    plain = AcceleratorState.__init__

    def sharded(self: AcceleratorState, *arguments: object, **named: object) -> None:
        plain(self, *arguments, **named)
        self.distributed_type = DistributedType.FSDP
        self.fsdp_plugin = FullyShardedDataParallelPlugin(
            fsdp_version=2, auto_wrap_policy="transformer_based_wrap", cpu_ram_efficient_loading=False
        )

    AcceleratorState.__init__ = sharded  # type: ignore[method-assign]


def rows(seed: int, count: int = 7) -> list[Row]:
    """Of different lengths, a few tokens trained in each; behaviour log-probs that make some ratios clip."""
    chance = random.Random(seed)
    made = []
    for number in range(count):
        length = chance.randrange(6, 20)
        ids = tuple(chance.randrange(5, 40) for _ in range(length))
        trained = tuple((place > 2 and chance.random() < 0.5) or place == length - 1 for place in range(length))
        logprobs = tuple(-3.0 + chance.random() if on else 0.0 for on in trained)
        made.append(Row(f"e{number}", ids, trained, logprobs, chance.uniform(-1, 1)))
    return made


def updates(config: RunConfig, policy: Path, out: Path) -> None:
    """Two updates; weights, optimizer and reports in ``out``; then both again from what was saved."""
    with Ranks(config) as ranks:
        if ranks.follows:
            follow(ranks)
            return
        updater = open_updater(config, policy, out, ranks)
        reports = [vars_of(updater.update(rows(seed), episodes=9)) for seed in (1, 2)]
        saved = out / "policy"
        saved.mkdir(parents=True)
        updater.save(saved)
        updater.save_weights(out / "weights")
        before = updater.log_probs((5, 6, 7), (8, 9))
        updater.update(rows(3), episodes=9)
        updater.load(saved)
        assert updater.log_probs((5, 6, 7), (8, 9)) == before
        after = vars_of(updater.update(rows(3), episodes=9))
        (out / "reports.json").write_text(json.dumps([*reports, after]))


def vars_of(report: object) -> dict[str, float]:
    return {name: getattr(report, name) for name in report.__slots__}  # type: ignore[attr-defined]


def fail(config: RunConfig, policy: Path, out: Path) -> None:
    """Rank 1 runs out of memory in an update."""
    plain = PolicyUpdater.update

    def update(self: PolicyUpdater, *arguments: object, **named: object) -> object:
        if self._rank == 1:
            raise MemoryError("no memory left for 7 rows")
        return plain(self, *arguments, **named)  # type: ignore[arg-type]

    PolicyUpdater.update = update  # type: ignore[assignment, method-assign]
    go(config, policy, out)


def main() -> None:
    what, policy, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    settings = json.loads(sys.argv[4]) if len(sys.argv) > 4 else {}
    if "sharded" in sys.argv[5:]:
        shard_on_cpu()
    config = small_config(**settings)
    if what == "UPDATES":
        updates(config, policy, out)
    elif what == "FAIL":
        fail(config, policy, out)
    else:
        go(config, policy, out, resume=out.exists())


if __name__ == "__main__":
    main()
