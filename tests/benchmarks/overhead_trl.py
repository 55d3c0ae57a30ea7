"""Our update against an unmodified TRL ``GRPOTrainer``, on the same rollouts (part of ``overhead.py``)."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any


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
