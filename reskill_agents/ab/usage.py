"""Counts the tokens of every chat model call in a run, wherever in the graph it happens."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, LLMResult

from reskill_agents.ab.budget import Tokens
from reskill_agents.selection import words_as_tokens


class UsageCounter(BaseCallbackHandler):
    """Sums what models report; what they do not report is estimated as characters / 4 and marked so."""

    def __init__(self) -> None:
        self.tokens = Tokens()
        self._prompts: dict[UUID, int] = {}

    def on_chat_model_start(
        self, serialized: dict[str, Any], messages: list[list[BaseMessage]], *, run_id: UUID, **kwargs: Any
    ) -> None:
        """Remember the size of the prompt, in case nobody reports it."""
        self._prompts[run_id] = sum(words_as_tokens(str(m.text)) for batch in messages for m in batch)

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        """Add one call."""
        estimate = self._prompts.pop(run_id, 0)
        for generation in (one for batch in response.generations for one in batch):
            message = generation.message if isinstance(generation, ChatGeneration) else None
            usage = message.usage_metadata if isinstance(message, AIMessage) else None
            if usage:
                self.tokens += Tokens(usage["input_tokens"], usage["output_tokens"])
            else:
                self.tokens += Tokens(estimate, words_as_tokens(generation.text), estimated=True)
