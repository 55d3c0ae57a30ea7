"""Our update against an unmodified TRL ``GRPOTrainer``, on the same rollouts (part of ``overhead.py``)."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from overhead_starts import Start


def same_rollouts(
    start: Start, folder: Path, settings: Mapping[str, Any], *, repeats: int, seed: int, threads: int, device: str
) -> dict[str, float]:
    """Seconds of an update on one batch, ours and TRL's, and the tokens in it that carry a gradient.

    On a CPU its seconds, whatever else the machine does; on a GPU those of the clock, all kernels done.
    """
    import torch

    from reskill_agents.trainers.config import UpdateConfig
    from reskill_agents.trainers.update import PolicyUpdater

    torch.set_num_threads(threads)
    on_cpu, policy = device == "cpu", start.policy
    rows, rewards = asyncio.run(_batch(start, seed, threads, device))
    tokens = sum(row.trained_tokens for row in rows if row.advantage)
    updater = PolicyUpdater(
        policy, UpdateConfig(**settings), temperature=1.0, steps=repeats + 1, work_dir=folder, seed=seed, use_cpu=on_cpu
    )
    now = _clock(on_cpu)
    ours = []
    for _ in range(repeats + 1):
        begun = now()
        updater.update(rows, episodes=len(rows))
        ours.append(now() - begun)
    peak = _peak_gb(on_cpu)
    del updater
    theirs = _trl_seconds(policy, folder, rows, rewards, repeats, seed, on_cpu)
    mine, trl = statistics.median(ours[1:]), statistics.median(theirs[1:])
    context = sum(len(row.token_ids) for row in rows)
    return {"rows": len(rows), "tokens": tokens, "ours_s": mine, "trl_s": trl, "context_tokens": context,
            "ours_tokens_a_second": tokens / mine, "trl_tokens_a_second": tokens / trl,
            **({} if on_cpu else {"ours_gb": peak, "trl_gb": _peak_gb(on_cpu)})}  # fmt: skip


def _clock(on_cpu: bool) -> Callable[[], float]:
    return time.process_time if on_cpu else _after_all_kernels


def _after_all_kernels() -> float:
    import torch

    torch.cuda.synchronize()
    return time.perf_counter()


def _peak_gb(on_cpu: bool) -> float:
    """The most that was allocated since the last call."""
    if on_cpu:
        return 0.0
    import gc

    import torch

    gc.collect()
    peak = torch.cuda.max_memory_allocated() / 1e9
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    return peak


async def _batch(start: Start, seed: int, threads: int, device: str) -> tuple[list[Any], list[float]]:
    """A step's rows of the start policy, groups of 8, with graded rewards so that groups have variance.

    On a GPU the start hardly ever earns any: there every other member of a group gets 1, so that both train all rows.
    """
    from reskill_agents.environment import Split
    from reskill_agents.episodes import graded_outcome
    from reskill_agents.library import SkillLibrary
    from reskill_agents.trainers.advantages import GroupRewards, leave_one_out
    from reskill_agents.trainers.config import RunConfig
    from reskill_agents.trainers.groups import Collector, GroupPlan, Member, Role, TaskCursor
    from reskill_agents.trainers.policy import agent_for, chat_model, open_engine
    from reskill_agents.trainers.rows import rows_of

    world = start.world
    config = RunConfig.build(seed=seed, threads=threads, device=device, rollout=dict(start.rollout))
    engine = await open_engine(config, start.policy)
    model = chat_model(config, engine, start.policy)
    agent = agent_for(config, model, system_prompt=world.system_prompt(), max_turns=world.max_turns, temperature=1.0)
    tasks = TaskCursor(world.tasks(Split.TRAIN), seed).take(config.rollout.groups)
    members = (Member(Role.ACTIVE, SkillLibrary()),) * config.rollout.group_size
    played = await Collector(agent, world, seed).collect([GroupPlan(task, members) for task in tasks], 0)
    await engine.aclose()
    made_up = device != "cpu"
    rewards = [
        [float(place % 2) if made_up else graded_outcome(e) for place, e in enumerate(one.group.episodes)]
        for one in played
    ]
    groups = [GroupRewards(tuple(values)) for values in rewards]
    values = [value for group in leave_one_out(groups) for value in group]
    episodes = [episode for one in played for episode in one.group.episodes]
    rows = [row for e, value in zip(episodes, values, strict=True) for row in rows_of(e, value or 0.0)]
    assert len(rows) == len(episodes), "a linear agent has one row an episode"
    return rows, [value or 0.0 for group in rewards for value in group]


def _trl_seconds(
    policy: Path,
    folder: Path,
    rows: Sequence[Any],
    rewards: Sequence[float],
    repeats: int,
    seed: int,
    on_cpu: bool,
) -> list[float]:
    import torch
    from datasets import Dataset  # type: ignore[import-untyped]
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    from reskill_agents.trainers.config import UpdateConfig

    settings, now = UpdateConfig(), _clock(on_cpu)
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
            self.begun = now()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.seconds.append(now() - self.begun)

    timer, size = Timer(), 8
    at_once = len(rows) if on_cpu else 2  # rows; on a GPU as many tokens as we take
    trainer = GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(policy, dtype=torch.float32),
        reward_funcs=lambda completions, earned, **_: list(earned),
        args=GRPOConfig(
            output_dir=str(folder), use_cpu=on_cpu, bf16=not on_cpu, max_steps=repeats + 1, num_generations=size,
            per_device_train_batch_size=at_once, gradient_accumulation_steps=len(rows) // at_once,
            learning_rate=settings.lr,
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
