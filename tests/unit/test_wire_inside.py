"""What agents say of profilers, as it travels."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from builders import a_host, a_tick, a_vm

from evenkeel.domain.errors import BatchInvalid
from evenkeel.domain.host import Mode
from evenkeel.wire import WIRE_VERSION, Batch, body_to_tick, decode_batch, encode, tick_to_body


def batch(inside: tuple[float | None, ...] | None) -> Batch:
    tick = a_tick(1.0, [a_vm("a"), a_vm("b")], [0.5, 0.5])
    body = msgspec.structs.replace(tick_to_body(tick), inside_loss=inside)
    return Batch(WIRE_VERSION, a_host(), "e", 1, 0.0, Mode.OBSERVE, body)


def test_it_arrives_as_it_was() -> None:
    tick = replace(
        a_tick(1.0, [a_vm("a"), a_vm("b")], [0.5, 0.5]), inside_loss=np.array([0.25, np.nan])
    )
    again = body_to_tick(tick.host, tick_to_body(tick))

    np.testing.assert_array_equal(again.inside_loss, tick.inside_loss)
    assert (
        body_to_tick(tick.host, tick_to_body(replace(tick, inside_loss=None))).inside_loss is None
    )


def test_a_batch_of_an_agent_that_does_not_know_it_is_understood() -> None:
    raw = msgspec.json.decode(encode(batch((0.5, None))))
    del raw["tick"]["inside_loss"]
    found = decode_batch(msgspec.json.encode(raw))

    assert found.tick is not None
    assert found.tick.inside_loss is None


@pytest.mark.parametrize("inside", [(0.5,), (0.5, 1.5), (-0.1, None)])
def test_what_cannot_be_is_refused(inside: tuple[float | None, ...]) -> None:
    assert decode_batch(encode(batch((0.5, None)))).tick is not None
    with pytest.raises(BatchInvalid, match="inside_loss"):
        decode_batch(encode(batch(inside)))
