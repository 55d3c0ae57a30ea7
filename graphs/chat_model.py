"""A LangChain chat model over a policy engine: token-exact, so that what was sampled can be trained."""

from __future__ import annotations

import uuid
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import ConfigDict, PrivateAttr, SkipValidation

from reskill_agents.engine import GenerateRequest, PolicyEngine, SamplingParams
from reskill_agents.episodes import ModelCall
from reskill_agents.errors import ConfigError, ContextOverflow
from reskill_agents.graphs.blocking import run_blocking
from reskill_agents.graphs.chat_templates import ChatTokenizer
from reskill_agents.graphs.recorder import current_recorder
from reskill_agents.graphs.token_buffer import TokenBuffer

_MAX_SESSIONS = 4096
_REFUSED = frozenset(
    [
        "top_p",
        "top_k",
        "min_p",
        "typical_p",
        "logit_bias",
        "repetition_penalty",
        "frequency_penalty",
        "presence_penalty",
        "logits_processor",
        "n",
        "allowed_token_ids",
        "guided_json",
        "guided_regex",
        "structured_outputs",
    ]
)


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer and the exact call behind it."""

    message: AIMessage
    call: ModelCall


class PolicyChatModel(BaseChatModel):
    """A chat model whose every call is known to the token.

    The prompt of a session's next call is the last one's ids, the ids sampled for it, and the chat template's suffix
    for the new messages. Sessions are told apart by the ``session`` keyword, else by the recorder of the context
    (:func:`~reskill_agents.graphs.recorder.record_calls`), else every call is its own. Sampling is the plain softmax
    at the temperature; ``top_p`` and other masks are refused, because the log-probs would not be those of the policy.

    Args:
        engine: what samples.
        tokenizer: the policy's tokenizer with its chat template.
        temperature: > 0, or 0 for greedy.
        max_tokens: of an answer.
        max_context: tokens of prompt and answer; default: the engine's.
        name_of_policy: reported in traces.

    Raises (calls):
        ContextOverflow: the prompt leaves no room for ``max_tokens``.
        ConfigError: for a refused sampling option.
        EngineError: from the engine.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    engine: SkipValidation[PolicyEngine]
    tokenizer: SkipValidation[ChatTokenizer]
    temperature: float = 1.0
    max_tokens: int = 256
    max_context: int | None = None
    name_of_policy: str = "policy"
    _buffers: OrderedDict[str, list[TokenBuffer]] = PrivateAttr(default_factory=OrderedDict)

    @property
    def _llm_type(self) -> str:
        return "reskill-policy"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model_name": self.name_of_policy, "temperature": self.temperature, "max_tokens": self.max_tokens}

    @property
    def context_limit(self) -> int:
        """Tokens of prompt and answer that a call may have."""
        return min(self.max_context or self.engine.max_context, self.engine.max_context)

    def prompt_ids(self, messages: Sequence[BaseMessage], session: str | None = None) -> tuple[int, ...]:
        """The exact prompt that a call with ``messages`` would send."""
        return self._prompt(messages, session)[0]

    async def complete(
        self,
        messages: Sequence[BaseMessage],
        *,
        session: str | None = None,
        rng_key: tuple[int, ...] | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        max_context: int | None = None,
    ) -> Completion:
        """Sample one answer and record it; what ``ainvoke`` does without callbacks and their cost."""
        recorder = current_recorder()
        if session is None and recorder is not None:
            session = recorder.session
        if rng_key is None:
            rng_key = recorder.next_key() if recorder is not None else ()
        temperature = self.temperature if temperature is None else temperature
        max_tokens = max_tokens or self.max_tokens
        prompt, used = self._prompt(messages, session)
        limit = min(max_context or self.context_limit, self.context_limit)
        if len(prompt) + max_tokens > limit:
            raise ContextOverflow(
                f"{len(prompt)} prompt tokens and up to {max_tokens} new ones exceed the context of {limit}"
            )
        params = SamplingParams(temperature, max_tokens, self.tokenizer.stop_ids)
        request = GenerateRequest(session or f"single-{uuid.uuid4().hex}", prompt, params, rng_key)
        generation = await self.engine.generate(request)
        call = ModelCall(prompt, generation.token_ids, generation.logprobs, generation.version, temperature)
        message = AIMessage(
            self.tokenizer.decode(generation.token_ids).strip(),
            response_metadata={"finish_reason": generation.finish, "weights_version": generation.version},
        )
        if session is not None:
            ended = generation.token_ids[-1:] == (self.tokenizer.end_id,)
            self._remember(session, used, TokenBuffer(prompt + generation.token_ids, (*messages, message), ended))
        if recorder is not None:
            recorder.calls.append(call)
        return Completion(message, call)

    def forget(self, session: str) -> None:
        """Drop a session's token buffers; unknown sessions are ignored."""
        self._buffers.pop(session, None)

    def _prompt(
        self, messages: Sequence[BaseMessage], session: str | None
    ) -> tuple[tuple[int, ...], TokenBuffer | None]:
        """The prompt's ids and the buffer that it extends."""
        buffers = self._buffers.get(session, ()) if session is not None else ()
        for buffer in reversed(buffers):
            new = buffer.new_messages(messages)
            if new is not None:
                return buffer.extend(new, self.tokenizer), buffer
        recorder = current_recorder()
        if buffers and recorder is not None:
            recorder.forks += 1
        return self.tokenizer.start(messages), None

    def _remember(self, session: str, used: TokenBuffer | None, buffer: TokenBuffer) -> None:
        buffers = self._buffers.setdefault(session, [])
        buffers[:] = [*(old for old in buffers if old is not used), buffer]
        self._buffers.move_to_end(session)
        while len(self._buffers) > _MAX_SESSIONS:
            self._buffers.popitem(last=False)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        refused = sorted(_REFUSED & kwargs.keys())
        if refused:
            raise ConfigError(f"{', '.join(refused)}: refused, because log-probs are exact only for the plain softmax")
        completion = await self.complete(messages, **kwargs)
        return ChatResult(generations=[ChatGeneration(message=completion.message)])

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return run_blocking(self._agenerate(messages, stop, None, **kwargs))
