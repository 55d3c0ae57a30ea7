"""An OpenAI-compatible server in front of the policy: agents in any language, every call recorded to the token.

::

    with PolicyProxy(model) as proxy, proxy.rollout("ep-1") as recorder:
        client = OpenAI(base_url=proxy.url("ep-1"), api_key="none")
        ...                       # chat completions, streamed or not, with tools
    recorder.trace                # as if the agent had run in this process

The rollout's id is part of the URL, so that clients need no change. Only this machine can connect.
"""

from __future__ import annotations

import contextvars
import json
import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, unquote

from jinja2 import TemplateError
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, convert_to_messages

from reskill_agents.errors import ConfigError, ContextOverflow, EngineError, ReSkillError
from reskill_agents.graphs.blocking import run_blocking
from reskill_agents.graphs.call_options import CallOptions
from reskill_agents.graphs.chat_model import PolicyChatModel
from reskill_agents.graphs.recorder import CallRecorder, record_calls, recording

MAX_BODY = 16 << 20
_HOST = "127.0.0.1"
_READ = frozenset({"messages", "tools", "tool_choice", "temperature", "max_tokens", "max_completion_tokens", "stop"})
_IGNORED = frozenset({"model", "stream", "stream_options", "user", "metadata", "store", "parallel_tool_calls", "seed"})
_NEUTRAL: Mapping[str, object] = {
    "n": 1, "top_p": 1, "presence_penalty": 0, "frequency_penalty": 0, "logprobs": False, "logit_bias": {},
    "response_format": {"type": "text"},
}  # fmt: skip


class PolicyProxy(ThreadingHTTPServer):
    """Serves while entered as a context manager.

    Args:
        model: the policy.
        port: 0 takes a free one.
    """

    daemon_threads = True

    def __init__(self, model: PolicyChatModel, *, port: int = 0) -> None:
        self.model = model
        self.rollouts: dict[str, CallRecorder] = {}
        super().__init__((_HOST, port), _Handler)

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, name="policy-proxy", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()
        self.server_close()

    def url(self, rollout: str) -> str:
        """The ``base_url`` for the clients of a rollout."""
        return f"http://{_HOST}:{self.server_port}/rollouts/{quote(rollout, safe='')}/v1"

    @contextmanager
    def rollout(self, rollout: str, *, rng_key: tuple[int, ...] = ()) -> Iterator[CallRecorder]:
        """Answer and record the calls of one rollout; unknown ones are refused with 404.

        The engine's rounds do not wait for a foreign client, who may take its time.

        Raises:
            ConfigError: a rollout of that name is under way.
        """
        if rollout in self.rollouts:
            raise ConfigError(f"rollout {rollout!r} is under way already")
        with record_calls(rollout, rng_key=rng_key) as recorder:
            self.rollouts[rollout] = recorder
            try:
                yield recorder
            finally:
                del self.rollouts[rollout]
                self.model.forget(rollout)


