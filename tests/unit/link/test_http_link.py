"""HttpLink against a real HTTP server on this machine."""

from __future__ import annotations

import gzip
import http.server
import json
import socket
import threading
import time
from pathlib import Path

import pytest

from evenkeel.adapters.http.link import MAX_REPLY_BYTES, HttpLink
from evenkeel.domain import errors
from link_server import OK, REPLY, TOKEN, Answer, Server, plain, refusal


def test_batch_and_reply_cross_unchanged(server: Server, link: HttpLink) -> None:
    assert link.send(b"{}") == REPLY
    (seen,) = server.seen
    assert seen.path == "/v1/agents/rack%201%2Fh1/batches"
    assert seen.body == b"{}"
    assert seen.headers["Authorization"] == f"Bearer {TOKEN}"
    assert "Content-Encoding" not in seen.headers


def test_large_body_is_gzipped(server: Server, link: HttpLink) -> None:
    body = b'{"x": "' + b"y" * 5000 + b'"}'
    link.send(body)
    (seen,) = server.seen
    assert seen.headers["Content-Encoding"] == "gzip"
    assert len(seen.body) < 200
    assert gzip.decompress(seen.body) == body


def test_connection_is_kept_alive(server: Server, link: HttpLink) -> None:
    for _ in range(3):
        link.send(b"{}")
    assert len({seen.connection for seen in server.seen}) == 1


def test_prefix_of_the_url_is_kept(server: Server, token_file: Path) -> None:
    link = HttpLink(server.url + "/evenkeel/", "h1", token_file, None, 2.0)
    link.send(b"{}")
    link.close()
    assert server.seen[0].path == "/evenkeel/v1/agents/h1/batches"


def test_a_model_is_fetched_over_the_same_connection(server: Server, link: HttpLink) -> None:
    blob = bytes(range(256)) * 40
    server.answers = [plain(200, OK), plain(200, blob), plain(200, OK)]
    link.send(b"{}")
    assert link.model("cpu-short/1") == blob
    link.send(b"{}")
    assert [seen.path for seen in server.seen][1] == "/v1/models/cpu-short%2F1"
    assert server.seen[1].headers["Authorization"] == f"Bearer {TOKEN}"
    assert server.seen[1].body == b""
    assert len({seen.connection for seen in server.seen}) == 1


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (refusal(401, "token_revoked"), errors.TokenRevoked),
        (refusal(403, "forbidden"), errors.Forbidden),
        (refusal(404, "model_not_found"), errors.ControllerUnavailable),
        (plain(404, b"<html>an old controller</html>"), errors.ControllerUnavailable),
        (plain(413), errors.ControllerUnavailable),
        (refusal(422, "invalid_request"), errors.ControllerUnavailable),
        (refusal(500, "model_corrupt"), errors.ControllerUnavailable),
        (plain(302, Location="http://elsewhere/"), errors.ControllerUnavailable),
        (plain(200, b"x" * (MAX_REPLY_BYTES + 1)), errors.ControllerUnavailable),
    ],
)
def test_a_model_that_cannot_be_had_never_costs_a_batch(
    server: Server, link: HttpLink, answer: Answer, expected: type[errors.EvenkeelError]
) -> None:
    server.answers = [answer, plain(200, OK)]
    with pytest.raises(errors.EvenkeelError) as caught:
        link.model("cpu-1")
    assert type(caught.value) is expected
    assert link.send(b"{}") == REPLY


def test_an_agent_understands_replies_of_other_versions(server: Server, link: HttpLink) -> None:
    told = json.loads(OK)
    del told["short_models"]
    model = {"resource": "llc", "id": "llc-1", "sha256": "0", "size": 3}
    newer = told | {"short_models": [model], "weather": "fine"}
    server.answers = [plain(200, json.dumps(each).encode()) for each in (told, newer)]
    assert link.send(b"{}").short_models is None
    (named,) = link.send(b"{}").short_models or ()
    assert (named.resource, named.id) == ("llc", "llc-1")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (refusal(401, "unauthenticated"), errors.Unauthenticated),
        (refusal(401, "token_revoked"), errors.TokenRevoked),
        (plain(401), errors.Unauthenticated),
        (refusal(403, "forbidden"), errors.Forbidden),
        (plain(403, b"<html>no</html>"), errors.Forbidden),
        (refusal(413, "batch_too_large"), errors.BatchTooLarge),
        (plain(413, b"<html>nginx</html>"), errors.BatchTooLarge),
        (refusal(422, "batch_invalid"), errors.BatchInvalid),
        (refusal(422, "invalid_request"), errors.BatchInvalid),
        (refusal(400, "invalid_request"), errors.BatchInvalid),
        (plain(400, b"<html>bad request</html>"), errors.ControllerUnavailable),
        (plain(422, b"[]"), errors.ControllerUnavailable),
        (refusal(404, "not_found"), errors.ControllerUnavailable),
        (plain(404), errors.ControllerUnavailable),
        (plain(408), errors.ControllerUnavailable),
        (plain(429), errors.ControllerUnavailable),
        (plain(500, b"\xff\xfe"), errors.ControllerUnavailable),
        (plain(502), errors.ControllerUnavailable),
        (refusal(503, "store_unavailable"), errors.ControllerUnavailable),
        (plain(200, b"<html>hello</html>"), errors.ControllerUnavailable),
        (plain(200), errors.ControllerUnavailable),
        (plain(204), errors.ControllerUnavailable),
    ],
)
def test_every_answer_has_its_error(
    server: Server, link: HttpLink, answer: Answer, expected: type[errors.EvenkeelError]
) -> None:
    server.answers = [answer, plain(200, OK)]
    with pytest.raises(errors.EvenkeelError) as caught:
        link.send(b"{}")
    assert type(caught.value) is expected
    assert link.send(b"{}") == REPLY


