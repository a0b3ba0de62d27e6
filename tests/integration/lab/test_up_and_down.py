"""`evenkeel lab up` and `down`: nothing is left behind, whatever happened in between."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.conftest import free_lab_number
from tests.integration.lab.traces import traces

from evenkeel.lab.accel import boots
from evenkeel.lab.config import LabConfig
from evenkeel.lab.image import ensure_image
from evenkeel.lab.lab import Lab

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("lab_tools")]


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "evenkeel", "lab", *words]


def evenkeel(*words: str) -> dict[str, Any]:
    done = subprocess.run(command(*words, "--json"), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.fixture
def config() -> Iterator[LabConfig]:
    """A lab that is down, and is taken down again."""
    config = LabConfig(number=free_lab_number())
    assert traces(config.number, config.state_dir) == []
    yield config
    Lab(config).down()


def left(config: LabConfig) -> list[str]:
    return traces(config.number, config.state_dir)


def test_up_status_up_again_and_down(config: LabConfig) -> None:
    number = str(config.number)
    up = evenkeel("up", "--lab", number, "--hosts", "2")
    assert not up["already"]
    assert [host["libvirt"] for host in up["status"]["hosts"]] == ["up", "up"]
    assert any(trace.startswith("process") for trace in left(config))

    again = evenkeel("up", "--lab", number, "--hosts", "2")
    assert again["already"]
    keepers = [host["keeper"] for host in up["status"]["hosts"]]
    assert [host["keeper"] for host in again["status"]["hosts"]] == keepers
    assert evenkeel("status", "--lab", number) == again["status"]

    down = evenkeel("down", "--lab", number)
    assert down["processes"] >= 4  # a keeper and a libvirtd on each host
    assert left(config) == []
    assert evenkeel("status", "--lab", number)["state"] == "down"
    assert evenkeel("down", "--lab", number)["processes"] == 0


def cgroups_exist(config: LabConfig) -> bool:
    return any(Path("/sys/fs/cgroup").glob(f"*{config.names.cgroup}")) or any(
        Path("/sys/fs/cgroup").glob(f"*/{config.names.cgroup}")
    )


def switch_exists(config: LabConfig) -> bool:
    return Path("/run/netns", config.names.switch_namespace).exists()


def first_keeper_runs(config: LabConfig) -> bool:
    lab = Lab(config)
    return bool(lab.hosts) and bool(lab.host_pids("h1"))


STAGES = [cgroups_exist, switch_exists, first_keeper_runs]


def interrupt_up(config: LabConfig, stage: Callable[[LabConfig], bool], how: int) -> int:
    """Start `lab up` and send it a signal when it has come to a stage; its exit status.

    It is halted while we make sure that it is not through yet, and started anew where it is.
    """
    ensure_image(config.build_dir, print)
    for _ in range(5):
        with subprocess.Popen(
            command("up", "--lab", str(config.number)),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as up:
            deadline = time.monotonic() + 60
            while not stage(config):
                assert time.monotonic() < deadline
            os.kill(up.pid, signal.SIGSTOP)
            os.waitid(os.P_PID, up.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            is_half_way = Lab(config).status().state == "unfinished"
            if is_half_way:
                os.kill(up.pid, how)
            os.kill(up.pid, signal.SIGCONT)
            status = up.wait(60)
        if is_half_way:
            return status
        Lab(config).down()
    raise AssertionError("it is through before it can be halted, every time")


@pytest.mark.parametrize("stage", STAGES)
def test_down_after_up_was_killed_half_way(
    config: LabConfig, stage: Callable[[LabConfig], bool]
) -> None:
    assert interrupt_up(config, stage, signal.SIGKILL) == -signal.SIGKILL
    assert evenkeel("status", "--lab", str(config.number))["state"] == "unfinished"
    evenkeel("down", "--lab", str(config.number))
    assert left(config) == []


def test_up_after_up_was_killed_half_way(config: LabConfig) -> None:
    interrupt_up(config, first_keeper_runs, signal.SIGKILL)
    up = evenkeel("up", "--lab", str(config.number))
    assert not up["already"]
    assert [host["libvirt"] for host in up["status"]["hosts"]] == ["up", "up"]


def test_ctrl_c_in_up_cleans_up(config: LabConfig) -> None:
    assert interrupt_up(config, first_keeper_runs, signal.SIGINT) != 0
    assert left(config) == []


def test_down_needs_no_files(config: LabConfig) -> None:
    Lab(config).up()
    shutil.rmtree(config.state_dir)
    config.names.link.unlink()
    evenkeel("down", "--lab", str(config.number))
    assert left(config) == []


def test_down_from_elsewhere_finds_the_files(config: LabConfig, tmp_path: Path) -> None:
    Lab(config).up()
    Lab(LabConfig(number=config.number, directory=tmp_path)).down()
    assert left(config) == []


def test_down_kills_a_process_that_was_started_on_a_host(config: LabConfig, tmp_path: Path) -> None:
    lab = Lab(config)
    lab.up()
    log = tmp_path / "log"
    with lab.spawn_on("h1", ["sh", "-c", "echo here; exec sleep 1000"], stdout_path=log) as sleeper:
        deadline = time.monotonic() + 10
        while "here" not in log.read_text():
            assert time.monotonic() < deadline
        assert sleeper.pid in lab.host_pids("h1")
        lab.down()
        assert sleeper.wait(10) == -signal.SIGKILL
    assert left(config) == []


def test_labs_live_side_by_side(config: LabConfig, lab: Lab) -> None:
    hosts = lab.status().hosts
    Lab(config).up()
    assert Lab(config).hosts[0].address != lab.hosts[0].address
    Lab(config).down()
    assert lab.status().hosts == hosts


def test_the_probe_tells_what_boots_from_what_does_not(config: LabConfig, tmp_path: Path) -> None:
    image = ensure_image(config.build_dir, print)
    assert boots(image, "tcg", patience_s=60)
    assert not boots(image, "no-such-accelerator", patience_s=60)
    assert not boots(image, "tcg", patience_s=0.2)
