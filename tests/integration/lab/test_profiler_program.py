"""The profiler that tenants run: built as they would build it, run outside a VM."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from evenkeel.domain.sample import GuestReport
from evenkeel.guest_wire import Inbox, parse
from evenkeel.lab.image import RESOURCES

pytestmark = pytest.mark.integration

SOURCE = RESOURCES / "guest" / "evenkeel-guest.c"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("gcc") is None:
        pytest.skip("no gcc")
    built = tmp_path_factory.mktemp("bin") / "evenkeel-guest"
    flags = ["-static", "-O2", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(["gcc", *flags, "-o", built, SOURCE], check=True)
    return built


@pytest.fixture
def run(program: Path, tmp_path: Path) -> Iterator[object]:
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        argv = [str(program), "-s", str(tmp_path / "sock"), *arguments]
        started.append(subprocess.Popen(argv, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def tell(path: Path, text: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        for _ in range(100):
            try:
                s.sendto(text.encode(), str(path))
            except OSError:
                time.sleep(0.02)
            else:
                return
    raise AssertionError("the profiler does not listen")


def reports(process: subprocess.Popen[str], n: int) -> list[GuestReport]:
    assert process.stdout is not None
    found = [parse(process.stdout.readline().encode()) for _ in range(n)]
    assert None not in found
    return [one for one in found if one is not None]


def test_the_source_is_where_tenants_look_for_it() -> None:
    root = Path(__file__).parents[3]
    if not (root / "packaging").is_dir():
        pytest.skip("not a checkout")

    assert (root / "packaging" / "guest" / "evenkeel-guest.c").read_text() == SOURCE.read_text()


def test_what_an_application_says_is_summed_and_nonsense_is_not(run, tmp_path: Path) -> None:
    process = run("-o")
    tell(tmp_path / "sock", "work 5\nlatency_ms 2 10\nlatency_ms 30\n")
    tell(tmp_path / "sock", "work -1\nwork nan\nwork inf\nwork 1e300\nlatency_ms -2\nhello\n" * 50)
    tell(tmp_path / "sock", "work 0.5")
    first, second = reports(process, 2)

    assert (first.work, first.ops, first.op_ms) == (5.5, 11, 50)
    assert second.work == 5.5
    assert 0.6 <= second.guest_s - first.guest_s < 3


def test_its_lines_are_what_the_agent_accepts(run, tmp_path: Path) -> None:
    process = run("-o")
    tell(tmp_path / "sock", "work 1\n")
    inbox = Inbox()
    flaws = set()
    for k in range(3):
        assert process.stdout is not None
        inbox.feed(process.stdout.readline().encode())
        reading = inbox.take(1000.0 + k)
        assert reading.report is not None
        flaws |= reading.flaws

    assert not flaws


def test_a_process_is_watched_by_its_cpu_time(run) -> None:
    busy = subprocess.Popen(["/bin/sh", "-c", "while :; do :; done"])
    try:
        said = reports(run("-o", "-p", str(busy.pid)), 3)
    finally:
        busy.kill()
        busy.wait()

    assert said[0].work is not None
    assert said[2].work is not None
    assert 0.1 < said[2].work - said[0].work <= said[2].guest_s - said[0].guest_s + 0.1


def test_a_counter_in_a_file_is_followed(run, tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("100\n")
    process = run("-o", "-f", str(counter))
    first = reports(process, 1)[0]
    counter.write_text("130\n")
    second = reports(process, 1)[0]
    counter.write_text("4\n")  # started anew
    third = reports(process, 1)[0]

    assert [r.work for r in (first, second, third)] == [0, 30, 34]


def test_nobody_at_the_other_end_holds_nothing_up(program: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "port"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    argv = [str(program), "-s", str(tmp_path / "s"), "-d", str(pipe)]
    with subprocess.Popen(argv) as process:
        try:
            deadline = time.monotonic() + 10
            said = b""
            while not said.endswith(b"\n") and time.monotonic() < deadline:
                time.sleep(0.1)
                try:
                    said += os.read(reader, 4096)
                except BlockingIOError:
                    continue
            assert json.loads(said)["v"] == 1
            os.close(reader)
            time.sleep(2.5)  # the pipe is broken now
            assert process.poll() is None
        finally:
            process.kill()


def test_bad_usage_says_how(program: Path) -> None:
    done = subprocess.run([program, "-z"], capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert "usage:" in done.stderr
