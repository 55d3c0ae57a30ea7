"""A stand-in for a vLLM server on the loopback interface, answering from a :class:`FakeEngine`'s distribution."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from reskill_agents.engine import GenerateRequest, SamplingParams
from reskill_agents.engines.fake import FakeEngine


@dataclass
class Served:
    """What the server does and saw.

    Args:
        engine: its distribution.
        faults: answers to give instead, one a request: a status code, or seconds to dawdle.
        drops: fields left out of completions.
        log: (path, body) of every request.
    """

    engine: FakeEngine
    faults: list[int | float] = field(default_factory=list)
    drops: tuple[str, ...] = ()
    log: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    paused: bool = False

    def answer(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Status and body of the response."""
        if path == "/v1/models":
            return 200, {"object": "list", "data": [{"id": "toy", "max_model_len": self.engine.max_context}]}
        if path.startswith("/pause") or path == "/resume":
            self.paused = path != "/resume"
            return 200, {}
        if path == "/reset_prefix_cache":
            return 200, {}
        if path == "/collective_rpc":
            if not self.paused:
                return 500, {"error": "weights reloaded while sampling"}
            version = int(body["kwargs"]["weights_path"].rsplit("-", 1)[1])
            asyncio.run(self.engine.publish({}, version))
            return 200, {"results": [None]}
        if path != "/v1/completions":
            return 404, {"error": f"no {path}"}
        if self.paused:
            return 500, {"error": "generate while paused hangs in the real server"}
        return 200, {"id": "cmpl-1", "object": "text_completion", "choices": [self._complete(body)]}

    def _complete(self, body: dict[str, Any]) -> dict[str, Any]:
        prompt = tuple(body["prompt"])
        params = SamplingParams(body["temperature"], body["max_tokens"], tuple(body.get("stop_token_ids", ())))
        key = (body["seed"],) if body.get("seed") is not None else ()
        self.engine.max_context += 1  # scoring asks for one token after a full prompt
        generation = asyncio.run(self.engine.generate(GenerateRequest("http", prompt, params, key)))
        self.engine.max_context -= 1
        choice: dict[str, Any] = {
            "index": 0,
            "text": "",
            "finish_reason": generation.finish,
            "token_ids": list(generation.token_ids),
            "prompt_token_ids": list(prompt),
            "logprobs": {"token_logprobs": list(generation.logprobs), "tokens": [], "text_offset": []},
        }
        if "prompt_logprobs" in body:
            scores = asyncio.run(self.engine.score(prompt[:1], prompt[1:]))
            rows = [{str(t): {"logprob": s, "rank": 1}} for t, s in zip(prompt[1:], scores, strict=True)]
            choice["prompt_logprobs"] = [None, *rows]
        return {key: value for key, value in choice.items() if key not in self.drops}


@contextmanager
def serve(served: Served) -> Iterator[str]:
    """The server's address while it runs."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._respond({})

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            self._respond(json.loads(self.rfile.read(length)) if length else {})

        def _respond(self, body: dict[str, Any]) -> None:
            served.log.append((self.path, body))
            fault = served.faults.pop(0) if served.faults else None
            if isinstance(fault, float):
                time.sleep(fault)
            status, answer = (
                (fault, {"error": "on purpose"}) if isinstance(fault, int) else served.answer(self.path, body)
            )
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that gave up waiting
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
