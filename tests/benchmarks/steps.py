"""What skills cost a training step: reskill against grpo, and our update against TRL's own ``rollout_func`` loop.

Usage::

    python tests/benchmarks/steps.py                      # WebShop, the cached stand-in (cloned if there is none)
    python tests/benchmarks/steps.py --policy FOLDER --steps 24 --chunk 4

1. ``reskill`` and ``grpo`` from one start, at the same time: each trains a few steps, then the other, and so on, so that
   whatever else the machine does meets both. The first step after each change is left out. Medians over steps. The creator
   runs beside the loop; what the loop waited for it is inside the step. CPU seconds count the creator's own work as well;
   on a machine that does other things they are the figure to look at.
2. One batch of rollouts, trained again and again by our update and by an unmodified TRL ``GRPOTrainer`` whose
   ``rollout_func`` hands out that same batch: tokens with a gradient a second, medians.

Writes ``results/steps.json`` and prints a table. Targets: step time <= 1.05, context <= 1.08, rows an episode 1.0, tokens a
second >= those of TRL.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

ROOT = Path(__file__).resolve().parents[2]
RESULT = Path(__file__).resolve().parent / "results" / "steps.json"


@dataclass
class Steps:
    """The steps of one method."""

    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)
    context: list[float] = field(default_factory=list)  # tokens an episode
    skill: list[float] = field(default_factory=list)  # tokens of skill text an episode
    turns: list[float] = field(default_factory=list)  # an episode
    trained: list[int] = field(default_factory=list)  # rows with a gradient a step
    rows: int = 0
    forks: int = 0
    tokens: int = 0
    trials: int = 0

    def summary(self) -> dict[str, float]:
        """Medians; rows an episode; tokens with a gradient a second over all steps."""
        return {
            "steps": len(self.seconds),
            "step_s": statistics.median(self.seconds),
            "step_cpu_s": statistics.median(self.cpu),
            "step_cpu_mean_s": statistics.fmean(self.cpu),
            "creator_wait_s": statistics.median(self.waited),
            "creator_wait_max_s": max(self.waited),
            "context_tokens": statistics.median(self.context),
            "skill_tokens": statistics.median(self.skill),
            "turns": statistics.median(self.turns),
            "rows_a_step": statistics.median(self.trained),
            "rows_an_episode": 1 + self.forks / max(self.rows - self.forks, 1),
            "tokens_a_cpu_second": self.tokens / sum(self.cpu),
            "steps_with_a_trial": self.trials,
        }


def read_steps(run: Path, after: int, into: Steps) -> None:
    """Add the steps of a run behind ``after`` but the first of them."""
    for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()[after + 1 :]:
        entry: Mapping[str, Any] = json.loads(line)
        episodes = sum(arm["episodes"] for arm in entry["arms"].values())
        into.seconds.append(entry["seconds"]["total"])
        into.waited.append(entry["seconds"].get("creator_wait_s", 0.0))
        into.context.append(entry["tokens"]["context"] / episodes)
        into.skill.append(entry["tokens"]["skill"] / episodes)
        into.turns.append(sum(arm["turns"] * arm["episodes"] for arm in entry["arms"].values()) / episodes)
        into.trained.append(entry["rows"])
        into.rows += entry["rows"]
        into.forks += entry["forks"]
        into.tokens += entry["trained_tokens"]
        into.trials += entry["trial"] is not None


def alternate(policy: Path, folder: Path, *, steps: int, chunk: int, seed: int, threads: int) -> dict[str, Steps]:
    """Train both methods in turns; which goes first changes too."""
    from reskill_agents.envs.webshop import WebShopWorld
    from reskill_agents.trainers.config import RunConfig
    from reskill_agents.trainers.loop import run
    from reskill_agents.trainers.progress import Silent, StepMetrics

    world, found = WebShopWorld(), {"grpo": Steps(), "reskill": Steps()}

    class Clock(Silent):
        """CPU seconds of each step of this process, all threads."""

        def __init__(self, into: Steps) -> None:
            self.into, self.begun = into, 0.0

        def step(self, metrics: StepMetrics, steps: int) -> None:
            now = time.process_time()
            if self.begun:
                self.into.cpu.append(now - self.begun)
            self.begun = now

    for number, done in enumerate(range(0, steps, chunk)):
        for method in sorted(found, reverse=bool(number % 2)):
            config = RunConfig.build(
                method=method,
                steps=done + chunk,
                seed=seed,
                threads=threads,
                evaluation={"tasks": 1, "valid_tasks": 1, "test": False, "placebo": False},
                checkpoint={"every": 10_000},
            )
            asyncio.run(
                run(
                    config,
                    world,
                    policy_path=policy,
                    run_dir=folder / method,
                    resume=done > 0,
                    listener=Clock(found[method]),
                )
            )
            read_steps(folder / method, done, found[method])
            print(f"{method}: {done + chunk} steps, last {found[method].seconds[-1]:.2f} s", flush=True)
    return found


def same_rollouts(policy: Path, folder: Path, *, repeats: int, seed: int, threads: int) -> dict[str, float]:
    """CPU seconds of an update on one batch, ours and TRL's, and the tokens in it that carry a gradient."""
    import torch

    from reskill_agents.trainers.config import UpdateConfig
    from reskill_agents.trainers.update import PolicyUpdater

    torch.set_num_threads(threads)
    rows, rewards = asyncio.run(_batch(policy, seed, threads))
    tokens = sum(row.trained_tokens for row in rows if row.advantage)
    updater = PolicyUpdater(policy, UpdateConfig(), temperature=1.0, steps=repeats + 1, work_dir=folder, seed=seed)
    ours = []
    for _ in range(repeats + 1):
        begun = time.process_time()
        updater.update(rows, episodes=len(rows))
        ours.append(time.process_time() - begun)
    theirs = _trl_seconds(policy, folder, rows, rewards, repeats, seed)
    mine, trl = statistics.median(ours[1:]), statistics.median(theirs[1:])
    return {"rows": len(rows), "tokens": tokens, "ours_s": mine, "trl_s": trl,
            "ours_tokens_a_second": tokens / mine, "trl_tokens_a_second": tokens / trl}  # fmt: skip


