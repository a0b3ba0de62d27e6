"""A controller's HTTP side as a link meets it: real sockets, answers as the test says."""

from __future__ import annotations

import http.server
import json
from collections.abc import Callable
from dataclasses import dataclass, field

from evenkeel.domain.policy import Policy
from evenkeel.wire import BatchReply, encode

TOKEN = "ek_agent_5f0c2b"
REPLY = BatchReply(accepted=True, duplicate=False, policy=Policy(version=7), server_time_s=12.5)
OK = encode(REPLY)


@dataclass
class Seen:
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int


Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


def plain(status: int, body: bytes = b"", **headers: str) -> Answer:
    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def refusal(status: int, code: str, message: str = "because") -> Answer:
    body = json.dumps({"error": {"code": code, "message": message, "hint": ""}}).encode()
    return plain(status, body)


@dataclass
class Server:
    """Answers each with the next of `answers` (the last one for ever) and keeps what came."""

    answers: list[Answer] = field(default_factory=lambda: [plain(200, OK)])
    seen: list[Seen] = field(default_factory=list)
    http: http.server.ThreadingHTTPServer = field(init=False)

    def __post_init__(self) -> None:
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                outer.seen.append(Seen(self.path, dict(self.headers), body, self.client_address[1]))
                answers = outer.answers
                (answers.pop(0) if len(answers) > 1 else answers[0])(self)

            do_GET = do_POST  # noqa: N815

            def log_message(self, *args: object) -> None:
                pass

        class Quiet(http.server.ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, *args: object) -> None:
                """Clients here cut their connections on purpose."""

        self.http = Quiet(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_address[1]}"
