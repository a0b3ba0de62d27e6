"""A recording of one's own fleet: what is written is what is read, and what is no recording."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evenkeel.adapters.traces.fleet import read_recorded
from evenkeel.adapters.traces.recorded import (
    DEMAND,
    META,
    About,
    RecordedHost,
    RecordedRows,
    RecordedVm,
    write_recorded,
)
from evenkeel.domain.errors import TraceInvalid
from evenkeel.domain.recording import NEVER, NOWHERE, Recording

T0, STEP = 1_800_000_000, 300
HOSTS = (
    RecordedHost("h1", 8, 65_536.0, 10_000.0, None, "rack-a", T0 + 60.0),
    RecordedHost("h2", 16, 131_072.0, None, 900.0, "", T0 + 60.0),
)


def a_vm(vm: str, name: str = "", tenant: str = "shop", vcpus: int = 2) -> RecordedVm:
    return RecordedVm(vm, name or f"name-{vm}", vcpus, 2048.0, tenant, f"{tenant}/{vcpus}x2048MiB")


def about(n_slots: int, **fields) -> About:
    return dataclasses.replace(About(T0, T0 + n_slots * STEP, STEP, HOSTS), **fields)


def rows(vms: list[RecordedVm], *cells: tuple[int, int, str, tuple[float, ...]]) -> RecordedRows:
    """Cells are (slot, VM, host, demand)."""
    hosts = sorted({host for _, _, host, _ in cells})
    return RecordedRows(
        slot=np.array([T0 + slot * STEP for slot, *_ in cells], np.intp),
        vms=vms,
        vm=np.array([vm for _, vm, *_ in cells], np.intp),
        hosts=hosts,
        host=np.array([hosts.index(host) for _, _, host, _ in cells], np.intp),
        demand=np.array([demand for *_, demand in cells], np.float32).reshape(-1, 4),
    )


def written(path: Path, n_slots: int, *pieces: RecordedRows, **fields) -> Recording:
    write_recorded(path, about(n_slots, **fields), pieces)
    return read_recorded(path)


def of(cpu: float) -> tuple[float, ...]:
    return (cpu, 100 * cpu, 10 * cpu, np.nan)


@st.composite
def fleets(draw):
    """(slot, VM, host, demand) of some VMs in some slots."""
    n_slots, n_vms = draw(st.integers(1, 6)), draw(st.integers(1, 4))
    number = st.one_of(st.just(np.nan), st.floats(0, 1e9, width=32))
    found = {}
    for slot in range(n_slots):
        for vm in range(n_vms):
            if draw(st.booleans()) or (slot, vm) == (0, 0):
                host = draw(st.sampled_from(["h1", "h2", ""]))
                found[slot, vm] = (host, tuple(draw(number) for _ in range(4)))
    return n_slots, n_vms, found, draw(st.integers(1, n_slots))


@settings(max_examples=60)
@given(fleets())
def test_what_is_read_is_what_was_written(tmp_path_factory, fleet):
    n_slots, n_vms, cells, split = fleet
    path = tmp_path_factory.mktemp("r") / "fleet.parquet"
    vms = [a_vm(f"v{k}") for k in range(n_vms)]
    listed = [(slot, vm, *cell) for (slot, vm), cell in cells.items()]
    early = [cell for cell in listed if cell[0] < split]
    late = [cell for cell in listed if cell[0] >= split]
    found = written(path, n_slots, rows(vms, *early), rows(vms, *late))
    ids = found.vms.ids
    for slot in range(n_slots):
        demand = found.demand.at(slot)
        here = {ids[i].partition("#")[0]: i for i in found.present(slot)}
        told = {f"name-v{vm}": cell for (s, vm), cell in cells.items() if s == slot}
        assert told.keys() <= here.keys()
        for name, i in here.items():
            expected = told[name][1] if name in told else (np.nan,) * 4
            np.testing.assert_array_equal(demand[i].astype(np.float32), np.float32(expected))
    names = {shape.name: k for k, shape in enumerate(found.hosts)} | {"": NOWHERE}
    for i, name in enumerate(ids):
        vm = int(name.partition("#")[0].removeprefix("name-v"))
        assert found.vms.host[i] == names[cells[int(found.vms.arrives[i]), vm][0]]


def test_hosts_sizes_and_words(tmp_path):
    vms = [a_vm("a", "web"), a_vm("b", "db", "bank", 4)]
    found = written(tmp_path / "f", 1, rows(vms, (0, 0, "h1", of(1)), (0, 1, "h2", of(2))))
    assert found.vms.ids == ("web", "db")
    assert found.vms.vcpus.tolist() == [2, 4]
    assert found.vms.tenant == ("shop", "bank")
    assert found.vms.kind == ("shop/2x2048MiB", "bank/4x2048MiB")
    assert found.vms.host.tolist() == [0, 1]
    assert found.vms.leaves.tolist() == [NEVER, NEVER]
    one, two = found.hosts
    assert (one.name, one.n_cpus, one.memory_mib, one.fault_domain) == ("h1", 8, 65_536, "rack-a")
    assert (one.net_mbit_s, two.iops) == (10_000, 900)
    assert "Of 2 hosts network or disk was not known" in " ".join(found.notes)
    assert (found.start_s, found.slot_s, found.n_slots) == (T0, STEP, 1)


def test_hosts_that_were_gone_by_then_are_no_room_to_simulate_on(tmp_path):
    old = [dataclasses.replace(host, last_seen_s=T0 - 10 * 86_400.0) for host in HOSTS]
    empty = RecordedHost("h3", 4, 1024.0, 1.0, 1.0, "", T0 + 1.0)
    cells = [(0, 0, "h2", of(1))]
    found = written(tmp_path / "f", 1, rows([a_vm("a")], *cells), hosts=(*old, empty))
    assert [host.name for host in found.hosts] == ["h2", "h3"]
    assert found.vms.host.tolist() == [0]
    assert "Of 1 hosts network" in found.notes[-1]


def test_two_vms_of_one_name_are_known_by_their_ids(tmp_path):
    vms = [a_vm("a", "web"), a_vm("b", "web"), a_vm("c", "db")]
    cells = [(0, k, "h1", of(1)) for k in range(3)]
    assert written(tmp_path / "f", 1, rows(vms, *cells)).vms.ids == ("a", "b", "db")


def test_a_vm_that_came_back_is_another_stay_and_one_that_moved_is_not(tmp_path):
    cells = [
        *((slot, 1, "h1", of(2)) for slot in range(5)),  # h1 speaks all the time
        (0, 0, "h1", of(1)),
        (1, 0, "h2", of(1)),  # moved
        (4, 0, "h1", of(3)),
        *((slot, 2, "h2", of(1)) for slot in range(5)),
    ]
    found = written(tmp_path / "f", 5, rows([a_vm("a"), a_vm("b"), a_vm("c")], *cells))
    assert sorted(found.vms.ids) == ["name-a", "name-a#2", "name-b", "name-c"]
    first, again = (found.vms.ids.index(name) for name in ("name-a", "name-a#2"))
    assert (found.vms.arrives[first], found.vms.leaves[first]) == (0, 2)
    assert (found.vms.arrives[again], found.vms.leaves[again]) == (4, NEVER)
    assert "1 moves that the fleet itself made" in found.notes[0]


def test_a_silent_host_is_a_gap_and_not_an_absence(tmp_path):
    cells = [
        (0, 0, "h1", of(1)),
        (3, 0, "h1", of(1)),
        *((slot, 1, "h2", of(2)) for slot in range(4)),
    ]
    found = written(tmp_path / "f", 4, rows([a_vm("a"), a_vm("b")], *cells))
    k = found.vms.ids.index("name-a")
    assert len(found.vms.ids) == 2
    assert [k in found.present(slot) for slot in range(4)] == [True] * 4
    assert np.isnan(found.demand.at(1)[k]).all()
    assert found.wanted(1)[k].tolist() == [0.0] * 4
    assert "2 of 8 VM-slots are gaps" in found.notes[1]


def test_a_size_is_the_one_it_had_last(tmp_path):
    early = rows([a_vm("a", vcpus=2)], (0, 0, "h1", of(1)))
    late = rows([a_vm("a", vcpus=8)], (1, 0, "h1", of(1)))
    assert written(tmp_path / "f", 2, early, late).vms.vcpus.tolist() == [8]


def test_a_file_is_there_whole_or_not_at_all(tmp_path):
    path = tmp_path / "fleet.parquet"
    path.write_bytes(b"what was there")

    def pieces():
        yield rows([a_vm("a")], (0, 0, "h1", of(1)))
        raise ConnectionError("the controller is gone")

    with pytest.raises(ConnectionError):
        write_recorded(path, about(2), pieces())
    assert path.read_bytes() == b"what was there"
    assert list(tmp_path.iterdir()) == [path]


def a_file(path: Path, n_slots: int = 40) -> Path:
    vms = [a_vm(f"v{k}") for k in range(20)]
    rng = np.random.default_rng(1)
    cells = [(s, k, "h1", of(float(rng.random()))) for s in range(n_slots) for k in range(20)]
    write_recorded(path, about(n_slots), [rows(vms, *cells)])
    return path


def test_a_cut_or_damaged_file_is_refused(tmp_path):
    whole = a_file(tmp_path / "f").read_bytes()
    for raw in (whole[: len(whole) // 2], whole[:-1], b"", b"PAR1"):
        (tmp_path / "cut").write_bytes(raw)
        with pytest.raises(TraceInvalid, match=r"cut: .*damaged") as refused:
            read_recorded(tmp_path / "cut")
        assert "copied whole" in refused.value.hint
    meta = pq.ParquetFile(tmp_path / "f").metadata.row_group(0)
    for name in ("cpu_demand_cores", "slot"):
        k = next(i for i in range(meta.num_columns) if meta.column(i).path_in_schema == name)
        at = meta.column(k).data_page_offset + meta.column(k).total_compressed_size // 2
        flipped = bytearray(whole)
        flipped[at] ^= 0xFF
        (tmp_path / "flipped").write_bytes(flipped)
        with pytest.raises(TraceInvalid, match="damaged"):
            read_recorded(tmp_path / "flipped")
    with pytest.raises(TraceInvalid, match="no such file"):
        read_recorded(tmp_path / "nothing")


def changed(path: Path, table: pa.Table | None = None, **fields) -> Path:
    """The file with other columns, or other metadata."""
    found = pq.read_table(path) if table is None else table
    told = json.loads(pq.read_schema(path).metadata[META]) | fields
    pq.write_table(found.replace_schema_metadata({META: json.dumps(told).encode()}), path)
    return path


@pytest.mark.parametrize(
    ("fields", "said", "hint"),
    [
        ({"v": 2}, "version 2; this Evenkeel reads up to 1", "Upgrade"),
        ({"v": "x"}, "metadata", "evenkeel record"),
        ({"slot_s": 0}, "whole slots", "evenkeel record"),
        ({"slot_s": 7}, "whole slots", "evenkeel record"),
        ({"end_s": T0 - 300}, "whole slots", "evenkeel record"),
        ({"end_s": T0 + 10 * 366 * 86_400}, "spans 3,660 days", "by itself"),
        ({"hosts": []}, "column 'host': 'h1' is not among the hosts", "evenkeel record"),
        ({"hosts": [{"name": "h1"}]}, "metadata", "evenkeel record"),
        ({"end_s": T0 + 300}, "row 2: column 'slot': no slot of this recording", "evenkeel record"),
    ],
)
def test_metadata_that_cannot_be(tmp_path, fields, said, hint):
    path = changed(a_file(tmp_path / "f"), **fields)
    with pytest.raises(TraceInvalid, match=said) as refused:
        read_recorded(path)
    assert hint in refused.value.hint
    assert refused.value.code == "trace_invalid"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.drop_columns(["tenant"]), "column 'tenant' is missing"),
        (lambda t: t.drop_columns([DEMAND[2]]), f"column '{DEMAND[2]}' is missing"),
        (lambda t: other(t, "vcpus", pa.array(["x"] * len(t))), "column 'vcpus': not numbers"),
        (lambda t: other(t, "slot", pa.array(["x"] * len(t))), "column 'slot': no instants"),
        (lambda t: other(t, DEMAND[0], pc.negate(t[DEMAND[0]])), "row 1: a demand below 0"),
        (lambda t: pa.concat_tables([t, t.slice(5, 1)]), "row 801: column 'vm': 'v0' has this"),
        (lambda t: t.slice(0, 0), "row 1: there is none"),
        (lambda t: other(t, "vcpus", pa.array([0] * len(t))), "has no vCPUs"),
    ],
)
def test_columns_that_cannot_be(tmp_path, change, said):
    path = a_file(tmp_path / "f")
    changed(path, change(pq.read_table(path)))
    with pytest.raises(TraceInvalid, match=said) as refused:
        read_recorded(path)
    assert refused.value.hint


def other(table: pa.Table, name: str, column: pa.Array) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), name, column)


def test_any_other_parquet_file_is_no_recording(tmp_path):
    pq.write_table(pa.table({"vm": ["a"]}), tmp_path / "f")
    with pytest.raises(TraceInvalid, match="no recording of a fleet"):
        read_recorded(tmp_path / "f")


def test_what_does_not_fit_into_memory_is_refused_before_room_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr("evenkeel.adapters.traces.fleet.MOST_CELLS", 20 * 40 * 4 - 1)
    with pytest.raises(TraceInvalid, match="20 VMs over 40 slots") as refused:
        read_recorded(a_file(tmp_path / "f"))
    assert "shorter" in refused.value.hint
