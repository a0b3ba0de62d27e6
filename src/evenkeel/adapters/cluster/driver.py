"""The process that talks to Ray, started by `RayWorkers`: `python -m ... FD ADDRESS`.

Ray ends the process that it lives in when its cluster is gone, hangs on addresses where none is,
and installs signal handlers. Here that harms nobody.

It says `ready` or `unavailable`; then, for each pickled `do` that it gets, `more` for the next item
(an empty answer: there is none), `report`, the answer of each piece, and `end`.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Final

from evenkeel.adapters.cluster import tasks
from evenkeel.domain.errors import ClusterLost

KNOCK_S: Final = 5.0
GIVE_UP_S: Final = 20
"""Ray gives a cluster up when its head is silent for this long."""


def main() -> None:
    line, address = Connection(int(sys.argv[1])), sys.argv[2]
    os.environ.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", str(GIVE_UP_S))
    try:
        _knock(address)
        tasks.connect(address)
    except Exception as error:
        words = next(iter(str(error).splitlines()), type(error).__name__)
        line.send(("unavailable", words.encode()))
        return
    line.send(("ready", b""))
    try:
        while True:
            _serve(line, line.recv_bytes())
    except (EOFError, OSError):  # whoever asked is gone
        return


def _knock(address: str) -> None:
    """Raises OSError or ValueError at once where nobody listens; Ray would try for a minute."""
    if address != "auto":
        host, _, port = address.rpartition(":")
        socket.create_connection((host.strip("[]"), int(port)), KNOCK_S).close()


def _serve(line: Connection, do: bytes) -> None:
    def items() -> Iterator[bytes]:
        while True:
            line.send(("more", b""))
            item = line.recv_bytes()
            if not item:
                return
            yield item

    def still_there() -> None:
        if line.poll():  # it speaks only when asked: this is the end of the line
            raise EOFError

    try:
        for answer in tasks.run(do, items(), lambda told: line.send(("report", told)), still_there):
            line.send(tuple(answer))
        line.send(("end", b""))
    except (EOFError, OSError):
        raise
    except ClusterLost as error:
        line.send(("lost", error.message.encode()))
    except Exception as error:
        line.send(("lost", f"Ray: {type(error).__name__}: {error}".encode()))


if __name__ == "__main__":
    main()
