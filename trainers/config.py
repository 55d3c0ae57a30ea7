"""The settings of a training run. Every field says its unit, its default and where the default comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, ValidationError, model_validator

from reskill_agents.errors import ConfigError
from reskill_agents.methods import Method
from reskill_agents.trainers.config_group import Settings, setting
from reskill_agents.trainers.config_output import CheckpointConfig, EvaluationConfig, LoggingConfig, Sink
from reskill_agents.trainers.config_rollout import EngineName, RewardName, RolloutConfig, ServingConfig
from reskill_agents.trainers.config_skills import CreatorConfig, MemoryConfig, PruningConfig, TrialConfig
from reskill_agents.trainers.config_update import AdvantageName, LoraConfig, LossType, RanksConfig, UpdateConfig
from reskill_agents.trials.assignment import MIN_PER_ARM

__all__ = [
    "AdvantageName",
    "CheckpointConfig",
    "CreatorConfig",
    "EngineName",
    "EvaluationConfig",
    "LoggingConfig",
    "LoraConfig",
    "LossType",
    "MemoryConfig",
    "PruningConfig",
    "RanksConfig",
    "RewardName",
    "RolloutConfig",
    "RunConfig",
    "ServingConfig",
    "Sink",
    "TrialConfig",
    "UpdateConfig",
]

_BFLOAT16_GAP = 0.01  # nats; eight bits of mantissa give errors of some hundredths


class RunConfig(Settings):
    """A whole run. Written to the run folder; a resumed run must have the same one (``steps`` may grow)."""

    method: Method = setting(Method.RESKILL, "How skills and weights are learned.")
    steps: PositiveInt = setting(75, "GRPO steps.")
    seed: NonNegativeInt = setting(0, "Of tasks, sampling, arms and creator.")
    threads: PositiveInt = setting(1, "CPU threads of torch (never left to chance).")
    reproducible: bool = setting(True, "Bit-equal metrics after a resume: batches by turn with a barrier.")
    aa: bool = setting(False, "A/A trials: candidate = incumbent, to measure false acceptance.")
    device: Literal["cpu", "cuda"] = setting("cpu", "Where the update runs, and the transformers engine.")
    engine: EngineName = setting(EngineName.TRANSFORMERS, "What samples.")
    engine_url: str = setting("", "vllm: URLs of the servers, separated by commas.")
    model: str = setting("standin", "The policy's name or path, for the record.")
    train_reward: RewardName = setting(
        RewardName.SUCCESS, "What GRPO maximises (a dense one hides the skills: measured, method.md)."
    )
    trial_outcome: RewardName = setting(
        RewardName.GRADED, "What trials compare (success alone cannot see one right skill: measured)."
    )
    rollout: RolloutConfig = Field(default_factory=RolloutConfig)
    update: UpdateConfig = Field(default_factory=UpdateConfig)
    trial: TrialConfig = Field(default_factory=TrialConfig)
    creator: CreatorConfig = Field(default_factory=CreatorConfig)
    pruning: PruningConfig = Field(default_factory=PruningConfig)
    memory: MemoryConfig = Field(default_factory=MemoryConfig)
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig)
    serving: ServingConfig = Field(default_factory=ServingConfig)
    ranks: RanksConfig = Field(default_factory=RanksConfig)
    checkpoint: CheckpointConfig = Field(default_factory=CheckpointConfig)
    logging: LoggingConfig = Field(default_factory=LoggingConfig)
    episode_log: Literal["compact", "tokens"] = setting(
        "compact", "episodes.jsonl without or with token ids and log-probs."
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.tried and self.rollout.group_size < 2 * MIN_PER_ARM:
            raise ValueError(
                f"rollout.group_size is {self.rollout.group_size}, but a trial needs {MIN_PER_ARM} members of each "
                f"arm; set it to {2 * MIN_PER_ARM} or more"
            )
        if (sizes := self.rollout.group_sizes) is not None:
            least = 2 * MIN_PER_ARM if self.tried else 2
            if not least <= sizes[0] <= self.rollout.group_size <= sizes[1]:
                raise ValueError(
                    f"rollout.group_sizes is {sizes}; it must hold rollout.group_size ({self.rollout.group_size}) and begin "
                    f"at {least} or more, because a group needs others to compare with"
                )
        if self.engine is EngineName.VLLM and not self.engine_url:
            raise ValueError("engine vllm needs engine_url, e.g. http://127.0.0.1:8000")
        if self.rollout.max_staleness and self.reproducible:
            raise ValueError(
                "rollout.max_staleness lets sampling and updates overlap, which no resume can repeat bit for bit; "
                "set reproducible to false with it"
            )
        if self.update.precision == "bfloat16" and self.update.max_logprob_gap < _BFLOAT16_GAP:
            raise ValueError(
                f"update.precision is bfloat16, whose log-probs differ by more than update.max_logprob_gap "
                f"{self.update.max_logprob_gap:g}; set it to about 0.5"
            )
        return self

    @property
    def corrected(self) -> bool:
        """Whether tokens are weighted for having been sampled by other weights than those that train on them."""
        apart = self.engine is not EngineName.TRANSFORMERS or self.rollout.max_staleness > 0
        return self.update.correction == "truncated" or (self.update.correction == "auto" and apart)

    @property
    def tried(self) -> bool:
        """Whether the method adopts by trial (else it has no skills or adopts untested)."""
        return self.method in (Method.RESKILL, Method.RESKILL_PAPER) and not self.creator.adopt_all

    @classmethod
    def build(cls, **settings: Any) -> RunConfig:
        """A config from keyword settings (nested ones as dicts).

        Raises:
            ConfigError: naming every wrong field, its value and what is right.
        """
        try:
            return cls.model_validate(settings)
        except ValidationError as error:
            raise ConfigError(_explain(error)) from error

    @classmethod
    def load(cls, path: Path) -> RunConfig:
        """Read a run folder's ``config.json``.

        Raises:
            ConfigError: the file is missing, torn or of another version; the message names it.
        """
        try:
            return cls.model_validate_json(path.read_text("utf-8"))
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}") from error
        except ValidationError as error:
            raise ConfigError(f"{path}: {_explain(error)}") from error


def _explain(error: ValidationError) -> str:
    problems = []
    for problem in error.errors():
        field = ".".join(str(part) for part in problem["loc"]) or "config"
        if problem["type"] == "extra_forbidden":
            problems.append(f"{field}: there is no such setting")
        elif problem["loc"]:
            problems.append(f"{field} = {problem['input']!r}: {problem['msg']}")
        else:
            problems.append(problem["msg"].removeprefix("Value error, "))
    return "; ".join(problems)
