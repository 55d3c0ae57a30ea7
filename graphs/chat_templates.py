"""A tokenizer with its chat template, as the policy speaks through it: prompts, and exact suffixes to extend them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from reskill_agents.errors import ConfigError
from reskill_agents.graphs.messages import text_of
from reskill_agents.graphs.prefix_check import Continuation, Preservation, check_prefix
from reskill_agents.graphs.reasoning import OPEN, join_reasoning
from reskill_agents.graphs.tool_calls import ToolStyle

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_ANSWER = "qzanswerzq"
_PROBE = "qzprobe{}zq"
Tool = Mapping[str, object]
_TOOL: Tool = {
    "type": "function",
    "function": {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}},
}


@dataclass(frozen=True)
class _Frame:
    """A rendered suffix with its message texts cut out: ``pieces[0] + text 0 + pieces[1] + ...``."""

    pieces: tuple[str, ...]
    strips: bool

    def fill(self, texts: Sequence[str]) -> str:
        parts = [self.pieces[0]]
        for text, piece in zip(texts, self.pieces[1:], strict=True):
            parts += (text.strip() if self.strips else text, piece)
        return "".join(parts)


class ChatTokenizer:
    """Renders messages to token ids with a tokenizer's chat template.

    A suffix (what follows a sampled answer: the end of its turn, new messages, the generation prompt) is rendered
    behind a dummy conversation and cut off there, so nothing sampled is ever tokenised again. Its constant parts are
    learned once per sequence of roles, checked on probes, and from then on a suffix costs one short ``encode``.

    Args:
        tokenizer: any Hugging Face tokenizer.
        chat_template: Jinja text; default: the tokenizer's own.

    Raises:
        ConfigError: without a chat template.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, chat_template: str | None = None) -> None:
        self.tokenizer = tokenizer
        template = chat_template or tokenizer.chat_template
        if not template or not isinstance(template, str):
            raise ConfigError("the tokenizer has no (single) chat template; pass chat_template")
        self._template: str = template
        self._preserved: dict[tuple[Continuation, bool, bool], Preservation] = {}
        self._frames: dict[tuple[str, ...], _Frame | None] = {}
        self._backend = getattr(tokenizer, "backend_tokenizer", None)

    @cached_property
    def end_id(self) -> int:
        """The token that ends an assistant turn."""
        rendered = self._render([{"role": "user", "content": "u"}, {"role": "assistant", "content": _ANSWER}], False)
        tail = self.encode(rendered[rendered.index(_ANSWER) + len(_ANSWER) :])
        special = set(self.tokenizer.all_special_ids) | set(self.tokenizer.added_tokens_decoder)
        ends = [token for token in tail[:2] if token in special]
        if ends:
            return ends[0]
        if self._eos is None:
            raise ConfigError("neither the chat template nor the tokenizer says what ends an assistant turn")
        return self._eos

    @property
    def _eos(self) -> int | None:
        eos = self.tokenizer.eos_token_id
        return eos if isinstance(eos, int) else None

    @cached_property
    def end_text(self) -> str:
        """The text of :attr:`end_id`."""
        return str(self.tokenizer.convert_ids_to_tokens(self.end_id))

    @cached_property
    def stop_ids(self) -> tuple[int, ...]:
        """What ends a call: the end of the turn and the end of text."""
        return (self.end_id,) if self._eos in (None, self.end_id) else (self.end_id, self._eos)

    @cached_property
    def has_system_role(self) -> bool:
        """Whether a system message has a place of its own, and keeps it when the conversation goes on.

        Some templates refuse it; some put its text into the *last* user message, so that it wanders.
        """
        try:
            shown = self._render([{"role": "system", "content": _ANSWER}, {"role": "user", "content": "u"}], True)
        except Exception:  # templates refuse by raising whatever Jinja gives them
            return False
        wanders = self._check(Continuation.USER, system=True) is Preservation.BROKEN
        return _ANSWER in shown and not (wanders and self._check(Continuation.USER, system=False) is Preservation.KEPT)

    @cached_property
    def opens_thinking(self) -> bool:
        """Whether the generation prompt ends inside a reasoning block."""
        return self._render([{"role": "user", "content": "u"}], True).rstrip().endswith(OPEN)

    @cached_property
    def tool_style(self) -> ToolStyle:
        """How the template asks for tool calls."""
        shown = self._render([{"role": "user", "content": "u"}], False, [_TOOL])
        return ToolStyle.XML if "<function=" in shown else ToolStyle.JSON

    def preserves(self, continuation: Continuation, *, system: bool = True, tools: bool = False) -> Preservation:
        """Whether prompt and answer stay a prefix when the conversation goes on like this."""
        return self._check(continuation, system=system and self.has_system_role, tools=tools)

    def _check(self, continuation: Continuation, *, system: bool, tools: bool = False) -> Preservation:
        key = (continuation, system, tools)
        if key not in self._preserved:
            offered = [_TOOL] if tools else []
            render = partial(self._render, tools=offered)
            self._preserved[key] = check_prefix(render, continuation, system=system)
        return self._preserved[key]

    def encode(self, text: str) -> tuple[int, ...]:
        """Token ids of ``text`` alone; special tokens written in it count as such."""
        if self._backend is not None:
            return tuple(self._backend.encode(text, add_special_tokens=False).ids)
        return tuple(self.tokenizer.encode(text, add_special_tokens=False))

    def decode(self, ids: Sequence[int]) -> str:
        """The text of sampled ids, without special tokens."""
        if self._backend is not None:
            return str(self._backend.decode(list(ids), skip_special_tokens=True))
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def count(self, text: str) -> int:
        """Tokens of ``text``."""
        return len(self.encode(text))

    def start(self, messages: Sequence[BaseMessage], tools: Sequence[Tool] = ()) -> tuple[int, ...]:
        """The whole prompt for ``messages``, generation prompt included."""
        return self.encode(self.render(messages, tools))

    def render(self, messages: Sequence[BaseMessage], tools: Sequence[Tool] = ()) -> str:
        """The prompt's text. Without a system role in the template its text opens the first human message."""
        return self._render([to_template(message) for message in self._fit(messages)], True, tools)

    def suffix(self, messages: Sequence[BaseMessage], *, ended: bool, after_tools: bool = False) -> tuple[int, ...]:
        """What follows a sampled answer in the next prompt.

        Args:
            messages: the new messages since that answer: human or tool.
            ended: the answer's last token is :attr:`end_id` (else the suffix begins with it).
            after_tools: the answer called tools.
        """
        text = self._suffix_text(messages, after_tools)
        if ended:
            text = text.removeprefix(self.end_text)
        return self.encode(text)

    def _suffix_text(self, messages: Sequence[BaseMessage], after_tools: bool) -> str:
        roles = (*(_role(message) for message in messages), "after_tools" if after_tools else "")
        if roles not in self._frames:
            self._frames[roles] = self._learn(messages, after_tools)
        frame = self._frames[roles]
        if frame is not None and all(isinstance(message.content, str) for message in messages):
            return frame.fill([str(message.content) for message in messages])
        return self._full_suffix([to_template(message) for message in messages], after_tools)

    def _full_suffix(self, new: Sequence[dict[str, object]], after_tools: bool) -> str:
        answer: dict[str, object] = {"role": "assistant", "content": _ANSWER}
        if after_tools:
            calls = [str(message.get("tool_call_id", "")) for message in new if message["role"] == "tool"]
            function = {"name": _ANSWER, "arguments": {}}
            answer["content"] = ""
            answer["tool_calls"] = [{"id": call, "type": "function", "function": function} for call in calls]
        rendered = self._render([{"role": "user", "content": "u"}, answer, *new], True)
        end = rendered.rindex(_ANSWER) + len(_ANSWER)
        at = rendered.find(self.end_text, end)
        return rendered[at if at >= 0 else end :]

    def _learn(self, messages: Sequence[BaseMessage], after_tools: bool) -> _Frame | None:
        """The frame for these roles; ``None`` when the template treats texts in a way that a frame can't."""
        probes = [_PROBE.format(number) for number in range(len(messages))]
        new = [to_template(message) for message in messages]

        def render(texts: Sequence[str]) -> str:
            return self._full_suffix([{**m, "content": t} for m, t in zip(new, texts, strict=True)], after_tools)

        rendered, pieces = render(probes), []
        for probe in probes:
            if rendered.count(probe) != 1:
                return None
            piece, rendered = rendered.split(probe)
            pieces.append(piece)
        pieces.append(rendered)
        if any(str(m.get(key)) in "".join(pieces) for m in new for key in ("name", "tool_call_id") if m.get(key)):
            return None
        odd = [f" \n {probe}\n\n " for probe in probes]
        for strips in (False, True):
            frame = _Frame(tuple(pieces), strips)
            if render(odd) == frame.fill(odd):
                return frame
        return None

    def _fit(self, messages: Sequence[BaseMessage]) -> Sequence[BaseMessage]:
        if not messages or not isinstance(messages[0], SystemMessage) or self.has_system_role:
            return messages
        if len(messages) > 1 and isinstance(messages[1], HumanMessage):
            return [HumanMessage(f"{text_of(messages[0])}\n\n{text_of(messages[1])}"), *messages[2:]]
        return [HumanMessage(text_of(messages[0])), *messages[1:]]

    def _render(
        self, messages: Sequence[Mapping[str, object]], generation_prompt: bool, tools: Sequence[Tool] = ()
    ) -> str:
        conversation: Any = [dict(message) for message in messages]
        rendered = self.tokenizer.apply_chat_template(
            conversation,
            tools=[dict(tool) for tool in tools] or None,
            chat_template=self._template,
            add_generation_prompt=generation_prompt,
            tokenize=False,
        )
        return str(rendered)


def _role(message: BaseMessage) -> str:
    if isinstance(message, HumanMessage):
        return "user"
    if isinstance(message, ToolMessage):
        return "tool"
    if isinstance(message, AIMessage):
        return "assistant"
    if isinstance(message, SystemMessage):
        return "system"
    raise ConfigError(f"a chat template has no role for a {type(message).__name__}")


def to_template(message: BaseMessage) -> dict[str, object]:
    """A message as chat templates read it."""
    rendered: dict[str, object] = {"role": _role(message), "content": text_of(message)}
    if isinstance(message, AIMessage):
        rendered["content"] = join_reasoning(
            str(message.additional_kwargs.get("reasoning_content", "")), text_of(message)
        )
    if isinstance(message, ToolMessage):
        rendered["tool_call_id"] = message.tool_call_id
        if message.name:
            rendered["name"] = message.name
    if isinstance(message, AIMessage) and message.tool_calls:
        rendered["tool_calls"] = [
            {
                "id": call["id"],
                "type": "function",
                "function": {"name": call["name"], "arguments": json.loads(json.dumps(call["args"]))},
            }
            for call in message.tool_calls
        ]
    return rendered
