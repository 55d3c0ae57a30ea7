"""What a creator has asked of a language model so far: calls, tokens, money."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class CreatorUsage:
    """Calls and tokens of a creator's model, lower is cheaper. An answer from the cache costs nothing.

    Args:
        calls: sent, those that failed included.
        prompt_tokens, completion_tokens: as the endpoint counts them (0 where it does not say).
        money: in the currency of the prices; ``None`` where no prices are known.
    """

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    money: float | None = None

    def __sub__(self, earlier: CreatorUsage) -> CreatorUsage:
        """What was asked since ``earlier``."""
        return CreatorUsage(
            self.calls - earlier.calls,
            self.prompt_tokens - earlier.prompt_tokens,
            self.completion_tokens - earlier.completion_tokens,
            None if self.money is None else self.money - (earlier.money or 0.0),
        )


NO_USAGE = CreatorUsage()


@runtime_checkable
class Metered(Protocol):
    """An author that counts what it asks."""

    @property
    def usage(self) -> CreatorUsage:
        """Everything so far; may be read from another thread."""
        ...


def usage_of(author: object) -> CreatorUsage:
    """What ``author`` has asked so far; nothing for one that asks no model."""
    return author.usage if isinstance(author, Metered) else NO_USAGE
