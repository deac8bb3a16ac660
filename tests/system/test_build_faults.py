"""Builds that are interrupted, killed, short of disk or not alone: one line, nothing lost, no half result.

Whole `adakern build` processes; the tools are scripts, so that a build takes a second or two.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from fake_tools import BITSTREAM, BOARD, STAGES, FakeTools

from adakern.artifact import Artifact, save
from adakern.parameters import SpnParameters
from adakern_hw.toolchain import RESERVE
from adakern_spec.network import SpnShape

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes in /proc"),
]

CLOCK, OTHER_CLOCK = "62.5", "50"

COMMAND = "from adakern.cli import main; main()"


class Builds:
    """Starts builds of one small model; ends those that still run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cache = folder / "cache"
        self.tools = FakeTools.install(folder / "tools")
        self.processes: list[subprocess.Popen[str]] = []
        shape = SpnShape(channels=(1, 1), height=4, max_length=255)
        parameters = SpnParameters.random(shape, np.random.default_rng(7))
        save(folder / "model.safetensors", Artifact(parameters, (6, 6), {}))

    def start(self, out: Path, clock: str = CLOCK) -> subprocess.Popen[str]:
        command = ["build", str(self.folder / "model.safetensors"), "--board", BOARD.name]
        command += ["--clock", clock, "--out", str(out)]
        process = subprocess.Popen(
            [sys.executable, "-c", COMMAND, *command],
            env=self.tools.environment | {"ADAKERN_CACHE": str(self.cache)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        return process

    def run(self, out: Path) -> tuple[int, str]:
        """A build to its end: exit status and standard error."""
        process = self.start(out)
        _, errors = process.communicate(timeout=120)
        return process.returncode, errors

    def entries(self) -> list[str]:
        """What the cache holds but locks."""
        found = self.cache.rglob("*") if self.cache.exists() else ()
        return sorted(path.name for path in found if path.is_file() and path.suffix != ".lock")

    def stop(self) -> None:
        for process in self.processes:
            process.kill()
            process.communicate()


@pytest.fixture
def builds(tmp_path):
    started = Builds(tmp_path)
    yield started
    started.stop()


def wait_for(condition, process=None):
    deadline = time.monotonic() + 120
    while not condition():
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def ended(process_id):
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def one_error(errors):
    """The error line, the only one beside the stages."""
    lines = [line for line in errors.splitlines() if not line.startswith("[")]
    assert len(lines) == 1, errors
    return lines[0]


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGKILL"])
def test_signal_while_a_tool_runs(builds, tmp_path, name, stage):
    number = getattr(signal, name)
    out = tmp_path / "made.bit"
    builds.tools.hold(stage)
    process = builds.start(out)
    wait_for(lambda: builds.tools.held, process)
    tool = builds.tools.held
    assert not ended(tool)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    wait_for(lambda: ended(tool))
    if name == "SIGKILL":
        assert process.returncode == -number
    else:
        assert process.returncode == 128 + number
        assert one_error(errors) == "interrupted: run the same command again"
        assert builds.entries() == []
    assert not out.exists()
    assert "bitstream" not in builds.entries()

    builds.tools.release(stage)
    assert builds.run(out)[0] == 0
    assert out.read_bytes() == BITSTREAM
    assert builds.entries() == ["bitstream", "manifest.json", "report.json"]


def test_signal_between_stages(builds, tmp_path):
    """The gateware is made by this process itself."""
    out = tmp_path / "made.bit"
    process = builds.start(out)
    assert "gateware" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert one_error(errors) == "interrupted: run the same command again"
    assert builds.tools.runs == []
    assert not out.exists()


def test_second_build_of_the_same_waits_and_takes_the_first_ones_work(builds, tmp_path):
    builds.tools.hold("nextpnr")
    first = builds.start(tmp_path / "first.bit")
    wait_for(lambda: builds.tools.held, first)
    second = builds.start(tmp_path / "second.bit")
    assert "gateware" in second.stderr.readline()
    assert "waiting for another process that builds the same" in second.stderr.readline()
    builds.tools.release("nextpnr")
    assert "built before" not in first.communicate(timeout=60)[0]
    assert "built before" in second.communicate(timeout=60)[0]
    assert (tmp_path / "first.bit").read_bytes() == (tmp_path / "second.bit").read_bytes() == BITSTREAM
    assert builds.tools.runs == list(STAGES)


def test_second_build_of_the_same_takes_over_when_the_first_is_killed(builds, tmp_path):
    builds.tools.hold("nextpnr")
    first = builds.start(tmp_path / "first.bit")
    wait_for(lambda: builds.tools.held, first)
    second = builds.start(tmp_path / "second.bit")
    assert "gateware" in second.stderr.readline()
    assert "waiting" in second.stderr.readline()
    first.kill()
    builds.tools.release("nextpnr")
    _, errors = second.communicate(timeout=60)
    assert second.returncode == 0, errors
    assert (tmp_path / "second.bit").read_bytes() == BITSTREAM
    assert not (tmp_path / "first.bit").exists()


def test_waiting_build_can_be_interrupted(builds, tmp_path):
    builds.tools.hold("yosys")
    first = builds.start(tmp_path / "first.bit")
    wait_for(lambda: builds.tools.held, first)
    second = builds.start(tmp_path / "second.bit")
    assert "gateware" in second.stderr.readline()
    assert "waiting" in second.stderr.readline()
    second.send_signal(signal.SIGINT)
    assert one_error(second.communicate(timeout=60)[1]).startswith("interrupted: ")
    builds.tools.release("yosys")
    assert first.communicate(timeout=60)[0]
    assert (tmp_path / "first.bit").read_bytes() == BITSTREAM


def test_builds_of_different_things_run_at_the_same_time(builds, tmp_path):
    """Both are in the same stage at once."""
    builds.tools.hold("yosys")
    processes = [builds.start(tmp_path / f"{clock}.bit", clock) for clock in (CLOCK, OTHER_CLOCK)]
    wait_for(lambda: builds.tools.runs == ["yosys", "yosys"])
    builds.tools.release("yosys")
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    assert builds.entries() == sorted(["bitstream", "manifest.json", "report.json"] * 2)
    for clock in (CLOCK, OTHER_CLOCK):
        assert (tmp_path / f"{clock}.bit").read_bytes() == BITSTREAM
        assert json.loads((tmp_path / f"{clock}.bit.json").read_text())["network"]["clock_hz"] == 1e6 * float(
            clock
        )


FILL = "head -c 200M /dev/zero > fill 2> /dev/null"


@pytest.mark.parametrize("stage", STAGES)
def test_disk_full_in_a_stage(builds, tmp_path, disk, stage):
    """The tool itself ends as if all were well."""
    builds.cache = disk(RESERVE + (16 << 20))
    out = tmp_path / "made.bit"
    script = (builds.tools.folder / stage).read_text()
    builds.tools.replace(stage, FILL)
    status, errors = builds.run(out)
    assert status == 1
    assert re.search(r"disk full, \d+ MiB are left; free some space", one_error(errors))
    assert builds.entries() == []
    assert not out.exists()

    (builds.tools.folder / stage).write_text(script)
    assert builds.run(out)[0] == 0
    assert out.read_bytes() == BITSTREAM


def test_disk_full_while_copying_out_keeps_what_was_built(builds, tmp_path, disk):
    folder = disk(1 << 20)
    (folder / "fill").write_bytes(bytes(folder.stat().st_blksize * 255))
    out = folder / "made.bit"
    (builds.tools.folder / "ecppack.bit").write_bytes(BITSTREAM + bytes(1 << 20))
    status, errors = builds.run(out)
    assert status == 1
    assert one_error(errors) == (
        f"error: {out}: cannot write (No space left on device); free some space or choose another folder"
    )
    assert os.listdir(folder) == ["fill"]
    elsewhere = tmp_path / "made.bit"
    assert builds.run(elsewhere)[0] == 0
    assert elsewhere.read_bytes().startswith(BITSTREAM)
    assert builds.tools.runs == list(STAGES)


def test_folder_that_cannot_be_written_is_found_out_first(builds, disk):
    status, errors = builds.run(disk(1 << 20, "ro") / "made.bit")
    assert status == 1
    assert "made.bit: cannot write (Read-only file system); " in one_error(errors)
    assert builds.tools.runs == []


def test_cache_that_cannot_be_written(builds, tmp_path, disk):
    builds.cache = disk(1 << 20, "ro")
    status, errors = builds.run(tmp_path / "made.bit")
    assert status == 1
    assert "Read-only file system" in one_error(errors)
    assert "set ADAKERN_CACHE to a writable folder" in one_error(errors)
    assert builds.tools.runs == []


@pytest.mark.parametrize(
    ("stage", "tool", "left"),
    [
        ("yosys", "yosys", 'echo \'{"modules": {"top": {\' > top.json'),
        ("yosys", "yosys", "true"),
        ("nextpnr", "nextpnr-ecp5", "true"),
        ("ecppack", "ecppack", "true"),
    ],
)
def test_tool_that_leaves_nothing_or_half_of_it(builds, tmp_path, stage, tool, left):
    builds.tools.replace(stage, left)
    status, errors = builds.run(tmp_path / "made.bit")
    assert status == 1
    assert f"error: {tool}: left no complete " in one_error(errors)
    assert builds.entries() == []
