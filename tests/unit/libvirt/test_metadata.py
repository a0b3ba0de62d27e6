"""Tenant, priority and exemption from a domain's XML."""

from __future__ import annotations

import pytest

from evenkeel.adapters.libvirt.metadata import Metadata, balloon_is_silent, parse, profiler_socket
from evenkeel.domain.ids import NO_TENANT, TenantId

NOVA = """<nova:instance xmlns:nova="http://openstack.org/xmlns/libvirt/nova/1.1">
  <nova:name>web-1</nova:name>
  <nova:owner><nova:user uuid="u1">jo</nova:user>
    <nova:project uuid="a7c1f3">shop</nova:project></nova:owner>
</nova:instance>"""


def own(attributes: str) -> str:
    return f'<evenkeel:vm xmlns:evenkeel="https://evenkeel.dev/xmlns/vm/1" {attributes}/>'


def domain(metadata: str) -> str:
    return f"<domain><name>g1</name><metadata>{metadata}</metadata></domain>"


def test_own_metadata() -> None:
    xml = domain(own('tenant="acme" priority="2.5" exempt="yes"'))

    assert parse(xml) == Metadata(TenantId("acme"), 2.5, True)


def test_without_metadata_everything_is_default() -> None:
    assert parse("<domain><name>g1</name></domain>") == Metadata(NO_TENANT, 1.0, False)
    assert parse(domain("<other xmlns='urn:x' tenant='no'/>")) == Metadata()


def test_nova_names_the_project_and_own_metadata_wins() -> None:
    assert parse(domain(NOVA)).tenant == "a7c1f3"
    assert parse(domain(NOVA + own('tenant="acme"'))).tenant == "acme"
    assert parse(domain(NOVA + own('priority="3"'))) == Metadata(TenantId("a7c1f3"), 3.0)


@pytest.mark.parametrize("priority", ["high", "", "nan", "inf", "-1", "0", "1e9"])
def test_a_priority_that_is_none_is_named_and_normal(priority: str) -> None:
    found = parse(domain(own(f'tenant="t" priority="{priority}"')))

    assert (found.tenant, found.priority) == ("t", 1.0)
    assert "priority" in found.flaws[0]


def test_an_exemption_that_is_unclear_exempts() -> None:
    found = parse(domain(own('exempt="ask me first"')))

    assert found.exempt
    assert "exempt" in found.flaws[0]


@pytest.mark.parametrize(
    ("word", "exempt"), [("yes", True), ("TRUE", True), ("1", True), ("no", False), ("0", False)]
)
def test_ways_to_say_exempt(word: str, exempt: bool) -> None:
    assert parse(domain(own(f'exempt="{word}"'))) == Metadata(exempt=exempt)


def test_broken_xml_is_named_and_harmless() -> None:
    found = parse("<domain><metadata>")

    assert (found.tenant, found.priority, found.exempt) == (NO_TENANT, 1.0, False)
    assert "does not parse" in found.flaws[0]


@pytest.mark.parametrize(
    ("devices", "silent"),
    [
        ("<memballoon model='virtio'><stats period='5'/></memballoon>", False),
        ("<memballoon model='virtio'><stats period='0'/></memballoon>", True),
        ("<memballoon model='virtio'/>", True),
        ("<memballoon model='none'/>", False),
        ("", False),
    ],
)
def test_a_balloon_that_was_never_told_to_report(devices: str, silent: bool) -> None:
    assert balloon_is_silent(f"<domain><devices>{devices}</devices></domain>") is silent


_PORT = "<target type='virtio' name='evenkeel.profiler.0' state='connected'/>"
_SOURCE = "<source mode='bind' path='/run/p.sock'/>"


@pytest.mark.parametrize(
    ("devices", "path"),
    [
        ("", None),
        (f"<channel type='unix'>{_SOURCE}{_PORT}</channel>", "/run/p.sock"),
        (f"<channel type='unix'>{_PORT}</channel>", None),
        (f"<channel type='unix'><source mode='connect' path='/x'/>{_PORT}</channel>", None),
        (f"<channel type='pty'>{_SOURCE}{_PORT}</channel>", None),
        (
            "<channel type='unix'><source mode='bind' path='/run/agent'/>"
            "<target type='virtio' name='org.qemu.guest_agent.0'/></channel>"
            f"<channel type='unix'>{_SOURCE}{_PORT}</channel>",
            "/run/p.sock",
        ),
    ],
)
def test_the_profilers_port_is_found_by_its_name(devices: str, path: str | None) -> None:
    assert profiler_socket(f"<domain><devices>{devices}</devices></domain>") == path


def test_xml_that_does_not_parse_has_no_profiler() -> None:
    assert profiler_socket("<domain>") is None
