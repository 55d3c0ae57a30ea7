"""One run of any LangGraph as an episode: its trace, its final state, its reward."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from langchain_core.messages import AIMessage, BaseMessage

from reskill_agents.episodes import Episode, Turn
from reskill_agents.errors import ConfigError
from reskill_agents.graphs.anchors import canonical_action
from reskill_agents.graphs.messages import text_of
from reskill_agents.graphs.recorder import TracedCall


@dataclass(frozen=True)
class GraphEpisode(Episode):
    """An episode of a graph. Its turns are the calls of its trace; those of frozen models carry no token ids.

    Args:
        trace: every model call in the order answered, with node, branch and attempt.
        output: the graph's last state; of a run that a limit ended, the state it had reached.
        reward: what the reward function said, any scale; ``score`` is it cut to 0..1.
    """

    trace: tuple[TracedCall, ...] = ()
    output: Mapping[str, Any] = field(default_factory=dict)
    reward: float | None = None

    @property
    def messages(self) -> list[BaseMessage]:
        """The messages of the final state; empty for a state without them."""
        found = self.output.get("messages", [])
        return [message for message in found if isinstance(message, BaseMessage)]

    @property
    def answer(self) -> str:
        """The text of the last message if the model wrote it, else empty."""
        last = self.messages[-1:]
        return text_of(last[0]).strip() if last and isinstance(last[0], AIMessage) else ""


RewardFunction = Callable[[GraphEpisode], "float | Awaitable[float | None] | None"]
"""Higher is better; ``None``: nothing to learn from this run (it is in no baseline)."""


def turns_of(trace: Sequence[TracedCall]) -> tuple[Turn, ...]:
    """The calls of a trace as turns: the last message sent is the observation, tool calls or text are the action."""
    return tuple(
        Turn(
            index,
            observation=text_of(one.messages[-1]) if one.messages else "",
            action=canonical_action(one.answer),
            response=text_of(one.answer),
            valid=not one.answer.invalid_tool_calls,
            tools=tuple(call["name"] for call in one.answer.tool_calls),
            call=None if one.frozen else one.call,
        )
        for index, one in enumerate(trace)
    )


async def reward_of(function: RewardFunction, episode: GraphEpisode) -> float | None:
    """The reward, awaited where the function is async.

    Raises:
        ConfigError: it is no number.
    """
    found = function(episode)
    reward = await found if inspect.isawaitable(found) else found
    if reward is None:
        return None
    try:
        value = float(reward)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"the reward function returned {reward!r}; a number or None is needed") from error
    if value != value or value in (float("inf"), float("-inf")):
        raise ConfigError(f"the reward function returned {value}; a finite number or None is needed")
    return value


def trl_reward(
    function: Callable[..., Any] | Sequence[Callable[..., Any]],
    *,
    weights: Sequence[float] | None = None,
    conversational: bool = True,
) -> RewardFunction:
    """One TRL reward function for graphs, or several: their weighted sum, as in TRL without those that say ``None``.

    Each is called with lists of one, episode by episode: ``prompts`` (the task), ``completions`` (the final answer),
    ``completion_ids`` (the ids sampled in the run's last policy call), every tag of the task as a column, and, where it
    names them, ``trainer_state`` (``None``), ``log_extra`` and ``log_metric`` (which do nothing). Async functions work.

    Args:
        function: ``f(prompts, completions, **columns) -> list[float | None]``, or several.
        weights: one a function; default: 1 each.
        conversational: prompts and completions are lists of messages, as TRL passes them for chat data; else text.

    Raises:
        ConfigError: not as many weights as functions.
    """
    functions = [function] if callable(function) else list(function)
    shares = [1.0] * len(functions) if weights is None else list(weights)
    if len(shares) != len(functions):
        raise ConfigError(f"{len(functions)} reward functions need as many weights, not {len(shares)}")

    async def reward(episode: GraphEpisode) -> float | None:
        prompt: object = episode.task.text
        completion: object = episode.answer
        if conversational:
            prompt = [{"role": "user", "content": prompt}]
            completion = [{"role": "assistant", "content": completion}]
        calls = [turn.call for turn in episode.turns if turn.call is not None]
        ids = list(calls[-1].sampled_ids) if calls else []
        columns: dict[str, Any] = {name: [value] for name, value in episode.task.tags.items()}
        said = []
        for one, share in zip(functions, shares, strict=True):
            found = one(prompts=[prompt], completions=[completion], completion_ids=[ids], **columns, **_extras(one))
            rewards = await found if inspect.isawaitable(found) else found
            if rewards[0] is not None:
                said.append((share, rewards[0]))
        if len(said) == 1 and said[0][0] == 1.0:
            return cast("float", said[0][1])  # as it is: what is no number is named by whoever asked
        return cast("float", sum(share * value for share, value in said)) if said else None

    return reward


def _extras(function: Callable[..., Any]) -> dict[str, object]:
    """What TRL passes besides, as far as ``function`` names it."""
    try:
        named = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return {}
    every: dict[str, object] = {"trainer_state": None, "log_extra": _nothing, "log_metric": _nothing}
    return {name: value for name, value in every.items() if name in named}


def _nothing(*_: object) -> None:
    """Stands for TRL's loggers."""
