"""Agent and controller as real processes on a real lab: the loop, and what kills leave behind."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator

import pytest
from tests.real_fleet import guests_on, observing

from evenkeel.lab.domain_xml import GuestSpec
from evenkeel.lab.fleet import Fleet
from evenkeel.lab.guests import Guest
from evenkeel.lab.lab import Lab
from evenkeel.lab.scenarios import knobs

pytestmark = pytest.mark.integration

SOON_S = 40.0


@pytest.fixture(scope="module")
def fleet(make_lab: Callable[..., Lab]) -> Iterator[Fleet]:
    with observing(make_lab(n_hosts=1)) as fleet:
        yield fleet


@pytest.fixture(scope="module")
def guests(fleet: Fleet) -> Iterator[dict[str, Guest]]:
    """Two guests on one core, and nobody on the other."""
    spec = GuestSpec(cpu_pct=4, pins=((0,),))
    with guests_on(fleet, {"victim": spec, "noisy": spec}) as made:
        yield made


def collide(guests: dict[str, Guest]) -> None:
    guests["victim"].set_load(cpu=90)
    guests["noisy"].set_load(cpu=100)


def calm(guests: dict[str, Guest]) -> None:
    for guest in guests.values():
        guest.set_load(cpu=4)


def open_mitigations(fleet: Fleet) -> list[dict[str, object]]:
    items = fleet.get("/v1/mitigations", open_only=True)["items"]
    return [m for m in items if m["state"] in ("active", "verified")]


def kinds(fleet: Fleet) -> list[str]:
    return [event["kind"] for event in fleet.get("/v1/events", limit=200)["items"]]


def problem(fleet: Fleet) -> str:
    return str(fleet.get("/v1/hosts/h1")["problem"])


def test_it_sees_acts_verifies_and_puts_back(fleet: Fleet, guests: dict[str, Guest]) -> None:
    fleet.wait(lambda: fleet.get("/v1/hosts/h1")["n_vms"] == 2, SOON_S, "both VMs")
    before = {name: knobs(guest) for name, guest in guests.items()}
    fleet.put_mode("act")
    collide(guests)
    fleet.wait(lambda: bool(open_mitigations(fleet)), SOON_S, "an action")
    assert {name: knobs(guest) for name, guest in guests.items()} != before
    fleet.wait(
        lambda: any(m["state"] == "verified" for m in open_mitigations(fleet)), SOON_S, "a verdict"
    )
    why = fleet.get("/v1/vms/victim/why")
    assert why["mitigations"][0]["measured_loss"] < why["mitigations"][0]["loss_before"] / 2
    calm(guests)
    fleet.wait(lambda: not open_mitigations(fleet), SOON_S, "the roll-back")
    assert {name: knobs(guest) for name, guest in guests.items()} == before
    assert {"mitigation_applied", "mitigation_verified", "mitigation_rolled_back"} <= set(
        kinds(fleet)
    )


def test_an_agent_killed_in_a_mitigation_restores_the_host_at_its_next_start(
    fleet: Fleet, guests: dict[str, Guest]
) -> None:
    fleet.put_mode("act")
    before = {name: knobs(guest) for name, guest in guests.items()}
    collide(guests)
    fleet.wait(lambda: bool(open_mitigations(fleet)), 2 * SOON_S, "an action")
    [mitigation] = open_mitigations(fleet)
    fleet.agent("h1").send_signal(signal.SIGKILL)
    fleet.agent("h1").wait(10)
    assert {name: knobs(guest) for name, guest in guests.items()} != before
    calm(guests)
    fleet.put_mode("advise")
    fleet.start_agent("h1")
    fleet.wait(
        lambda: {name: knobs(guest) for name, guest in guests.items()} == before,
        SOON_S,
        "the restored host",
    )

    def closed() -> bool:
        items = fleet.get("/v1/mitigations")["items"]
        return any(m["id"] == mitigation["id"] and m["state"] == "rolled_back" for m in items)

    fleet.wait(closed, SOON_S, "the record of it")


def test_a_killed_controller_converges_and_the_spool_drains(
    fleet: Fleet, guests: dict[str, Guest]
) -> None:
    fleet.wait(lambda: fleet.get("/v1/hosts/h1")["alive"], SOON_S, "the host")
    fleet.controller().send_signal(signal.SIGKILL)
    fleet.controller().wait(10)
    fleet.start_controller()
    fleet.wait(
        lambda: fleet.get("/v1/hosts/h1")["alive"] and fleet.get("/v1/hosts/h1")["n_vms"] == 2,
        SOON_S,
        "the host after the restart",
    )
    fleet.wait(lambda: fleet.get("/v1/hosts/h1")["spool_batches"] == 0, SOON_S, "the spool")
    assert fleet.get("/v1/hosts/h1")["spool_dropped"] == 0


def test_libvirtd_restarted_under_the_agent(fleet: Fleet, guests: dict[str, Guest]) -> None:
    fleet.lab.crash_libvirtd("h1")
    fleet.wait(lambda: problem(fleet) == "hypervisor_unavailable", SOON_S, "the trouble to show")
    fleet.lab.start_libvirtd("h1")
    fleet.wait(lambda: problem(fleet) == "", SOON_S, "the recovery")
    fleet.wait(lambda: "hypervisor_recovered" in kinds(fleet), SOON_S, "the event")
    assert fleet.get("/v1/hosts/h1")["n_vms"] == 2


@pytest.mark.parametrize("subject", ["h1", "elsewhere"])
def test_a_revoked_or_foreign_token_holds_batches_back_until_it_is_mended(
    fleet: Fleet, guests: dict[str, Guest], subject: str
) -> None:
    token_file = fleet.state_dir / "h1" / "agent.token"
    good = token_file.read_text()
    bad = fleet.post("/v1/tokens", {"role": "agent", "subject": subject})
    if subject == "h1":
        fleet.delete(f"/v1/tokens/{bad['id']}")
    last_seen = fleet.get("/v1/hosts/h1")["last_seen_s"]
    token_file.write_text(bad["token"])
    log = fleet.state_dir / "agent-h1.log"
    code = "token_revoked" if subject == "h1" else "forbidden"
    fleet.wait(lambda: code in log.read_text(), SOON_S, "the agent to say so")
    assert bad["token"] not in log.read_text()
    assert good not in log.read_text()
    token_file.write_text(good)
    fleet.wait(
        lambda: fleet.get("/v1/hosts/h1")["last_seen_s"] > last_seen + 5, SOON_S, "new batches"
    )
    fleet.wait(lambda: fleet.get("/v1/hosts/h1")["spool_batches"] <= 1, SOON_S, "the spool")
