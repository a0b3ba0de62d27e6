"""PlanetLab in each of its layouts, and what is not PlanetLab."""

from __future__ import annotations

import zipfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evenkeel.adapters.traces.planetlab import kind_of, read_planetlab
from evenkeel.domain.errors import ConfigInvalid, TraceInvalid
from evenkeel.domain.panel import Calendar


def write_day(folder: Path, day: str, **vms) -> Path:
    (folder / day).mkdir(parents=True)
    for vm, percent in vms.items():
        (folder / day / vm).write_text("".join(f"{p}\n" for p in percent))
    return folder / day


RISING = [i % 100 for i in range(288)]
CONSTANT = [7] * 288


def test_a_folder_a_day(tmp_path):
    write_day(tmp_path, "20110303", host_a_uni_x=RISING, host_b_uni_y=CONSTANT)
    write_day(tmp_path, "20110306", host_c_uni_x=CONSTANT)
    reading = read_planetlab([tmp_path])
    assert [t.label for t in reading.traces] == ["20110303", "20110306"]
    first = reading.traces[0].panel
    assert first.ids == ("host_a_uni_x", "host_b_uni_y")
    assert first.kinds == ("uni_x", "uni_y")
    assert first.start_s == datetime(2011, 3, 3, tzinfo=UTC).timestamp()
    assert first.capacity.tolist() == [1.0, 1.0]
    np.testing.assert_allclose(first.values[0], np.array(RISING) / 100, rtol=1e-6)
    assert reading.flaws == {}


def test_one_day_one_file_and_a_zip_are_the_same(tmp_path):
    day = write_day(tmp_path, "20110303", a=RISING)
    archive = tmp_path / "days.zip"
    with zipfile.ZipFile(archive, "w") as into:
        into.write(day / "a", "20110303/a")
    for path in (day, day / "a", archive):
        (trace,) = read_planetlab([path]).traces
        assert trace.label == "20110303"
        np.testing.assert_allclose(trace.panel.values[0], np.array(RISING) / 100, rtol=1e-6)


def test_what_lies_beside_the_days_is_not_a_vm(tmp_path):
    write_day(tmp_path, "20110303", a=RISING)
    (tmp_path / "README.md").write_text("about the traces")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text("ref")
    assert [t.label for t in read_planetlab([tmp_path]).traces] == ["20110303"]


def test_parquet_and_its_days(tmp_path):
    path = tmp_path / "p.parquet"
    days = ["20110303", "20110306"]
    pq.write_table(pa.table({"day": days, "vm": ["a", "a"], "cpu_pct": [RISING, CONSTANT]}), path)
    assert [t.label for t in read_planetlab([path]).traces] == days
    (only,) = read_planetlab([path], ["20110306"]).traces
    assert (only.panel.values == np.float32(0.07)).all()
    with pytest.raises(TraceInvalid, match="20110307") as refused:
        read_planetlab([path], ["20110307"])
    assert "20110303" in refused.value.hint


def test_bad_values_are_not_known_and_above_100_is_kept(tmp_path):
    values = ["nan", "-3", "inf", "1e15", "130", "0", *RISING[6:]]
    write_day(tmp_path, "20110303", a=values)
    reading = read_planetlab([tmp_path])
    row = reading.traces[0].panel.values[0]
    assert np.isnan(row[:4]).all()
    assert row[4:6].tolist() == [np.float32(1.3), 0]
    assert reading.flaws == {"nan": 1, "negative": 1, "absurd": 2}


def test_one_sample_is_followed_by_the_unknown(tmp_path):
    write_day(tmp_path, "20110303", a=[5])
    reading = read_planetlab([tmp_path])
    row = reading.traces[0].panel.values[0]
    assert row[0] == np.float32(0.05)
    assert np.isnan(row[1:]).all()


def test_the_same_vm_twice_the_later_counts(tmp_path):
    one = write_day(tmp_path / "x", "20110303", a=RISING)
    two = write_day(tmp_path / "y", "20110303", a=CONSTANT)
    reading = read_planetlab([one, two])
    assert (reading.traces[0].panel.values == np.float32(0.07)).all()
    assert reading.flaws == {"duplicate": 288}


def test_an_undated_day_begins_at_the_epoch(tmp_path):
    write_day(tmp_path, "some-day", a=CONSTANT)
    (trace,) = read_planetlab([tmp_path]).traces
    assert (trace.label, trace.panel.start_s) == ("some-day", 0.0)


def test_kind_is_the_slice():
    assert kind_of("planetlab-04_vt_nodes_planet-lab_org_ rnp_dcc_ufjf ") == "dcc_ufjf"


def test_an_unknown_time_zone_is_refused():
    with pytest.raises(ConfigInvalid, match="Mars/Olympus"):
        Calendar(time_zone="Mars/Olympus")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("1\n2\nthree\n4\n", r"a: line 3: 'three' is not a number"),
        ("1\n\n3\n", r"a: line 2: ''"),
        ("", r"a: line 1: empty file"),
        ("1\n" * 289, r"a: line 289: a day has 288 lines"),
        ("Timestamp [ms];\tCPU cores\n1;\t2\n", r"a: line 1: 'Timestamp"),
    ],
)
def test_a_wrong_file_is_told_by_line_and_reason(tmp_path, content, said):
    (tmp_path / "20110303").mkdir()
    (tmp_path / "20110303" / "a").write_text(content)
    with pytest.raises(TraceInvalid, match=said):
        read_planetlab([tmp_path])


def test_wrong_parquet(tmp_path):
    path = tmp_path / "p.parquet"
    pq.write_table(pa.table({"vm": ["a"], "ts": [1]}), path)
    with pytest.raises(TraceInvalid, match="column 'day' is missing; it has vm, ts"):
        read_planetlab([path])
    long = {"day": ["20110303"] * 2, "vm": ["a", "b"], "cpu_pct": [RISING, [1] * 300]}
    pq.write_table(pa.table(long), path)
    with pytest.raises(TraceInvalid, match="row 2: column cpu_pct: 300 values"):
        read_planetlab([path])
    path.write_bytes(b"\x00\x01 no parquet")
    with pytest.raises(TraceInvalid, match="not a Parquet file"):
        read_planetlab([path])


def test_nothing_there(tmp_path):
    with pytest.raises(TraceInvalid, match="no such file"):
        read_planetlab([tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(TraceInvalid, match="no files"):
        read_planetlab([tmp_path / "empty"])
    (tmp_path / "bad.zip").write_bytes(b"no zip")
    with pytest.raises(TraceInvalid, match="cannot be read"):
        read_planetlab([tmp_path / "bad.zip"])
