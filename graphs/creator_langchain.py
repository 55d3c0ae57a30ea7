"""A :class:`CreatorModel` over any LangChain chat model."""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import dataclass
from functools import cache

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage

from reskill_agents.creator_model import ModelAnswer, ModelRequest, RateLimitError, TransientModelError
from reskill_agents.errors import ConfigError, CreatorError

PREFIX = "langchain:"
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
            asked = self.chat.ainvoke([SystemMessage(request.system), HumanMessage(prompt)])
            message = await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(asked, _loop()))
        except Exception as error:  # providers raise errors of their own; sort them by name
            raise _sorted(error) from error
        usage = message.usage_metadata if isinstance(message, AIMessage) else None
        return ModelAnswer(
            str(message.text),
            usage["input_tokens"] if usage else 0,
            usage["output_tokens"] if usage else 0,
        )


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """One event loop for all chat models, in a thread of its own.

    Chat models keep connections that belong to the loop they were made in, and every creation runs in a new one.
    """
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="creator-chat-models", daemon=True).start()
    return loop


def langchain_model(spec: str) -> LangChainModel:
    """The model that ``langchain:SPEC`` names, where SPEC is what ``init_chat_model`` takes (``anthropic:claude-...``).

    Raises:
        ConfigError: saying what is missing or wrong.
    """
    named = spec.removeprefix(PREFIX)
    if not spec.startswith(PREFIX) or not named:
        raise ConfigError(f"creator {spec!r} names no model: 'langchain:SPEC', such as langchain:anthropic:MODEL")
    try:
        from langchain.chat_models import init_chat_model
    except ImportError as error:
        raise ConfigError(f"creator {spec!r} needs langchain: pip install 'reskill-agents[embed]'") from error
    try:
        chat = init_chat_model(named)
    except Exception as error:  # a provider's package or key is missing, or the name is wrong: each says so in its way
        raise ConfigError(f"creator {spec!r}: {type(error).__name__}: {error}") from error
    return LangChainModel(chat)


def _sorted(error: Exception) -> CreatorError:
    kind, text = type(error).__name__.lower(), f"{type(error).__name__}: {error}"
    if "ratelimit" in kind or getattr(error, "status_code", None) == 429:
        return RateLimitError(text)
    if isinstance(error, OSError | TimeoutError) or any(name in kind for name in _TRANSIENT):
        return TransientModelError(text)
    return CreatorError(text)
