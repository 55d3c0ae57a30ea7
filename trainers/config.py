"""The settings of a training run. Every field says its unit, its default and where the default comes from."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from reskill_agents.action_format import ActionFormat
from reskill_agents.errors import ConfigError
from reskill_agents.methods import Method
from reskill_agents.trials import TrialMethodName
from reskill_agents.trials.assignment import MIN_PER_ARM


class RewardName(StrEnum):
    """Functions of an episode, 0..1. ``success``: full score or nothing. ``graded``: (score + success) / 2."""

    SUCCESS = "success"
    GRADED = "graded"
    SCORE = "score"


class LossType(StrEnum):
    """TRL's policy losses by name; ``dr_grpo`` is the constant normaliser.

    ``cispo`` clips the weight of the gradient instead of the objective, at ``1 + clip_high``; ``sapo`` has a soft gate and
    ``vespo`` a smooth weight a sequence instead of a clip; ``luspo`` sums whole sequences (``importance_level: sequence``
    as in its paper). ``grpo`` with ``importance_level: sequence`` is GSPO.
    """

    DR_GRPO = "dr_grpo"
    GRPO = "grpo"
    BNPO = "bnpo"
    DAPO = "dapo"
    CISPO = "cispo"
    SAPO = "sapo"
    VESPO = "vespo"
    LUSPO = "luspo"


class AdvantageName(StrEnum):
    """How rewards become advantages (``trainers/advantages.py``).

    ``leave_one_out``: over the pooled group. ``effect_adjusted``: the same, less what earlier steps say about the arms.
    ``per_arm``: leave-one-out inside each arm. ``group_normalised``: GRPO's mean and standard deviation. ``whitened``:
    that, then over the batch's tokens (the paper's default).
    """

    LEAVE_ONE_OUT = "leave_one_out"
    EFFECT_ADJUSTED = "effect_adjusted"
    PER_ARM = "per_arm"
    GROUP_NORMALISED = "group_normalised"
    WHITENED = "whitened"


class EngineName(StrEnum):
    """What samples: transformers in this process, vLLM servers over HTTP, or vLLM on the update's own device."""

    TRANSFORMERS = "transformers"
    VLLM = "vllm"
    VLLM_COLOCATED = "vllm-colocated"


_BFLOAT16_GAP = 0.01  # nats; eight bits of mantissa give errors of some hundredths


def _setting(default: object, meaning: str) -> Any:
    """A field: its default, then unit and source in words."""
    return Field(default=default, description=meaning)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RolloutConfig(_Strict):
    """How episodes are sampled. The same for every method compared."""

    groups: PositiveInt = _setting(16, "Tasks a step (paper: 16).")
    group_size: Annotated[int, Field(ge=2)] = _setting(8, "Episodes a task and step, G (paper: 8).")
    temperature: PositiveFloat = _setting(1.0, "Softmax temperature of training rollouts (paper: 1).")
    max_tokens: PositiveInt = _setting(64, "Sampled tokens a turn at most.")
    action_format: ActionFormat = _setting(
        ActionFormat.NUMBERED, "How the agent writes actions; numbered for the stand-in, tagged for LLMs."
    )
    max_skill_tokens_turn: PositiveInt = _setting(1000, "Skill text a turn, tokens.")
    max_skill_tokens_episode: PositiveInt = _setting(4000, "Skill text an episode, tokens.")
    max_turns: PositiveInt | None = _setting(
        None, "Model calls an episode, then it is scored as it stands; none: the world's."
    )
    max_context: PositiveInt | None = _setting(None, "Tokens of prompt and answer; none: the policy's limit.")
    on_overflow: Literal["end", "fork"] = _setting(
        "end", "A full context ends the episode, or older observations are left out and a new row starts."
    )
    invalid_penalty: NonNegativeFloat = _setting(
        0.0, "Times the share of turns that the world did not take, off the train reward (paper: 0.1 of 10, a turn)."
    )
    resample: NonNegativeInt = _setting(
        0, "Dynamic sampling: groups played at most a step instead of those without variance in the train reward."
    )
    curriculum: Annotated[int, Field(ge=1)] = _setting(
        1, "Tasks looked at for each one taken, those of middling success first; 1: none is passed over."
    )
    max_staleness: NonNegativeInt = _setting(
        0, "Versions by which weights may be older than the update that trains on their tokens; 0: no overlap."
    )


