"""A LangChain chat model over a policy engine: token-exact, so that what was sampled can be trained."""

from __future__ import annotations

import asyncio
import json
import uuid
import warnings
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, SystemMessage, ToolMessage
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import ConfigDict, PrivateAttr, SkipValidation

from reskill_agents.engine import GenerateRequest, Generation, PolicyEngine, SamplingParams, StreamingEngine
from reskill_agents.episodes import ModelCall
from reskill_agents.errors import ContextOverflow
from reskill_agents.graphs.blocking import run_blocking
from reskill_agents.graphs.call_options import CallOptions, read_options
from reskill_agents.graphs.chat_templates import ChatTokenizer
from reskill_agents.graphs.prefix_check import Continuation, Preservation
from reskill_agents.graphs.reasoning import CLOSE, split_reasoning
from reskill_agents.graphs.recorder import current_recorder
from reskill_agents.graphs.stopping import StreamText, cut_at_stop
from reskill_agents.graphs.token_buffer import TokenBuffer
from reskill_agents.graphs.tool_calls import OPEN, forced_prefix, parse_tool_calls

_MAX_SESSIONS = 4096


class TemplateWarning(UserWarning):
    """A chat template rewrites what was sent or sampled when the conversation goes on."""


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer and the exact call behind it."""

    message: AIMessage
    call: ModelCall


@dataclass(frozen=True, slots=True)
class _Prompt:
    ids: tuple[int, ...]
    extends: TokenBuffer | None
    forced: str = field(default="")


class PolicyChatModel(BaseChatModel):
    """A chat model whose every call is known to the token.

    The prompt of a session's next call is the last one's ids, the ids sampled for it, and the template's suffix for the
    new messages. Sessions are told apart by the ``session`` option, else by the recorder of the context
    (:func:`~reskill_agents.graphs.recorder.record_calls`), else every call is its own. Sampling is the plain softmax at
    the temperature: ``top_p`` and other masks are refused, because log-probs would not be those of the policy. A tool
    choice is forced by opening the answer with the start of the call, which is prompt and not trained.

    Where the chat template would render the conversation so far differently once it goes on (:meth:`gaps`), the prompt
    is rendered anew and the session forks (``forks`` counts that); ``on_gap="extend"`` keeps what was sent and sampled
    instead, as training templates do.

    Args:
        engine: what samples.
        tokenizer: the policy's tokenizer with its chat template.
        temperature: > 0, or 0 for greedy.
        max_tokens: of an answer.
        max_context: tokens of prompt and answer; default: the engine's.
        on_gap: ``fork`` or ``extend`` where the template is not prefix-preserving.
        name_of_policy: reported in traces and episodes.
        frozen: not under training: its calls are kept in traces and never trained.

    Raises (calls):
        ContextOverflow: the prompt leaves no room for ``max_tokens``.
        ConfigError: for an option that is refused or unknown.
        EngineError: from the engine.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    engine: SkipValidation[PolicyEngine]
    tokenizer: SkipValidation[ChatTokenizer]
    temperature: float = 1.0
    max_tokens: int = 256
    max_context: int | None = None
    on_gap: Literal["fork", "extend"] = "fork"
    name_of_policy: str = "policy"
    frozen: bool = False
    _buffers: OrderedDict[str, list[TokenBuffer]] = PrivateAttr(default_factory=OrderedDict)
    _forks: int = PrivateAttr(default=0)

    def model_post_init(self, context: Any, /) -> None:
        """Check the chat template and warn where it is not prefix-preserving."""
        gaps = self.gaps()
        if gaps and self.on_gap == "fork":
            warnings.warn(
                f"the chat template renders history differently for {', '.join(gaps)} turns: such turns start a new"
                " row (a fork); on_gap='extend' or a training template keeps one token sequence",
                TemplateWarning,
                stacklevel=3,
            )

    @property
    def forks(self) -> int:
        """Calls so far that could not extend their session's token sequence."""
        return self._forks

    def gaps(self) -> list[Continuation]:
        """The continuations for which the template is not prefix-preserving."""
        return [kind for kind in Continuation if self.tokenizer.preserves(kind) is Preservation.BROKEN]

    def prompt_ids(self, messages: Sequence[BaseMessage], options: CallOptions | None = None) -> tuple[int, ...]:
        """The exact prompt that a call with ``messages`` would send."""
        return self._prompt(messages, options or CallOptions()).ids

    def forget(self, session: str) -> None:
        """Drop a session's token sequence; unknown sessions are ignored."""
        self._buffers.pop(session, None)

    async def complete(
        self,
        messages: Sequence[BaseMessage],
        options: CallOptions | None = None,
        *,
        on_token: Callable[[int], None] | None = None,
    ) -> Completion:
        """Sample one answer and record it: ``ainvoke`` without callbacks and their cost."""
        options, recorder = options or CallOptions(), current_recorder()
        if recorder is not None and options.session is None:
            options = replace(options, session=recorder.session)
        temperature = self.temperature if options.temperature is None else options.temperature
        prompt = self._prompt(messages, options)
        params = self._params(prompt, options, temperature)
        if recorder is not None and options.rng_key is None:
            options = replace(options, rng_key=recorder.next_key())
        if prompt.extends is None and self._buffers.get(options.session or ""):
            self._forks += 1
            if recorder is not None:
                recorder.forks += 1
        session = options.session or f"single-{uuid.uuid4().hex}"
        request = GenerateRequest(session, prompt.ids, params, options.rng_key or ())
        generation = await self._sample(request, on_token)
        ids, logprobs = generation.token_ids, generation.logprobs
        text = self.tokenizer.decode(ids)
        if options.stop:
            kept, text = cut_at_stop(self.tokenizer.decode, ids, options.stop)
            ids, logprobs = ids[:kept], logprobs[:kept]
        call = ModelCall(prompt.ids, ids, logprobs, generation.version, temperature)
        message = self._message(prompt.forced + text, options, call, generation)
        if options.session is not None:
            ended = ids[-1:] == (self.tokenizer.end_id,)
            buffer = TokenBuffer(prompt.ids + ids, (*messages, message), ended, tuple(options.tools))
            self._remember(options.session, prompt.extends, buffer)
        if recorder is not None:
            recorder.take(messages, message, model=self.name_of_policy, call=call, frozen=self.frozen)
        return Completion(message, call)

    def _prompt(self, messages: Sequence[BaseMessage], options: CallOptions) -> _Prompt:
        forced = self._forced(options)
        tail = self.tokenizer.encode(forced) if forced else ()
        buffers = self._buffers.get(options.session, ()) if options.session is not None else ()
        for buffer in reversed(buffers):
            new = buffer.new_messages(messages)
            if new is not None and buffer.tools == tuple(options.tools) and self._may_extend(buffer, new, options):
                return _Prompt(buffer.extend(new, self.tokenizer) + tail, buffer, forced)
        return _Prompt(self.tokenizer.start(messages, options.tools) + tail, None, forced)

    def _may_extend(self, buffer: TokenBuffer, new: Sequence[BaseMessage], options: CallOptions) -> bool:
        if self.on_gap == "extend":
            return True
        tool = isinstance(new[0], ToolMessage)
        kind = Continuation.TOOL if tool else Continuation.USER
        if buffer.reasons:
            kind = Continuation.TOOL_AFTER_REASONING if tool else Continuation.USER_AFTER_REASONING
        system = isinstance(buffer.messages[0], SystemMessage)
        return self.tokenizer.preserves(kind, system=system, tools=bool(options.tools)) is not Preservation.BROKEN

    def _forced(self, options: CallOptions) -> str:
        choice = options.tool_choice
        if isinstance(choice, Mapping):
            choice = str(choice["function"]["name"]) if "function" in choice else str(choice.get("name", "any"))
        if not options.tools or choice in (None, False, "auto", "none"):
            return ""
        name = None if choice in (True, "any", "required") else str(choice)
        start = forced_prefix(self.tokenizer.tool_style, name)
        return f"\n{CLOSE}\n\n{start}" if self.tokenizer.opens_thinking else start

    def _params(self, prompt: _Prompt, options: CallOptions, temperature: float) -> SamplingParams:
        max_tokens = options.max_tokens or self.max_tokens
        limits = (options.max_context, self.max_context, self.engine.max_context)
        limit = min(limit for limit in limits if limit is not None)
        if len(prompt.ids) + max_tokens > limit:
            raise ContextOverflow(
                f"{len(prompt.ids)} prompt tokens and up to {max_tokens} new ones exceed the context of {limit}"
            )
        single = [ids[0] for stop in options.stop if len(ids := self.tokenizer.encode(stop)) == 1]
        return SamplingParams(temperature, max_tokens, (*self.tokenizer.stop_ids, *single))

    async def _sample(self, request: GenerateRequest, on_token: Callable[[int], None] | None) -> Generation:
        if on_token is None:
            return await self.engine.generate(request)
        if not isinstance(self.engine, StreamingEngine):
            generation = await self.engine.generate(request)
            for token in generation.token_ids:
                on_token(token)
            return generation
        async for item in self.engine.stream(request):
            if isinstance(item, Generation):
                return item
            on_token(item)
        raise RuntimeError("the engine's stream ended without its generation")

    def _message(self, text: str, options: CallOptions, call: ModelCall, generation: Generation) -> AIMessage:
        reasoning, answer = split_reasoning(text, opened=self.tokenizer.opens_thinking)
        parsed = parse_tool_calls(answer, options.tools) if options.tools else None
        return AIMessage(
            answer if parsed is None else parsed.text,
            tool_calls=parsed.calls if parsed else [],
            invalid_tool_calls=parsed.invalid if parsed else [],
            additional_kwargs={"reasoning_content": reasoning} if reasoning else {},
            response_metadata={
                "model_name": self.name_of_policy,
                "finish_reason": generation.finish,
                "weights_version": generation.version,
            },
            usage_metadata={
                "input_tokens": len(call.prompt_ids),
                "output_tokens": len(call.sampled_ids),
                "total_tokens": len(call.prompt_ids) + len(call.sampled_ids),
            },
        )

    def _remember(self, session: str, used: TokenBuffer | None, buffer: TokenBuffer) -> None:
        buffers = self._buffers.setdefault(session, [])
        buffers[:] = [*(old for old in buffers if old is not used), buffer]
        self._buffers.move_to_end(session)
        while len(self._buffers) > _MAX_SESSIONS:
            self._buffers.popitem(last=False)

    # LangChain's interface

    @property
    def _llm_type(self) -> str:
        return "reskill-policy"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model_name": self.name_of_policy, "temperature": self.temperature, "max_tokens": self.max_tokens}

    def get_num_tokens(self, text: str) -> int:
        """Tokens of ``text``."""
        return self.tokenizer.count(text)

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | dict[str, Any] | bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Offer tools; ``tool_choice`` as in :class:`CallOptions`."""
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], tool_choice=tool_choice, **kwargs)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        completion = await self.complete(messages, read_options(stop, kwargs))
        return ChatResult(generations=[ChatGeneration(message=completion.message)])

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return run_blocking(self._agenerate(messages, stop, None, **kwargs))

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        options = read_options(stop, kwargs)
        tokens: asyncio.Queue[int | None] = asyncio.Queue()
        answer = asyncio.ensure_future(self.complete(messages, options, on_token=tokens.put_nowait))
        answer.add_done_callback(lambda _: tokens.put_nowait(None))
        text = StreamText(self.tokenizer.decode, (*options.stop, *((OPEN,) if options.tools else ())))
        forced, opened = self._forced(options), self.tokenizer.opens_thinking
        try:
            while (token := await tokens.get()) is not None:
                delta = text.push(token, lambda whole: split_reasoning(forced + whole, opened=opened)[1])
                if delta:
                    chunk = ChatGenerationChunk(message=AIMessageChunk(content=delta))
                    if run_manager is not None:
                        await run_manager.on_llm_new_token(delta, chunk=chunk)
                    yield chunk
            message = (await answer).message
        finally:
            answer.cancel()
        yield ChatGenerationChunk(message=_last_chunk(message, text.shown))


def _last_chunk(message: AIMessage, shown: str) -> AIMessageChunk:
    """What of ``message`` was not streamed: the rest of the text, tool calls, metadata."""
    calls = [
        tool_call_chunk(name=call["name"], args=json.dumps(call["args"]), id=call["id"], index=index)
        for index, call in enumerate(message.tool_calls)
    ]
    return AIMessageChunk(
        content=str(message.content)[len(shown) :],
        tool_call_chunks=calls,
        additional_kwargs=message.additional_kwargs,
        response_metadata=message.response_metadata,
        usage_metadata=message.usage_metadata,
        chunk_position="last",
    )
