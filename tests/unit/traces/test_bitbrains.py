"""Bitbrains in each of its layouts, every flaw a sample can have, and what is not Bitbrains."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evenkeel.adapters.traces.bitbrains import read_bitbrains
from evenkeel.domain.errors import TraceInvalid
from evenkeel.domain.resources import Resource
from evenkeel.domain.trace import Trace

HEAD = (
    "Timestamp [ms];\tCPU cores;\tCPU capacity provisioned [MHZ];\tCPU usage [MHZ];\t"
    "CPU usage [%];\tMemory capacity provisioned [KB];\tMemory usage [KB];\t"
    "Disk read throughput [KB/s];\tDisk write throughput [KB/s];\t"
    "Network received throughput [KB/s];\tNetwork transmitted throughput [KB/s]\n"
)
T0 = 1_375_308_300  # on the grid of 300 s
NOW_S = 1.5e9


def line(ts, cores=2, pct=50.0, cap_kb=2_097_152, used_kb=1_048_576, rd=3, wr=4, rx=100, tx=25):
    return ";\t".join(map(str, (ts, cores, 5852, pct, pct, cap_kb, used_kb, rd, wr, rx, tx))) + "\n"


def write(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(HEAD + "".join(lines))
    return path


def read(*paths: Path, resource: Resource = Resource.CPU) -> tuple[Trace, dict[str, int]]:
    reading = read_bitbrains(paths, resource, NOW_S)
    return reading.traces[0], dict(reading.flaws)


@pytest.mark.parametrize(
    ("resource", "demand", "capacity"),
    [("cpu", 1.0, 2.0), ("memory", 1024.0, 2048.0), ("net", 1.0, np.nan), ("iops", 7.0, np.nan)],
)
def test_units(tmp_path, resource, demand, capacity):
    trace, flaws = read(write(tmp_path / "7.csv", line(T0)), resource=Resource(resource))
    assert trace.panel.ids == ("7",)
    assert trace.panel.start_s == T0
    np.testing.assert_allclose(trace.panel.values, [[demand]])
    np.testing.assert_array_equal(trace.panel.capacity, [capacity])
    assert flaws == {}


def test_folder_zip_and_months_of_one_vm(tmp_path):
    write(tmp_path / "rnd" / "2013-7" / "2.csv", line(T0, pct=10))
    write(tmp_path / "rnd" / "2013-7" / "10.csv", line(T0, pct=20))
    write(tmp_path / "rnd" / "2013-8" / "2.csv", line(T0 + 300, pct=30))
    archive = tmp_path / "rnd.zip"
    with zipfile.ZipFile(archive, "w") as into:
        for path in sorted((tmp_path / "rnd").rglob("*.csv")):
            into.write(path, path.relative_to(tmp_path))
    for source in (tmp_path / "rnd", archive):
        trace, _ = read(source)
        assert trace.panel.ids == ("2", "10")
        np.testing.assert_allclose(trace.panel.values, [[0.2, 0.6], [0.4, np.nan]], rtol=1e-6)


def test_parquet_is_the_same(tmp_path):
    path = tmp_path / "b.parquet"
    columns = {
        "vm": np.array([1, 1, 3], dtype=np.int16),
        "ts": np.array([T0, T0 + 300, T0], dtype=np.int32),
        "cores": [2, 2, 4],
        "cpu_pct": [50.0, 25.0, 10.0],
        "mem_mib": [1.0, 2.0, 3.0],
        "mem_cap_mib": [8.0, 8.0, 8.0],
    }
    pq.write_table(pa.table(columns), path)
    trace, _ = read(path)
    assert trace.panel.ids == ("1", "3")
    np.testing.assert_allclose(trace.panel.values, [[1.0, 0.5], [0.4, np.nan]], rtol=1e-6)
    with pytest.raises(TraceInvalid, match="column 'net_rx_kbs' is missing"):
        read(path, resource=Resource.NET)


def test_real_milliseconds_and_times_off_the_grid(tmp_path):
    in_ms, _ = read(write(tmp_path / "1.csv", line(T0 * 1000), line((T0 + 310) * 1000)))
    assert in_ms.panel.start_s == T0
    assert in_ms.panel.n_slots == 2


def test_a_hole_of_31_hours_is_not_known(tmp_path):
    after = T0 + 31 * 3600
    trace, flaws = read(write(tmp_path / "1.csv", line(T0), line(after)))
    assert trace.panel.n_slots == 31 * 12 + 1
    assert np.isfinite(trace.panel.values[0, [0, -1]]).all()
    assert np.isnan(trace.panel.values[0, 1:-1]).all()
    assert flaws == {}


def test_duplicates_the_last_counts(tmp_path):
    lines = [line(T0, pct=10), line(T0 + 300), line(T0 + 10, pct=30)]
    trace, flaws = read(write(tmp_path / "1.csv", *lines))
    assert trace.panel.values[0, 0] == pytest.approx(0.6)
    assert flaws == {"duplicate": 1, "out_of_order": 1}


def test_out_of_order_goes_where_its_time_says(tmp_path):
    lines = [line(T0 + 600, pct=30), line(T0, pct=10), line(T0 + 300, pct=20)]
    trace, flaws = read(write(tmp_path / "1.csv", *lines))
    np.testing.assert_allclose(trace.panel.values, [[0.2, 0.4, 0.6]], rtol=1e-6)
    assert flaws == {"out_of_order": 1}


def test_zero_and_constant_stay_what_they_are(tmp_path):
    zero = [line(T0 + 300 * i, pct=0) for i in range(4)]
    same = [line(T0 + 300 * i, pct=20) for i in range(4)]
    trace, _ = read(write(tmp_path / "1.csv", *zero), write(tmp_path / "2.csv", *same))
    np.testing.assert_allclose(trace.panel.values, [[0.0] * 4, [0.4] * 4], rtol=1e-6)


def test_a_vm_that_is_off_wants_we_do_not_know_what(tmp_path):
    lines = [line(T0), line(T0 + 300, cores=0, pct=0, cap_kb=0), line(T0 + 600)]
    for resource in Resource:
        trace, flaws = read(write(tmp_path / "1.csv", *lines), resource=resource)
        assert np.isnan(trace.panel.values[0, 1])
        assert flaws == {"off": 1}
    trace, _ = read(tmp_path / "1.csv")
    assert trace.known_at(2).capacity.tolist() == [2.0], "it keeps its size while it is off"


def test_a_resize_is_not_known_before_it_happens(tmp_path):
    lines = [line(T0, cores=2), line(T0 + 300, cores=8), line(T0 + 600, cores=8)]
    trace, _ = read(write(tmp_path / "1.csv", *lines))
    np.testing.assert_allclose(trace.panel.values, [[1.0, 4.0, 4.0]])
    assert trace.panel.capacity.tolist() == [8.0]
    assert trace.known_at(1).capacity.tolist() == [2.0]
    assert trace.known_at(2).capacity.tolist() == [8.0]


def test_above_100_percent_is_kept(tmp_path):
    trace, flaws = read(write(tmp_path / "1.csv", line(T0, pct=182)))
    assert trace.panel.values[0, 0] == pytest.approx(3.64)
    assert flaws == {}


def test_nan_negative_and_absurd_are_not_known(tmp_path):
    bad = ["NaN", "-1", "inf", "1e14", ""]
    lines = [line(T0 + 300 * i, pct=p) for i, p in enumerate(bad)] + [line(T0 + 1500)]
    trace, flaws = read(write(tmp_path / "1.csv", *lines))
    assert np.isnan(trace.panel.values[0, :5]).all()
    assert flaws == {"nan": 2, "negative": 1, "absurd": 2}


def test_one_sample(tmp_path):
    trace, _ = read(write(tmp_path / "1.csv", line(T0)))
    assert trace.panel.values.shape == (1, 1)


def test_times_before_1990_and_from_the_future_are_left_out(tmp_path):
    lines = [line(12), line(T0), line(T0 + 300), line(int(NOW_S) + 10 * 86_400)]
    trace, flaws = read(write(tmp_path / "1.csv", *lines))
    assert trace.panel.n_slots == 2
    assert flaws == {"bad_time": 2}


def test_a_file_ten_years_old_is_as_good_as_any(tmp_path):
    ten_years = 10 * 366 * 86_400
    trace, flaws = read(write(tmp_path / "1.csv", line(T0 - ten_years), line(T0 - ten_years + 300)))
    assert trace.panel.n_slots == 2
    assert flaws == {}


def test_a_single_stray_time_does_not_stretch_the_grid(tmp_path):
    lines = [line(T0 + 300 * i) for i in range(200)]
    trace, flaws = read(write(tmp_path / "1.csv", line(T0 - 5 * 366 * 86_400), *lines))
    assert trace.panel.n_slots == 200
    assert flaws["bad_time"] == 1


def test_years_apart_is_refused(tmp_path):
    old = write(tmp_path / "1.csv", line(T0 - 10 * 366 * 86_400))
    new = write(tmp_path / "2.csv", line(T0), line(T0 + 300))
    with pytest.raises(TraceInvalid, match="more than a year apart"):
        read(old, new)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["no;heading\n"], r"1.csv: line 1: a heading that begins with 'Timestamp"),
        ([HEAD], r"1.csv: line 2: no sample"),
        ([HEAD, line(T0), line(T0 + 300, pct="x")], r"1.csv: line 3: column cpu_pct: 'x'"),
        ([HEAD, line(T0), "1;2;3\n"], r"1.csv: line 3: 3 columns, the heading has 11"),
        ([HEAD.replace("CPU cores", "Cores")], r"1.csv: line 1: column 'cpu cores' is missing"),
        ([HEAD, line("soon")], r"1.csv: line 2: column ts: 'soon'"),
    ],
)
def test_a_wrong_file_is_told_by_line_and_reason(tmp_path, lines, said):
    (tmp_path / "1.csv").write_text("".join(lines))
    with pytest.raises(TraceInvalid, match=said):
        read(tmp_path / "1.csv")


def test_no_believable_time(tmp_path):
    with pytest.raises(TraceInvalid, match="between 1990 and now"):
        read(write(tmp_path / "1.csv", line(1), line(2)))


def test_nothing_there(tmp_path):
    with pytest.raises(TraceInvalid, match=r"no \.csv files"):
        read(tmp_path)
    path = tmp_path / "b.parquet"
    path.write_bytes(b"no parquet")
    with pytest.raises(TraceInvalid, match="not a Parquet file"):
        read(path)
    pq.write_table(pa.table({"vm": [1], "ts": ["a"], "cores": [1], "cpu_pct": [1.0]}), path)
    with pytest.raises(TraceInvalid, match="column 'ts': not numbers"):
        read(path)
