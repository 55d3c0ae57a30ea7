"""An event loop of its own thread: connections and locks live there, callers come from any loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
_PATIENCE_S = 2.0  # with a task that will not end


class LoopThread:
    """Runs coroutines of callers in different event loops (or one after the other) on one loop."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    async def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """The result of ``coroutine``; cancelling the caller cancels it."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self._loop))

    def stop(self) -> None:
        """End the thread; what still runs is cancelled. Safe to call twice."""
        if not self._loop.is_closed():
            asyncio.run_coroutine_threadsafe(_wind_up(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()


async def _wind_up() -> None:
    """As ``asyncio.run`` does at its end; a pass of the loop more, in which closed connections let go of their sockets."""
    rest = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in rest:
        task.cancel()
    if rest:
        await asyncio.wait(rest, timeout=_PATIENCE_S)
    await asyncio.get_running_loop().shutdown_asyncgens()
    await asyncio.sleep(0)
