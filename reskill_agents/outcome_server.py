"""``POST /outcomes``: outcomes from anything that speaks HTTP, for one tenant.

::

    curl -X POST localhost:8712/outcomes -H 'content-type: application/json' -d '{"id": "run-1", "success": true}'

The body has ``id`` (run or thread), ``score`` or ``success``, and perhaps ``metadata``. Answers: 200 with what is kept,
400 malformed, 401 without the token, 404 unknown id, 409 another score is kept, 413 too large, 415 not JSON.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from reskill_agents.errors import ConfigError, OutcomeConflictError, ReSkillError, StoreError, UnknownRunError
from reskill_agents.store_protocol import SkillStore

DEFAULT_PORT = 8712
MAX_BODY = 64 << 10
_FIELDS = frozenset({"id", "score", "success", "metadata"})
_TIMEOUT_S = 10.0


class OutcomeServer(ThreadingHTTPServer):
    """Serves until ``shutdown``; ``server_port`` is the port it got.

    Args:
        store: the tenant's store; a client cannot name another tenant.
        host: default loopback. Any other needs ``token``.
        port: 0 takes a free one.
        token: clients send ``Authorization: Bearer <token>``.

    Raises:
        ConfigError: an open address without a token.
    """

    daemon_threads = True

    def __init__(
        self, store: SkillStore, *, host: str = "127.0.0.1", port: int = DEFAULT_PORT, token: str | None = None
    ) -> None:
        if not token and not _is_loopback(host):
            raise ConfigError(f"host {host!r} can be reached from outside; set a token")
        self.store = store
        self.token = token
        super().__init__((host, port), _Handler)


class _Refused(Exception):
    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    timeout = _TIMEOUT_S
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Record one outcome."""
        try:
            self._answer(HTTPStatus.OK, self._record(self._body()))
        except _Refused as error:
            self._answer(error.status, {"error": str(error)})
        except UnknownRunError as error:
            self._answer(HTTPStatus.NOT_FOUND, {"error": str(error)})
        except OutcomeConflictError as error:
            self._answer(HTTPStatus.CONFLICT, {"error": str(error)})
        except StoreError as error:
            self._answer(HTTPStatus.BAD_REQUEST, {"error": str(error)})
        except ReSkillError as error:
            self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, {"error": str(error)})

    @property
    def _owner(self) -> OutcomeServer:
        assert isinstance(self.server, OutcomeServer)
        return self.server

    def _body(self) -> Mapping[str, object]:
        length = self.headers.get("content-length", "")
        if not length.isascii() or not length.isdigit():
            raise _Refused(HTTPStatus.LENGTH_REQUIRED, "content-length is missing")
        if int(length) > MAX_BODY:
            raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {MAX_BODY} bytes")
        data = self.rfile.read(int(length))  # always read: the connection is used again
        token = self._owner.token
        given = self.headers.get("authorization", "")
        if token and not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
            raise _Refused(HTTPStatus.UNAUTHORIZED, "the token is missing or wrong")
        if self.path != "/outcomes":
            raise _Refused(HTTPStatus.NOT_FOUND, "only POST /outcomes")
        if self.headers.get_content_type() != "application/json":  # a web page cannot send this unasked
            raise _Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "content-type must be application/json")
        try:
            body = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise _Refused(HTTPStatus.BAD_REQUEST, f"not JSON: {error}") from error
        if not isinstance(body, dict) or not body.keys() <= _FIELDS:
            raise _Refused(HTTPStatus.BAD_REQUEST, f"an object with {', '.join(sorted(_FIELDS))} is needed")
        return body

    def _record(self, body: Mapping[str, object]) -> Mapping[str, object]:
        subject, score, success = body.get("id"), body.get("score"), body.get("success")
        metadata = body.get("metadata") or {}
        if not isinstance(subject, str) or not subject:
            raise _Refused(HTTPStatus.BAD_REQUEST, "id must be text")
        if not isinstance(score, int | float | None) or not isinstance(success, bool | None):
            raise _Refused(HTTPStatus.BAD_REQUEST, "score must be a number from 0 to 1, success true or false")
        if not isinstance(metadata, dict):
            raise _Refused(HTTPStatus.BAD_REQUEST, "metadata must be an object")
        kept = self._owner.store.record_outcome(subject, score=score, success=success, metadata=metadata)
        return {"id": subject, "run_id": kept.run_id, "score": kept.score, "late": kept.late}

    def _answer(self, status: HTTPStatus, value: Mapping[str, object]) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        if status in (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.LENGTH_REQUIRED):
            self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: ids of threads are nobody's business."""


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