class LoraConfig(_Strict):
    """Low-rank adapters instead of full weights (peft); the linear layers but the head get one."""

    rank: PositiveInt = _setting(16, "Of the adapters (peft's guide: 8 to 64).")
    alpha: PositiveFloat = _setting(32.0, "Scale of the adapters is alpha / rank (customary: twice the rank).")
    targets: tuple[str, ...] = _setting((), "Names of the layers that get one; empty: all linear ones.")


class UpdateConfig(_Strict):
    """The GRPO update."""

    lr: PositiveFloat = _setting(3e-5, "AdamW's rate (measured on the stand-in, method.md; paper: 1e-6).")
    advantage: AdvantageName | None = _setting(None, "None: the method's own.")
    kl: NonNegativeFloat = _setting(0.0, "Weight of the KL to the start policy (paper: 0.01).")
    loss: LossType = _setting(LossType.DR_GRPO, "TRL loss; dr_grpo's constant does not depend on length.")
    importance_level: Literal["token", "sequence"] = _setting("token", "What the clipped ratio is taken of.")
    clip_low: PositiveFloat = _setting(0.2, "PPO clip below 1 (TRL's default).")
    clip_high: PositiveFloat = _setting(0.2, "PPO clip above 1 (TRL's default).")
    normaliser_tokens: PositiveInt = _setting(
        32, "Sampled tokens an episode that dr_grpo divides by (about one stand-in episode)."
    )
    max_grad_norm: PositiveFloat = _setting(1.0, "Gradient clipping (TRL's default).")
    weight_decay: NonNegativeFloat = _setting(0.0, "AdamW's weight decay (TRL's default).")
    warmup_steps: NonNegativeInt = _setting(0, "Steps of linear warm-up, then constant.")
    tokens_per_micro_batch: PositiveInt = _setting(
        6000, "Padded tokens a micro-batch; bounds memory (fastest of 2k..20k for the stand-in on 2 cores)."
    )

    frozen: bool = _setting(False, "No update at all: skills evolve, the start policy stays (also `reskill adapt`).")
    max_logprob_gap: PositiveFloat = _setting(
        1e-3,
        "Largest allowed |log-prob when sampled - when re-scored|, nats: 1e-3 for float32 (1e-5 measured), "
        "about 0.5 for bfloat16. Tokens that older weights sampled are not compared.",
    )
    correction: Literal["auto", "off", "truncated"] = _setting(
        "auto",
        "truncated: weights a token, for what sampled it being other than what trains; off: the clip alone. "
        "auto: truncated on vLLM or with max_staleness.",
    )
    correction_cap: PositiveFloat = _setting(2.0, "Largest such weight (whole-sequence masks throw long rows away).")
    lora: LoraConfig | None = _setting(None, "Train adapters; none: full weights.")
    precision: Literal["float32", "bfloat16"] = _setting(
        "float32", "bfloat16: autocast; with lora the frozen weights are held in it, too."
    )
    gradient_checkpointing: bool = _setting(False, "Less memory for more time: activations are computed twice.")


