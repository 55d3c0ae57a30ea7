"""A :class:`CreatorModel` over any LangChain chat model."""

from __future__ import annotations

import json
from dataclasses import dataclass

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage

from reskill_agents.creator_model import ModelAnswer, ModelRequest, RateLimitError, TransientModelError
from reskill_agents.errors import CreatorError

_TRANSIENT = ("timeout", "connection", "overloaded", "unavailable", "internalserver", "serviceunavailable")


@dataclass(frozen=True)
class LangChainModel:
    """Asks for JSON in the prompt, so that it works with models without structured output of their own.

    Args:
        chat: any chat model.
    """

    chat: BaseChatModel

    @property
    def name(self) -> str:
        """The chat model's class and name."""
        named = getattr(self.chat, "model_name", None) or getattr(self.chat, "model", None) or ""
        return f"langchain:{type(self.chat).__name__}" + (f":{named}" if isinstance(named, str) and named else "")

    async def complete(self, request: ModelRequest) -> ModelAnswer:
        """See :class:`CreatorModel`."""
        schema = json.dumps(dict(request.schema))
        prompt = f"{request.prompt}\n\nAnswer with one JSON object of this schema:\n{schema}"
        try:
            message = await self.chat.ainvoke([SystemMessage(request.system), HumanMessage(prompt)])
        except Exception as error:  # providers raise errors of their own; sort them by name
            raise _sorted(error) from error
        usage = message.usage_metadata if isinstance(message, AIMessage) else None
        return ModelAnswer(
            str(message.text),
            usage["input_tokens"] if usage else 0,
            usage["output_tokens"] if usage else 0,
        )


def _sorted(error: Exception) -> CreatorError:
    kind, text = type(error).__name__.lower(), f"{type(error).__name__}: {error}"
    if "ratelimit" in kind or getattr(error, "status_code", None) == 429:
        return RateLimitError(text)
    if isinstance(error, OSError | TimeoutError) or any(name in kind for name in _TRANSIENT):
        return TransientModelError(text)
    return CreatorError(text)
