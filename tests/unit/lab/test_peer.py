"""The far end of the guests' streams."""

from __future__ import annotations

import socket

from evenkeel.lab.peer import PORT, Peer

HERE = "127.0.0.9"


def test_it_sends_to_one_swallows_from_another_and_goes() -> None:
    with Peer(HERE):
        with socket.create_connection((HERE, PORT), timeout=5) as taker:
            taker.sendall(b"S")
            got = b""
            while len(got) < 1_000_000:
                got += taker.recv(65536)
            assert not got.strip(b"\0")
        with socket.create_connection((HERE, PORT), timeout=5) as giver:
            giver.sendall(b"R" + bytes(3_000_000))  # more than buffers hold
    with Peer(HERE):  # the port is free again
        pass
