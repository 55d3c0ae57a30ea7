"""Calls of models that are not the policy, for the trace: kept with their messages, never trained."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, LLMResult

from reskill_agents.graphs.recorder import CallRecorder, Place, node_of

_POLICY = "reskill-policy"  # these record themselves, exactly


class ForeignCalls(BaseCallbackHandler):
    """A LangChain callback that notes the calls of any other chat model in a recorder.

    Args:
        recorder: of the run whose config carries this callback.
    """

    run_inline = True

    def __init__(self, recorder: CallRecorder) -> None:
        self._recorder = recorder
        self._open: dict[UUID, tuple[Place, str, list[BaseMessage]]] = {}

    def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """A call begins."""
        kind = str((kwargs.get("invocation_params") or {}).get("_type", ""))
        if kind != _POLICY and messages:
            name = str((metadata or {}).get("ls_model_name") or kind or "unknown")
            self._open[run_id] = (self._recorder.place(*node_of(metadata)), name, messages[0])

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        """A call is answered."""
        begun = self._open.pop(run_id, None)
        first = response.generations[0][0] if response.generations and response.generations[0] else None
        if begun is not None and isinstance(first, ChatGeneration) and isinstance(first.message, AIMessage):
            place, name, messages = begun
            self._recorder.take(messages, first.message, model=name, frozen=True, place=place)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """A call failed: nothing was sampled that could be kept."""
        self._open.pop(run_id, None)
