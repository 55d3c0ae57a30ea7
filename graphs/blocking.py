"""Calling async code from sync code, whether or not an event loop runs in this thread."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Coroutine
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")


@cache
def _background_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="reskill-sync-bridge", daemon=True).start()
    return loop


def run_blocking(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of ``coroutine``, run on a background event loop with this thread's context variables."""
    loop = _background_loop()
    context = contextvars.copy_context()
    done: asyncio.Future[T] | None = None
    finished = threading.Event()

    def start() -> None:
        nonlocal done
        done = loop.create_task(coroutine, context=context)
        done.add_done_callback(lambda _: finished.set())

    loop.call_soon_threadsafe(start)
    finished.wait()
    assert done is not None
    return done.result()
