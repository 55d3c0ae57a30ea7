"""Two halves of a step side by side: the next batch is sampled while the update runs on the last one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from reskill_agents.trainers.batches import Batch


@dataclass
class Lookahead:
    """Runs ``gather`` up to ``lag`` steps ahead of ``learn``, each of them one step at a time and in order.

    A step begins to be sampled when at most ``lag`` updates are missing, so at its own update no token is older than
    ``lag`` versions; those sampled after a publish on the way are younger. After a batch that ``stops`` (a checkpoint or
    evaluation is due behind it, a verdict fell) nothing is sampled before its update is done.

    Args:
        gather: plays a step.
        learn: trains on it.
        lag: steps ahead, at least 1.
    """

    gather: Callable[[int], Awaitable[Batch]]
    learn: Callable[[Batch], Awaitable[None]]
    lag: int
    _learned: int = 0
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, start: int, steps: int) -> None:
        """Steps ``start`` to ``steps - 1``.

        Raises:
            Exception: the first of either half; the other half is stopped.
        """
        self._learned = start
        batches: asyncio.Queue[Batch] = asyncio.Queue()
        halves = [
            asyncio.ensure_future(self._sample(start, steps, batches)),
            asyncio.ensure_future(self._train(start, steps, batches)),
        ]
        try:
            done, _ = await asyncio.wait(halves, return_when=asyncio.FIRST_EXCEPTION)
            for half in done:
                half.result()
        finally:
            for half in halves:
                half.cancel()
            await asyncio.gather(*halves, return_exceptions=True)

    async def _sample(self, start: int, steps: int, batches: asyncio.Queue[Batch]) -> None:
        for step in range(start, steps):
            await self._until(step - self.lag)
            batch = await self.gather(step)
            batches.put_nowait(batch)
            if batch.stops:
                await self._until(step + 1)

    async def _train(self, start: int, steps: int, batches: asyncio.Queue[Batch]) -> None:
        for step in range(start, steps):
            await self.learn(await batches.get())
            self._learned = step + 1
            self._changed.set()

    async def _until(self, learned: int) -> None:
        while self._learned < learned:
            self._changed.clear()
            await self._changed.wait()
