"""Which cgroup trees a machine has, and the lab's directories in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from evenkeel.domain.errors import LabError
from evenkeel.lab.cgroups import LabCgroups, Tree, parse_trees

V1 = """\
tmpfs /sys/fs/cgroup tmpfs rw 0 0
cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,nosuid,cpu,cpuacct 0 0
cgroup /sys/fs/cgroup/cpuset cgroup rw,relatime,cpuset 0 0
cgroup /sys/fs/cgroup/systemd cgroup rw,xattr,name=systemd 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw,nsdelegate 0 0
cgroup2 /elsewhere cgroup2 rw 0 0
proc /proc proc rw 0 0
"""
V2 = "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid,nodev,noexec,relatime,nsdelegate 0 0\n"


def test_version_1_with_the_unified_tree_beside_it() -> None:
    root = Path("/sys/fs/cgroup")
    trees = parse_trees(V1)
    assert trees == (
        Tree(root / "cpu,cpuacct", ("cpu", "cpuacct"), is_v2=False),
        Tree(root / "cpuset", ("cpuset",), is_v2=False),
        Tree(root / "unified", (), is_v2=True),
    )
    lab = LabCgroups("lab", trees)
    assert lab.mounts == "cpu,cpuacct=cpu,cpuacct cpuset=cpuset unified="
    assert lab.join_files("h1")[1] == "/sys/fs/cgroup/cpuset/lab/h1/cgroup.procs"


def test_version_2_alone_keeps_processes_in_leaves() -> None:
    lab = LabCgroups("lab", parse_trees(V2))
    assert lab.mounts == "v2"
    assert lab.join_files("h1", first=True) == ["/sys/fs/cgroup/lab/h1/cgroup.procs"]
    assert lab.join_files("h1") == ["/sys/fs/cgroup/lab/h1/daemons/cgroup.procs"]


class FakeV1:
    """Directories that look like two version 1 trees, as far as plain files can."""

    def __init__(self, root: Path) -> None:
        for name in ("cpu", "cpuset"):
            (root / name).mkdir()
        (root / "cpuset" / "cpuset.cpus").write_text("0-3\n")
        (root / "cpuset" / "cpuset.mems").write_text("0\n")
        self.trees = (
            Tree(root / "cpu", ("cpu",), is_v2=False),
            Tree(root / "cpuset", ("cpuset",), is_v2=False),
        )


def test_hosts_are_found_by_their_directories(tmp_path: Path) -> None:
    fake = FakeV1(tmp_path)
    lab = LabCgroups("lab", fake.trees)
    assert not lab.exists()
    lab.create({"h1": (0,), "h10": (1,), "h2": (2, 3)})
    assert lab.exists()
    assert LabCgroups("lab", fake.trees).hosts() == ["h1", "h2", "h10"]
    assert (tmp_path / "cpuset" / "lab" / "cpuset.cpus").read_text() == "0-3\n"


def test_a_machine_without_cgroups_is_refused() -> None:
    with pytest.raises(LabError, match="no cgroups"):
        LabCgroups("lab", ()).create({"h1": (0,)})


def test_version_2_without_the_cpuset_controller_is_refused(tmp_path: Path) -> None:
    for name in ("cgroup.controllers", "cgroup.subtree_control"):
        (tmp_path / name).write_text("memory")
        (tmp_path / "lab").mkdir(exist_ok=True)
        (tmp_path / "lab" / name).write_text("memory")
    with pytest.raises(LabError, match="cpuset"):
        LabCgroups("lab", (Tree(tmp_path, (), is_v2=True),)).create({"h1": (0,)})
