"""PlanetLab and Bitbrains as recordings: who is there when, how large, wanting what."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evenkeel.adapters.traces.replayed import REQUEST_KIB
from evenkeel.domain.errors import TraceInvalid
from evenkeel.domain.recording import NEVER, NOWHERE, Recording
from evenkeel.wiring.recordings import Form, Options, read_recording

RISING = [i % 100 for i in range(288)]
CONSTANT = [7] * 288
T0 = 1_375_308_300


def write_day(folder: Path, day: str, **vms: list[int]) -> Path:
    (folder / day).mkdir(parents=True)
    for vm, percent in vms.items():
        (folder / day / vm).write_text("".join(f"{p}\n" for p in percent))
    return folder


def planetlab(*paths: Path, **options) -> Recording:
    return read_recording(paths, Form.PLANETLAB, Options(**options))


def stays(recording: Recording) -> dict[str, tuple[int, int]]:
    vms = recording.vms
    return {
        vm: (a, b)
        for vm, a, b in zip(vms.ids, vms.arrives.tolist(), vms.leaves.tolist(), strict=True)
    }


class TestPlanetLab:
    def test_a_day(self, tmp_path):
        write_day(tmp_path, "20110303", h_a_uni_x=RISING, h_b_uni_y=CONSTANT)
        found = planetlab(tmp_path, vcpus=4, memory_mib=8192)
        assert stays(found) == {"h_a_uni_x": (0, NEVER), "h_b_uni_y": (0, NEVER)}
        assert found.vms.kind == ("uni_x", "uni_y")
        assert found.vms.vcpus.tolist() == [4, 4]
        assert found.vms.memory_mib.tolist() == [8192, 8192]
        assert found.vms.host.tolist() == [NOWHERE, NOWHERE]
        assert (found.start_s, found.slot_s, found.n_slots) == (1_299_110_400, 300, 288)
        np.testing.assert_allclose(found.wanted(50)[0], [2.0, 0, 0, 0], rtol=1e-6)
        assert np.isnan(found.demand.at(50)[0, 1:]).all(), "not known, and not 0"
        assert "4 vCPUs and 8192 MiB" in found.notes[0]
        assert "Only CPU" in found.notes[1]

    def test_days_are_joined_and_who_is_away_a_day_comes_back_as_another(self, tmp_path):
        write_day(tmp_path, "20110303", a=RISING, b=CONSTANT)
        write_day(tmp_path, "20110306", b=CONSTANT)
        write_day(tmp_path, "20110309", a=CONSTANT, b=CONSTANT)
        found = planetlab(tmp_path)
        assert stays(found) == {"a": (0, 288), "a#2": (576, NEVER), "b": (0, NEVER)}
        a, again, b = range(3)
        assert found.present(300).tolist() == [b]
        assert found.wanted(99)[a, 0] == pytest.approx(0.99)
        assert found.wanted(600)[again, 0] == pytest.approx(0.07)
        assert "3 days stand one after the other" in found.notes[2]
        two = planetlab(tmp_path, days=("20110309", "20110303"))
        assert two.n_slots == 576
        assert two.source == "PlanetLab 20110303, 20110309"

    def test_parquet_is_the_same(self, tmp_path):
        write_day(tmp_path / "text", "20110303", a=RISING)
        table = {"day": ["20110303"], "vm": ["a"], "cpu_pct": [RISING]}
        pq.write_table(pa.table(table), tmp_path / "p.parquet")
        one, other = planetlab(tmp_path / "text"), planetlab(tmp_path / "p.parquet")
        for slot in (0, 99, 287):
            np.testing.assert_array_equal(one.demand.at(slot), other.demand.at(slot))

    def test_a_file_that_ends_early_is_a_gap(self, tmp_path):
        write_day(tmp_path, "20110303", a=RISING[:100], b=CONSTANT)
        found = planetlab(tmp_path)
        assert stays(found)["a"] == (0, NEVER)
        assert np.isnan(found.demand.at(100)[0, 0])

    @pytest.mark.parametrize(
        ("options", "said", "hint"),
        [
            ({"days": ("20110304",)}, "day 20110304 is not in these files", "20110303"),
            ({"vcpus": 0.0}, "VMs of 0 vCPUs", "above 0"),
            ({"memory_mib": float("nan")}, "nan MiB", "above 0"),
        ],
    )
    def test_what_cannot_be(self, tmp_path, options, said, hint):
        write_day(tmp_path, "20110303", a=RISING)
        with pytest.raises(TraceInvalid, match=said) as refused:
            planetlab(tmp_path, **options)
        assert hint in refused.value.hint

    def test_two_vms_of_one_name(self, tmp_path):
        write_day(tmp_path / "one", "20110303", a=RISING)
        write_day(tmp_path / "other", "20110303", a=CONSTANT)
        with pytest.raises(TraceInvalid, match=r"20110303/a: two VMs of day 20110303") as refused:
            planetlab(tmp_path)
        assert "once" in refused.value.hint
        twice = {"day": ["20110303"] * 2, "vm": ["a"] * 2, "cpu_pct": [RISING] * 2}
        pq.write_table(pa.table(twice), tmp_path / "p.parquet")
        with pytest.raises(TraceInvalid, match=r"column vm: two VMs .* 'a'"):
            planetlab(tmp_path / "p.parquet")

    def test_days_ten_years_apart(self, tmp_path):
        write_day(tmp_path, "20110303", a=RISING)
        write_day(tmp_path, "20210303", a=RISING)
        with pytest.raises(TraceInvalid, match="more than a year after 20110303") as refused:
            planetlab(tmp_path)
        assert "--day" in refused.value.hint

    @pytest.mark.parametrize(
        ("columns", "said"),
        [
            ({"day": ["20110303"], "vm": ["a"]}, "column 'cpu_pct' is missing"),
            ({"day": ["20110303"], "vm": ["a"], "cpu_pct": ["7"]}, "not a Parquet file of this"),
            ({"day": ["20110303"], "vm": ["a"], "cpu_pct": [[1] * 289]}, "row 1: column cpu_pct"),
        ],
    )
    def test_wrong_columns(self, tmp_path, columns, said):
        pq.write_table(pa.table(columns), tmp_path / "p.parquet")
        with pytest.raises(TraceInvalid, match=said) as refused:
            planetlab(tmp_path / "p.parquet")
        assert "evenkeel simulate --help" in refused.value.hint

    def test_a_cut_file_and_a_line_that_is_no_number(self, tmp_path):
        table = pa.table({"day": ["20110303"], "vm": ["a"], "cpu_pct": [RISING]})
        pq.write_table(table, tmp_path / "p.parquet")
        whole = (tmp_path / "p.parquet").read_bytes()
        (tmp_path / "p.parquet").write_bytes(whole[:-40])
        with pytest.raises(TraceInvalid, match=r"p\.parquet: not a Parquet file"):
            planetlab(tmp_path / "p.parquet")
        write_day(tmp_path / "text", "20110303", a=[1, 2])
        (tmp_path / "text" / "20110303" / "a").write_text("1\nmuch\n")
        with pytest.raises(TraceInvalid, match="line 2: 'much' is not a number"):
            planetlab(tmp_path / "text")


HEAD = (
    "Timestamp [ms];\tCPU cores;\tCPU capacity provisioned [MHZ];\tCPU usage [MHZ];\t"
    "CPU usage [%];\tMemory capacity provisioned [KB];\tMemory usage [KB];\t"
    "Disk read throughput [KB/s];\tDisk write throughput [KB/s];\t"
    "Network received throughput [KB/s];\tNetwork transmitted throughput [KB/s]\n"
)


def sample(slot: int, cores=2, pct=50.0, cap_kb=2_097_152, used_kb=1_048_576) -> str:
    cells = (T0 + 300 * slot, cores, 5852, pct, pct, cap_kb, used_kb, 32, 16, 100, 25)
    return ";\t".join(map(str, cells)) + "\n"


def off(slot: int) -> str:
    return sample(slot, cores=0, pct=0, cap_kb=0, used_kb=0)


def write_vm(path: Path, *samples: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(HEAD + "".join(samples))


def bitbrains(*paths: Path) -> Recording:
    return read_recording(paths, Form.BITBRAINS)


class TestBitbrains:
    def test_all_resources_and_the_traces_sizes(self, tmp_path):
        write_vm(tmp_path / "7.csv", sample(0), sample(1, pct=25))
        found = bitbrains(tmp_path)
        assert stays(found) == {"7": (0, NEVER)}
        assert found.vms.vcpus.tolist() == [2]
        assert found.vms.memory_mib.tolist() == [2048]
        np.testing.assert_allclose(found.wanted(0), [[1.0, 1024.0, 1.0, 48 / REQUEST_KIB]])
        np.testing.assert_allclose(found.wanted(1)[0, 0], 0.5)
        assert (found.start_s, found.n_slots) == (T0, 2)
        assert "counts no disk operations" in found.notes[0]

    def test_off_is_away_and_a_gap_is_not(self, tmp_path):
        write_vm(tmp_path / "1.csv", off(0), sample(1), sample(2), off(3), sample(4), off(5))
        write_vm(tmp_path / "2.csv", sample(0), sample(3), sample(5))
        write_vm(tmp_path / "3.csv", sample(1), sample(2), off(3))
        found = bitbrains(tmp_path)
        expected = {"1": (1, 3), "1#2": (4, 5), "2": (0, NEVER), "3": (1, 3)}
        assert stays(found) == expected
        two = found.vms.ids.index("2")
        assert np.isnan(found.demand.at(1)[two]).all()
        assert found.wanted(1)[two].tolist() == [0, 0, 0, 0]
        assert "4 off" in found.notes[-1]

    @settings(max_examples=40)
    @given(states=st.lists(st.sampled_from("10."), min_size=1, max_size=14))
    def test_whatever_is_on_off_or_missing(self, tmp_path_factory, states):
        """1: on, 0: off, a dot: no sample."""
        states = ["1", *states]
        folder = tmp_path_factory.mktemp("b")
        made = {"1": sample, "0": off}
        lines = [made[state](k) for k, state in enumerate(states) if state in made]
        write_vm(folder / "1.csv", *lines)
        found = bitbrains(folder)
        known = "".join(states).rstrip(".")
        for slot in range(found.n_slots):
            is_on = known[slot] == "1"
            gap = known[slot] == "." and (
                known[:slot].rstrip(".").endswith("1") and known[slot:].lstrip(".")[0] == "1"
            )
            assert len(found.present(slot)) == (is_on or gap)
            demand = found.demand.at(slot)[found.present(slot), 0]
            assert np.isnan(demand).tolist() == ([False] if is_on else [True] if gap else [])

    def test_a_vm_that_is_never_on_is_no_vm(self, tmp_path):
        write_vm(tmp_path / "1.csv", off(0), off(1))
        write_vm(tmp_path / "2.csv", sample(0))
        assert stays(bitbrains(tmp_path)).keys() == {"2"}
        (tmp_path / "2.csv").unlink()
        with pytest.raises(TraceInvalid, match="no VM is ever there"):
            bitbrains(tmp_path)

    def test_a_resize_counts_for_its_own_stay_alone(self, tmp_path):
        lines = [sample(0, cores=2), sample(1, cores=8), off(2), sample(3, cores=4)]
        write_vm(tmp_path / "1.csv", *lines)
        assert bitbrains(tmp_path).vms.vcpus.tolist() == [8, 4]

    def test_parquet_is_the_same(self, tmp_path):
        write_vm(tmp_path / "text" / "1.csv", sample(0), sample(1, pct=25), off(2), sample(3))
        n = 4
        columns = {
            "vm": [1] * n,
            "ts": [T0 + 300 * k for k in range(n)],
            "cores": [2, 2, 0, 2],
            "cpu_pct": [50.0, 25.0, 0.0, 50.0],
            "mem_cap_mib": [2048.0, 2048.0, 0.0, 2048.0],
            "mem_mib": [1024.0, 1024.0, 0.0, 1024.0],
            "disk_rd_kbs": [32.0] * n,
            "disk_wr_kbs": [16.0] * n,
            "net_rx_kbs": [100.0] * n,
            "net_tx_kbs": [25.0] * n,
        }
        pq.write_table(pa.table(columns), tmp_path / "b.parquet")
        one, other = bitbrains(tmp_path / "text"), bitbrains(tmp_path / "b.parquet")
        assert stays(one) == stays(other) == {"1": (0, 2), "1#2": (3, NEVER)}
        for slot in range(n):
            np.testing.assert_array_equal(one.demand.at(slot), other.demand.at(slot))

    def test_two_vms_of_one_name(self, tmp_path):
        for folder in ("a", "b"):
            write_vm(tmp_path / folder / "1.csv", *(sample(k) for k in range(9)))
        with pytest.raises(TraceInvalid, match="two VMs of one name") as refused:
            bitbrains(tmp_path)
        assert "give each once" in refused.value.hint

    def test_a_hole_of_ten_years(self, tmp_path):
        write_vm(tmp_path / "1.csv", sample(0), sample(10 * 366 * 288), sample(10 * 366 * 288 + 1))
        with pytest.raises(TraceInvalid, match="more than a year apart") as refused:
            bitbrains(tmp_path)
        assert "by itself" in refused.value.hint

    def test_a_column_that_is_missing_and_a_cell_that_is_no_number(self, tmp_path):
        write_vm(tmp_path / "1.csv", sample(0), sample(1, pct="much"))
        with pytest.raises(TraceInvalid, match=r"1\.csv: line 3: column cpu_pct: 'much'"):
            bitbrains(tmp_path)
        (tmp_path / "1.csv").write_text(HEAD.replace("Disk read", "Disc read") + sample(0))
        with pytest.raises(TraceInvalid, match="column 'disk read throughput"):
            bitbrains(tmp_path)
