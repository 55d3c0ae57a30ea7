"""Where a job's start policy comes from, and who writes its skills."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from reskill_agents.creator_model import Budget
from reskill_agents.environment import ScriptedWorld, World
from reskill_agents.errors import ConfigError
from reskill_agents.graphs.creator_author import author_from_spec
from reskill_agents.graphs.offline_author import OfflineAuthor
from reskill_agents.trainers.cloning import CloneBudget
from reskill_agents.trainers.job_options import JobOptions
from reskill_agents.trainers.standin import (
    REPORT_FILE,
    StandinProgress,
    StandinReport,
    StandinSize,
    build_standin,
    cache_key,
)
from reskill_agents.trainers.standin_cache import cached_standin
from reskill_agents.trainers.standin_gate import CloneGate

if TYPE_CHECKING:
    from reskill_agents.display import Display
    from reskill_agents.graphs.creator_state import Author

CACHE = Path(".cache") / "standins"
QUICK_BUDGET = CloneBudget(max_seconds=40.0, max_steps=220)
QUICK_GATE = CloneGate(tasks=32)
_A_DAY = 86_400.0
_WEIGHTS = ("*.safetensors", "*.bin")


def start_policy(options: JobOptions, world: World, run_dir: Path, display: Display) -> Path:
    """The start policy in Hugging Face layout: the stand-in, a folder, or a name for transformers to resolve.

    A folder with a config and a tokenizer but no weights gets random ones, written to ``start/`` of the run folder.

    Raises:
        ConfigError: the stand-in is asked for in a world without a script, or the folder holds no config.
    """
    if options.standin:
        return _standin(options, world, run_dir, _teller(display))
    folder = Path(options.model).expanduser()
    if not folder.is_dir():
        return Path(options.model)  # a name on the hub, or in its cache
    if not (folder / "config.json").is_file():
        raise ConfigError(
            f"--model {folder}: a folder in Hugging Face layout is needed, with config.json and tokenizer"
        )
    if any(next(folder.glob(pattern), None) for pattern in _WEIGHTS):
        return folder
    return _random_weights(folder, run_dir / "start", options.seed)


def _standin(options: JobOptions, world: World, run_dir: Path, tell: Callable[[StandinProgress], None]) -> Path:
    if not isinstance(world, ScriptedWorld):
        raise ConfigError(f"world {world.name!r} has no script to clone a stand-in from; name a model with --model")
    budget = CloneBudget()
    if options.clone_updates is not None:
        budget = CloneBudget(max_seconds=_A_DAY, max_steps=options.clone_updates)
    full = CACHE / f"{world.name}-{cache_key(world, options.standin_seed, budget, StandinSize(), CloneGate())}"
    if not options.quick or (full / REPORT_FILE).is_file():
        folder = cached_standin(
            world,
            CACHE,
            seed=options.standin_seed,
            threads=options.threads,
            budget=budget,
            curve_every=options.clone_curve,
            progress=tell,
        )
    else:
        folder = run_dir / "start"
        if not (folder / REPORT_FILE).is_file():
            build_standin(
                world,
                folder,
                seed=options.standin_seed,
                threads=options.threads,
                budget=QUICK_BUDGET,
                gate=QUICK_GATE,
                progress=tell,
            )
    problems = StandinReport.read(folder).problems
    if problems and not options.quick:
        warnings.warn(f"the stand-in is weaker than it should be, expect less: {'; '.join(problems)}", stacklevel=2)
    return folder


def _random_weights(source: Path, target: Path, seed: int) -> Path:
    if (target / "config.json").is_file():
        return target
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

    tokenizer, config = AutoTokenizer.from_pretrained(source), AutoConfig.from_pretrained(source)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    tokenizer.save_pretrained(target)
    model.save_pretrained(target)
    return target


def _teller(display: Display) -> Callable[[StandinProgress], None]:
    return lambda state: display.building(f"stand-in: {state.stage.value}", state.share, state.detail)


def load_author(creator: str, run_dir: Path, prices: tuple[float, float] | None = None) -> Author:
    """The author that ``offline``, ``openai:MODEL[@BASE_URL]`` or ``langchain:SPEC`` names.

    A model's answers are kept in ``creator/`` of the run folder: a resumed run asks nothing twice, and what was asked
    and answered can be read. ``prices``: of a million tokens of its prompts and of its answers, where they are known.

    Raises:
        ConfigError: saying what is right.
    """
    folder = run_dir / "creator"
    input_price, output_price = prices or (0.0, 0.0)
    budget = Budget(input_price=input_price, output_price=output_price)
    author = author_from_spec(creator, budget=budget, cache=folder / "answers", transcript=folder / "transcript.jsonl")
    if creator != OfflineAuthor.name:
        folder.mkdir(parents=True, exist_ok=True)
    return author
