"""The reporter: oldest first, forget only what was acknowledged or refused for good."""

import pytest

from evenkeel.agent.reporter import Reporter
from evenkeel.domain.errors import BatchInvalid, ControllerUnavailable, TokenRevoked
from evenkeel.domain.policy import Policy
from evenkeel.sim.memory import MemorySpool
from evenkeel.wire import BatchReply


class Link:
    def __init__(self, *errors) -> None:
        self.errors, self.got = list(errors), []

    def send(self, body):
        if self.errors and (error := self.errors.pop(0)) is not None:
            raise error
        self.got.append(body)
        return BatchReply(True, False, Policy(version=len(self.got)), 0.0)


def reporter(link, *bodies):
    spool, replies, acks = MemorySpool(), [], []
    tickets = [spool.put(body) for body in bodies]
    return Reporter(link, spool, replies.append, acks.append), spool, replies, acks, tickets


def test_batches_leave_in_order_and_bring_the_policy_back():
    link = Link()
    sender, spool, replies, acks, tickets = reporter(link, b"1", b"2")
    assert sender.drain()
    assert link.got == [b"1", b"2"]
    assert acks == tickets
    assert replies[-1].policy.version == 2
    assert spool.n_batches() == 0


@pytest.mark.parametrize("error", [ControllerUnavailable("away"), TokenRevoked("revoked")])
def test_what_was_not_acknowledged_stays(error):
    sender, spool, _, acks, _ = reporter(Link(error), b"1", b"2")
    assert not sender.drain()
    assert (spool.n_batches(), acks, sender.problem) == (2, [], error.code)
    assert sender.drain()
    assert (spool.n_batches(), sender.problem) == (0, "")


def test_a_batch_refused_for_good_does_not_hold_up_the_rest():
    link = Link(BatchInvalid("bad"))
    sender, spool, _, acks, tickets = reporter(link, b"bad", b"2")
    assert sender.drain()
    assert (link.got, acks, spool.n_batches()) == ([b"2"], tickets[1:], 0)


def test_a_bug_in_the_link_loses_nothing():
    sender, spool, *_ = reporter(Link(RuntimeError("bug")), b"1")
    assert not sender.drain()
    assert spool.n_batches() == 1
