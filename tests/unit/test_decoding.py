"""Decoders that many threads ask for at the same moment."""

from __future__ import annotations

import subprocess
import sys

import msgspec
import pytest

from evenkeel.decoding import converted

# Types that nobody has decoded yet, one pair a round; a crash ends this process only.
FIRST_AT_ONCE = """
import dataclasses, sys, threading
from evenkeel.decoding import decoder

sys.setswitchinterval(1e-6)
RAW = b'{"inner": {' + b",".join(b'"a%d": 1' % k for k in range(12)) + b"}}"

def first(kind, gate, seen):
    gate.wait()
    seen.append(decoder(kind).decode(RAW).inner.a11)

for _ in range(150):
    inner = dataclasses.make_dataclass("Inner", [(f"a{k}", "int") for k in range(12)])
    outer = dataclasses.make_dataclass("Outer", [("inner", inner)])
    gate, seen = threading.Barrier(4), []
    threads = [threading.Thread(target=first, args=(outer, gate, seen)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [1, 1, 1, 1]
"""


def test_threads_may_ask_for_their_first_decoders_at_once() -> None:
    """A controller that was started anew under load met its first batches so, and crashed."""
    ran = subprocess.run([sys.executable, "-c", FIRST_AT_ONCE], capture_output=True, timeout=120)
    assert ran.returncode == 0, ran.stderr.decode()


def test_plain_values_become_types() -> None:
    assert converted({"a": "3"}, dict[str, int], strict=False) == {"a": 3}
    with pytest.raises(msgspec.ValidationError):
        converted({"a": "x"}, dict[str, int], strict=False)