async def _batch(policy: Path, seed: int, threads: int) -> tuple[list[Any], list[float]]:
    """A step's rows of the start policy, 16 groups of 8, with graded rewards so that groups have variance."""
    from reskill_agents.environment import Split
    from reskill_agents.envs.webshop import WebShopWorld
    from reskill_agents.episodes import graded_outcome
    from reskill_agents.library import SkillLibrary
    from reskill_agents.trainers.advantages import GroupRewards, leave_one_out
    from reskill_agents.trainers.config import RunConfig
    from reskill_agents.trainers.groups import Collector, GroupPlan, Member, Role, TaskCursor
    from reskill_agents.trainers.policy import agent_for, chat_model, open_engine
    from reskill_agents.trainers.rows import rows_of

    config, world = RunConfig.build(seed=seed, threads=threads), WebShopWorld()
    engine = await open_engine(config, policy)
    model = chat_model(config, engine, policy)
    agent = agent_for(config, model, system_prompt=world.system_prompt(), max_turns=world.max_turns, temperature=1.0)
    tasks = TaskCursor(world.tasks(Split.TRAIN), seed).take(config.rollout.groups)
    members = (Member(Role.ACTIVE, SkillLibrary()),) * config.rollout.group_size
    played = await Collector(agent, world, seed).collect([GroupPlan(task, members) for task in tasks], 0)
    await engine.aclose()
    groups = [GroupRewards(tuple(graded_outcome(e) for e in one.group.episodes)) for one in played]
    values = [value for group in leave_one_out(groups) for value in group]
    episodes = [episode for one in played for episode in one.group.episodes]
    rows = [row for e, value in zip(episodes, values, strict=True) for row in rows_of(e, value or 0.0)]
    assert len(rows) == len(episodes), "a linear agent has one row an episode"
    return rows, [graded_outcome(episode) or 0.0 for episode in episodes]


