"""The command line of a training job: what every training example offers, and the settings that follow from it."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, TypeVar

from reskill_agents.action_format import ActionFormat
from reskill_agents.methods import Method
from reskill_agents.trainers.config import EngineName, RunConfig
from reskill_agents.trials.verdict import TrialMethodName

STANDIN = "standin"
RULES = (TrialMethodName.PAIRED, TrialMethodName.DISCOUNTED_BETA)
QUICK_STEPS = 12
VALID_EVERY = 15  # steps between evaluations on the validation split: five points on the curve, seconds each
Device = Literal["cpu", "cuda"]
_E = TypeVar("_E", bound=StrEnum)
_OWN_OPTIONS = {  # settings that other parts of a job read from their option
    "method": "--method", "seed": "--seed", "threads": "--threads", "model": "--model", "creator.author": "--creator",
}  # fmt: skip
_LLM_CONTEXT = 8192  # 15 pages of WebShop and answers of some 300 tokens
_LORA_RANK = 16
_LORA_RATE = 1e-5  # ten times the paper's 1e-6 for full weights, the customary factor
_BFLOAT16_GAP = 0.5  # nats, largest of a batch: two kernels in bfloat16
_MEMORY_SHARE = 0.5
_LLM_TOKENS = 512  # a turn of a language model that may think; the stand-in answers with one number


@dataclass(frozen=True)
class JobOptions:
    """What the command line said. ``steps`` and ``learning_rate`` are ``None`` for the run config's defaults."""

    run_dir: Path | None = None
    seed: int = 0
    steps: int | None = None
    method: Method = Method.RESKILL
    trial: TrialMethodName = TrialMethodName.PAIRED
    aa: bool = False
    model: str = STANDIN
    engine: EngineName = EngineName.TRANSFORMERS
    engine_url: str = ""
    device: Device | None = None
    device_gb: float = 80.0
    creator: str = "offline"
    threads: int = 1
    learning_rate: float | None = None
    resume: bool = False
    quick: bool = False
    quiet: bool = False
    test: bool = True
    clone_updates: int | None = None
    start_seed: int | None = None
    clone_curve: int = 0
    clone_only: bool = False
    settings: Sequence[tuple[str, str]] = ()
    dry_run: bool = False

    @property
    def sampled_by(self) -> EngineName:
        """The engine; ``vllm`` without a server is vLLM beside the update."""
        if self.engine is EngineName.VLLM and not self.engine_url:
            return EngineName.VLLM_COLOCATED
        return self.engine

    @property
    def standin_seed(self) -> int:
        """Of the built-in policy's weights and cloning."""
        return self.seed if self.start_seed is None else self.start_seed

    @property
    def standin(self) -> bool:
        """Whether the policy is the built-in stand-in."""
        return self.model == STANDIN