class TrialConfig(_Strict):
    """How two libraries are compared. Defaults: the 5 % whole-trial null measured in ``trials/boundary``."""

    rule: Literal[TrialMethodName.PAIRED, TrialMethodName.DISCOUNTED_BETA] = _setting(
        TrialMethodName.PAIRED, "paired (default) or discounted_beta (paper)."
    )
    max_steps: PositiveInt = _setting(12, "paired: steps a trial lasts at most (measured; the paper's: 5).")
    effect: PositiveFloat = _setting(
        0.3, "paired: effect worth finding, in within-group standard deviations (trials/boundary)."
    )
    paired: bool = _setting(
        True,
        "Off, for an ablation: the outcomes of a step are compared as one group, whatever the task (removals stay paired).",
    )
    discount: bool = _setting(
        True,
        "Off, for an ablation: finished trials teach nothing about how evidence goes stale (no forgetting, M = inf).",
    )


class CreatorConfig(_Strict):
    """When skills are written and from what."""

    author: str = _setting("offline", "offline, openai:MODEL[@BASE_URL], or langchain:SPEC.")
    warm_up: PositiveInt = _setting(100, "Episodes in the reservoir before the first creation (paper: 100).")
    reservoir: PositiveInt = _setting(600, "Episodes the reservoir holds (paper: 200; induction wants more).")
    every: PositiveInt = _setting(1, "Steps between the end of a trial and the next creation, at least.")
    join_after: PositiveInt = _setting(2, "Steps after which a proposal joins; fixed before it is written.")
    deadline_s: PositiveFloat = _setting(
        120.0, "Seconds the loop waits for a late proposal; ignored when reproducible."
    )
    capacity: PositiveInt = _setting(8, "Skills in a library at most (paper: 8).")
    max_creations: PositiveInt = _setting(100, "Creation rounds a run at most.")
    decoupled_every: PositiveInt = _setting(
        10, "Method decoupled: steps between validation rounds that feed the creator."
    )
    holdout_tasks: PositiveInt = _setting(64, "Method decoupled: train tasks set aside for its validation rounds.")
    general_triggers: bool = _setting(False, "For an ablation: every skill is always on, whatever its author wrote.")
    assertions: bool = _setting(
        True, "Off, for an ablation: nothing is graded, confirmed on held-out tasks or handed on between creations."
    )
    adopt_all: bool = _setting(
        False, "For an ablation of the methods that try: every proposal is adopted at once, and nothing is pruned."
    )


class PruningConfig(_Strict):
    """Removing skills that stopped helping. Budget and thresholds: ``trials/pruning``, ``trials/removal``."""

    enabled: bool = _setting(True, "Screen the skills between trials and try to remove the weakest.")
    min_age: NonNegativeInt = _setting(5, "Steps a skill is in force before a removal is tried.")


class MemoryConfig(_Strict):
    """Method memory: what is remembered and shown."""

    capacity: PositiveInt = _setting(500, "Episodes remembered, one a task; the least useful goes (MemRL keeps all).")
    candidates: PositiveInt = _setting(10, "Most similar tasks looked at (first phase).")
    shown: PositiveInt = _setting(1, "Of those, episodes shown in a prompt (second phase).")
    rate: Annotated[float, Field(gt=0, le=1)] = _setting(0.1, "Of the exponential average of outcomes.")


class ServingConfig(_Strict):
    """How vLLM samples; the transformers engine needs none of it."""

    timeout_s: PositiveFloat = _setting(300.0, "vllm: seconds of one HTTP call (a long answer in a full batch).")
    patience_s: NonNegativeFloat = _setting(
        300.0, "vllm: seconds a call waits while no server is up; a 4 B model's server starts within them."
    )
    dtype: Literal["bfloat16", "float16", "float32"] = _setting("bfloat16", "vllm-colocated: of weights and KV cache.")
    max_context: PositiveInt | None = _setting(
        None, "vllm-colocated: tokens of prompt and answer; None: the model's limit, which may not fit the KV cache."
    )
    memory_share: Annotated[float, Field(gt=0, lt=1)] = _setting(
        0.35, "vllm-colocated: share of the device's memory for weights and KV cache (the recipe's plan: --dry-run)."
    )
    lora_rank: NonNegativeInt = _setting(
        0, "vllm-colocated: largest rank of published adapters; 0: whole weights only."
    )
    eager: bool = _setting(False, "vllm-colocated: no CUDA graphs, no compilation.")


