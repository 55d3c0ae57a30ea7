"""WebShop: find, configure and buy the product that a request describes. A simulator of the public benchmark."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from enum import StrEnum

from reskill_agents.environment import Observation, Split, StepResult, Task
from reskill_agents.envs.webshop_catalogue import Catalogue
from reskill_agents.envs.webshop_compact import RESULTS_A_PAGE as COMPACT_RESULTS
from reskill_agents.envs.webshop_compact import SYSTEM_PROMPT as COMPACT_PROMPT
from reskill_agents.envs.webshop_compact import CompactView, compact_vocabulary
from reskill_agents.envs.webshop_generate import generate_shop
from reskill_agents.envs.webshop_goals import Goal
from reskill_agents.envs.webshop_reward import Grader
from reskill_agents.envs.webshop_script import CarelessShopper
from reskill_agents.envs.webshop_search import SearchIndex
from reskill_agents.envs.webshop_session import Page, ShopSession
from reskill_agents.errors import EnvironmentFault

_ACTION = re.compile(r"(.+)\[(.+)\]")


class ObservationMode(StrEnum):
    """How pages are shown."""

    COMPACT = "compact"


class WebShopEnvironment:
    """One shopper's visit; see :class:`reskill_agents.environment.Environment`."""

    def __init__(self, catalogue: Catalogue, index: SearchIndex, goals: Mapping[str, Goal], grader: Grader) -> None:
        self._catalogue = catalogue
        self._index = index
        self._goals = goals
        self._grader = grader
        self._session: ShopSession | None = None
        self._score = 0.0

    def reset(self, task: Task, *, seed: int) -> Observation:
        """Start ``task``; raises :class:`EnvironmentFault` if it is not a task of this world."""
        if task.task_id not in self._goals:
            raise EnvironmentFault(f"no task {task.task_id!r} in this world")
        self._goal = self._goals[task.task_id]
        self._session = ShopSession(self._catalogue, self._index, COMPACT_RESULTS)
        self._view = CompactView(self._goal, self._catalogue.get(self._goal.asin), seed)
        self._score = 0.0
        return self._view.show(self._session)

    def step(self, action: str) -> StepResult:
        """Take ``search[words]`` or ``click[target]``; anything else leaves the page and is invalid."""
        session = self._session
        if session is None:
            raise EnvironmentFault("step before reset")
        match = _ACTION.fullmatch(action.strip())
        valid = False
        if match and session.page is not Page.DONE:
            verb, target = match[1].strip().lower(), match[2].strip().lower()
            if verb == "search":
                session.search(target)
                valid = True
            elif verb == "click":
                valid = session.click(target)
        if session.page is Page.DONE and valid and session.product is not None:
            self._score = self._grader.grade(session.product, session.chosen.values(), self._goal).score
        return StepResult(self._view.show(session), session.page is Page.DONE, self._score, valid)


class WebShopWorld:
    """WebShop tasks in splits; see :class:`reskill_agents.environment.World`."""

    name = "webshop"

    def __init__(self, *, catalogue_seed: int = 7, mode: ObservationMode = ObservationMode.COMPACT) -> None:
        shop = generate_shop(catalogue_seed)
        self.max_turns = 12
        self._seed = catalogue_seed
        self._mode = mode
        self._catalogue = Catalogue(shop.products)
        self._index = SearchIndex(product.document for product in shop.products)
        self._grader = Grader()
        self._goals: dict[str, Goal] = {}
        self._tasks: dict[Split, list[Task]] = {split: [] for split in Split}
        rng = random.Random(f"split/{catalogue_seed}")
        types = sorted({entry.product_type for entry in shop.goals})
        unseen = set(rng.sample(types, round(0.2 * len(types))))
        split_of: dict[str, Split] = {}
        for asin in sorted({entry.goal.asin for entry in shop.goals}):
            draw = rng.random()
            split_of[asin] = Split.TRAIN if draw < 0.6 else Split.VALID if draw < 0.8 else Split.SEEN_TEST
        for number, entry in enumerate(shop.goals):
            split = Split.UNSEEN_TEST if entry.product_type in unseen else split_of[entry.goal.asin]
            task = Task(f"webshop-{number}", entry.goal.instruction, split, {"goals": entry.goal.source})
            self._goals[task.task_id] = entry.goal
            self._tasks[split].append(task)

    def tasks(self, split: Split) -> Sequence[Task]:
        """The tasks of a split, always in the same order."""
        return tuple(self._tasks[split])

    def make(self) -> WebShopEnvironment:
        """A new environment over the shared catalogue."""
        return WebShopEnvironment(self._catalogue, self._index, self._goals, self._grader)

    def describe(self) -> Mapping[str, str | int | float | bool]:
        """Settings and counts for the run's config."""
        counts = {f"tasks_{split.value}": len(tasks) for split, tasks in self._tasks.items()}
        return {
            "world": self.name,
            "data": "generated",
            "catalogue_seed": self._seed,
            "mode": self._mode.value,
            "products": len(self._catalogue),
            **counts,
        }

    def system_prompt(self) -> str:
        """What the agent is told before the first observation."""
        return COMPACT_PROMPT

    def vocabulary(self) -> Sequence[str]:
        """Every word of compact observations, choices and the system prompt."""
        return compact_vocabulary()

    def actor(self, seed: int) -> CarelessShopper:
        """A careless shopper for one episode."""
        return CarelessShopper(random.Random(f"shopper/{seed}"))
