"""The agents' door: who may post, what is refused, what is answered."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator

import msgspec
import pytest
from tests.batches import a_batch, a_mitigation, a_vm, an_event
from tests.controller_app import Api, bearer

from evenkeel.domain.errors import StoreUnavailable
from evenkeel.interference.kinds import Priors
from evenkeel.wire import KindTraits, encode

LIMIT = 65536


def test_a_batch_is_answered_with_the_policy(api: Api) -> None:
    api.client.put("/v1/mode", json={"mode": "act", "host": "h1"}, headers=bearer(api.admin))
    reply = api.deliver(a_batch(1))
    assert (reply.accepted, reply.duplicate, reply.policy.mode) == (True, False, "act")
    reply = api.deliver(a_batch(1))
    assert (reply.accepted, reply.duplicate) == (False, True)


def test_what_hosts_learnt_comes_back_pooled_to_every_agent(api: Api) -> None:
    said = KindTraits("shop/1x128MiB", [[20.0] * 4] * 2, [[10.0] * 4] * 2)
    reply = api.deliver(msgspec.structs.replace(a_batch(1), traits=(said,)))
    serving = reply.contention_model
    assert serving is not None
    other = api.token("agent", "h2")
    answer = api.client.get(f"/v1/models/{serving.id}", headers=bearer(other))
    assert hashlib.sha256(answer.content).hexdigest() == serving.sha256
    assert Priors.load(answer.content).of("shop/1x128MiB").mean.min() > 0.2
    gone = api.client.get("/v1/models/contention-0", headers=bearer(other))
    assert api.refused(gone) == (404, "model_not_found")
    tenant = api.token("tenant", "shop")
    assert api.client.get(f"/v1/models/{serving.id}", headers=bearer(tenant)).status_code == 403


def test_a_compressed_batch_is_taken(api: Api) -> None:
    assert api.post(a_batch(1), zipped=True).status_code == 200


def test_an_agent_speaks_for_its_own_host_only(api: Api) -> None:
    own = api.token("agent", "h1")
    for answer in (
        api.post(a_batch(1, "h2"), "h2", token=own),
        api.post(a_batch(1, "h2"), "h1", token=own),
        api.post(a_batch(1), token=api.token("tenant", "h1")),
        api.post(a_batch(1), token=api.admin),
    ):
        assert api.refused(answer) == (403, "forbidden")
    assert api.refused(api.post(a_batch(1), token="ek_x")) == (401, "unauthenticated")
    assert api.get("/v1/hosts")["items"] == []


def test_a_body_that_is_too_large_is_refused_however_it_comes(api: Api) -> None:
    token = api.token("agent", "h1")
    plain, bomb = b" " * (LIMIT + 1), gzip.compress(b" " * 50_000_000)
    assert len(bomb) < LIMIT

    def in_chunks() -> Iterator[bytes]:
        for start in range(0, len(plain), 1000):
            yield plain[start : start + 1000]

    chunked = api.client.post("/v1/agents/h1/batches", content=in_chunks(), headers=bearer(token))
    assert "content-length" not in chunked.request.headers
    for answer in (
        api.post(plain, token=token),
        chunked,
        api.post(bomb, token=token, **{"content-encoding": "gzip"}),
    ):
        assert api.refused(answer) == (413, "batch_too_large")


BROKEN = {
    "empty": b"",
    "not json": b"{",
    "not utf-8": b'"\xff"',
    "another shape": b"[]",
    "nul": encode(a_batch(1, vms=("a\x00b",))),
    "nan": encode(a_batch(1)).replace(b"36.0", b"NaN").replace(b"4096.0", b"NaN"),
    "another version": encode(a_batch(1, v=99)),
    "no epoch": encode(a_batch(1, epoch="")),
    "huge seq": encode(a_batch(2**60)),
    "negative seq": encode(a_batch(-1)),
    "long name": encode(a_batch(1, vms=("x" * 300,))),
    "twice the same VM": encode(a_batch(1, vms=("a", "a"))),
    "negative demand": encode(a_batch(1)).replace(b"[1.0,100.0", b"[-1.0,100.0"),
    "loss above one": encode(a_batch(1, loss=1.5)),
    "mitigation of another host": encode(a_batch(1, mitigations=(a_mitigation(host="h2"),))),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_batch_is_refused_and_leaves_nothing(api: Api, name: str) -> None:
    assert api.refused(api.post(BROKEN[name])) == (422, "batch_invalid")
    assert api.get("/v1/hosts")["items"] == []


@pytest.mark.parametrize(
    ("body", "encoding"),
    [(b"plain", "gzip"), (gzip.compress(b"x" * 99)[:-9], "gzip"), (b"x", "br")],
    ids=["no gzip", "cut off", "not offered"],
)
def test_a_broken_encoding_is_refused(api: Api, body: bytes, encoding: str) -> None:
    answer = api.post(body, **{"content-encoding": encoding})
    assert api.refused(answer) == (422, "batch_invalid")


def test_a_store_that_fails_means_try_again(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise StoreUnavailable("database or disk is full")

    monkeypatch.setattr("evenkeel.controller.ingest.update_inventory", fail)
    answer = api.post(a_batch(1))
    assert api.refused(answer) == (503, "store_unavailable")
    assert answer.headers["retry-after"]
    monkeypatch.undo()
    assert not api.deliver(a_batch(1)).duplicate


def test_a_bug_is_answered_without_its_insides(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr("evenkeel.controller.ingest.update_inventory", fail)
    answer = api.post(a_batch(1))
    assert api.refused(answer) == (500, "internal")
    assert "secret detail" not in answer.text


def test_a_host_tells_events_in_its_own_name_only(api: Api) -> None:
    event = an_event("forged")
    lie = json.loads(encode(a_batch(1, events=(event,))))
    lie["events"][0]["host"] = "h2"
    assert api.post(json.dumps(lie).encode()).status_code == 200
    (told,) = [e for e in api.get("/v1/events")["items"] if e["kind"] == "forged"]
    assert told["host"] == "h1"


def test_unknown_fields_of_a_newer_agent_are_ignored(api: Api) -> None:
    newer = json.loads(encode(a_batch(1, vms=(a_vm("web1"),))))
    newer["novelty"] = {"x": 1}
    assert api.post(json.dumps(newer).encode()).status_code == 200
