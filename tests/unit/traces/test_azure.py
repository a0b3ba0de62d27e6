"""Azure's arrivals: who comes when, samples by bursts, and demand that is borrowed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evenkeel.adapters.traces.azure import read_arrivals, sampled
from evenkeel.adapters.traces.borrowed import borrowed
from evenkeel.domain.errors import TraceInvalid
from evenkeel.domain.recording import NEVER, NOWHERE, Recorded, Recording, VmTable
from evenkeel.sim.lending import made_lender
from evenkeel.wiring.recordings import Form, Options, read_recording

START_S = 1_800_000
ROWS = {
    "split": ["train", "dev", "dev", "dev", "dev", "dev"],
    "ts": [300, START_S, START_S, START_S, START_S + 300, START_S + 3000],
    "batch": [0, 0, 0, 1, 0, 0],
    "vcpus": [9, 2, 2, 1, 4, 8],
    "mem_gib": [9.0, 3.5, 3.5, 1.75, 7.0, 14.0],
    "life_lo_s": [-1, 600, 0, 3900, 300, 32_700],
    "life_hi_s": [-1, 600, 0, 7200, 300, 36_000],
    "censored": [0, 0, 0, 0, 0, 1],
}


def write(path: Path, rows: dict | None = None, **columns) -> Path:
    pq.write_table(pa.table({**(rows or ROWS), **columns}), path)
    return path


def a_lender(n_vms: int = 3, n_slots: int = 576, start_s: float = 0.0) -> Recording:
    """VM k wants k + slot / 1000 cores of its 4, half its memory, 10 Mbit/s, k operations."""
    values = np.empty((n_vms, 4, n_slots), np.float32)
    k, slot = np.arange(n_vms)[:, None], np.arange(n_slots)[None, :]
    values[:, 0] = k + slot / 1000
    values[:, 1], values[:, 2], values[:, 3] = 1024, 10, k
    return Recording(
        source="a lender",
        start_s=start_s,
        slot_s=300.0,
        n_slots=n_slots,
        hosts=(),
        vms=VmTable(
            ids=tuple(f"l{i}" for i in range(n_vms)),
            vcpus=np.full(n_vms, 4.0),
            memory_mib=np.full(n_vms, 2048.0),
            arrives=np.zeros(n_vms, np.intp),
            leaves=np.full(n_vms, NEVER),
            host=np.full(n_vms, NOWHERE),
            tenant=("",) * n_vms,
            kind=("",) * n_vms,
        ),
        demand=Recorded(values),
        notes=("it is made up",),
    )


def bursts(n: int, at_once: int = 4) -> dict:
    """`n` bursts of 1 to `at_once` VMs, two of them at each time."""
    sizes = [1 + k % at_once for k in range(n)]
    ts = np.repeat([START_S + 300 * (k // 2) for k in range(n)], sizes)
    total = len(ts)
    return {
        "split": ["dev"] * total,
        "ts": ts,
        "batch": np.repeat([k % 2 for k in range(n)], sizes),
        "vcpus": [1] * total,
        "mem_gib": [1.0] * total,
        "life_lo_s": [900] * total,
        "life_hi_s": [900] * total,
    }


class TestArrivals:
    def test_those_with_lifetimes_and_bursts_by_time_and_batch(self, tmp_path):
        found = read_arrivals(write(tmp_path / "a"))
        assert len(found) == 5
        assert found.burst.tolist() == [0, 0, 1, 2, 3], "batches are numbered anew at each time"
        assert found.life_s.tolist() == [600, 0, 5550, 300, 34_350]
        assert found.stays.tolist() == [False, False, False, False, True]

    def test_order_is_by_time(self, tmp_path):
        rows = {name: values[::-1] for name, values in ROWS.items()}
        found = read_arrivals(write(tmp_path / "a", rows))
        assert (np.diff(found.start_s) >= 0).all()
        assert found.burst.tolist()[-1] == 3

    @pytest.mark.parametrize("seed", [1, 2])
    def test_a_sample_is_of_whole_bursts(self, tmp_path, seed):
        found = read_arrivals(write(tmp_path / "a", bursts(200)))
        size = np.bincount(found.burst)
        for share, n_vms, most in ((0.3, None, 150), (None, 77, 77)):
            some = sampled(found, share, n_vms, seed)
            assert most - 4 < len(some) <= most
            taken, count = np.unique(some.burst, return_counts=True)
            assert (count == size[taken]).all()
            again = sampled(found, share, n_vms, seed)
            np.testing.assert_array_equal(some.burst, again.burst)
        assert set(sampled(found, 0.3, None, 1).burst) != set(sampled(found, 0.3, None, 9).burst)
        assert len(sampled(found, None, None, 1)) == len(found)

    @pytest.mark.parametrize(
        ("share", "n_vms", "said"),
        [
            (0.0, None, "share of 0"),
            (1.5, None, "share of 1.5"),
            (float("nan"), None, "share of nan"),
            (None, 0, "0 VMs"),
            (0.5, 5, "a share and a number"),
            (None, 3, "no burst has at most 3"),
        ],
    )
    def test_samples_that_cannot_be(self, tmp_path, share, n_vms, said):
        rows = bursts(1) | {name: list(v) * 4 for name, v in bursts(1).items()}
        found = read_arrivals(write(tmp_path / "a", rows))
        with pytest.raises(TraceInvalid, match=said) as refused:
            sampled(found, share, n_vms, 1)
        assert "--" in refused.value.hint

    @pytest.mark.parametrize(
        ("columns", "said"),
        [
            ({"vcpus": [9, 2, 0, 1, 4, 8]}, "row 2: column 'vcpus': 0: no vCPUs"),
            ({"mem_gib": [9, 2, 1, -1, 4, 8]}, "row 3: column 'mem_gib': -1: no memory"),
            ({"life_hi_s": [-1, 600, 0, 60, 300, 36_000]}, "row 3: column 'life_hi_s'"),
            ({"life_lo_s": [-1, -1, 0, 60, 300, 3]}, "row 1: column 'life_lo_s': -1: no lifetime"),
            ({"ts": ["x"] * 6}, "column 'ts': not numbers"),
            ({"split": ["train"] * 6}, "no arrival of split 'dev'"),
        ],
    )
    def test_rows_that_cannot_be(self, tmp_path, columns, said):
        with pytest.raises(TraceInvalid, match=said) as refused:
            read_arrivals(write(tmp_path / "a", **columns))
        assert "split, ts" in refused.value.hint

    def test_a_missing_column_a_cut_file_and_none_at_all(self, tmp_path):
        some = {name: values for name, values in ROWS.items() if name != "batch"}
        with pytest.raises(TraceInvalid, match="column 'batch' is missing"):
            read_arrivals(write(tmp_path / "a", some))
        whole = write(tmp_path / "a").read_bytes()
        (tmp_path / "a").write_bytes(whole[:-100])
        for path in (tmp_path / "a", tmp_path / "nothing"):
            with pytest.raises(TraceInvalid, match="not a Parquet file"):
                read_arrivals(path)


class TestBorrowed:
    def test_when_they_come_and_go_and_how_large_they_are(self, tmp_path):
        arrivals = read_arrivals(write(tmp_path / "a"))
        found = borrowed(arrivals, a_lender(), 1)
        assert found.vms.arrives.tolist() == [0, 0, 0, 1, 10]
        assert found.vms.leaves.tolist() == [2, 1, 18, 2, NEVER]
        assert found.vms.memory_mib.tolist() == [3584, 3584, 1792, 7168, 14_336]
        assert found.vms.tenant[:3] == ("burst0", "burst0", "burst1")
        assert (found.n_slots, found.slot_s) == (11, 300)
        told = " ".join(found.notes)
        assert "assumption" in told
        assert "The lender, a lender: it is made up" in told
        assert "1 of 5 VMs were still there" in told

    def test_demand_is_the_lenders_scaled(self, tmp_path):
        arrivals = read_arrivals(write(tmp_path / "a", bursts(60)))
        lender = a_lender(n_vms=3, n_slots=300)
        found = borrowed(arrivals, lender, 5)
        phase = (START_S % 86_400) // 300
        seen = set()
        for slot in range(found.n_slots):
            demand = found.demand.at(slot)
            for i in found.present(slot).tolist():
                cpu, memory, net, iops = demand[i]
                k = round(4 * iops)
                seen.add(k)
                expected = (k + ((slot + phase) % 288) / 1000) / 4
                assert cpu == pytest.approx(expected, rel=1e-5), "it keeps the time of day"
                assert memory == pytest.approx(512)
                assert net == pytest.approx(2.5)
        assert seen == {0, 1, 2}

    def test_a_burst_borrows_one_vm_each_on_a_day_of_its_own(self, tmp_path):
        rows = {name: list(v) * 40 for name, v in bursts(1).items()}
        found = borrowed(read_arrivals(write(tmp_path / "a", rows)), a_lender(9, 288 * 5), 3)
        demand = found.demand.at(0)
        assert len(np.unique(demand[:, 3])) == 1
        assert len(np.unique(demand[:, 0])) == 5

    def test_the_seed_decides_everything(self, tmp_path):
        path = write(tmp_path / "a", bursts(50))

        def bytes_of(seed: int) -> bytes:
            found = read_recording([path], Form.AZURE, Options(share=0.5, seed=seed))
            return b"".join(found.demand.at(s).tobytes() for s in range(found.n_slots))

        assert bytes_of(4) == bytes_of(4)
        assert bytes_of(4) != bytes_of(5)

    def test_no_room_is_made_for_all_slots_of_all_vms(self, tmp_path):
        n = 20_000
        rows = {
            "split": ["dev"] * n,
            "ts": START_S + 300 * (np.arange(n) // 20),
            "batch": np.arange(n) % 20,
            **{name: [1] * n for name in ("vcpus", "mem_gib")},
            **{name: [600] * n for name in ("life_lo_s", "life_hi_s")},
        }
        found = borrowed(read_arrivals(write(tmp_path / "a", rows)), a_lender(), 1)
        held = sum(getattr(found.demand, name).nbytes for name in type(found.demand).__slots__)
        assert held < 60 * n
        assert found.demand.at(500).shape == (n, 4)
        assert not found.demand.at(500)[np.setdiff1d(np.arange(n), found.present(500))].any()

    def test_lenders_that_cannot_be(self, tmp_path):
        arrivals = read_arrivals(write(tmp_path / "a"))
        lender = a_lender()
        lender.demand.values[:, 0, 100:] = np.nan
        with pytest.raises(TraceInvalid, match="a lender: no VM is known for 90%"):
            borrowed(arrivals, lender, 1)
        import dataclasses

        with pytest.raises(TraceInvalid, match="slots of 60 s") as refused:
            borrowed(arrivals, dataclasses.replace(a_lender(), slot_s=60.0), 1)
        assert "300 s" in refused.value.hint

    def test_a_hole_of_ten_years(self, tmp_path):
        late = [*ROWS["ts"][:-1], START_S + 10 * 366 * 86_400]
        arrivals = read_arrivals(write(tmp_path / "a", ts=pa.array(late, pa.int64())))
        with pytest.raises(TraceInvalid, match="the arrivals: it spans 3,660 days"):
            borrowed(arrivals, a_lender(), 1)


def test_what_is_made_up_can_be_lent():
    lender = made_lender(1, n_each=2, n_days=1)
    assert lender.n_slots == 288
    assert set(lender.vms.kind) == {
        "steady-state",
        "diurnal spike",
        "event-driven burst",
        "chaotic",
    }
    wanted = lender.wanted(100)
    assert (wanted[:, 0] <= lender.vms.vcpus).all()
    assert (wanted[:, 1] < lender.vms.memory_mib).all()
    again = made_lender(1, n_each=2, n_days=1)
    np.testing.assert_array_equal(lender.demand.at(7), again.demand.at(7))


def test_one_file_is_read(tmp_path):
    path = write(tmp_path / "a")
    for form in (Form.AZURE, Form.RECORDING):
        with pytest.raises(TraceInvalid, match="2 files") as refused:
            read_recording([path, path], form)
        assert "--input" in refused.value.hint
