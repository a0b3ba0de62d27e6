"""NUMA cells as /sys shows them."""

from __future__ import annotations

from evenkeel.adapters.libvirt.procfs import numa_cells
from evenkeel.domain.host import NumaCell


def node(root, name, cpus, kib):
    (root / name).mkdir()
    (root / name / "cpulist").write_text(f"{cpus}\n")
    (root / name / "meminfo").write_text(f"Node 0 MemTotal:  {kib} kB\nNode 0 MemFree: 1 kB\n")


def test_cells_with_cpus_of_ours_and_their_memory(tmp_path):
    node(tmp_path, "node0", "0-1,4", 2048)
    node(tmp_path, "node1", "2-3", 4096)
    node(tmp_path, "node10", "", 1024)
    told = numa_cells(frozenset({1, 2, 3, 4}), tmp_path)
    assert told == (NumaCell((1, 4), 2.0), NumaCell((2, 3), 4.0))


def test_one_cell_or_none_is_no_cell(tmp_path):
    node(tmp_path, "node0", "0-3", 2048)
    assert numa_cells(frozenset(range(4)), tmp_path) == ()
    assert numa_cells(frozenset(range(4)), tmp_path / "nothing") == ()
    (tmp_path / "node1").mkdir()
    assert numa_cells(frozenset(range(4)), tmp_path) == ()
