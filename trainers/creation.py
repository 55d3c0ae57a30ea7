"""A creation round beside the loop: started on a snapshot, joined at a step fixed in advance."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from reskill_agents.assertions import Assertion
from reskill_agents.episode_logs import episode_from_json, episode_to_json
from reskill_agents.episodes import Episode
from reskill_agents.errors import RunFolderError
from reskill_agents.graphs.creator import create
from reskill_agents.graphs.creator_state import Author, CreationConfig, CreationReport, CreationResult, PastVerdict
from reskill_agents.library import SkillLibrary

_log = logging.getLogger(__name__)


@dataclass
class Creation:
    """One round. Its inputs never change, so that a resumed run can start it again and gets the same proposal.

    Args:
        number: from 1.
        asked_at: step before which it began.
        joins_at: step before which its proposal joins.
        episodes: what the author reads.
        library: in force when it began (and still when it joins).
        verdicts: all earlier ones.
        seed: of everything random in it.
        assertions: those the last round handed on.
    """

    number: int
    asked_at: int
    joins_at: int
    episodes: tuple[Episode, ...]
    library: SkillLibrary
    verdicts: tuple[PastVerdict, ...]
    seed: int
    assertions: tuple[Assertion, ...] = ()
    _task: asyncio.Task[CreationResult] | None = field(default=None, repr=False)

    def start(self, author: Author | None, config: CreationConfig) -> None:
        """Begin in a thread of its own; must be called inside the event loop."""

        def work() -> CreationResult:
            return asyncio.run(
                create(
                    self.episodes,
                    self.library,
                    author=author,
                    verdicts=self.verdicts,
                    assertions=self.assertions,
                    seed=self.seed,
                    config=config,
                )
            )

        self._task = asyncio.create_task(asyncio.to_thread(work))

    async def join(self, deadline_s: float | None) -> tuple[CreationResult, float]:
        """The result and the seconds waited for it. A round that fails or is late is one without a proposal."""
        if self._task is None:
            raise RuntimeError("a creation is joined before it was started")
        started = time.perf_counter()
        try:
            result = await asyncio.wait_for(asyncio.shield(self._task), deadline_s)
        except TimeoutError:
            result = self._nothing(f"not ready {deadline_s:g} s after its step; given up")
        except Exception as error:  # whatever breaks in a creation must not stop training
            _log.warning("creation %d failed", self.number, exc_info=True)
            result = self._nothing(f"{type(error).__name__}: {error}")
        return result, time.perf_counter() - started

    def _nothing(self, note: str) -> CreationResult:
        return CreationResult(None, CreationReport("none", notes=(note,)), self.assertions)

    def to_state(self) -> dict[str, object]:
        """JSON-able; library, verdicts and assertions are those of the loop's own state."""
        return {
            "number": self.number,
            "asked_at": self.asked_at,
            "joins_at": self.joins_at,
            "seed": self.seed,
            "episodes": [episode_to_json(episode) for episode in self.episodes],
        }

    @classmethod
    def from_state(
        cls,
        state: Mapping[str, object],
        library: SkillLibrary,
        verdicts: Sequence[PastVerdict],
        assertions: Sequence[Assertion],
    ) -> Creation:
        """The creation that :meth:`to_state` described, not started."""
        episodes = state["episodes"]
        numbers = [state[name] for name in ("number", "asked_at", "joins_at", "seed")]
        if not isinstance(episodes, list) or not all(isinstance(number, int) for number in numbers):
            raise RunFolderError("not the state of a creation")
        number, asked_at, joins_at, seed = (int(str(value)) for value in numbers)
        read = tuple(episode_from_json(entry) for entry in episodes)
        return cls(number, asked_at, joins_at, read, library, tuple(verdicts), seed, tuple(assertions))
