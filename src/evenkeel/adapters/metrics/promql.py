"""Demand histories from Prometheus, by the names of the maintained libvirt exporter (inovex).

Four queries make a panel's four resources; `rate()` takes care of counters that restart. A slot's
value is that of the range query at the slot's end over the slot's length, so that it covers just
the slot. Long ranges are asked in pieces, below the server's limit of points per series.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any, Final

import httpx2
import numpy as np

from evenkeel.domain.arrays import F32
from evenkeel.domain.errors import MetricsSourceInvalid, MetricsSourceUnavailable
from evenkeel.domain.panel import Panel
from evenkeel.domain.resources import Resource

MAX_POINTS: Final = 2000
"""Slots per query; Prometheus refuses more than 11,000, and large answers cost it memory."""
HELD_BACK: Final = 0.05
"""A slot whose run-queue delay is at least this share of CPU demand is censored."""

_RATE: Final = "rate({name}[{slot}])"
_CPU_RUN: Final = "libvirt_domain_info_cpu_time_seconds_total"
_CPU_DELAY: Final = "libvirt_domain_vcpu_delay_seconds_total"
_BLOCK: Final = "libvirt_domain_block_stats_{}_requests_total"
_NET: Final = "libvirt_domain_interface_stats_{}_bytes_total"
_MEMORY: Final = "libvirt_domain_memory_stats_{}_bytes"
_MIB: Final = 2**20


def demand_query(resource: Resource, slot: str) -> str:
    """PromQL of one resource's mean demand by domain, in the resource's unit."""

    def rate(name: str) -> str:
        return f"sum by (domain) ({_RATE.format(name=name, slot=slot)})"

    def mean(name: str) -> str:
        return f"sum by (domain) (avg_over_time({name}[{slot}]))"

    match resource:
        case Resource.CPU:
            # Delay is steal: what it waited for it wanted. Not every host counts it.
            run = rate(_CPU_RUN)
            return f"({run} + {rate(_CPU_DELAY)}) or {run}"
        case Resource.MEMORY:
            used = f"{mean(_MEMORY.format('available'))} - {mean(_MEMORY.format('unused'))}"
            return f"(({used}) or {mean(_MEMORY.format('rss'))}) / {_MIB}"
        case Resource.NET:
            both = " + ".join(rate(_NET.format(way)) for way in ("receive", "transmit"))
            return f"({both}) * 8 / 1e6"
        case Resource.IOPS:
            return " + ".join(rate(_BLOCK.format(way)) for way in ("read", "write"))


def capacity_query(resource: Resource) -> str | None:
    match resource:
        case Resource.CPU:
            return "max by (domain) (libvirt_domain_info_virtual_cpus)"
        case Resource.MEMORY:
            return f"max by (domain) (libvirt_domain_info_maximum_memory_bytes) / {_MIB}"
        case _:
            return None


def held_back_query(slot: str) -> str:
    """Share of CPU demand that was spent waiting."""
    delay = f"sum by (domain) ({_RATE.format(name=_CPU_DELAY, slot=slot)})"
    return f"{delay} / ({demand_query(Resource.CPU, slot)} > 0)"


class PromqlSource:
    """See `evenkeel.ports_history.PanelSource`. VMs are named by the exporter's `domain` label.

    Parameters
    ----------
    url : base URL, such as http://prometheus:9090
    step_s : seconds a slot; at least two scrapes must fall into one
    timeout_s : of each query
    """

    def __init__(
        self,
        url: str,
        step_s: int = 300,
        timeout_s: float = 30.0,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self._step_s = step_s
        try:
            self._http = httpx2.Client(
                base_url=url.rstrip("/"), timeout=timeout_s, transport=transport
            )
        except (httpx2.InvalidURL, ValueError) as error:
            raise MetricsSourceInvalid(f"{url!r} is not a URL: {error}") from error
        self._url = url

    def close(self) -> None:
        self._http.close()

    def panel(
        self, resource: Resource, start_s: int, end_s: int, vms: Collection[str] | None = None
    ) -> Panel:
        if start_s % self._step_s or end_s % self._step_s or end_s < start_s:
            raise ValueError(f"[{start_s}, {end_s}) is not a range of whole slots")
        slot = f"{self._step_s}s"
        ids, values = self._matrix(demand_query(resource, slot), start_s, end_s)
        keep = [k for k, vm in enumerate(ids) if vms is None or vm in vms]
        ids, values = [ids[k] for k in keep], values[keep]
        censored = np.zeros(values.shape, dtype=bool)
        if resource is Resource.CPU and ids:
            waiting = self._aligned(ids, *self._matrix(held_back_query(slot), start_s, end_s))
            censored = np.nan_to_num(waiting) >= HELD_BACK
        capacity = np.full(len(ids), np.nan)
        query = capacity_query(resource)
        if query and ids and end_s > start_s:
            told = self._matrix(query, max(start_s, end_s - self._step_s), end_s)
            capacity = self._aligned(ids, *told)[:, -1].astype(np.float64)
        return Panel(
            ids=tuple(ids),
            values=np.maximum(values, 0),
            start_s=float(start_s),
            resource=resource,
            step_s=float(self._step_s),
            capacity=capacity,
            censored=censored,
        )

    def _aligned(self, ids: list[str], others: list[str], values: F32) -> F32:
        """The rows of `values` in the order of `ids`, NaN where there is none."""
        place = {vm: k for k, vm in enumerate(others)}
        result: F32 = np.full((len(ids), values.shape[1]), np.nan, np.float32)
        for k, vm in enumerate(ids):
            if vm in place:
                result[k] = values[place[vm]]
        return result

    def _matrix(self, query: str, start_s: int, end_s: int) -> tuple[list[str], F32]:
        """(domains, values (N, T)); the value at a slot's end is the slot's."""
        n_slots = (end_s - start_s) // self._step_s
        index: dict[str, int] = {}
        parts: list[tuple[int, Any, Any]] = []
        for first in range(0, n_slots, MAX_POINTS):
            last = min(first + MAX_POINTS, n_slots)
            params = {
                "query": query,
                "start": str(start_s + (first + 1) * self._step_s),
                "end": str(start_s + last * self._step_s),
                "step": str(self._step_s),
            }
            for labels, samples in self._ask(params):
                row = index.setdefault(labels, len(index))
                at = (samples[:, 0] - start_s) / self._step_s - 1
                slots = np.round(at).astype(np.intp)
                sound = (slots >= 0) & (slots < n_slots) & (np.abs(at - slots) < 1e-3)
                parts.append((row, slots[sound], samples[sound, 1]))
        values: F32 = np.full((len(index), n_slots), np.nan, np.float32)
        for row, slots, numbers in parts:
            values[row, slots] = np.where(np.isfinite(numbers), numbers, np.nan)
        return list(index), values

    def _ask(self, params: dict[str, str]) -> list[tuple[str, Any]]:
        """(domain, samples (T, 2) of time and value) of each series.

        Raises MetricsSourceUnavailable (try later), MetricsSourceInvalid (it is no Prometheus,
        or it refuses the query).
        """
        try:
            # POST: a query may be longer than a URL may be.
            response = self._http.post("/api/v1/query_range", data=params)
        except httpx2.TimeoutException as error:
            raise MetricsSourceUnavailable(f"{self._url} did not answer in time") from error
        except httpx2.HTTPError as error:
            raise MetricsSourceUnavailable(f"cannot reach {self._url}: {error}") from error
        try:
            answer = response.json()
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            if response.status_code in (502, 503, 504):
                raise MetricsSourceUnavailable(
                    f"{self._url} answers {response.status_code}"
                ) from error
            raise MetricsSourceInvalid(f"{self._url} does not answer as Prometheus does") from error
        if response.status_code == 503:
            raise MetricsSourceUnavailable(f"{self._url}: {_reason(answer)}")
        try:
            if answer["status"] != "success":
                raise MetricsSourceInvalid(f"{self._url} refuses the query: {_reason(answer)}")
            if answer["data"]["resultType"] != "matrix":
                raise MetricsSourceInvalid(f"{self._url} answers with another kind of result")
            return [
                (
                    str(each["metric"]["domain"]),
                    np.array([[float(t), float(v)] for t, v in each["values"]]).reshape(-1, 2),
                )
                for each in answer["data"]["result"]
                if "domain" in each["metric"]
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise MetricsSourceInvalid(
                f"{self._url} does not answer as Prometheus does: {error}"
            ) from error


def _reason(answer: Any) -> str:
    told = answer.get("error") if isinstance(answer, dict) else None
    return str(told or "no reason given")[:300]
