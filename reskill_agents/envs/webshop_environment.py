"""One playable shop."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol

from reskill_agents.environment import Observation, StepResult, Task
from reskill_agents.envs import webshop_compact
from reskill_agents.envs.webshop_catalogue import Catalogue
from reskill_agents.envs.webshop_compact import CompactView
from reskill_agents.envs.webshop_goals import Goal
from reskill_agents.envs.webshop_pages import PageView
from reskill_agents.envs.webshop_reward import Grader
from reskill_agents.envs.webshop_search import SearchIndex
from reskill_agents.envs.webshop_session import RESULTS_A_PAGE, Page, ShopSession
from reskill_agents.errors import EnvironmentFault

_ACTION = re.compile(r"(.+)\[(.+)\]")


class ObservationMode(StrEnum):
    """How pages are shown.

    ``compact``: few closed words, the request's words as numbered slots (the environment does the word matching).
    ``text``, ``text_rich``: the original's pages.
    """

    COMPACT = "compact"
    TEXT = "text"
    TEXT_RICH = "text_rich"


class View(Protocol):
    """Shows the open page; ``score`` is read once the visit is over."""

    def show(self, session: ShopSession, score: float) -> Observation:
        """The open page and its admissible actions."""
        ...


class WebShopEnvironment:
    """One shopper's visit; see :class:`reskill_agents.environment.Environment`.

    Actions: ``search[words]`` (on every page) and ``click[target]``, target in any case.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        index: SearchIndex,
        goals: Mapping[str, Goal],
        grader: Grader,
        mode: ObservationMode,
    ) -> None:
        self._catalogue = catalogue
        self._index = index
        self._goals = goals
        self._grader = grader
        self._mode = mode
        self._visit: tuple[ShopSession, Goal, View] | None = None
        self._score = 0.0

    def reset(self, task: Task, *, seed: int) -> Observation:
        """Start ``task``; raises :class:`EnvironmentFault` if it is not a task of this world."""
        goal = self._goals.get(task.task_id)
        if goal is None:
            raise EnvironmentFault(f"no task {task.task_id!r} in this world")
        compact = self._mode is ObservationMode.COMPACT
        page_size = webshop_compact.RESULTS_A_PAGE if compact else RESULTS_A_PAGE
        session = ShopSession(self._catalogue, self._index, page_size)
        view: View
        if compact:
            view = CompactView(goal, self._catalogue.get(goal.asin), seed)
        else:
            view = PageView(goal, rich=self._mode is ObservationMode.TEXT_RICH)
        self._visit, self._score = (session, goal, view), 0.0
        return view.show(session, self._score)

    def step(self, action: str) -> StepResult:
        """Take one action; one that is not available leaves the page and gives 0."""
        if self._visit is None:
            raise EnvironmentFault("step before reset")
        session, goal, view = self._visit
        valid = session.page is not Page.DONE and _take(session, action.strip())
        done = session.page is Page.DONE
        if done and valid and session.product is not None:
            self._score = self._grader.grade(session.product, session.chosen.values(), goal).score
        return StepResult(view.show(session, self._score), done, self._score, valid)


def _take(session: ShopSession, action: str) -> bool:
    """Parse greedily, as the original does, and act; False if nothing happened."""
    match = _ACTION.match(action)
    if match is None:
        return False
    verb, target = match[1], match[2].lower()
    if verb == "search":
        session.search(target)
        return True
    return verb == "click" and session.click(target)
