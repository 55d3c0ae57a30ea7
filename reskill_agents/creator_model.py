"""The seam to a language model that writes skills, and the client that keeps it within bounds.

A :class:`CreatorModel` turns a prompt into text. :class:`CreatorClient` asks it for structured answers: it validates
them and asks again with the validator's messages, backs off when told to, keeps to a budget of calls, tokens and money,
caches by prompt, and keeps full transcripts. Whatever goes wrong is a :class:`CreatorError`, never anything else.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

from pydantic import BaseModel, ValidationError

from reskill_agents.creator_usage import CreatorUsage
from reskill_agents.errors import CreatorError

_Answer = TypeVar("_Answer", bound=BaseModel)
LONGEST_ANSWER = 100_000  # characters; a longer answer is cut before it is parsed


class RateLimitError(CreatorError):
    """The endpoint asks to wait; ``retry_after`` seconds if it said so."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        self.retry_after = retry_after
        super().__init__(message)


class TransientModelError(CreatorError):
    """The endpoint failed in a way that may pass (connection lost, overloaded, time-out)."""


class BudgetError(CreatorError):
    """No more calls, tokens or money for this creator."""


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """What a model is asked.

    Args:
        node: which node of the creator asks (for transcripts).
        system, prompt: the texts. Log text in them is fenced data.
        schema_name, schema: JSON schema the answer must follow.
        max_tokens: longest answer.
    """

    node: str
    system: str
    prompt: str
    schema_name: str
    schema: Mapping[str, object]
    max_tokens: int = 2000

    @property
    def key(self) -> str:
        """What the cache is keyed by: everything that shapes the answer."""
        content = json.dumps([self.system, self.prompt, self.schema_name, self.schema, self.max_tokens], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class ModelAnswer:
    """What it said, and what that cost in tokens (0 where the endpoint does not say)."""

    text: str
    input_tokens: int = 0
    output_tokens: int = 0


@runtime_checkable
class CreatorModel(Protocol):
    """Prompt in, text out.

    Raises:
        RateLimitError: when the endpoint asks to wait.
        TransientModelError: when trying again may help.
        CreatorError: for anything else; never another exception.
    """

    @property
    def name(self) -> str:
        """The model's name, for caches and reports."""
        ...

    async def complete(self, request: ModelRequest) -> ModelAnswer:
        """Answer ``request``; structured output is asked for where the endpoint can give it."""
        ...


@dataclass(frozen=True, slots=True)
class Budget:
    """What one creator may spend. ``None``: no limit. Prices are in the currency of ``money`` per million tokens."""

    calls: int | None = 300
    tokens: int | None = 2_000_000
    money: float | None = None
    input_price: float = 0.0
    output_price: float = 0.0


@dataclass(slots=True)
class Spent:
    """What it has spent so far."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    def money(self, budget: Budget) -> float:
        """In the currency of the prices."""
        return (self.input_tokens * budget.input_price + self.output_tokens * budget.output_price) / 1e6


@dataclass(frozen=True, slots=True)
class Exchange:
    """One call, as kept in transcripts; ``problem`` says why the answer was not used."""

    node: str
    key: str
    system: str
    prompt: str
    answer: str
    input_tokens: int
    output_tokens: int
    seconds: float
    cached: bool = False
    problem: str = ""


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """How patient the client is.

    Args:
        timeout_s: for one call.
        attempts: answers asked for until one is valid (the paper: 3).
        retries: calls tried again after a transient error or a rate limit.
        backoff_s: first wait; doubles each time; a wait the endpoint asks for is kept up to ``longest_wait_s``.
        concurrency: calls under way at once.
    """

    timeout_s: float = 120.0
    attempts: int = 3
    retries: int = 4
    backoff_s: float = 1.0
    longest_wait_s: float = 60.0
    concurrency: int = 8


@dataclass
class CreatorClient:
    """Structured answers from a :class:`CreatorModel`, within bounds. One per creator; usable from several event loops.

    Args:
        model: who answers.
        budget: what may be spent over the client's life.
        config: how patient it is.
        cache: folder of earlier answers; ``None`` keeps them in memory.
        transcript: file to which every exchange is appended as a line of JSON.
        sleep: how to wait (tests pass their own).
    """

    model: CreatorModel
    budget: Budget = field(default_factory=Budget)
    config: ClientConfig = field(default_factory=ClientConfig)
    cache: Path | None = None
    transcript: Path | None = None
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    spent: Spent = field(default_factory=Spent)
    exchanges: list[Exchange] = field(default_factory=list)
    _memory: dict[str, str] = field(default_factory=dict)
    _slots: dict[int, asyncio.Semaphore] = field(default_factory=dict)

    async def ask(
        self,
        node: str,
        system: str,
        prompt: str,
        answer: type[_Answer],
        *,
        check: Callable[[_Answer], Sequence[str]] | None = None,
        max_tokens: int = 2000,
    ) -> _Answer:
        """A valid ``answer``.

        Args:
            node: which node asks.
            system, prompt: the texts.
            answer: the pydantic model to fill.
            check: further problems of a well-formed answer; each is told to the model.
            max_tokens: longest answer.

        Raises:
            CreatorError: when no valid answer came within attempts, retries, time-outs and budget.
        """
        said = prompt
        problems: Sequence[str] = ()
        for _ in range(self.config.attempts):
            request = ModelRequest(node, system, said, answer.__name__, _schema(answer), max_tokens)
            text = await self._answer(request)
            parsed, problems = _parse(text, answer)
            if parsed is not None:
                problems = list(check(parsed)) if check else []
                if not problems:
                    self._remember(request, text)
                    return parsed
            self._keep_problem(problems)
            said = _again(prompt, text, problems)
        raise CreatorError(f"{node}: no usable answer in {self.config.attempts} attempts: {'; '.join(problems[:3])}")

    @property
    def usage(self) -> CreatorUsage:
        """What was spent, with money where the budget knows prices."""
        priced = self.budget.input_price or self.budget.output_price
        spent = self.spent
        money = spent.money(self.budget) if priced else None
        return CreatorUsage(spent.calls, spent.input_tokens, spent.output_tokens, money)

    async def _answer(self, request: ModelRequest) -> str:
        cached = self._recall(request)
        if cached is not None:
            self._keep(request, ModelAnswer(cached), 0.0, cached=True)
            return cached
        problem = ""
        async with self._slot():
            for attempt in range(self.config.retries + 1):
                self._afford()
                started = time.perf_counter()
                try:
                    answer = await asyncio.wait_for(self.model.complete(request), self.config.timeout_s)
                except TimeoutError:
                    problem, wait = f"no answer within {self.config.timeout_s:g} s", 0.0
                except RateLimitError as error:
                    problem, wait = str(error), error.retry_after or 0.0
                except TransientModelError as error:
                    problem, wait = str(error), 0.0
                except CreatorError:
                    raise
                except Exception as error:  # an adapter of someone else's: contain it
                    raise CreatorError(f"{type(error).__name__}: {error}") from error
                else:
                    self._keep(request, answer, time.perf_counter() - started)
                    return answer.text[:LONGEST_ANSWER]
                self._keep(request, ModelAnswer(""), time.perf_counter() - started, problem=problem)
                if attempt < self.config.retries:
                    pause = max(wait, self.config.backoff_s * 2**attempt)
                    await self.sleep(min(pause, self.config.longest_wait_s))
        raise TransientModelError(f"{request.node}: gave up after {self.config.retries + 1} calls: {problem}")

    def _slot(self) -> asyncio.Semaphore:
        """Semaphores belong to an event loop; training runs each creation in its own."""
        loop = id(asyncio.get_running_loop())
        if loop not in self._slots:
            self._slots = {loop: asyncio.Semaphore(self.config.concurrency)}
        return self._slots[loop]

    def _afford(self) -> None:
        """Count a call, or refuse it."""
        budget, spent = self.budget, self.spent
        tokens = spent.input_tokens + spent.output_tokens
        if budget.calls is not None and spent.calls >= budget.calls:
            raise BudgetError(f"the budget of {budget.calls} calls is spent")
        if budget.tokens is not None and tokens >= budget.tokens:
            raise BudgetError(f"the budget of {budget.tokens} tokens is spent")
        if budget.money is not None and spent.money(budget) >= budget.money:
            raise BudgetError(f"the budget of {budget.money:g} is spent")
        spent.calls += 1

    def _keep(
        self, request: ModelRequest, answer: ModelAnswer, seconds: float, *, cached: bool = False, problem: str = ""
    ) -> None:
        self.spent.input_tokens += answer.input_tokens
        self.spent.output_tokens += answer.output_tokens
        exchange = Exchange(
            request.node,
            request.key,
            request.system,
            request.prompt,
            answer.text[:LONGEST_ANSWER],
            answer.input_tokens,
            answer.output_tokens,
            seconds,
            cached,
            problem,
        )
        self.exchanges.append(exchange)
        if self.transcript is not None:
            _append(self.transcript, json.dumps(asdict(exchange), ensure_ascii=False))

    def _keep_problem(self, problems: Sequence[str]) -> None:
        if self.transcript is not None:
            _append(self.transcript, json.dumps({"refused": list(problems)}, ensure_ascii=False))

    def _name(self, request: ModelRequest) -> str:
        return hashlib.sha256(f"{self.model.name}/{request.key}".encode()).hexdigest()

    def _recall(self, request: ModelRequest) -> str | None:
        name = self._name(request)
        if name in self._memory or self.cache is None:
            return self._memory.get(name)
        try:
            text = json.loads((self.cache / f"{name}.json").read_text(encoding="utf-8"))["text"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return text if isinstance(text, str) else None

    def _remember(self, request: ModelRequest, text: str) -> None:
        """Only valid answers are cached; a cache that cannot be written is no reason to fail."""
        name = self._name(request)
        self._memory[name] = text
        if self.cache is not None:
            try:
                self.cache.mkdir(parents=True, exist_ok=True)
                content = json.dumps({"model": self.model.name, "node": request.node, "text": text})
                (self.cache / f"{name}.json").write_text(content, encoding="utf-8")
            except OSError:
                return


@cache
def _schema(answer: type[BaseModel]) -> dict[str, object]:
    return answer.model_json_schema()


def _append(path: Path, line: str) -> None:
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
    except (OSError, UnicodeEncodeError):
        return


def _parse(text: str, answer: type[_Answer]) -> tuple[_Answer | None, list[str]]:
    """The answer in ``text``, or what is wrong with it in words for the model."""
    try:
        return answer.model_validate_json(_json_part(text)), []
    except ValidationError as error:
        found = [f"{'.'.join(map(str, part['loc'])) or 'answer'}: {part['msg']}" for part in error.errors()]
        return None, found[:10]
    except (ValueError, RecursionError) as error:
        return None, [f"not JSON: {error}"]


def _json_part(text: str) -> str:
    """The outermost object in ``text``: models wrap it in prose or a code fence although they are told not to."""
    start, end = text.find("{"), text.rfind("}")
    return text[start : end + 1] if 0 <= start < end else text


def _again(prompt: str, text: str, problems: Sequence[str]) -> str:
    listed = "\n".join(f"- {problem}" for problem in problems)
    shown = text if len(text) <= 2000 else text[:2000] + " [cut]"
    shown = shown.encode("utf-8", "replace").decode()  # a lone surrogate cannot be sent back
    return f"{prompt}\n\nYour last answer could not be used:\n{listed}\n\nIt was:\n{shown}\n\nAnswer again, corrected."
