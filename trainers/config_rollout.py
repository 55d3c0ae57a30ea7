"""Settings of sampling: episodes, rewards, engines."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from reskill_agents.action_format import ActionFormat
from reskill_agents.trainers.config_group import Settings, setting


class RewardName(StrEnum):
    """Functions of an episode, 0..1. ``success``: full score or nothing. ``graded``: (score + success) / 2."""

    SUCCESS = "success"
    GRADED = "graded"
    SCORE = "score"


class EngineName(StrEnum):
    """What samples: transformers in this process, vLLM servers over HTTP, or vLLM on the update's own device."""

    TRANSFORMERS = "transformers"
    VLLM = "vllm"
    VLLM_COLOCATED = "vllm-colocated"


class RolloutConfig(Settings):
    """How episodes are sampled. The same for every method compared."""

    groups: PositiveInt = setting(16, "Tasks a step (paper: 16).")
    group_size: Annotated[int, Field(ge=2)] = setting(8, "Episodes a task and step, G (paper: 8).")
    group_sizes: tuple[PositiveInt, PositiveInt] | None = setting(
        None,
        "Smallest and largest group: the rollouts of a step, groups x group_size, go to its tasks by how mixed their "
        "success was before (trainers/group_sizes); none: all of group_size.",
    )
    temperature: PositiveFloat = setting(1.0, "Softmax temperature of training rollouts (paper: 1).")
    max_tokens: PositiveInt = setting(64, "Sampled tokens a turn at most.")
    action_format: ActionFormat = setting(
        ActionFormat.NUMBERED, "How the agent writes actions; numbered for the stand-in, tagged for LLMs."
    )
    max_skill_tokens_turn: PositiveInt = setting(1000, "Skill text a turn, tokens.")
    max_skill_tokens_episode: PositiveInt = setting(4000, "Skill text an episode, tokens.")
    max_turns: PositiveInt | None = setting(
        None, "Model calls an episode, then it is scored as it stands; none: the world's."
    )
    max_context: PositiveInt | None = setting(None, "Tokens of prompt and answer; none: the policy's limit.")
    on_overflow: Literal["end", "fork"] = setting(
        "end", "A full context ends the episode, or older observations are left out and a new row starts."
    )
    invalid_penalty: NonNegativeFloat = setting(
        0.0, "Times the share of turns that the world did not take, off the train reward (paper: 0.1 of 10, a turn)."
    )
    resample: NonNegativeInt = setting(
        0, "Dynamic sampling: groups played at most a step instead of those without variance in the train reward."
    )
    curriculum: Annotated[int, Field(ge=1)] = setting(
        1, "Tasks looked at for each one taken, those of middling success first; 1: none is passed over."
    )
    max_staleness: NonNegativeInt = setting(
        0, "Versions by which weights may be older than the update that trains on their tokens; 0: no overlap."
    )


class ServingConfig(Settings):
    """How vLLM samples; the transformers engine needs none of it."""

    timeout_s: PositiveFloat = setting(300.0, "vllm: seconds of one HTTP call (a long answer in a full batch).")
    patience_s: NonNegativeFloat = setting(
        300.0, "vllm: seconds a call waits while no server is up; a 4 B model's server starts within them."
    )
    dtype: Literal["bfloat16", "float16", "float32"] = setting("bfloat16", "vllm-colocated: of weights and KV cache.")
    max_context: PositiveInt | None = setting(
        None, "vllm-colocated: tokens of prompt and answer; None: the model's limit, which may not fit the KV cache."
    )
    memory_share: Annotated[float, Field(gt=0, lt=1)] = setting(
        0.35, "vllm-colocated: share of the device's memory for weights and KV cache (the recipe's plan: --dry-run)."
    )
    lora_rank: NonNegativeInt = setting(
        0,
        "Largest rank of published adapters (servers must take them over the start policy: docs/gpu.md); 0: merged weights.",
    )
    eager: bool = setting(False, "vllm-colocated: no CUDA graphs, no compilation.")