def test_the_controllers_message_is_passed_on(server: Server, link: HttpLink) -> None:
    server.answers = [refusal(422, "batch_invalid", "seq 0 is not positive")]
    with pytest.raises(errors.BatchInvalid, match="seq 0 is not positive"):
        link.send(b"{}")


def test_redirect_is_not_followed(server: Server, link: HttpLink) -> None:
    server.answers = [plain(307, Location=server.url + "/elsewhere"), plain(200, OK)]
    with pytest.raises(errors.ControllerUnavailable, match="elsewhere"):
        link.send(b"{}")
    assert len(server.seen) == 1


def test_huge_answer_is_cut_off(server: Server, link: HttpLink) -> None:
    server.answers = [plain(200, b" " * (MAX_REPLY_BYTES + 1)), plain(200, OK)]
    with pytest.raises(errors.ControllerUnavailable, match="exceeds"):
        link.send(b"{}")
    assert link.send(b"{}") == REPLY


def test_cut_answer_is_no_answer(server: Server, link: HttpLink) -> None:
    def cut(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(OK)))
        handler.end_headers()
        handler.wfile.write(OK[:-10])
        handler.close_connection = True

    server.answers = [cut, plain(200, OK)]
    with pytest.raises(errors.ControllerUnavailable):
        link.send(b"{}")
    assert link.send(b"{}") == REPLY


def test_chunked_and_unmeasured_answers_are_read(server: Server, link: HttpLink) -> None:
    def chunked(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for piece in (OK[:20], OK[20:]):
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        handler.wfile.write(b"0\r\n\r\n")

    def until_close(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(OK)

    server.answers = [chunked, until_close, plain(200, OK)]
    assert [link.send(b"{}") for _ in range(3)] == [REPLY] * 3


def test_silent_server_times_out(server: Server, token_file: Path) -> None:
    done = threading.Event()
    server.answers = [lambda handler: done.wait(5) and None]
    link = HttpLink(server.url, "h1", token_file, None, timeout_s=0.2)
    started = time.monotonic()
    with pytest.raises(errors.ControllerUnavailable, match=r"timed out|no whole answer"):
        link.send(b"{}")
    assert time.monotonic() - started < 1.5
    done.set()


@pytest.mark.parametrize("part", ["headers", "body"])
def test_dripping_server_times_out(server: Server, token_file: Path, part: str) -> None:
    """Every read succeeds in time; only the whole takes for ever."""
    done = threading.Event()

    def drip(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        if part == "body":
            handler.send_header("Content-Length", "100000")
            handler.end_headers()
        while not done.wait(0.02):
            handler.wfile.write(b" " if part == "body" else b"X-A: b\r\n")
            handler.wfile.flush()

    server.answers = [drip]
    link = HttpLink(server.url, "h1", token_file, None, timeout_s=0.3)
    started = time.monotonic()
    with pytest.raises(errors.ControllerUnavailable):
        link.send(b"{}")
    assert time.monotonic() - started < 1.5
    done.set()


def test_connection_closed_while_idle_is_opened_again(server: Server, link: HttpLink) -> None:
    def say_and_hang_up(handler: http.server.BaseHTTPRequestHandler) -> None:
        plain(200, OK)(handler)
        handler.close_connection = True  # without having said so

    server.answers = [say_and_hang_up, plain(200, OK)]
    assert link.send(b"{}") == REPLY
    assert link.send(b"{}") == REPLY
    assert len({seen.connection for seen in server.seen}) == 2


def test_nobody_listens(token_file: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening
        link = HttpLink(f"http://127.0.0.1:{taken.getsockname()[1]}", "h1", token_file, None, 1.0)
        with pytest.raises(errors.ControllerUnavailable, match="refused"):
            link.send(b"{}")
