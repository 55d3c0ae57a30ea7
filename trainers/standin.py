"""The embedded default policy: a small causal model cloned on scripted episodes that follow the advice in their context.

A stand-in for an instruction-following language model. It knows one world's words and one closed grammar of advice; it
follows advice in combinations that it was not cloned on, and is careless without. It can't follow any other wording.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import cast

import torch
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from reskill_agents.action_format import ActionFormat
from reskill_agents.directives import Directive, sentence
from reskill_agents.engines.transformers import TransformersEngine
from reskill_agents.environment import ScriptedWorld, Split
from reskill_agents.graphs.blocking import run_blocking
from reskill_agents.graphs.chat_templates import ChatTokenizer
from reskill_agents.graphs.messages import system_text
from reskill_agents.library import SkillLibrary
from reskill_agents.selection import SkillSelector
from reskill_agents.skill import digest_json
from reskill_agents.trainers.advice import HELD_OUT_ONE_IN, AdviceSampler, Exploration, held_out
from reskill_agents.trainers.clone_checkpoint import CloneCheckpoint
from reskill_agents.trainers.clone_curve import CURVE_FILE, CloneCurve
from reskill_agents.trainers.cloning import CloneBudget, CloneProgress, clone
from reskill_agents.trainers.curriculum import Curriculum
from reskill_agents.trainers.encoding import EpisodeEncoder
from reskill_agents.trainers.remedies import find_remedies
from reskill_agents.trainers.run_folder import write_atomically
from reskill_agents.trainers.scripted import Advice, play_scripted
from reskill_agents.trainers.standin_gate import CloneGate, Examiner, Measurement, gate_problems
from reskill_agents.trainers.standin_init import give_local_heads, put_counts_on_a_line
from reskill_agents.trainers.standin_tokenizer import MAX_LABEL, PHRASES, build_tokenizer

RECIPE_VERSION = 2  # part of the cache key: raise it when a clone built before is no longer the same
EXPLORATION_EPISODES = 160
REPORT_FILE = "standin.json"
UNFINISHED_FILE = "clone.pt"
_REMEDIES_FILE = "remedies.json"
_EXAMINED = 1_000_003  # seeds of examinations are far from others
_MIN_OTHERS = 5.0  # neutral or harmful directives heard for each useful one (issue)


@dataclass(frozen=True, slots=True)
class StandinSize:
    """The model: Qwen3 configuration, so that other engines can serve it. Defaults: 0.7 M parameters."""

    hidden: int = 128
    layers: int = 3
    heads: int = 4
    mlp: int = 384
    max_context: int = 2048


class Stage(StrEnum):
    """What building a stand-in is doing."""

    EXPLORE = "explore"
    CLONE = "clone"
    EXAMINE = "examine"


@dataclass(frozen=True, slots=True)
class StandinProgress:
    """Where a build stands: stage, share of that stage done (0..1), a few words."""

    stage: Stage
    share: float
    detail: str = ""


Progress = Callable[[StandinProgress], None]


@dataclass(frozen=True)
class StandinReport:
    """What was built and what it can do; written to ``standin.json``.

    ``others_per_useful``: neutral or harmful directives heard in cloning for each useful one, usefulness measured on
    the scripted episodes themselves. ``held_out_pairs``: pairs inside ``best`` that never came together in cloning.
    """

    world: dict[str, str | int | float | bool]
    seed: int
    recipe: int
    parameters: int
    vocabulary: int
    grammar: int
    clone: CloneProgress
    seconds: float
    scripted_episodes: int
    tokens_per_episode: float
    others_per_useful: float
    best: tuple[str, ...]
    harmful: tuple[str, ...]
    held_out_pairs: int
    measurements: tuple[Measurement, ...] = ()
    problems: tuple[str, ...] = ()

    def write(self, folder: Path) -> None:
        """Write it to ``folder``."""
        text = json.dumps(dataclasses.asdict(self), indent=2, sort_keys=True)
        write_atomically(folder / REPORT_FILE, text + "\n")

    @classmethod
    def read(cls, folder: Path) -> StandinReport:
        """The report in ``folder``."""
        fields = json.loads((folder / REPORT_FILE).read_text(encoding="utf-8"))
        fields["clone"] = CloneProgress(**fields["clone"])
        fields["measurements"] = tuple(
            Measurement(**{**one, "advice": tuple(one["advice"])}) for one in fields["measurements"]
        )
        for name in ("best", "harmful", "problems"):
            fields[name] = tuple(fields[name])
        return cls(**fields)


def explore(world: ScriptedWorld, *, seed: int, episodes: int = EXPLORATION_EPISODES) -> Exploration:
    """Careless, unadvised scripted episodes on training tasks."""
    environment, tasks = world.make(), world.tasks(Split.TRAIN)
    rng = random.Random(f"explore/{seed}")
    unadvised = Advice(SkillSelector(SkillLibrary()))
    return Exploration(
        tuple(
            play_scripted(world, environment, rng.choice(tasks), rng.getrandbits(40), unadvised)
            for _ in range(episodes)
        )
    )


def standin_tokenizer(world: ScriptedWorld, exploration: Exploration, *, max_length: int) -> PreTrainedTokenizerFast:
    """The tokenizer for ``world``: its words, and what recurs in it as phrases."""
    open_kinds = {target.kind for target in exploration.vocabulary.kinds}
    literals = [target.text for target in exploration.vocabulary.literals if target.kind not in open_kinds]
    system = system_text(world.system_prompt(), ActionFormat.NUMBERED).splitlines()
    labels = max(MAX_LABEL, 2 * exploration.max_choices)
    return build_tokenizer(world.vocabulary(), [*literals, *system], max_label=labels, max_length=max_length)


def policy_config(tokenizer: PreTrainedTokenizerBase, size: StandinSize, *, tied: bool = True) -> Qwen3Config:
    """A policy of ``size`` for the words of ``tokenizer``; ``tied``: the head is the embedding."""
    return Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=size.hidden,
        intermediate_size=size.mlp,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.heads,
        head_dim=size.hidden // size.heads,
        max_position_embeddings=size.max_context,
        tie_word_embeddings=tied,
        bos_token_id=None,
        eos_token_id=cast("int", tokenizer.eos_token_id),
        pad_token_id=cast("int", tokenizer.pad_token_id),
    )


def new_model(tokenizer: PreTrainedTokenizerFast, size: StandinSize, *, seed: int) -> Qwen3ForCausalLM:
    """A model at its start, deterministic in ``seed``: random weights with the habits of :mod:`standin_init`."""
    config = policy_config(tokenizer, size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Qwen3ForCausalLM = Qwen3ForCausalLM(config).float()  # type: ignore[no-untyped-call]
    give_local_heads(model, seed=seed)
    put_counts_on_a_line(model, tokenizer, seed=seed)
    return model


def build_standin(
    world: ScriptedWorld,
    folder: Path,
    *,
    seed: int = 0,
    threads: int = 1,
    budget: CloneBudget | None = None,
    size: StandinSize | None = None,
    gate: CloneGate | None = None,
    curve_every: int = 0,
    progress: Progress | None = None,
) -> StandinReport:
    """Build a stand-in policy for ``world`` into ``folder`` (Hugging Face layout, and ``standin.json``).

    Clones, and examines on validation tasks; test tasks are not opened. A build that was killed in ``folder`` is taken up
    where it stood.

    Args:
        world: what to clone on.
        folder: made if needed.
        seed: of weights, episodes and examination.
        threads: intra-op threads of torch while building (set back afterwards).
        budget: of cloning.
        size: of the model.
        gate: what the clone must reach.
        curve_every: updates between measurements of the unfinished clone (:class:`CloneCurve`); 0: none.
        progress: told where the build stands.

    Returns:
        The report; ``problems`` says what of the gate it missed (it is kept nevertheless: an honest weak start can still
        be trained, and the caller decides).
    """
    threads_before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return _build(
            world,
            folder,
            seed,
            budget or CloneBudget(),
            size or StandinSize(),
            gate or CloneGate(),
            curve_every,
            progress,
        )
    finally:
        torch.set_num_threads(threads_before)


def _build(
    world: ScriptedWorld,
    folder: Path,
    seed: int,
    budget: CloneBudget,
    size: StandinSize,
    gate: CloneGate,
    curve_every: int,
    progress: Progress | None,
) -> StandinReport:
    tell = progress or (lambda _: None)
    started = time.monotonic()
    tell(StandinProgress(Stage.EXPLORE, 0.0))
    exploration = explore(world, seed=seed)
    sampler = AdviceSampler.of(exploration, world.vocabulary())
    tokenizer = standin_tokenizer(world, exploration, max_length=size.max_context)
    model = new_model(tokenizer, size, seed=seed)
    curriculum = Curriculum(world, sampler, EpisodeEncoder(tokenizer), seed, budget.tokens_per_batch)

    key, grammar = cache_key(world, seed, budget, size, gate), exploration.grammar
    folder.mkdir(parents=True, exist_ok=True)
    unfinished, found = folder / UNFINISHED_FILE, folder / _REMEDIES_FILE
    best = find_remedies(world, grammar, exploration.vocabulary, episodes=gate.tasks, seed=seed, path=found, key=key)
    examined = _EXAMINED * (seed + 1)
    curve = (
        CloneCurve(folder / CURVE_FILE, curve_every, world, tokenizer, best, gate, examined) if curve_every else None
    )

    def cloning(state: CloneProgress) -> None:
        tell(StandinProgress(Stage.CLONE, state.share, f"step {state.step}, loss {state.loss:.3f}"))
        if curve:
            curve.at(model, state)

    checkpoint = CloneCheckpoint(unfinished, curriculum, key)
    cloned = clone(model, curriculum, budget, progress=cloning, checkpoint=checkpoint)
    harmful = curriculum.effects.harmful()
    measured = _examine(world, model, tokenizer, gate, seed, best, harmful[:2], tell)
    others = curriculum.effects.others_per_useful()
    problems = gate_problems(measured, gate)
    if not best:
        problems.append("no advice of the grammar helps a scripted player: the world is not fit for a stand-in")
    if best and others < _MIN_OTHERS:
        problems.append(
            f"{others:.1f} neutral or harmful directives for each useful one, at least {_MIN_OTHERS} wanted"
        )
    report = StandinReport(
        world=dict(world.describe()),
        seed=seed,
        recipe=RECIPE_VERSION,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        vocabulary=len(tokenizer),
        grammar=len(exploration.grammar),
        clone=cloned,
        seconds=time.monotonic() - started,
        scripted_episodes=curriculum.effects.count,
        tokens_per_episode=curriculum.episode_tokens / max(1, curriculum.episodes),
        others_per_useful=others,
        best=tuple(map(sentence, best)),
        harmful=tuple(map(sentence, harmful[:2])),
        held_out_pairs=sum(held_out(a, b) for a, b in itertools.combinations(best, 2)),
        measurements=tuple(measured),
        problems=tuple(problems),
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    report.write(folder)
    for file in (unfinished, found):
        file.unlink(missing_ok=True)
    return report


def _examine(
    world: ScriptedWorld,
    model: Qwen3ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    gate: CloneGate,
    seed: int,
    best: Sequence[Directive],
    harmful: Sequence[Directive],
    tell: Progress,
) -> list[Measurement]:
    plan: list[tuple[str, Sequence[Directive], Split]] = [
        ("none", (), Split.VALID),
        ("best", best, Split.VALID),
        *(("useful", (one,), Split.VALID) for one in best),
        *(("harmful", (one,), Split.VALID) for one in harmful),
    ]

    async def run() -> list[Measurement]:
        engine = TransformersEngine(model)
        examiner = Examiner(world, engine, ChatTokenizer(tokenizer), gate, _EXAMINED * (seed + 1))
        done: list[Measurement] = []
        try:
            for number, (role, advice, split) in enumerate(plan):
                tell(StandinProgress(Stage.EXAMINE, number / len(plan), f"{role}, {split.value}"))
                done.append(await examiner.measure(role, advice, split))
        finally:
            await engine.aclose()
        return done

    return run_blocking(run())


def cache_key(world: ScriptedWorld, seed: int, budget: CloneBudget, size: StandinSize, gate: CloneGate) -> str:
    """Digest of everything that makes a stand-in what it is."""
    content = {
        "world": dict(world.describe()),
        "vocabulary": list(world.vocabulary()),
        "system": world.system_prompt(),
        "grammar": [*PHRASES, HELD_OUT_ONE_IN],
        "recipe": RECIPE_VERSION,
        "seed": seed,
        "settings": [dataclasses.asdict(part) for part in (budget, size, gate)],
    }
    return digest_json(content).removeprefix("sha256-")[:20]
