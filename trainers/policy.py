"""The policy as the loop sees it: an engine that samples, an updater that trains, and the way between them."""

from __future__ import annotations

import warnings
from pathlib import Path

from transformers import AutoTokenizer

from reskill_agents.engine import PolicyEngine
from reskill_agents.engines import probe
from reskill_agents.engines.weight_folders import WeightFolders
from reskill_agents.errors import ConfigError
from reskill_agents.graphs.agent import Agent, AgentConfig, Overflow
from reskill_agents.graphs.chat_model import PolicyChatModel, TemplateWarning
from reskill_agents.graphs.chat_templates import ChatTokenizer
from reskill_agents.graphs.prefix_check import Continuation
from reskill_agents.trainers.config import EngineName, RunConfig
from reskill_agents.trainers.probe import check_engine_holds
from reskill_agents.trainers.update import PolicyUpdater


async def open_engine(config: RunConfig, policy_path: Path) -> PolicyEngine:
    """The engine that the config names. A server may hold other weights until the first publish.

    Raises:
        ConfigError: the engine's package is not installed.
        EngineError: a server can't be reached, or the engine does not start.
    """
    if config.engine is EngineName.TRANSFORMERS:
        from reskill_agents.engines.transformers import TransformersEngine

        return TransformersEngine(policy_path, threads=config.threads, device=config.device, seed=config.seed)
    if config.engine is EngineName.VLLM_COLOCATED:
        from reskill_agents.engines.vllm_colocated import ColocatedSettings, ColocatedVLLM

        serving = config.serving
        settings = ColocatedSettings(
            serving.dtype, serving.max_context, serving.memory_share, serving.lora_rank, serving.eager, config.seed
        )
        return await ColocatedVLLM.start(policy_path, settings)
    try:
        from reskill_agents.engines.vllm_http import VLLMEngine
    except ImportError as error:
        raise ConfigError(f"engine vllm cannot be loaded ({error}); install reskill-agents[vllm]") from error
    return await VLLMEngine.connect(
        config.engine_url,
        timeout_s=config.serving.timeout_s,
        patience_s=config.serving.patience_s,
        tolerance=config.update.max_logprob_gap,
    )


def chat_model(config: RunConfig, engine: PolicyEngine, policy_path: Path) -> PolicyChatModel:
    """The chat model over ``engine`` with the policy's own tokenizer and template."""
    tokenizer = ChatTokenizer(AutoTokenizer.from_pretrained(policy_path))
    with warnings.catch_warnings():  # it also speaks of tool turns, which the agent graph never takes
        warnings.simplefilter("ignore", TemplateWarning)
        model = PolicyChatModel(
            engine=engine,
            tokenizer=tokenizer,
            temperature=config.rollout.temperature,
            max_tokens=config.rollout.max_tokens,
            name_of_policy=config.model,
        )
    if Continuation.USER in model.gaps():
        message = "the chat template rewrites answers once a user's turn follows: every turn starts a new row (a fork)"
        warnings.warn(message, TemplateWarning, stacklevel=2)
    return model


def agent_for(
    config: RunConfig, model: PolicyChatModel, *, system_prompt: str, max_turns: int, temperature: float
) -> Agent:
    """The agent graph with the run's budgets at ``temperature``."""
    settings = AgentConfig(
        action_format=config.rollout.action_format,
        max_turns=max_turns,
        temperature=temperature,
        max_tokens=config.rollout.max_tokens,
        max_context=config.rollout.max_context,
        on_overflow=Overflow(config.rollout.on_overflow),
        max_skill_tokens_turn=config.rollout.max_skill_tokens_turn,
        max_skill_tokens_episode=config.rollout.max_skill_tokens_episode,
    )
    return Agent(model, settings, system_prompt)


class Publisher:
    """Hands new weights to the engine and sees that they arrived.

    Args:
        engine: what samples.
        updater: what trains.
        through: folder for engines that load from disk (they must see it too); ``None``: hand over tensors.
        adapters: hand over LoRA adapters alone (the engine holds the start policy).
        tolerance: nats by which engine and trainer may differ on a fixed probe.
    """

    def __init__(
        self,
        engine: PolicyEngine,
        updater: PolicyUpdater,
        through: Path | None = None,
        *,
        adapters: bool = False,
        tolerance: float = probe.TOLERANCE,
    ) -> None:
        self.engine = engine
        self.updater = updater
        self._folders = WeightFolders(through) if through is not None else None
        self._save = updater.save_adapters if adapters else updater.save_weights
        self._tolerance = tolerance

    async def publish(self, version: int) -> None:
        """The updater's current weights sample from now on.

        Raises:
            EngineError: the engine does not take them.
            EngineMismatch: it took them and scores or samples the probe otherwise than the trainer.
        """
        if self._folders is None:
            await self.engine.publish(self.updater.weights(), version)
        else:
            folder = self._folders.write(version, self._save)
            await self.engine.publish(folder, version)
        await check_engine_holds(self.updater.log_probs, self.engine, version, tolerance=self._tolerance)
