"""How much a comparison may cost, and what it has cost so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from reskill_agents.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of the chat models that ran.

    Args:
        prompt: tokens read.
        answer: tokens written.
        estimated: some model did not report its usage; its share is characters / 4.
    """

    prompt: int = 0
    answer: int = 0
    estimated: bool = False

    @property
    def total(self) -> int:
        """Read and written."""
        return self.prompt + self.answer

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(self.prompt + other.prompt, self.answer + other.answer, self.estimated or other.estimated)


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits; ``None`` is no limit. Runs, tokens and money count what earlier calls on the same folder spent.

    Args:
        runs: agent runs, both arms.
        tokens: read and written.
        money: in the unit of the prices.
        seconds: wall clock of this call.
        price_prompt, price_answer: per million tokens.

    Raises:
        ConfigError: a limit that is not positive, or money without a price.
    """

    runs: int | None = None
    tokens: int | None = None
    money: float | None = None
    seconds: float | None = None
    price_prompt: float = 0.0
    price_answer: float = 0.0

    def __post_init__(self) -> None:
        for name in ("runs", "tokens", "money", "seconds"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"budget {name}: must be above 0, got {value}")
        if self.price_prompt < 0 or self.price_answer < 0:
            raise ConfigError("prices must not be negative")
        if self.money is not None and not (self.price_prompt or self.price_answer):
            raise ConfigError("a budget in money needs prices: give price_prompt and price_answer per million tokens")

    def price(self, tokens: Tokens) -> float:
        """What ``tokens`` cost."""
        return (tokens.prompt * self.price_prompt + tokens.answer * self.price_answer) / 1e6


@dataclass
class Account:
    """What was spent and what is under way; says whether one pair more fits.

    Runs are counted exactly. Tokens and money of a pair are known only afterwards, so pairs under way are counted at
    the mean so far; before the first has ended, only one is under way when such a limit is set. The spend can pass
    such a limit by what the last pairs cost above the mean.
    """

    budget: Budget
    runs: int = 0
    tokens: Tokens = Tokens()
    runs_under_way: int = 0

    def limit_reached(self, more_runs: int, elapsed: float) -> str | None:
        """Why ``more_runs`` runs more must not start; ``None`` when they may."""
        budget, open_runs = self.budget, self.runs_under_way + more_runs
        if budget.seconds is not None and elapsed >= budget.seconds:
            return f"{budget.seconds:g} seconds"
        if budget.runs is not None and self.runs + open_runs > budget.runs:
            return f"{budget.runs} runs"
        ahead = open_runs / self.runs if self.runs else 0.0
        if budget.tokens is not None and self.tokens.total * (1 + ahead) > budget.tokens:
            return f"{budget.tokens} tokens"
        if budget.money is not None and budget.price(self.tokens) * (1 + ahead) > budget.money:
            return f"{budget.money:g} of money"
        return None

    def must_wait(self) -> bool:
        """The cost of a run is unknown, a limit depends on it, and one is under way."""
        limited = self.budget.tokens is not None or self.budget.money is not None
        return limited and not self.runs and self.runs_under_way > 0

    def start(self, runs: int) -> Self:
        """``runs`` are under way."""
        self.runs_under_way += runs
        return self

    def end(self, tokens: Tokens) -> None:
        """One of them has ended."""
        self.runs_under_way -= 1
        self.add(tokens)

    def add(self, tokens: Tokens) -> None:
        """A run that is over, this one or an earlier call's."""
        self.runs += 1
        self.tokens = self.tokens + tokens
