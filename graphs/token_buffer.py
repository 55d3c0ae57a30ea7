"""The token sequence of one conversation: previous ids, sampled ids, suffix ids; nothing is tokenised twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from reskill_agents.graphs.chat_templates import ChatTokenizer


@dataclass(frozen=True, slots=True, eq=False)
class TokenBuffer:
    """What has been sent and sampled so far.

    Args:
        ids: the last call's prompt and the ids sampled for it.
        messages: the messages those ids stand for; the last one is the answer.
        ended: the last id ends the assistant's turn.
        tools: what was offered; a call that offers other tools has another prompt from the start.
    """

    ids: tuple[int, ...]
    messages: tuple[BaseMessage, ...]
    ended: bool
    tools: tuple[Mapping[str, object], ...] = ()

    @property
    def reasons(self) -> bool:
        """Whether any answer in it holds reasoning."""
        return any(message.additional_kwargs.get("reasoning_content") for message in self.messages)

    def new_messages(self, messages: Sequence[BaseMessage]) -> Sequence[BaseMessage] | None:
        """What ``messages`` adds to this conversation; ``None`` when they do not continue it."""
        known = len(self.messages)
        if len(messages) <= known or not all(map(same_message, self.messages, messages)):
            return None
        new = messages[known:]
        return new if all(isinstance(message, HumanMessage | ToolMessage) for message in new) else None

    def extend(self, new: Sequence[BaseMessage], tokenizer: ChatTokenizer) -> tuple[int, ...]:
        """The next prompt: this buffer, the end of the answer, the new messages and the generation prompt."""
        answer = self.messages[-1]
        after_tools = isinstance(answer, AIMessage) and bool(answer.tool_calls)
        return self.ids + tokenizer.suffix(new, ended=self.ended, after_tools=after_tools)


def same_message(one: BaseMessage, other: BaseMessage) -> bool:
    """Whether two messages say the same; ids and metadata may differ (checkpointers and reducers rewrite them)."""
    if one is other:
        return True
    if one.content != other.content:
        return False
    if isinstance(one, AIMessage) and isinstance(other, AIMessage):  # a streamed answer arrives as a sum of chunks
        return one.tool_calls == other.tool_calls
    if type(one) is not type(other):
        return False
    if isinstance(one, ToolMessage) and isinstance(other, ToolMessage):
        return one.tool_call_id == other.tool_call_id
    return True
