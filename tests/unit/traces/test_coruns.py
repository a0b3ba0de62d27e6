"""Fair-CO2 and NTUA files to co-runs, and what is refused with its line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from coruns import fairco2_rows, known_traits, ntua_rows, write_csv

from evenkeel.adapters.traces.fairco2 import read_fairco2
from evenkeel.adapters.traces.ntua import read_ntua
from evenkeel.domain.errors import TraceInvalid


def parquet(path: Path, rows: list[dict]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.mark.parametrize("name", ["pairs.csv", "pairs.csv.gz", "pairs.parquet"])
def test_fairco2_in_each_layout(tmp_path, name):
    co_runs = known_traits(3)
    rows = fairco2_rows(co_runs)
    path = tmp_path / name
    read = read_fairco2([parquet(path, rows) if name.endswith("t") else write_csv(path, rows)])
    assert read.victim == co_runs.victim
    assert read.partner == co_runs.partner
    np.testing.assert_allclose(read.slowdown, co_runs.slowdown)
    for feature in co_runs.victim_features:
        for side in ("victim", "partner"):
            np.testing.assert_allclose(read.column(side, feature), co_runs.column(side, feature))


def test_several_files_are_one(tmp_path):
    rows = fairco2_rows(known_traits(3))
    paths = [write_csv(tmp_path / "1.csv", rows[:4]), write_csv(tmp_path / "2.csv", rows[4:])]
    assert read_fairco2(paths).n == 9


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("slowdown", "fast", r"line 4: column 'slowdown': 'fast' is not a number"),
        ("slowdown", "0", "line 4: slowdown is no number above 0"),
        ("slowdown", "", "line 4: slowdown is no number above 0"),
        ("slowdown", "inf", "line 4: slowdown is no number above 0"),
        ("victim_solo_mem_rd_gbs", "-1", "line 4: victim_solo_mem_rd_gbs is negative"),
        ("partner", "", "line 4: a victim or partner without a name"),
    ],
)
def test_fairco2_bad_cells(tmp_path, column, value, told):
    rows = fairco2_rows(known_traits(3))
    rows[2][column] = value
    with pytest.raises(TraceInvalid, match=told) as caught:
        read_fairco2([write_csv(tmp_path / "pairs.csv", rows)])
    assert "interference evaluate" in caught.value.hint


def test_an_unknown_feature_is_unknown_and_no_error(tmp_path):
    rows = fairco2_rows(known_traits(3))
    rows[2]["victim_solo_mem_rd_gbs"] = ""
    read = read_fairco2([write_csv(tmp_path / "pairs.csv", rows)])
    assert np.isnan(read.column("victim", "mem_read_gb_s")).tolist() == [0, 0, 1, *[0] * 6]


def test_wrong_files(tmp_path):
    rows = fairco2_rows(known_traits(3))
    whole = write_csv(tmp_path / "pairs.csv.gz", rows).read_bytes()
    text = write_csv(tmp_path / "text.csv", rows).read_text()
    bad = {
        "cut.csv.gz": (whole[: len(whole) // 2], "cannot be read"),
        "other.csv": (b"a,b\n1,2\n", "column 'victim' is missing; it has a, b"),
        "empty.csv": (b"", "column 'victim' is missing; it has none"),
        "head.csv": (text.splitlines()[0].encode() + b"\n", "line 2: no row"),
        "ragged.csv": (text.encode() + b"a,b\n", "line 11: 2 columns, the heading has"),
        "binary.csv": (b"\xff\xfe\x00", "not text"),
        "bad.parquet": (b"PAR1", "not a Parquet file"),
    }
    for name, (content, told) in bad.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(TraceInvalid, match=told):
            read_fairco2([path])
    with pytest.raises(TraceInvalid, match="no such file"):
        read_fairco2([tmp_path / "none.csv"])
    with pytest.raises(TraceInvalid, match="column 'victim' is missing"):
        read_fairco2([parquet(tmp_path / "n.parquet", ntua_rows())])


@pytest.mark.parametrize("name", ["tests.parquet", "tests.csv.gz"])
def test_ntua_without_rows_alone_and_with_placement(tmp_path, name):
    rows = ntua_rows()
    path = tmp_path / name
    read = read_ntua([parquet(path, rows) if name.endswith("t") else write_csv(path, rows)])
    assert read.n == 4 * 2 * 6
    assert read.victim[0] == "nginx 500/s x 2"
    assert read.partner[0] == "1 cpu+0 l3+0 membw"
    even = np.array([int(c[1]) % 2 == 0 for c in read.campaign])
    at = read.placement_features.index("partner_cores_3_5")
    np.testing.assert_allclose(read.placement[even, at], 1.0)
    np.testing.assert_allclose(read.placement[~even, at], 0.0)
    worst = np.array([p == "0 cpu+4 l3+0 membw" for p in read.partner])
    assert (read.cpi_rise[worst & even] > 2).all()


def test_ntua_without_counters_knows_no_placement(tmp_path):
    rows = [{k: v for k, v in r.items() if not k.startswith("Core")} for r in ntua_rows()]
    read = read_ntua([parquet(tmp_path / "t.parquet", rows)])
    assert np.isnan(read.placement).all()
    assert np.isnan(read.cpi_rise).all()


def test_ntua_bad_rows(tmp_path):
    rows = ntua_rows()
    rows[5]["slowdown_p99"] = 0.0
    with pytest.raises(TraceInvalid, match="row 6: slowdown_p99 is no number above 0"):
        read_ntua([parquet(tmp_path / "t.parquet", rows)])
    rows = ntua_rows()
    rows[5]["pods_l3"] = -1
    with pytest.raises(TraceInvalid, match="row 6: pods_l3 is no number from 0 on"):
        read_ntua([parquet(tmp_path / "t.parquet", rows)])
    alone = [row for row in ntua_rows() if row["is_baseline"]]
    with pytest.raises(TraceInvalid, match="alone in every row"):
        read_ntua([parquet(tmp_path / "t.parquet", alone)])
