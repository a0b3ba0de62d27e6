"""The agent's way to its controller: one kept-alive connection, one POST per batch, and a GET
for a model that is new.

The agent's sender thread calls it, alone. http.client does, because the agent must stay small
(httpx2 would take 5 MB more), and because one request at a time is all it sends.
"""

from __future__ import annotations

import contextlib
import gzip
import http.client
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

import msgspec

from evenkeel import __version__
from evenkeel.decoding import decoder
from evenkeel.domain.errors import (
    BatchInvalid,
    BatchTooLarge,
    ConfigInvalid,
    ControllerUnavailable,
    EvenkeelError,
    Forbidden,
    TokenRevoked,
    Unauthenticated,
)
from evenkeel.wire import BatchReply, decode_reply

GZIP_FROM_BYTES: Final = 1024
"""A smaller body fits one packet anyway."""
GZIP_LEVEL: Final = 1
"""A batch comes out a tenth larger than at 6, for a quarter of the agent's CPU time."""
MAX_REPLY_BYTES: Final = 1 << 20

_TOKEN: Final = re.compile(rb"[!-~]{1,4096}")
_FILE_HINT: Final = "`agent.token_file` must hold the token that the controller gave this host."


class _ErrorDetail(msgspec.Struct):
    code: str = ""
    message: str = ""


class _ErrorBody(msgspec.Struct):
    error: _ErrorDetail


_error_decoder = decoder(_ErrorBody)

_BY_CODE: Final[dict[tuple[int, str], type[EvenkeelError]]] = {
    (401, TokenRevoked.code): TokenRevoked,
    (422, "batch_invalid"): BatchInvalid,
    (422, "invalid_request"): BatchInvalid,
    (400, "batch_invalid"): BatchInvalid,
    (400, "invalid_request"): BatchInvalid,
}
_BY_STATUS: Final[dict[int, type[EvenkeelError]]] = {
    401: Unauthenticated,
    403: Forbidden,
    413: BatchTooLarge,
}


