"""What skills cost a live app: tokens and money per request, all together and for each library that was served."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from reskill_agents.errors import ConfigError
from reskill_agents.live_records import Run
from reskill_agents.store_protocol import SkillStore


@dataclass(frozen=True, slots=True)
class Prices:
    """Money per million tokens, in any one currency.

    Args:
        prompt: of tokens read.
        answer: of tokens written.
        cached: of tokens read from the provider's prompt cache; default: as ``prompt``.

    Raises:
        ConfigError: a price below 0.
    """

    prompt: float = 0.0
    answer: float = 0.0
    cached: float | None = None

    def __post_init__(self) -> None:
        if min(self.prompt, self.answer, self.cached or 0.0) < 0:
            raise ConfigError("prices must not be negative")


@dataclass(frozen=True, slots=True)
class Expense:
    """What some requests took.

    Args:
        requests: runs of the agent.
        with_skills: those whose prompts held skill text.
        skill_tokens: prompt tokens of skill text, over all model calls, as the middleware counts them.
        metered: requests of which the model reported its usage; the next three are of these.
        prompt_tokens, answer_tokens, cached_tokens: as the model reported them.
        metered_skill_tokens: skill tokens of the metered requests.
    """

    requests: int = 0
    with_skills: int = 0
    skill_tokens: int = 0
    metered: int = 0
    prompt_tokens: int = 0
    answer_tokens: int = 0
    cached_tokens: int = 0
    metered_skill_tokens: int = 0

    @property
    def skill_tokens_per_request(self) -> float:
        """Tokens of skill text that a request reads."""
        return self.skill_tokens / self.requests if self.requests else 0.0

    @property
    def tokens_per_request(self) -> float | None:
        """Tokens read and written by a metered request; ``None`` where no model reported any."""
        return (self.prompt_tokens + self.answer_tokens) / self.metered if self.metered else None

    @property
    def share_of_prompts(self) -> float | None:
        """Skill text as a share of what metered requests read."""
        return self.metered_skill_tokens / self.prompt_tokens if self.prompt_tokens else None

    def money(self, prices: Prices) -> float | None:
        """What a metered request costs."""
        if not self.metered:
            return None
        cached = prices.prompt if prices.cached is None else prices.cached
        read = (self.prompt_tokens - self.cached_tokens) * prices.prompt + self.cached_tokens * cached
        return (read + self.answer_tokens * prices.answer) / self.metered / 1e6

    def skill_money(self, prices: Prices) -> float:
        """What skill text adds to a request at the full price of the prompt: a bound, because caches make it cheaper."""
        return self.skill_tokens_per_request * prices.prompt / 1e6


@dataclass(frozen=True, slots=True)
class LibraryExpense:
    """The requests that carried one library; ``skills`` are the names of those whose text entered."""

    library: str
    skills: tuple[str, ...]
    expense: Expense


@dataclass(frozen=True, slots=True)
class SkillAccount:
    """All requests, for each library (the most used first), and the latest one by one."""

    total: Expense
    libraries: tuple[LibraryExpense, ...]
    latest: tuple[Run, ...] = ()


def skill_account(store: SkillStore, *, since: float = 0.0, latest: int = 0) -> SkillAccount:
    """The account of one tenant.

    Args:
        store: its live data.
        since: only runs that started then or later (seconds since the epoch).
        latest: so many runs are listed, the newest first.
    """
    runs = store.runs(since=since)
    carried: dict[str, list[Run]] = {}
    for run in runs:
        carried.setdefault(run.library, []).append(run)
    libraries = [
        LibraryExpense(digest, tuple(sorted({name for run in some for name in run.skills})), expense_of(some))
        for digest, some in carried.items()
    ]
    libraries.sort(key=lambda one: (-one.expense.requests, one.library))
    return SkillAccount(expense_of(runs), tuple(libraries), _newest(runs, latest))


def expense_of(runs: Iterable[Run]) -> Expense:
    """The sum over ``runs``."""
    every = list(runs)
    metered = [run for run in every if run.calls]
    return Expense(
        requests=len(every),
        with_skills=sum(run.skill_tokens > 0 for run in every),
        skill_tokens=sum(run.skill_tokens for run in every),
        metered=len(metered),
        prompt_tokens=sum(run.prompt_tokens for run in metered),
        answer_tokens=sum(run.answer_tokens for run in metered),
        cached_tokens=sum(run.cached_tokens for run in metered),
        metered_skill_tokens=sum(run.skill_tokens for run in metered),
    )


def _newest(runs: Sequence[Run], count: int) -> tuple[Run, ...]:
    return tuple(reversed(runs[-count:])) if count > 0 else ()
