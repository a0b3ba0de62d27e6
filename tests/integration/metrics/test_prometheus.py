"""Panels from a real Prometheus that holds what a libvirt exporter would have told it."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import numpy as np
import pytest

from evenkeel.adapters.metrics.promql import PromqlSource
from evenkeel.domain.errors import MetricsSourceInvalid, MetricsSourceUnavailable
from evenkeel.domain.resources import Resource

pytestmark = pytest.mark.integration

SCRAPE_S, STEP_S, N_SLOTS = 15, 300, 24
T0 = int(time.time()) // 7200 * 7200 - 2 * 7200
MIB = 2**20


def counters(t: int) -> dict[str, dict[str, float]]:
    """Cumulative, per domain: web1 runs 0.5 cores and is held back in the second hour; web1's
    counters start anew after 40 minutes; db1 runs 2 cores and counts no delay."""
    alive = t if t < 2400 else t - 2400
    return {
        "web1": {
            "libvirt_domain_info_cpu_time_seconds_total": 0.5 * alive,
            'libvirt_domain_vcpu_delay_seconds_total{vcpu="0"}': 0.25 * max(0, t - 3600),
            'libvirt_domain_block_stats_read_requests_total{target_device="vda"}': 20 * alive,
            'libvirt_domain_block_stats_write_requests_total{target_device="vda"}': 10 * alive,
            'libvirt_domain_interface_stats_receive_bytes_total{target_device="t"}': 1e6 * t,
            'libvirt_domain_interface_stats_transmit_bytes_total{target_device="t"}': 5e5 * t,
            "libvirt_domain_memory_stats_available_bytes": 1000 * MIB,
            "libvirt_domain_memory_stats_unused_bytes": 400 * MIB,
            "libvirt_domain_memory_stats_rss_bytes": 900 * MIB,
            "libvirt_domain_info_virtual_cpus": 2,
            "libvirt_domain_info_maximum_memory_bytes": 1024 * MIB,
        },
        "db1": {
            "libvirt_domain_info_cpu_time_seconds_total": 2.0 * t,
            "libvirt_domain_memory_stats_rss_bytes": 300 * MIB,
            "libvirt_domain_info_virtual_cpus": 4,
        },
    }


def exposition() -> str:
    """OpenMetrics with time stamps; db1 is not scraped in slots 10 and 11."""
    samples: dict[str, list[str]] = {}
    for t in range(0, N_SLOTS * STEP_S + 1, SCRAPE_S):
        for domain, metrics in counters(t).items():
            if domain == "db1" and 3000 < t < 3600:
                continue
            for name, value in metrics.items():
                family, _, labels = name.partition("{")
                labels = f'domain="{domain}"' + ("," + labels.rstrip("}") if labels else "")
                samples.setdefault(family, []).append(f"{family}{{{labels}}} {value} {T0 + t}")
    lines = []
    for family, listed in samples.items():
        kind = "counter" if family.endswith("_total") else "gauge"
        lines += [f"# TYPE {family.removesuffix('_total')} {kind}", *listed]
    return "\n".join([*lines, "# EOF", ""])


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    assert shutil.which("prometheus"), "Prometheus is not installed (apt install prometheus)"
    folder: Path = tmp_path_factory.mktemp("prometheus")
    (folder / "told").write_text(exposition())
    (folder / "prometheus.yml").write_text("global: {}\n")
    backfill = ["promtool", "tsdb", "create-blocks-from", "openmetrics", "told", "data"]
    subprocess.run(backfill, cwd=folder, check=True, capture_output=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    argv = [
        "prometheus",
        "--config.file=prometheus.yml",
        "--storage.tsdb.path=data",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    address = f"http://127.0.0.1:{port}"
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(argv, cwd=folder, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                if httpx2.get(f"{address}/-/ready").status_code == 200:
                    break
            except httpx2.HTTPError:
                pass
            assert server.poll() is None, (folder / "log").read_text()
            time.sleep(0.1)
        yield address
    finally:
        server.terminate()
        server.wait(10)


@pytest.fixture
def source(url: str) -> Iterator[PromqlSource]:
    source = PromqlSource(url, STEP_S)
    yield source
    source.close()


def rows(source: PromqlSource, resource: Resource) -> dict[str, np.ndarray]:
    panel = source.panel(resource, T0, T0 + N_SLOTS * STEP_S)
    assert panel.values.shape[1] == N_SLOTS
    return dict(zip(panel.ids, panel.values, strict=True))


def test_cpu_is_run_time_plus_delay_over_restarts_of_the_counter(source: PromqlSource) -> None:
    cpu = rows(source, Resource.CPU)
    np.testing.assert_allclose(cpu["web1"][:12], 0.5, rtol=0.06)
    np.testing.assert_allclose(cpu["web1"][13:], 0.75, rtol=0.01)
    assert np.isnan(cpu["db1"][11])
    np.testing.assert_allclose(np.delete(cpu["db1"], [10, 11]), 2.0, rtol=0.01)
    panel = source.panel(Resource.CPU, T0, T0 + N_SLOTS * STEP_S)
    web1 = panel.ids.index("web1")
    assert panel.censored is not None
    assert not panel.censored[web1, :12].any()
    assert panel.censored[web1, 12:].all()
    assert not panel.censored[1 - web1].any()
    assert dict(zip(panel.ids, panel.capacity, strict=True)) == {"web1": 2.0, "db1": 4.0}


def test_the_other_resources_are_in_their_units(source: PromqlSource) -> None:
    memory = rows(source, Resource.MEMORY)
    np.testing.assert_allclose(memory["web1"], 600, rtol=1e-3)
    np.testing.assert_allclose(memory["db1"][0], 300)
    np.testing.assert_allclose(rows(source, Resource.NET)["web1"], 12.0, rtol=0.01)
    np.testing.assert_allclose(rows(source, Resource.IOPS)["web1"], 30.0, rtol=0.06)
    one = source.panel(Resource.MEMORY, T0, T0 + STEP_S, vms=["db1"])
    assert one.ids == ("db1",)


def test_long_ranges_are_asked_in_pieces(
    source: PromqlSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = rows(source, Resource.CPU)
    monkeypatch.setattr("evenkeel.adapters.metrics.promql.MAX_POINTS", 5)
    pieces = rows(source, Resource.CPU)
    for vm in whole:
        np.testing.assert_array_equal(whole[vm], pieces[vm])
    long_ago = source.panel(Resource.NET, T0 - 3 * 86_400, T0 - 2 * 86_400)
    assert long_ago.values.shape == (0, 288)


def test_a_refused_query_is_said(
    source: PromqlSource, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evenkeel.adapters.metrics.promql.demand_query", lambda *_: "rate(")
    with pytest.raises(MetricsSourceInvalid, match="parse error"):
        source.panel(Resource.CPU, T0, T0 + STEP_S)
    elsewhere = PromqlSource(f"{url}/nothing", STEP_S)
    with pytest.raises(MetricsSourceInvalid):
        elsewhere.panel(Resource.CPU, T0, T0 + STEP_S)
    elsewhere.close()
    away = PromqlSource("http://127.0.0.1:9", STEP_S)
    with pytest.raises(MetricsSourceUnavailable):
        away.panel(Resource.CPU, T0, T0 + STEP_S)
    away.close()
