"""Models for the creator's tests: one that answers from a record, one behind a real server on loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from reskill_agents.creator_model import ModelAnswer, ModelRequest

ANALYSIS = {
    "insight": "The better episodes picked the crate whose words agree with the request.",
    "succeeding": ["opens the matching crate"],
    "failing": ["opens any crate"],
    "trigger_actions": ["arriving at the gate"],
    "skills": "",
}
DIAGNOSIS = {
    "problems": ["The crate is chosen without comparing its words with the request.", "Sealed crates are shipped."],
    "add_assertions": [
        {"text": "A tag is set before shipping.", "check": {"type": "action_before", "first": "^tag", "second": "ship"}}
    ],
    "drop_assertions": [],
}
RECOMMENDATION = {
    "changes": [
        {
            "kind": "add",
            "idea": "Compare each crate with the request and open the closest one.",
            "reason": "Most failures open a wrong crate.",
            "trigger": {"kind": "beginning"},
        }
    ]
}
SKILL = {
    "name": "closest-crate-first",
    "when_to_use": "Use when crates are listed.",
    "action": "Compare the words of each crate with the request; open the one that agrees most and is not sealed.",
    "example": "",
    "trigger": {"kind": "beginning"},
}
RECORD: dict[str, object] = {
    "analyse": ANALYSIS,
    "diagnose": DIAGNOSIS,
    "recommend": RECOMMENDATION,
    "author": SKILL,
}


@dataclass
class RecordedModel:
    """Answers each node from ``record``; ``answer`` may be replaced to misbehave."""

    record: dict[str, object] = field(default_factory=lambda: dict(RECORD))
    answer: Callable[[ModelRequest], str] | None = None
    requests: list[ModelRequest] = field(default_factory=list)
    name: str = "recorded"

    async def complete(self, request: ModelRequest) -> ModelAnswer:
        """The recorded answer of the node."""
        self.requests.append(request)
        text = self.answer(request) if self.answer else json.dumps(self.record[request.node])
        return ModelAnswer(text, input_tokens=len(request.prompt) // 4, output_tokens=len(text) // 4)


_NODE_OF_SCHEMA = {
    "AnalysisAnswer": "analyse",
    "DiagnosisAnswer": "diagnose",
    "RecommendationAnswer": "recommend",
    "SkillAnswer": "author",
}


@dataclass
class Endpoint:
    """What a loopback server was asked, and how it shall answer: (status, headers, body) given the request's body."""

    base_url: str = ""
    bodies: list[dict[str, object]] = field(default_factory=list)
    reply: Callable[[dict[str, object]], tuple[int, dict[str, str], str]] | None = None


def node_of(body: dict[str, object]) -> str:
    """The node that asks, by the schema in the body of its request."""
    text = json.dumps(body)
    return next(node for schema, node in _NODE_OF_SCHEMA.items() if schema in text or f'"{node}"' in text)


def recorded_reply(body: dict[str, object]) -> tuple[int, dict[str, str], str]:
    """A chat completion with the recorded answer of the node the schema belongs to."""
    return 200, {}, completion(json.dumps(RECORD[node_of(body)]))


def completion(content: str) -> str:
    """The body of a chat completion."""
    return json.dumps(
        {
            "id": "c",
            "object": "chat.completion",
            "created": 0,
            "model": "m",
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}],
            "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
        }
    )


@contextmanager
def openai_server() -> Iterator[Endpoint]:
    """A real OpenAI-compatible server on loopback."""
    endpoint = Endpoint(reply=recorded_reply)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            endpoint.bodies.append(body)
            assert endpoint.reply is not None
            status, headers, text = endpoint.reply(body)
            payload = text.encode("utf-8", "replace")
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(payload)))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    endpoint.base_url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    try:
        yield endpoint
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
