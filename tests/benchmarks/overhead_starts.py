"""Where ``overhead.py`` compares reskill and grpo: pages, start policy, and the library that reskill begins with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from random_policy import closed_tokenizer, ordinary_tokenizer, write_policy

from reskill_agents.envs.webshop import ObservationMode, WebShopWorld
from reskill_agents.library import SkillLibrary
from reskill_agents.skill import Skill
from reskill_agents.trainers.job_policy import CACHE
from reskill_agents.trainers.standin import StandinSize
from reskill_agents.trainers.standin_cache import cached_standin
from reskill_agents.trigger import Repeat, Trigger, TriggerKind

ROOT = Path(__file__).resolve().parents[2]
LARGE = StandinSize(hidden=1024, layers=28, heads=16, mlp=3072, max_context=8192)
_FIRST = (3.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)  # the start page has one choice only, the full request


def _skill(name: str, when: str, action: str, trigger: Trigger) -> Skill:
    return Skill(name, f"Use when {when}.", f"**When to use:** {when}.\n**Action:** {action}", trigger)


def _on(pattern: str) -> Trigger:
    return Trigger(TriggerKind.OBSERVATION_PATTERN, pattern, Repeat.AFTER_N_TURNS, 3)


LIBRARY = SkillLibrary(
    (
        _skill("among-item-most-task-words", "several item choices are offered",
               "When several item choices are offered, take the one that shares the most words with the task.",
               _on(r"(?i)\bresults page 1\b|\bpage 1 \(")),
        _skill("among-search-most-task-words", "several search choices are offered",
               "When several search choices are offered, take the one that shares the most words with the task.",
               Trigger(TriggerKind.BEGINNING)),
        _skill("avoid-item-marked-above", "an item is offered", "Do not take an item marked `above`.",
               _on(r"(?i)\bresults\b")),
        _skill("before-buy-now-take-named-option", "`buy now` is offered",
               "Before `buy now`, take every option the task names.", _on(r"(?i)\bitem page\b|\bbuy now\b")),
    )
)  # fmt: skip
"""What the main job ends with (README), with triggers that fire on the original's pages as well."""


@dataclass(frozen=True)
class Start:
    """A setting of the comparison.

    Args:
        meaning: one line for the table.
        world: tasks and pages.
        policy: where both methods start.
        library: what reskill starts with; grpo never has one.
        rollout: settings of both.
        warm_up: episodes before the first creation: at most one step's.
    """

    meaning: str
    world: WebShopWorld
    policy: Path
    library: SkillLibrary = field(default_factory=SkillLibrary)
    rollout: Mapping[str, int] = field(default_factory=dict)
    warm_up: int = 100


def clone(folder: Path, policy: Path | None, *, seed: int, threads: int) -> Start:
    """The stand-in: skills change what it does, and episodes become longer with them."""
    world = WebShopWorld()
    found = policy or cached_standin(world, ROOT / CACHE, seed=seed, threads=threads)
    return Start("compact pages, the cloned stand-in, no library at the start", world, found)


def alike(folder: Path, policy: Path | None, *, seed: int, threads: int) -> Start:
    """Play that no text changes, on the compact pages."""
    world, size = WebShopWorld(), StandinSize()
    write_policy(folder, closed_tokenizer(world, size.max_context), size)
    meaning = "compact pages, a policy that plays alike whatever it reads, four skills at the start"
    return Start(meaning, world, folder, LIBRARY, {"max_tokens": 1})


def pages(folder: Path, policy: Path | None, *, seed: int, threads: int) -> Start:
    """The same on the original's pages with an ordinary tokenizer; a smaller model and fewer episodes, for the time it takes."""
    return _on_pages(folder, StandinSize(hidden=64, layers=2, mlp=192, max_context=8192), "a policy", groups=2)


def large(folder: Path, policy: Path | None, *, seed: int, threads: int) -> Start:
    """The same with the layers of Qwen3-0.6B but as many keys as heads: 0.5 B parameters, for a GPU."""
    return _on_pages(folder, LARGE, "a policy of 0.5 B parameters", groups=8)


def _on_pages(folder: Path, size: StandinSize, policy: str, *, groups: int) -> Start:
    world = WebShopWorld(mode=ObservationMode.TEXT_RICH, max_turns=8)
    write_policy(folder, ordinary_tokenizer(size.max_context), size, _FIRST)
    meaning = f"the original's pages, an ordinary tokenizer, {policy} that plays alike, four skills at the start"
    return Start(meaning, world, folder, LIBRARY, {"max_tokens": 1, "groups": groups}, warm_up=16)


STARTS = {"clone": clone, "alike": alike, "pages": pages, "large": large}


def device_name(device: str) -> str:
    """What figures are of: ``cpu``, or the card's name."""
    import torch

    return device if device == "cpu" else torch.cuda.get_device_name()
