"""The settings of one call of the policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reskill_agents.errors import ConfigError

_IGNORED = frozenset({"strict", "parallel_tool_calls", "ls_structured_output_format"})


@dataclass(frozen=True, slots=True)
class CallOptions:
    """One call's settings; ``None`` takes the model's.

    Args:
        session: the conversation; calls of a session extend one token sequence. Default: the recorder's.
        rng_key: see :class:`~reskill_agents.engine.GenerateRequest`. Default: the recorder's next.
        temperature, max_tokens, max_context: as in :class:`PolicyChatModel`.
        stop: strings that end the answer and are not part of its text.
        tools: offered tools in OpenAI's format.
        tool_choice: ``auto``, ``none``, ``any`` (or ``required``), or the name of a tool.
    """

    session: str | None = None
    rng_key: tuple[int, ...] | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    max_context: int | None = None
    stop: Sequence[str] = ()
    tools: Sequence[Mapping[str, Any]] = ()
    tool_choice: str | Mapping[str, Any] | bool | None = None


def read_options(stop: Sequence[str] | None, given: Mapping[str, Any]) -> CallOptions:
    """The options in a LangChain call's keyword arguments.

    Raises:
        ConfigError: for one that is not ours, such as ``top_p``.
    """
    known = {key: value for key, value in given.items() if key not in _IGNORED}
    unknown = sorted(known.keys() - set(CallOptions.__slots__))
    if unknown:
        raise ConfigError(
            f"{', '.join(unknown)}: no such option; the policy samples from the plain softmax at a temperature, without"
            " top_p or masks, so that its log-probs are exact"
        )
    return CallOptions(**{**known, "stop": tuple(stop or ())})