class _Refused(Exception):
    def __init__(self, status: HTTPStatus, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.code = status, code


class _Handler(BaseHTTPRequestHandler):
    server: PolicyProxy  # pyright: ignore[reportIncompatibleVariableOverride]
    protocol_version = "HTTP/1.1"
    _streaming = False

    def do_GET(self) -> None:
        """The list of models: the policy."""
        self._guarded(self._list)

    def do_POST(self) -> None:
        """One chat completion."""
        self._guarded(self._complete)

    def _list(self) -> None:
        self._rollout("/v1/models")
        entry = {"id": self.server.model.name_of_policy, "object": "model", "created": 0, "owned_by": "policy"}
        self._answer(HTTPStatus.OK, {"object": "list", "data": [entry]})

    def _guarded(self, respond: Callable[[], None]) -> None:
        try:
            respond()
        except _Refused as error:
            self._fail(error.status, str(error), error.code)
        except ContextOverflow as error:
            self._fail(HTTPStatus.BAD_REQUEST, str(error), "context_length_exceeded")
        except EngineError as error:
            self._fail(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
        except ReSkillError as error:
            self._fail(HTTPStatus.BAD_REQUEST, str(error))
        except TemplateError as error:
            self._fail(HTTPStatus.BAD_REQUEST, f"the policy's chat template refuses these messages: {error}")
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the client left; what was sampled is recorded all the same
        except Exception as error:  # an answer all the same: clients repeat what gets none
            if self._streaming:
                self.close_connection = True
            else:
                self._fail(HTTPStatus.INTERNAL_SERVER_ERROR, f"{type(error).__name__}: {error}")

    def _complete(self) -> None:
        body = self._body()
        recorder = self._rollout("/v1/chat/completions")
        messages, options = self._read(body)
        with recording(recorder):
            if body.get("stream"):
                usage = bool((body.get("stream_options") or {}).get("include_usage"))
                self._stream(messages, options, usage)
            else:
                answer = run_blocking(self.server.model.complete(messages, options)).message
                choice = {"index": 0, "message": _message(answer), "finish_reason": _finish(answer), "logprobs": None}
                self._answer(
                    HTTPStatus.OK,
                    {**self._head("chat.completion"), "choices": [choice], "usage": _usage(answer.usage_metadata)},
                )

    def _rollout(self, end: str) -> CallRecorder:
        host = self.headers.get("host", "").rpartition(":")[0]
        if host not in (_HOST, "localhost"):  # a web page that points its own name here
            raise _Refused(HTTPStatus.FORBIDDEN, f"host {host!r} is not this machine")
        path = self.path.partition("?")[0]
        if not (path.startswith("/rollouts/") and path.endswith(end)):
            raise _Refused(HTTPStatus.NOT_FOUND, f"only /rollouts/ID{end}")
        name = unquote(path.removeprefix("/rollouts/").removesuffix(end))
        recorder = self.server.rollouts.get(name)
        if recorder is None:
            raise _Refused(HTTPStatus.NOT_FOUND, f"no rollout {name!r} is under way")
        return recorder

    def _body(self) -> Mapping[str, Any]:
        length = self.headers.get("content-length", "")
        if not length.isascii() or not length.isdigit() or int(length) > MAX_BODY:
            self.close_connection = True
            raise _Refused(HTTPStatus.LENGTH_REQUIRED, f"content-length must say at most {MAX_BODY} bytes")
        data = self.rfile.read(int(length))
        if self.headers.get_content_type() != "application/json":
            raise _Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "content-type must be application/json")
        try:
            body = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise _Refused(HTTPStatus.BAD_REQUEST, f"not JSON: {error}") from error
        if not isinstance(body, dict):
            raise _Refused(HTTPStatus.BAD_REQUEST, "an object is needed")
        return body

    def _read(self, body: Mapping[str, Any]) -> tuple[list[BaseMessage], CallOptions]:
        """Messages and options.

        What would make log-probs other than the policy's is refused: another temperature, top_p, penalties.
        """
        given = {name: value for name, value in body.items() if value is not None and name not in _READ | _IGNORED}
        unknown = sorted(name for name, value in given.items() if name not in _NEUTRAL or value != _NEUTRAL[name])
        temperature = body.get("temperature")
        if temperature not in (None, self.server.model.temperature):
            unknown.append(f"temperature other than {self.server.model.temperature:g}")
        if unknown:
            raise _Refused(HTTPStatus.BAD_REQUEST, f"not offered here: {', '.join(unknown)}")
        wrong = _wrong(body)
        if wrong:
            raise _Refused(HTTPStatus.BAD_REQUEST, wrong)
        try:
            messages = convert_to_messages(body["messages"])
            stop = body.get("stop") or ()
            options = CallOptions(
                max_tokens=body.get("max_completion_tokens") or body.get("max_tokens"),
                stop=(stop,) if isinstance(stop, str) else tuple(stop),
                tools=tuple(body.get("tools") or ()),
                tool_choice=body.get("tool_choice"),
            )
        except (KeyError, TypeError, ValueError, NotImplementedError) as error:
            raise _Refused(HTTPStatus.BAD_REQUEST, f"messages cannot be read: {error!r}") from error
        return messages, options

    def _stream(self, messages: list[BaseMessage], options: CallOptions, usage: bool) -> None:
        chunks: queue.Queue[AIMessageChunk | Exception | None] = queue.Queue()

        async def sample() -> None:
            try:
                async for chunk in self.server.model._astream(
                    messages,
                    list(options.stop),
                    max_tokens=options.max_tokens,
                    tools=options.tools,
                    tool_choice=options.tool_choice,
                ):
                    if isinstance(chunk.message, AIMessageChunk):
                        chunks.put(chunk.message)
                chunks.put(None)
            except Exception as error:  # handed to the client's thread
                chunks.put(error)

        context = contextvars.copy_context()
        threading.Thread(target=lambda: context.run(run_blocking, sample()), daemon=True).start()
        head, last = self._head("chat.completion.chunk"), AIMessageChunk(content="")
        while (chunk := chunks.get()) is not None:
            if isinstance(chunk, Exception):
                if not self._streaming:
                    raise chunk
                self._event({"error": {"message": str(chunk), "type": "server_error", "code": None}})
                return
            if not self._streaming:
                self._begin_events()
            delta: dict[str, object] = {"role": "assistant", "content": str(chunk.content)}
            last = chunk
            if chunk.tool_call_chunks:
                delta |= {"tool_calls": [{"index": n, **call} for n, call in enumerate(_calls(chunk))]}
            self._event({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
        self._event({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": _finish(last)}]})
        if usage:
            self._event({**head, "choices": [], "usage": _usage(last.usage_metadata)})
        self.wfile.write(b"data: [DONE]\n\n")

    def _begin_events(self) -> None:
        self._streaming = True
        self.send_response(HTTPStatus.OK)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True

    def _event(self, value: Mapping[str, object]) -> None:
        self.wfile.write(b"data: " + json.dumps(value).encode() + b"\n\n")
        self.wfile.flush()

    def _head(self, kind: str) -> dict[str, object]:
        model = self.server.model.name_of_policy
        return {"id": f"chatcmpl-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": model}

    def _fail(self, status: HTTPStatus, message: str, code: str | None = None) -> None:
        kind = "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"
        self._answer(status, {"error": {"message": message, "type": kind, "code": code, "param": None}})

    def _answer(self, status: int, value: Mapping[str, object]) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def _wrong(body: Mapping[str, Any]) -> str:
    """What the first field of another type than OpenAI's must be; empty if all are right."""
    if not (isinstance(body.get("messages"), list) and body["messages"]):
        return "messages must be a list of at least one"
    for name in ("max_tokens", "max_completion_tokens"):
        limit = body.get(name)
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
            return f"{name} must be a whole number from 1"
    stop = body.get("stop")
    if not (stop is None or isinstance(stop, str) or _all_are(str, stop)):
        return "stop must be a text or a list of texts"
    if not (body.get("tools") is None or _all_are(dict, body["tools"])):
        return "tools must be a list of objects"
    if not isinstance(body.get("tool_choice"), str | dict | None):
        return "tool_choice must be a text or an object"
    if not isinstance(body.get("stream_options"), dict | None):
        return "stream_options must be an object"
    return ""


def _all_are(kind: type, values: object) -> bool:
    return isinstance(values, list) and all(isinstance(value, kind) for value in values)


def _calls(message: AIMessage) -> list[dict[str, object]]:
    return [
        {
            "id": call["id"],
            "type": "function",
            "function": {"name": call["name"], "arguments": json.dumps(call["args"])},
        }
        for call in message.tool_calls
    ]


def _message(answer: AIMessage) -> dict[str, object]:
    message: dict[str, object] = {"role": "assistant", "content": str(answer.content)}
    if answer.tool_calls:
        message["tool_calls"] = _calls(answer)
    return message


def _finish(answer: AIMessage) -> str:
    return "tool_calls" if answer.tool_calls else str(answer.response_metadata.get("finish_reason", "stop"))


def _usage(usage: Mapping[str, Any] | None) -> dict[str, int]:
    found = usage or {}
    return {
        "prompt_tokens": int(found.get("input_tokens", 0)),
        "completion_tokens": int(found.get("output_tokens", 0)),
        "total_tokens": int(found.get("total_tokens", 0)),
    }
