"""WebShop: find, configure and buy the product that a request describes.

A simulator written from the public benchmark's behaviour (Yao et al., 2022). It reads the official data files, or sells
from a generated catalogue of its own.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path

from reskill_agents.environment import Split, Task
from reskill_agents.envs import webshop_compact
from reskill_agents.envs.webshop_catalogue import Catalogue
from reskill_agents.envs.webshop_environment import ObservationMode, WebShopEnvironment
from reskill_agents.envs.webshop_goals import Goal
from reskill_agents.envs.webshop_reward import Grader
from reskill_agents.envs.webshop_script import CarelessShopper
from reskill_agents.envs.webshop_search import SearchIndex
from reskill_agents.envs.webshop_stocktake import Stock, generated_stock, official_stock
from reskill_agents.errors import ConfigError

__all__ = ["ObservationMode", "WebShopEnvironment", "WebShopWorld"]

MAX_TURNS = {ObservationMode.COMPACT: 12, ObservationMode.TEXT: 15, ObservationMode.TEXT_RICH: 15}  # ReSkill uses 15
SYSTEM_PROMPT = (
    "You are shopping on a web site. Find the product that the instruction asks for, choose its options and buy it. "
    "Actions: search[words] searches the shop; click[name] clicks a button, a product or an option of the page, "
    "written as the page shows it."
)


class WebShopWorld:
    """WebShop tasks in splits; see :class:`reskill_agents.environment.World`.

    In compact mode it is also a :class:`reskill_agents.environment.ScriptedWorld`.

    Args:
        data: a folder of official files (or its products file); ``None``: the generated catalogue.
        catalogue_seed: seed of the generated catalogue; with ``data`` it draws prices inside ranges, price caps and
            the goals made from products.
        mode: how pages are shown.
        products: use only the first so many products of ``data``, as the original's ``num_products``.
        strict_original: unknown (empty) queries and categories match each other, as in the original.
        max_turns: turns an episode may take; default 12 in compact mode, else 15.

    Raises:
        ConfigError: the data is unusable; names the file and the field, or the split that is too small.
    """

    name = "webshop"

    def __init__(
        self,
        data: Path | None = None,
        *,
        catalogue_seed: int = 7,
        mode: ObservationMode = ObservationMode.COMPACT,
        products: int | None = None,
        strict_original: bool = False,
        max_turns: int | None = None,
    ) -> None:
        self.max_turns = MAX_TURNS[mode] if max_turns is None else max_turns
        if self.max_turns < 1 or (products is not None and products < 1):
            raise ConfigError(f"max_turns ({max_turns}) and products ({products}) must be at least 1")
        self.mode = mode
        self._seed = catalogue_seed
        self._strict = strict_original
        self._stock: Stock
        if data is None:
            if products is not None:
                raise ConfigError(
                    "products limits a folder of official files; the generated catalogue has its own size"
                )
            self._stock = generated_stock(catalogue_seed)
        else:
            self._stock = official_stock(data, products=products, seed=catalogue_seed)
        self._catalogue = Catalogue(self._stock.products)
        self._index = SearchIndex(product.document for product in self._stock.products)
        self._grader = Grader(strict_original=strict_original)
        self._tasks = {split: self._make_tasks(self._stock.splits[split], split) for split in Split}
        self._adapt = self._make_tasks(self._stock.adapt, Split.TRAIN)
        self._goals: dict[str, Goal] = {
            _task_id(number): self._stock.goals[number]
            for numbers in (*self._stock.splits.values(), self._stock.adapt)
            for number in numbers
        }

    def _make_tasks(self, numbers: Sequence[int], split: Split) -> tuple[Task, ...]:
        goals = self._stock.goals
        return tuple(
            Task(_task_id(number), goals[number].instruction, split, {"goals": goals[number].source.value})
            for number in numbers
        )

    def tasks(self, split: Split) -> Sequence[Task]:
        """The tasks of a split, always in the same order. Official splits by index have no unseen test."""
        return self._tasks[split]

    def adaptation_tasks(self) -> Sequence[Task]:
        """Further requests of the generated shop, for test-time adaptation; none for official data."""
        return self._adapt

    def goal(self, task: Task) -> Goal:
        """What ``task`` asks for; for tests and oracles, never for agents."""
        return self._goals[task.task_id]

    def make(self) -> WebShopEnvironment:
        """A new environment over the shared catalogue."""
        return WebShopEnvironment(self._catalogue, self._index, self._goals, self._grader, self.mode)

    def describe(self) -> Mapping[str, str | int | float | bool]:
        """Data source, settings, and tasks per split and source of goals."""
        counts: dict[str, int] = {}
        for split in Split:
            counts[f"tasks_{split.value}"] = len(self._tasks[split])
            for source in sorted({task.tags["goals"] for task in self._tasks[split]}):
                counts[f"tasks_{split.value}_{source}"] = sum(t.tags["goals"] == source for t in self._tasks[split])
        return {
            "world": self.name,
            "data": self._stock.source,
            "split_rule": self._stock.split_rule,
            "catalogue_seed": self._seed,
            "mode": self.mode.value,
            "strict_original": self._strict,
            "max_turns": self.max_turns,
            "products": len(self._catalogue),
            **counts,
        }

    def system_prompt(self) -> str:
        """What the agent is told before the first observation."""
        return webshop_compact.SYSTEM_PROMPT if self.mode is ObservationMode.COMPACT else SYSTEM_PROMPT

    def vocabulary(self) -> Sequence[str]:
        """Every word of compact observations, choices and the system prompt, in a fixed order."""
        self._need_compact("a closed vocabulary")
        return webshop_compact.compact_vocabulary()

    def actor(self, seed: int) -> CarelessShopper:
        """A careless shopper for one episode."""
        self._need_compact("a scripted actor")
        return CarelessShopper(random.Random(f"shopper/{seed}"))

    def _need_compact(self, what: str) -> None:
        if self.mode is not ObservationMode.COMPACT:
            raise ConfigError(f"{what} exists in mode 'compact' only, not in {self.mode.value!r}")


def _task_id(number: int) -> str:
    return f"webshop-{number}"