class HttpLink:
    """Implements `ports.ControllerLink` over HTTP or HTTPS. Not for several threads at once.

    The token is read from its file at every send, so replacing the file is all a rotation takes.
    A whole exchange ends within about `timeout_s`, however slowly the other side drips.
    """

    def __init__(
        self, url: str, host_id: str, token_file: Path, ca_file: Path | None, timeout_s: float
    ) -> None:
        """Nothing is connected yet. Raises ConfigInvalid (URL, CA file)."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise ConfigInvalid(f"controller URL {url!r} is not http(s)://HOST[:PORT][/PATH]")
        try:
            port = parts.port
        except ValueError as error:
            raise ConfigInvalid(f"controller URL {url!r}: {error}") from error
        self._url = f"{parts.scheme}://{parts.netloc}"
        self._root = f"{parts.path.rstrip('/')}/v1"
        self._path = f"{self._root}/agents/{quote(host_id, safe='')}/batches"
        self._token_file = token_file
        self._timeout_s = timeout_s
        self._connection: http.client.HTTPConnection
        if parts.scheme == "https":
            import ssl

            try:
                context = ssl.create_default_context(cafile=ca_file)
            except (OSError, ssl.SSLError) as error:
                raise ConfigInvalid(f"CA file {ca_file} cannot be used: {error}") from error
            self._connection = http.client.HTTPSConnection(
                parts.hostname, port, timeout=timeout_s, context=context
            )
        else:
            self._connection = http.client.HTTPConnection(parts.hostname, port, timeout=timeout_s)

    def send(self, body: bytes) -> BatchReply:
        """Deliver one encoded batch; errors as `ports.ControllerLink` says."""
        headers = {"Content-Type": "application/json"}
        if len(body) > GZIP_FROM_BYTES:
            body = gzip.compress(body, GZIP_LEVEL, mtime=0)
            headers["Content-Encoding"] = "gzip"
        answer = self._ask("POST", self._path, body, headers)
        try:
            return decode_reply(answer)
        except BatchInvalid as error:
            raise ControllerUnavailable(
                f"{self._url} answered 200 with something that is no controller's reply",
                hint="Is `agent.controller_url` that of an Evenkeel controller?",
            ) from error

    def model(self, model_id: str) -> bytes:
        """A model that serves; errors as `ports.ControllerLink` says."""
        path = f"{self._root}/models/{quote(model_id, safe='')}"
        try:
            return self._ask("GET", path, None, {})
        except (BatchInvalid, BatchTooLarge) as error:
            raise ControllerUnavailable(error.message) from error

    def close(self) -> None:
        self._connection.close()

    def _token(self) -> str:
        try:
            raw = self._token_file.read_bytes().strip()
        except OSError as error:
            raise Unauthenticated(
                f"token file {self._token_file}: {error.strerror}", hint=_FILE_HINT
            ) from error
        if not _TOKEN.fullmatch(raw):
            raise Unauthenticated(
                f"token file {self._token_file} does not hold one token", hint=_FILE_HINT
            )
        return raw.decode("ascii")

    def _ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> bytes:
        """The body of a 200; everything else is raised."""
        headers |= {
            "Authorization": f"Bearer {self._token()}",
            "User-Agent": f"evenkeel-agent/{__version__}",
        }
        try:
            status, location, answer = self._exchange(method, path, body, headers)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise ControllerUnavailable(
                f"{self._url} did not answer: {error or type(error).__name__}"
            ) from error
        if status != 200:
            raise self._refusal(status, location, answer)
        return answer

    def _exchange(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[int, str, bytes]:
        """One request; again, once, when a kept-alive connection turns out to be closed."""
        kept_alive = self._connection.sock is not None
        try:
            return self._request(method, path, body, headers)
        except (ConnectionError, http.client.BadStatusLine):
            if not kept_alive:
                raise
            self.close()
            return self._request(method, path, body, headers)

    def _request(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[int, str, bytes]:
        if self._connection.sock is None:
            self._connection.connect()
        with self._deadline():
            self._connection.request(method, path, body, headers)
            response = self._connection.getresponse()
            answer = response.read(MAX_REPLY_BYTES + 1)
            if len(answer) > MAX_REPLY_BYTES:
                raise http.client.HTTPException(f"answer exceeds {MAX_REPLY_BYTES} bytes")
            if response.length:  # a shorter body than announced
                raise http.client.IncompleteRead(answer)
        return response.status, response.getheader("Location", ""), answer

    @contextlib.contextmanager
    def _deadline(self) -> Iterator[None]:
        """Cut the connection after `timeout_s`: the socket's own timeout is only per read."""
        sock = self._connection.sock
        expired = threading.Event()

        def cut() -> None:
            expired.set()
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

        timer = threading.Timer(self._timeout_s, cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        except (OSError, http.client.HTTPException) as error:
            if expired.is_set():
                raise TimeoutError(f"no whole answer in {self._timeout_s:g} s") from error
            raise
        finally:
            timer.cancel()
        if expired.is_set():
            raise TimeoutError(f"no whole answer in {self._timeout_s:g} s")

    def _refusal(self, status: int, location: str, answer: bytes) -> EvenkeelError:
        """Map what came back; only a batch that can never pass may end in a Batch error."""
        code, message = _error_of(answer)
        kind = _BY_CODE.get((status, code)) or _BY_STATUS.get(status) or ControllerUnavailable
        text = f"{self._url} answered {status}"
        if 300 <= status < 400:
            text += f", a redirect to {location[:200]!r}, which is not followed"
        if message:
            text += f": {message}"
        return kind(text)


def _error_of(answer: bytes) -> tuple[str, str]:
    """Code and message of an error body; empty when it is somebody else's page."""
    try:
        detail = _error_decoder.decode(answer).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "", ""
    return detail.code, detail.message[:500]
