"""Tool calls in sampled text: the Hermes and Qwen ways to write them."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from langchain_core.messages import InvalidToolCall, ToolCall
from langchain_core.messages.tool import invalid_tool_call, tool_call

OPEN = "<tool_call>"
_CALL = re.compile(r"<tool_call>\s*(.*?)\s*(?:</tool_call>|\Z)", re.DOTALL)
_FUNCTION = re.compile(r"<function=([^>\n]+)>(.*)", re.DOTALL)
_PARAMETER = re.compile(r"<parameter=([^>\n]+)>\n?(.*?)\n?</parameter>", re.DOTALL)


class ToolStyle(StrEnum):
    """``json``: ``{"name": .., "arguments": {..}}`` (Hermes, Qwen3). ``xml``: ``<function=..>`` (Qwen3.5)."""

    JSON = "json"
    XML = "xml"


@dataclass(frozen=True)
class ParsedAnswer:
    """A sampled answer: its text before the calls, its calls, and what looked like calls but was not."""

    text: str
    calls: list[ToolCall] = field(default_factory=list)
    invalid: list[InvalidToolCall] = field(default_factory=list)


def new_call_id() -> str:
    """Nine hexadecimal characters: the strictest rule that a chat template has for ids (Mistral)."""
    return uuid.uuid4().hex[:9]


def parse_tool_calls(text: str, tools: Sequence[Mapping[str, Any]] = ()) -> ParsedAnswer:
    """The tool calls in ``text``. Never raises: a malformed call is an invalid tool call with the reason.

    Args:
        text: the answer without its reasoning.
        tools: the offered tools (OpenAI format): names are checked, and their types read XML arguments.
    """
    if OPEN not in text:
        return ParsedAnswer(text)
    functions = {str(tool["function"]["name"]): tool["function"] for tool in tools if "function" in tool}
    answer = ParsedAnswer(text.partition(OPEN)[0].strip())
    for written in _CALL.findall(text):
        try:
            name, arguments = _read(written, functions)
            if functions and name not in functions:
                raise ValueError(f"no tool is called {name!r}; there are: {', '.join(functions)}")
        except ValueError as error:
            answer.invalid.append(invalid_tool_call(name=None, args=written, id=new_call_id(), error=str(error)))
        else:
            answer.calls.append(tool_call(name=name, args=arguments, id=new_call_id()))
    return answer


def forced_prefix(style: ToolStyle, name: str | None) -> str:
    """What an answer that must call a tool starts with (of any name, when ``name`` is ``None``)."""
    if style is ToolStyle.XML:
        return f"{OPEN}\n<function=" + (f"{name}>\n" if name else "")
    return f'{OPEN}\n{{"name": "' + (f'{name}", "arguments": ' if name else "")


def _read(written: str, functions: Mapping[str, Mapping[str, Any]]) -> tuple[str, dict[str, Any]]:
    if match := _FUNCTION.match(written):
        name, body = match.group(1).strip(), match.group(2)
        types = functions.get(name, {}).get("parameters", {}).get("properties", {})
        return name, {key: _typed(value, types.get(key, {})) for key, value in _PARAMETER.findall(body)}
    try:
        call = json.loads(written)
    except json.JSONDecodeError as error:
        raise ValueError(f"the call is not JSON: {error}") from error
    arguments = call.get("arguments", call.get("parameters", {})) if isinstance(call, dict) else None
    if not isinstance(call, dict) or not isinstance(call.get("name"), str) or not isinstance(arguments, dict):
        raise ValueError('a call is an object with a "name" and "arguments", which is an object')
    return call["name"], arguments


def _typed(value: str, schema: Mapping[str, Any]) -> Any:
    if schema.get("type") in (None, "string"):
        return value
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value
