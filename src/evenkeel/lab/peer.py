"""The other end of the guests' network streams, outside: it swallows what is sent, or sends."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType
from typing import Final

PORT: Final = 7070
"""As in guest/jobs.c."""
CHUNK: Final = 1 << 18
BUFFER: Final = 1 << 20
"""Fixed, and read by the chunk: how prompt this end is must not decide how fast a guest is."""


class Peer:
    """Listens on `address` inside the context; a thread a stream, which ends with the stream."""

    def __init__(self, address: str) -> None:
        self._server = socket.create_server((address, PORT))
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):  # streams inherit them
            self._server.setsockopt(socket.SOL_SOCKET, option, BUFFER)
        self._accepting = threading.Thread(target=self._accept, name="peer", daemon=True)
        self._streams: list[tuple[socket.socket, threading.Thread]] = []

    def __enter__(self) -> Peer:
        self._accepting.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        _wake(self._server)
        self._accepting.join()  # no stream comes after this
        self._server.close()
        for stream, serving in self._streams:
            _wake(stream)
            serving.join()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # shut down
            while True:
                stream, _ = self._server.accept()
                serving = threading.Thread(target=_serve, args=(stream,), daemon=True)
                self._streams.append((stream, serving))
                serving.start()


def _wake(end: socket.socket) -> None:
    """Let the thread that waits in it go on, to its end."""
    with contextlib.suppress(OSError):  # gone already
        end.shutdown(socket.SHUT_RDWR)


def _serve(stream: socket.socket) -> None:
    """'S' asks us to send; anything else is the beginning of what we are to swallow."""
    nothing = bytes(CHUNK)
    with stream, contextlib.suppress(OSError):
        sends = stream.recv(1) == b"S"
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, CHUNK)
        while True:
            if sends:
                stream.sendall(nothing)
            elif not stream.recv(CHUNK):
                return