class EvaluationConfig(_Strict):
    """Evaluation: one arm, no trial, nothing trained."""

    tasks: PositiveInt = _setting(200, "Tasks a split at most.")
    episodes: PositiveInt = _setting(1, "Episodes a task.")
    temperature: NonNegativeFloat = _setting(1.0, "1: as trained; 0: greedy.")
    every: NonNegativeInt = _setting(0, "Steps between evaluations on the validation split; 0: only before and after.")
    valid_tasks: PositiveInt = _setting(100, "Tasks of an evaluation on the validation split.")
    concurrency: PositiveInt = _setting(128, "Episodes that run at the same time.")
    test: bool = _setting(True, "Play the test splits; off while settings are chosen.")
    placebo: bool = _setting(True, "Also play with the final library's texts replaced by foreign ones.")


class CheckpointConfig(_Strict):
    """Checkpoints of the run folder."""

    every: PositiveInt = _setting(5, "Steps between checkpoints; one is also written before each verdict.")
    keep: Annotated[int, Field(ge=2)] = _setting(2, "Newest checkpoints kept.")


class Sink(StrEnum):
    """Where the figures of each step go besides ``metrics.jsonl`` (extra ``logging``)."""

    TENSORBOARD = "tensorboard"
    WANDB = "wandb"
    TRACKIO = "trackio"


class LoggingConfig(_Strict):
    """Sinks for the figures of each step; ``metrics.jsonl`` is always written."""

    sinks: tuple[Sink, ...] = _setting((), "Besides metrics.jsonl.")
    project: str = _setting("reskill-agents", "Project of W&B and trackio; the run is named after its folder.")
    wandb_mode: Literal["offline", "online"] = _setting(
        "offline", "offline: written to the run folder, for `wandb sync`; online: sent to a server."
    )
    usd_per_hour: NonNegativeFloat = _setting(0.0, "Price of the machine; the cost of a step is its seconds times it.")


class RunConfig(_Strict):
    """A whole run. Written to the run folder; a resumed run must have the same one (``steps`` may grow)."""

    method: Method = _setting(Method.RESKILL, "How skills and weights are learned.")
    steps: PositiveInt = _setting(75, "GRPO steps.")
    seed: NonNegativeInt = _setting(0, "Of tasks, sampling, arms and creator.")
    threads: PositiveInt = _setting(1, "CPU threads of torch (never left to chance).")
    reproducible: bool = _setting(True, "Bit-equal metrics after a resume: batches by turn with a barrier.")
    aa: bool = _setting(False, "A/A trials: candidate = incumbent, to measure false acceptance.")
    device: Literal["cpu", "cuda"] = _setting("cpu", "Where the update runs, and the transformers engine.")
    engine: EngineName = _setting(EngineName.TRANSFORMERS, "What samples.")
    engine_url: str = _setting("", "vllm: URLs of the servers, separated by commas.")
    model: str = _setting("standin", "The policy's name or path, for the record.")
    train_reward: RewardName = _setting(
        RewardName.SUCCESS, "What GRPO maximises (a dense one hides the skills: measured, method.md)."
    )
    trial_outcome: RewardName = _setting(
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
    checkpoint: CheckpointConfig = Field(default_factory=CheckpointConfig)
    logging: LoggingConfig = Field(default_factory=LoggingConfig)
    episode_log: Literal["compact", "tokens"] = _setting(
        "compact", "episodes.jsonl without or with token ids and log-probs."
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.tried and self.rollout.group_size < 2 * MIN_PER_ARM:
            raise ValueError(
                f"rollout.group_size is {self.rollout.group_size}, but a trial needs {MIN_PER_ARM} members of each "
                f"arm; set it to {2 * MIN_PER_ARM} or more"
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
