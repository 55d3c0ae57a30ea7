"""``--dry-run``: the memory and token plan of a run, from config and tokenizer, before anything is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from transformers import AutoTokenizer

from reskill_agents.environment import World
from reskill_agents.graphs.chat_templates import ChatTokenizer
from reskill_agents.trainers.config import EngineName, RunConfig
from reskill_agents.trainers.memory_plan import GB, MemoryPlan, Part, TrainerNeeds, kv_bytes, model_shape, plan_memory
from reskill_agents.trainers.ranks import check_shared, launched, sharding_asked
from reskill_agents.trainers.token_plan import TokenPlan, plan_tokens


def print_plan(config: RunConfig, world: World, model: str | Path, *, device_gb: float, console: Console) -> bool:
    """Print the plan of each process that a launcher started; whether it fits.

    Args:
        config: the run's settings.
        world: whose prompts are counted.
        model: Hugging Face name, or folder with ``config.json`` and tokenizer; weights are not needed.
        device_gb: of the card, GB (10^9 bytes).

    Raises:
        ConfigError: there is no config, the tokenizer has no chat template, or processes cannot share this run.
    """
    needs = trainer_needs(config)
    check_shared(config, needs.processes)
    shape = model_shape(model)
    tokenizer = ChatTokenizer(AutoTokenizer.from_pretrained(model))
    rollout = config.rollout
    tokens = plan_tokens(world, tokenizer, action_format=rollout.action_format, max_tokens=rollout.max_tokens)
    limit = config.serving.max_context or shape.max_context
    longest = min(limit, tokens.episode())
    plan = plan_memory(shape, config, needs, device_gb=device_gb, episode_tokens=longest)
    console.print(f"{model}: {shape.parameters:,} parameters, {shape.layers} layers, context {shape.max_context:,}")
    console.print(_token_table(tokens, config, limit))
    console.print(_memory_table(plan, config, needs))
    for line in _remarks(plan, tokens, config, limit, kv_bytes(shape, 2)):
        console.print(line, highlight=False, soft_wrap=True)
    return plan.fits and longest <= limit


def trainer_needs(config: RunConfig) -> TrainerNeeds:
    """How the update will hold the model, on as many processes as a launcher started."""
    update = config.update
    lora, half = update.lora, update.precision == "bfloat16"
    return TrainerNeeds(
        weight_bytes=2 if half and lora is not None else 4,
        lora_rank=lora.rank if lora is not None else 0,
        checkpointing=update.gradient_checkpointing,
        batch_tokens=update.tokens_per_micro_batch,
        reference=update.kl > 0,
        processes=launched()[1],
        sharded=sharding_asked(),
    )


def _token_table(tokens: TokenPlan, config: RunConfig, limit: int) -> Table:
    table = Table(title=f"tokens (from {tokens.walked} turns walked at random)", title_justify="left")
    table.add_column("what")
    table.add_column("tokens", justify="right")
    episodes = config.rollout.groups * config.rollout.group_size
    for what, count in (
        ("first prompt: system message, task, first page", round(tokens.start)),
        ("each later observation, mean", round(tokens.observation)),
        ("each later observation, largest", tokens.largest),
        ("each answer, at most", tokens.answer),
        (f"an episode of {tokens.turns} turns, answers of 64 tokens", tokens.episode(answer=min(64, tokens.answer))),
        (f"an episode of {tokens.turns} turns, longest answers", tokens.episode()),
        ("context", limit),
        (
            f"a step of {episodes} episodes, answers of 64 tokens",
            episodes * tokens.episode(answer=min(64, tokens.answer)),
        ),
    ):
        table.add_row(what, f"{count:,}")
    return table


def _memory_table(plan: MemoryPlan, config: RunConfig, needs: TrainerNeeds) -> Table:
    held = "FSDP: a share each" if needs.sharded else "DDP: a copy each"
    where = "the device" if needs.processes == 1 else f"each of {needs.processes} devices, {held}"
    table = Table(title=f"memory of {where} (e: estimate)", title_justify="left")
    for name in ("who", "what", "GB", "because"):
        table.add_column(name, justify="right" if name == "GB" else "left")
    _rows(table, "update", plan.trainer)
    _rows(table, f"engine {config.engine}" + (" (rank 0)" if needs.processes > 1 else ""), plan.engine)
    if plan.budget is not None:
        left = plan.kv_tokens * plan.kv_token
        table.add_row("", "KV cache", f"{left / GB:.2f}", f"the rest of {config.serving.memory_share:g} of the device")
    table.add_section()
    table.add_row(
        "all", "", f"{plan.total / GB:.2f}", f"of {plan.device / GB:g}: {'fits' if plan.fits else 'does NOT fit'}"
    )
    return table


def _rows(table: Table, who: str, parts: Sequence[Part]) -> None:
    for part in parts:
        table.add_row(who, part.what + (" e" if part.estimate else ""), f"{part.bytes / GB:.2f}", part.because)
        who = ""


def _remarks(plan: MemoryPlan, tokens: TokenPlan, config: RunConfig, limit: int, kv_token: int) -> list[str]:
    remarks = []
    if config.engine is EngineName.VLLM:
        remarks.append(f"the servers hold weights and KV cache on other devices ({kv_token:,} B a token in 16 bits)")
    if plan.budget is not None:
        usual = tokens.episode(answer=min(64, tokens.answer))
        remarks.append(
            f"the KV cache holds {plan.kv_tokens:,} tokens: {plan.kv_tokens // max(1, usual)} episodes of {usual:,} tokens at "
            "a time; the others wait for room, and prefixes that were evicted are computed again"
        )
    if tokens.episode() > limit:
        remarks.append(
            f"an episode with the longest answers needs {tokens.episode():,} tokens, more than the context of {limit:,}: it "
            "would end early"
        )
    if not plan.fits:
        remarks.append("smaller: serving.memory_share, update.tokens_per_micro_batch; LoRA; gradient checkpointing")
    return remarks