def default_threads() -> int:
    """Two where the machine has them: a tiny policy trains 1.8 times faster on two threads alone, no faster on more."""
    return min(2, os.cpu_count() or 1)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that every training job has."""
    defaults = RunConfig()
    add = parser.add_argument
    add("--run-dir", type=Path, metavar="DIR", help="run folder (default: a new one in runs/)")
    add("--seed", type=_whole, default=0, metavar="N", help="of tasks, sampling, arms, creator and clone (default: 0)")
    add("--steps", type=_positive, metavar="N",
        help=f"training steps of {defaults.rollout.groups} tasks x {defaults.rollout.group_size} episodes "
        f"(default: {defaults.steps}; {QUICK_STEPS} with --quick)")  # fmt: skip
    add("--method", type=_one_of(Method), default=Method.RESKILL, metavar="METHOD",
        help=f"{_names(Method)} (default: {Method.RESKILL})")  # fmt: skip
    add("--trial", type=_one_of(RULES), default=TrialMethodName.PAIRED, metavar="RULE",
        help=f"how two libraries are compared: {_names(RULES)} (default: paired)")  # fmt: skip
    add("--aa", action="store_true", help="try identical libraries, to measure false acceptance")
    add("--model", default=STANDIN, metavar="NAME|PATH",
        help="the policy: standin, or a Hugging Face name or folder; a folder with only a config and a tokenizer "
        "starts from random weights (default: standin)")  # fmt: skip
    add("--engine", type=_one_of(EngineName), default=EngineName.TRANSFORMERS, metavar="ENGINE",
        help=f"what samples: {_names(EngineName)}; vllm without --engine-url runs beside the update on the same "
        "device (default: transformers)")  # fmt: skip
    add(
        "--engine-url",
        default="",
        metavar="URL[,URL]",
        help="with --engine vllm: servers that run already (default: none)",
    )
    add("--device", choices=("cpu", "cuda"), help="of the update (default: cuda with vLLM beside it, else cpu)")
    add("--device-gb", type=float, default=JobOptions.device_gb, metavar="GB",
        help="memory of the device, for --dry-run (default: 80)")  # fmt: skip
    add("--dry-run", action="store_true", help="print the memory and token plan from config and tokenizer, then stop")
    add("--creator", type=_creator, default="offline", metavar="CREATOR",
        help="who writes skills: offline, openai:MODEL[@BASE_URL] (its key is read from OPENAI_API_KEY), or langchain:SPEC "
        "(default: offline)")  # fmt: skip
    add("--threads", type=_positive, default=default_threads(), metavar="N",
        help="CPU threads; the same number gives the same run (default: 2, or 1 on a single core)")  # fmt: skip
    add("--learning-rate", type=_rate, metavar="RATE", help=f"of the policy (default: {defaults.update.lr:g})")
    add("--resume", action="store_true", help="go on with the run in --run-dir, or with the newest of this kind")
    add("--quick", action="store_true", help="minutes instead of a quarter of an hour: shows the machinery, no effect")
    add("--quiet", action="store_true", help="print the final table only")
    add("--no-test", dest="test", action="store_false", help="leave the test splits closed (for tuning)")
    add("--clone-updates", type=_positive, metavar="N",
        help="updates of cloning the stand-in, however long they take, so that every machine gets the same one "
        "(default: as many as fit into 290 s, about 1700)")  # fmt: skip
    add("--start-seed", type=_whole, metavar="N",
        help="of the stand-in, where several runs begin with the same one (default: that of --seed)")  # fmt: skip
    add("--clone-curve", type=_twenties, default=0, metavar="N",
        help="every N updates of cloning (a multiple of 20) measure success without advice and with the best on the "
        "validation split; in clone_curve.jsonl beside the stand-in (default: 0, never)")  # fmt: skip
    add("--clone-only", action="store_true", help="build and cache the stand-in, then stop")
    add("--set", dest="settings", type=_setting, action="append", default=[], metavar="NAME=VALUE",
        help="any setting of config.json by its dotted name, such as update.kl=0.01; repeatable, wins over other "
        "options (default: none)")  # fmt: skip


def read_options(arguments: argparse.Namespace) -> JobOptions:
    """The options among parsed arguments."""
    names = JobOptions.__dataclass_fields__
    return JobOptions(**{name: getattr(arguments, name) for name in names})


def run_config(options: JobOptions) -> RunConfig:
    """The run's settings.

    Raises:
        ConfigError: options that do not go together.
    """
    settings: dict[str, Any] = {
        "method": options.method,
        "seed": options.seed,
        "threads": options.threads,
        "aa": options.aa,
        "engine": options.sampled_by,
        "engine_url": options.engine_url if options.sampled_by is EngineName.VLLM else "",
        "device": options.device or ("cuda" if options.sampled_by is EngineName.VLLM_COLOCATED else "cpu"),
        "model": options.model,
        "trial": {"rule": options.trial},
        "creator": {"author": options.creator},
        "rollout": {},
        "update": {},
        "evaluation": {"test": options.test, "every": VALID_EVERY},
    }
    if not options.standin:
        settings["rollout"] |= {"action_format": ActionFormat.TAGGED, "max_tokens": _LLM_TOKENS}
        settings["update"] |= {"normaliser_tokens": _LLM_TOKENS}
    if not options.standin and options.sampled_by is not EngineName.TRANSFORMERS:
        _add_recipe(settings)
    if options.learning_rate is not None:
        settings["update"] |= {"lr": options.learning_rate}
    if options.quick:
        settings |= {"steps": QUICK_STEPS, "checkpoint": {"every": 3}}
        settings["evaluation"] |= {"tasks": 48, "valid_tasks": 32, "every": 0}
    if options.steps is not None:
        settings["steps"] = options.steps
    for name, value in options.settings:
        _put(settings, name, value)
    return RunConfig.build(**settings)


def _put(settings: dict[str, Any], name: str, value: str) -> None:
    """Set ``update.kl`` and the like; what is no setting is left for the config to name."""
    *sections, field = name.split(".")
    for section in sections:
        inner = settings.get(section)
        within = dict(inner) if isinstance(inner, dict) else {}
        settings[section] = within
        settings = within
    settings[field] = value


def _add_recipe(settings: dict[str, Any]) -> None:
    """A model of about 4 B parameters on one 80 GB card: LoRA in bfloat16 beside vLLM (``--dry-run`` prints the plan)."""
    settings["serving"] = {"memory_share": _MEMORY_SHARE, "max_context": _LLM_CONTEXT, "lora_rank": _LORA_RANK}
    settings["update"] |= {
        "lr": _LORA_RATE,
        "max_logprob_gap": _BFLOAT16_GAP,
        "tokens_per_micro_batch": _LLM_CONTEXT,
        "lora": {"rank": _LORA_RANK},
        "precision": "bfloat16",
        "gradient_checkpointing": True,
    }
    settings["reproducible"] = False  # vLLM batches by arrival


def _names(options: Iterable[StrEnum]) -> str:
    return ", ".join(str(option) for option in options)


def _one_of(options: Iterable[_E]) -> Callable[[str], _E]:
    by_name = {option.value: option for option in options}

    def convert(text: str) -> _E:
        if text not in by_name:
            raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(by_name)}")
        return by_name[text]

    return convert


def _whole(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0")
    return int(text)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def _twenties(text: str) -> int:
    if not text.isdecimal() or int(text) % 20:
        raise argparse.ArgumentTypeError(f"{text!r} is not a multiple of 20")
    return int(text)


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a learning rate between 0 and 1, such as 3e-5")
    return rate


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (equals and name):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE, such as update.kl=0.01")
    if name in _OWN_OPTIONS:
        raise argparse.ArgumentTypeError(f"{name} has an option of its own: {_OWN_OPTIONS[name]}")
    return name, value


def _creator(text: str) -> str:
    kind, colon, model = text.partition(":")
    if text != "offline" and not (kind in ("openai", "langchain") and colon and model):
        raise argparse.ArgumentTypeError(f"{text!r} is neither offline nor openai:MODEL[@BASE_URL] nor langchain:SPEC")
    return text
