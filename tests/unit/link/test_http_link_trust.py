"""Tokens, addresses and certificates of an HttpLink."""

from __future__ import annotations

import logging
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from evenkeel.adapters.http.link import HttpLink
from evenkeel.domain import errors
from link_server import OK, REPLY, TOKEN, Server, plain


def test_rotated_token_is_used_at_once(server: Server, link: HttpLink, token_file: Path) -> None:
    link.send(b"{}")
    token_file.write_text("ek_agent_next\n")
    link.send(b"{}")
    sent = [seen.headers["Authorization"] for seen in server.seen]
    assert sent == [f"Bearer {TOKEN}", "Bearer ek_agent_next"]


@pytest.mark.parametrize("content", [b"", b"\n", b"two words", b"a\r\nX-Evil: 1", b"\xff\xfe"])
def test_unusable_token_file_says_so_without_its_content(
    server: Server, link: HttpLink, token_file: Path, content: bytes
) -> None:
    token_file.write_bytes(content)
    with pytest.raises(errors.Unauthenticated, match=r"agent\.token") as caught:
        link.send(b"{}")
    assert "Evil" not in str(caught.value)
    assert server.seen == []


def test_missing_token_file(server: Server, link: HttpLink, token_file: Path) -> None:
    token_file.unlink()
    with pytest.raises(errors.Unauthenticated, match="No such file"):
        link.send(b"{}")


def test_token_reaches_neither_logs_nor_errors(
    server: Server, link: HttpLink, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for status in (200, 401, 403, 500):
        server.answers = [plain(status, OK if status == 200 else b"")]
        if status == 200:
            link.send(b"{}")
            continue
        with pytest.raises(errors.EvenkeelError) as caught:
            link.send(b"{}")
        assert TOKEN not in repr(caught.value) + caught.value.hint
    assert TOKEN not in caplog.text


@pytest.mark.parametrize(
    "url", ["", "localhost:8470", "ftp://h/", "http://", "http://h:port/", "http://me:pw@h/"]
)
def test_bad_url_is_a_config_error(url: str, token_file: Path) -> None:
    with pytest.raises(errors.ConfigInvalid):
        HttpLink(url, "h1", token_file, None, 1.0)


def test_missing_ca_file_is_a_config_error(token_file: Path, tmp_path: Path) -> None:
    with pytest.raises(errors.ConfigInvalid, match=r"ca\.pem"):
        HttpLink("https://127.0.0.1:1", "h1", token_file, tmp_path / "ca.pem", 1.0)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificate with openssl")
def test_https_trusts_the_given_ca_and_no_other(
    server: Server, token_file: Path, tmp_path: Path
) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    command += f" -subj /CN=x -addext subjectAltName=IP:127.0.0.1 -keyout {key} -out {certificate}"
    subprocess.run(command.split(), check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.http.socket = context.wrap_socket(server.http.socket, server_side=True)
    url = server.url.replace("http://", "https://")
    trusting = HttpLink(url, "h1", token_file, certificate, 2.0)
    assert [trusting.send(b"{}"), trusting.send(b"{}")] == [REPLY, REPLY]
    trusting.close()
    wary = HttpLink(url, "h1", token_file, None, 2.0)
    with pytest.raises(errors.ControllerUnavailable, match="certificate"):
        wary.send(b"{}")
    assert len(server.seen) == 2