def _trl_seconds(
    policy: Path, folder: Path, rows: Sequence[Any], rewards: Sequence[float], repeats: int, seed: int
) -> list[float]:
    import torch
    from datasets import Dataset  # type: ignore[import-untyped]
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    from reskill_agents.trainers.config import UpdateConfig

    settings = UpdateConfig()
    output = {
        "prompt_ids": [list(row.token_ids[: row.first_trained]) for row in rows],
        "completion_ids": [list(row.token_ids[row.first_trained :]) for row in rows],
        "env_mask": [[int(on) for on in row.trained[row.first_trained :]] for row in rows],
        "logprobs": [list(row.logprobs[row.first_trained :]) for row in rows],
        "earned": list(rewards),
    }

    class Timer(TrainerCallback):
        def __init__(self) -> None:
            self.seconds: list[float] = []

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.begun = time.process_time()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.seconds.append(time.process_time() - self.begun)

    timer, size = Timer(), 8
    trainer = GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(policy, dtype=torch.float32),
        reward_funcs=lambda completions, earned, **_: list(earned),
        args=GRPOConfig(
            output_dir=str(folder), use_cpu=True, bf16=False, max_steps=repeats + 1, num_generations=size,
            per_device_train_batch_size=len(rows), gradient_accumulation_steps=1, learning_rate=settings.lr,
            loss_type="dr_grpo", scale_rewards="none", max_completion_length=settings.normaliser_tokens, report_to=[],
            save_strategy="no", logging_strategy="no", disable_tqdm=True, seed=seed, disable_dropout=True,
            **{_checkpointing(GRPOConfig): False},
        ),
        train_dataset=Dataset.from_dict({"prompt": [str(number) for number in range(len(rows) // size)]}),
        processing_class=AutoTokenizer.from_pretrained(policy),
        rollout_func=lambda prompts, trainer: {name: list(values) for name, values in output.items()},
        callbacks=[timer],
    )  # fmt: skip
    trainer.train()
    return timer.seconds


def _checkpointing(config: Any) -> str:
    """What transformers calls it: the name changed within the range we admit."""
    new = "activation_checkpointing"
    return new if new in {found.name for found in fields(config)} else "gradient_checkpointing"


def table(result: Mapping[str, Any]) -> str:
    """Markdown."""
    grpo, reskill, same = result["grpo"], result["reskill"], result["same_rollouts"]
    rows = [
        ("step time, s", "step_s", "<= 1.05"),
        ("step, CPU s, creator included", "step_cpu_s", ""),
        ("context tokens an episode", "context_tokens", "<= 1.08"),
        ("of them skill text", "skill_tokens", ""),
        ("turns an episode", "turns", ""),
        ("rows with a gradient a step", "rows_a_step", ""),
        ("rows an episode", "rows_an_episode", "1.0"),
    ]
    lines = ["| | grpo | reskill | ratio | target |", "|---|---|---|---|---|"]
    lines += [
        f"| {name} | {grpo[key]:.3g} | {reskill[key]:.3g} | {_ratio(reskill[key], grpo[key])} | {target} |"
        for name, key, target in rows
    ]
    ours, trl = same["ours_tokens_a_second"], same["trl_tokens_a_second"]
    lines += [
        "",
        "| same rollouts | ours | TRL rollout_func | ratio | target |",
        "|---|---|---|---|---|",
        f"| tokens with a gradient a CPU second | {ours:.0f} | {trl:.0f} | {ours / trl:.2f} | >= 1 |",
    ]
    return "\n".join(lines)


def _ratio(one: float, other: float) -> str:
    return f"{one / other:.3f}" if other else ""


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", type=Path, help="start policy (default: the cached stand-in)")
    parser.add_argument("--steps", type=int, default=24, help="of each method (default 24)")
    parser.add_argument("--chunk", type=int, default=4, help="steps of one method before the other's turn (default 4)")
    parser.add_argument("--repeats", type=int, default=10, help="updates on the same rollouts (default 10)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=77)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", str(options.threads))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        policy = options.policy or _standin(options.seed, options.threads)
        found = alternate(
            policy, folder, steps=options.steps, chunk=options.chunk, seed=options.seed, threads=options.threads
        )
        same = same_rollouts(policy, folder, repeats=options.repeats, seed=options.seed, threads=options.threads)
    result = {
        "settings": {name: str(value) for name, value in vars(options).items() if name not in ("policy", "out")},
        "load_average": os.getloadavg()[0],
        "cores": os.cpu_count(),
        **{name: steps.summary() for name, steps in found.items()},
        "seconds": {name: asdict(steps)["seconds"] for name, steps in found.items()},
        "same_rollouts": same,
    }
    options.out.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n", "utf-8")
    print(table(result))
    return 0


def _standin(seed: int, threads: int) -> Path:
    from reskill_agents.envs.webshop import WebShopWorld
    from reskill_agents.trainers.job_policy import CACHE
    from reskill_agents.trainers.standin_cache import cached_standin

    return cached_standin(WebShopWorld(), ROOT / CACHE, seed=seed, threads=threads)


if __name__ == "__main__":
    sys.exit(main())
