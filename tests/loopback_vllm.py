"""A stand-in for a vLLM server on the loopback interface, answering from a :class:`FakeEngine`'s distribution."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
        stamps: it knows ``/weight_info``.
        deaf: it says that it loaded weights and keeps the old ones.
        lora: it takes adapters.
        slow_load_s: seconds between loading an adapter and saying so.
        log: (path, body) of every request but those for health.
    """

    engine: FakeEngine
    faults: list[int | float] = field(default_factory=list)
    drops: tuple[str, ...] = ()
    stamps: bool = True
    deaf: bool = False
    lora: bool = True
    slow_load_s: float = 0.0
    log: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    paused: bool = False
    stamp: str = "default"
    adapters: set[str] = field(default_factory=set)

    def answer(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Status and body of the response."""
        path = path.partition("?")[0]
        if path in ("/v1/models", "/health"):
            return 200, {"object": "list", "data": [{"id": "toy", "max_model_len": self.engine.max_context}]}
        if path in ("/pause", "/resume"):
            self.paused = path == "/pause"
            return 200, {}
        if path == "/reset_prefix_cache":
            return 200, {"success": True}
        if path in ("/weight_info", "/update_weight_version") and self.stamps:
            self.stamp = body.get("new_version", self.stamp)
            return 200, {"weight_version": self.stamp}
        if path == "/v1/load_lora_adapter" and self.lora:
            if body["lora_name"] in self.adapters:
                return 400, {"error": f"The lora adapter '{body['lora_name']}' has already been loaded."}
            self.adapters.add(body["lora_name"])
            loaded = self._load(body["lora_path"])
            time.sleep(self.slow_load_s)
            return loaded
        if path == "/v1/unload_lora_adapter":
            known = body["lora_name"] in self.adapters
            self.adapters.discard(body["lora_name"])
            return (200 if known else 404), {}
        if path == "/collective_rpc":
            return self._load(body["kwargs"]["weights_path"])
        if path != "/v1/completions":
            return 404, {"error": f"no {path}"}
        if self.paused:
            return 500, {"error": "generate while paused hangs in the real server"}
        if body["model"] not in {"toy", *self.adapters}:
            return 404, {"error": f"the model {body['model']} does not exist"}
        return 200, {"id": "cmpl-1", "object": "text_completion", "choices": [self._complete(body)]}

    def restart(self) -> None:
        """Forget what was loaded."""
        self.engine.published.clear()
        self.adapters.clear()
        self.stamp, self.paused = "default", False

    def _load(self, folder: str) -> tuple[int, dict[str, Any]]:
        if not self.paused:
            return 500, {"error": "weights reloaded while sampling"}
        if not self.deaf:
            asyncio.run(self.engine.publish({}, int(folder.rsplit("-", 1)[1])))
        return 200, {"results": [None]}

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


class LoopbackServer:
    """A server that can be killed, connections and all, and started again at the same address."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.port = 0
        self._start()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def kill(self) -> None:
        """Stop listening and break every connection, answers under way included."""
        self._server.shutdown()
        self._server.server_close()
        for connection in list(self._connections):
            with suppress(OSError):  # closed by the client
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self._thread.join()

    def restart(self) -> None:
        """Start again, with the weights that a fresh server has."""
        self.served.restart()
        self._start()

    def _start(self) -> None:
        self._connections: set[socket.socket] = set()
        served, connections = self.served, self._connections

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                connections.add(self.connection)

            def finish(self) -> None:
                connections.discard(self.connection)
                with suppress(OSError, ValueError):  # killed
                    super().finish()

            def do_GET(self) -> None:
                self._respond({})

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                self._respond(json.loads(self.rfile.read(length)) if length else {})

            def _respond(self, body: dict[str, Any]) -> None:
                fault = None
                if self.path != "/health":
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

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that gave up waiting
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()


@contextmanager
def serve(served: Served) -> Iterator[str]:
    """The server's address while it runs."""
    server = LoopbackServer(served)
    try:
        yield server.url
    finally:
        server.kill()
