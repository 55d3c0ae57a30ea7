"""A fence between sampling and new weights: no generation is split over two versions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Fence:
    """Calls pass while it is open. Closing waits for the calls under way and holds back new ones. One event loop."""

    def __init__(self) -> None:
        self._gate = asyncio.Lock()
        self._idle = asyncio.Condition()
        self._under_way = 0

    @asynccontextmanager
    async def passing(self) -> AsyncIterator[None]:
        """One call; waits while the fence is closed."""
        async with self._gate:
            self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1
            async with self._idle:
                self._idle.notify_all()

    @asynccontextmanager
    async def closed(self) -> AsyncIterator[None]:
        """Nothing is under way inside."""
        async with self._gate:
            async with self._idle:
                await self._idle.wait_for(lambda: self._under_way == 0)
            yield
