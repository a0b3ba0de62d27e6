"""libvirt's cgroup layouts, as directories."""

from __future__ import annotations

from pathlib import Path

import pytest

from evenkeel.adapters.libvirt.cgroups import Hierarchy, MachineIndex, find_hierarchy, throttled_ns


def make_v1(root: Path, name: str = "cpu") -> Path:
    (root / name).mkdir(parents=True)
    (root / name / "cpu.shares").write_text("1024\n")
    return root / name


def make_v2(root: Path, controllers: str = "cpuset cpu io memory") -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / "cgroup.controllers").write_text(controllers + "\n")
    return root


def add_vm(base: Path, path: str, *throttled: int, version: int = 1) -> Path:
    key = "throttled_time" if version == 1 else "throttled_usec"
    for k, value in enumerate(throttled):
        vcpu = base / path / f"vcpu{k}"
        vcpu.mkdir(parents=True)
        (vcpu / "cpu.stat").write_text(f"nr_periods 10\nnr_throttled 3\n{key} {value}\n")
    return base / path


LAYOUTS = [
    (1, "machine/qemu-7-web.libvirt-qemu"),
    (1, r"machine.slice/machine-qemu\x2d7\x2dweb.scope"),
    (1, "production/gold/qemu-7-web.libvirt-qemu"),
    (2, "machine/qemu-7-web.libvirt-qemu"),
    (2, r"machine.slice/machine-qemu\x2d7\x2dweb.scope/libvirt"),
    (2, r"machine.slice/machine-gold.slice/machine-qemu\x2d7\x2dweb.scope/libvirt"),
]


@pytest.mark.parametrize(("version", "path"), LAYOUTS)
def test_every_layout_is_found_and_read_in_ns(tmp_path: Path, version: int, path: str) -> None:
    base = make_v1(tmp_path) if version == 1 else make_v2(tmp_path)
    made = add_vm(base, path, 1500, 500, version=version)
    hierarchy = find_hierarchy(tmp_path)

    assert hierarchy == Hierarchy(base, version)
    assert MachineIndex(hierarchy).find(7, "web") == made
    assert throttled_ns(hierarchy, made, 2, False) == (2000 if version == 1 else 2_000_000)
    assert MachineIndex(hierarchy).find(8, "web") is None


def test_a_quota_on_the_whole_vm_counts_too(tmp_path: Path) -> None:
    made = add_vm(make_v1(tmp_path), "machine/qemu-1-a.libvirt-qemu", 10)
    (made / "cpu.stat").write_text("nr_periods 1\nnr_throttled 1\nthrottled_time 5\n")

    assert throttled_ns(Hierarchy(tmp_path / "cpu", 1), made, 1, True) == 15


def test_both_names_of_the_v1_controller_are_known(tmp_path: Path) -> None:
    base = make_v1(tmp_path, "cpu,cpuacct")

    assert find_hierarchy(tmp_path) == Hierarchy(base, 1)


def test_without_a_cpu_controller_there_is_no_hierarchy(tmp_path: Path) -> None:
    assert find_hierarchy(tmp_path / "missing") is None
    make_v2(tmp_path, "memory pids")
    assert find_hierarchy(tmp_path) is None


def test_two_daemons_with_the_same_id_are_told_apart_by_name(tmp_path: Path) -> None:
    base = make_v1(tmp_path)
    one = add_vm(base, "lab/h1/machine/qemu-1-g1.libvirt-qemu", 1)
    two = add_vm(base, "lab/h2/machine/qemu-1-g10.libvirt-qemu", 2)
    index = MachineIndex(Hierarchy(base, 1))

    assert index.find(1, "g1") == one
    assert index.find(1, "g10") == two
    assert index.find(1, "g2") is None


def test_a_doubt_finds_nothing(tmp_path: Path) -> None:
    base = make_v1(tmp_path)
    add_vm(base, "lab/h1/machine/qemu-1-g1.libvirt-qemu", 1)
    add_vm(base, "lab/h2/machine/qemu-1-g1.libvirt-qemu", 2)

    assert MachineIndex(Hierarchy(base, 1)).find(1, "g1") is None


@pytest.mark.parametrize(
    ("name", "directory"),
    [
        ("web/eins", "qemu-3-webeins.libvirt-qemu"),
        ("größe-ü", "qemu-3-gre-.libvirt-qemu"),
        ("x" * 200, "qemu-3-" + "x" * 57 + ".libvirt-qemu"),
        ("a.b_c", r"machine-qemu\x2d3\x2da.b_c.scope"),
    ],
)
def test_names_that_do_not_fit_into_a_directory_name(
    tmp_path: Path, name: str, directory: str
) -> None:
    base = make_v1(tmp_path)
    made = add_vm(base, f"machine/{directory}", 1)
    add_vm(base, "other/qemu-3-another.libvirt-qemu", 1)

    assert MachineIndex(Hierarchy(base, 1)).find(3, name) == made


@pytest.mark.parametrize("text", ["", "throttled_time", "throttled_time x\n", "nr_periods 1\n"])
def test_unreadable_statistics_are_unknown(tmp_path: Path, text: str) -> None:
    made = add_vm(make_v1(tmp_path), "machine/qemu-1-a.libvirt-qemu", 10)
    (made / "vcpu0" / "cpu.stat").write_text(text)

    assert throttled_ns(Hierarchy(tmp_path / "cpu", 1), made, 1, False) is None
    assert throttled_ns(Hierarchy(tmp_path / "cpu", 1), tmp_path / "gone", 1, False) is None
