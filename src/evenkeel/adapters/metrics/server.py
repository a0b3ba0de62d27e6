"""The agent's Prometheus endpoint. It only reads what the agent saw last: a scrape never calls
libvirt, and neither a slow scraper nor a taken port can hold the agent up.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.metrics_core import Metric

from evenkeel.adapters.metrics import devices
from evenkeel.adapters.metrics.devices import DomainRecord
from evenkeel.adapters.metrics.families import families
from evenkeel.domain.errors import ConfigInvalid, MetricsUnavailable
from evenkeel.ports import Snapshot

Record = tuple[str, str, Mapping[str, Any]]


class MetricsServer:
    """Serves /metrics from `start()` to `close()`.

    Parameters
    ----------
    listen : str
        HOST:PORT ([HOST]:PORT for IPv6); port 0 takes a free one.
    source : callable
        The agent's latest snapshot, or None before its first tick.
    records : callable
        libvirt's latest records, for the per-device families (`LibvirtHypervisor.records`).
    """

    def __init__(
        self,
        listen: str,
        source: Callable[[], Snapshot | None],
        records: Callable[[], Sequence[Record]] = tuple,
    ) -> None:
        """Raises ConfigInvalid when `listen` is not HOST:PORT."""
        self._host, self._port = _parse(listen)
        self._registry = CollectorRegistry()
        self._registry.register(_Collector(source, records))
        self._server: WSGIServer | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> int:
        """Listen; returns the port. Raises MetricsUnavailable, after which the agent can go on."""
        try:
            server, thread = start_http_server(self._port, self._host, self._registry)
        except OSError as error:
            raise MetricsUnavailable(f"{self._host}:{self._port}: {error.strerror}") from error
        self._server, self._thread = server, thread
        return int(server.server_port)

    def close(self) -> None:
        server, self._server = self._server, None
        if server is not None and self._thread is not None:
            server.shutdown()
            server.server_close()
            self._thread.join()


class _Collector:
    """Asked by prometheus_client at every scrape."""

    def __init__(
        self,
        source: Callable[[], Snapshot | None],
        records: Callable[[], Sequence[Record]],
    ) -> None:
        self._source = source
        self._records = records

    def collect(self) -> Iterator[Metric]:
        snapshot = self._source()
        if snapshot is not None:
            yield from families(snapshot)
            if snapshot.counters is not None:
                records = [DomainRecord(*record) for record in self._records()]
                yield from devices.families(records)

    def describe(self) -> list[Metric]:
        return []  # or registering would scrape once, to learn the names


def _parse(listen: str) -> tuple[str, int]:
    host, colon, port = listen.rpartition(":")
    try:
        number = int(port)
    except ValueError:
        number = -1
    if not colon or not host or not 0 <= number < 65536:
        raise ConfigInvalid(f"metrics_listen {listen!r} is not HOST:PORT")
    return host.strip("[]"), number
