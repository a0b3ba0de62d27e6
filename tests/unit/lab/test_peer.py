"""The far end of the guests' streams."""

from __future__ import annotations

import gc
import socket
import threading

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


def test_a_stream_that_comes_as_it_goes_is_closed_too() -> None:
    """The collector warns of a stream left open, and a warning fails the run."""
    for _ in range(50):
        with Peer(HERE):
            taker = socket.create_connection((HERE, PORT), timeout=5)
        taker.close()
    gc.collect()
    assert not [thread for thread in threading.enumerate() if thread.name == "peer"]
