"""Bitstreams of artifacts: built once, kept by digest, described by a report beside them."""

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adakern_hw.bitstream import Order, build, prepare
from adakern_hw.boards import BoardError
from adakern_hw.boards.board import Board
from adakern_hw.toolchain import ToolError, find_tool
from adakern_sim.cache import Cache
from adakern_spec import cycles
from adakern_spec.errors import AdakernError
from adakern_spec.network import REFERENCE_LENGTH, Fold, SpnShape

from .files import write_atomically

CACHE = "bitstreams"
BITSTREAM, REPORT = "bitstream", "report.json"
REPORT_SUFFIX = ".json"
HEADER_SIZE = 256
"""Bytes in which a bitstream's preamble is found."""

Status = Callable[[str, float], None]


@dataclass(frozen=True)
class Built:
    """A bitstream in the cache with its report; ``cached`` if it was there already."""

    bitstream: Path
    report: dict[str, Any]
    cached: bool

    def write(self, path: Path) -> None:
        """Copy the bitstream to ``path`` and its report beside it."""
        write_atomically(path, lambda temporary: shutil.copyfile(self.bitstream, temporary))
        text = json.dumps(self.report, indent=2) + "\n"
        write_atomically(report_path(path), lambda temporary: temporary.write_text(text))


def report_path(bitstream: Path) -> Path:
    """Where the report of a bitstream lies: beside it."""
    return bitstream.with_name(bitstream.name + REPORT_SUFFIX)


def build_bitstream(
    shape: SpnShape,
    board: Board,
    multipliers: int | None = None,
    clock: int | None = None,
    seeds: int = 1,
    status: Status | None = None,
) -> Built:
    """The bitstream of ``shape`` for ``board``, from the cache if it was built before.

    ``clock`` in Hz, ``multipliers`` a budget; both the board's unless given. Raises ClockError,
    BoardError, ToolError and TimingError.
    """
    folds = board.folds(shape, multipliers)
    order = Order(board, shape, folds, board.clock if clock is None else clock)
    if status is not None:
        status("gateware", 0.0)
    sources = prepare(order)
    digest = sources.digest(seeds)
    cached = True

    def fill(folder: Path) -> None:
        nonlocal cached
        cached = False
        work = folder / "work"
        work.mkdir()
        made = build(sources, work, status, seeds)
        placement = made.placement
        report = {
            "digest": digest,
            "board": board.name,
            "part": board.about,
            "tools": sources.tools,
            "clock": {
                "wanted_mhz": placement.timing.wanted,
                "reached_mhz": placement.timing.reached,
                "slack_ns": placement.timing.slack,
                "worst_path": str(placement.timing.worst),
                "seed": placement.seed,
            },
            "network": _network(shape, folds, order.clock_hz),
            "resources": {"total": made.modules[""], "capacity": vars(board.capacity)},
            "modules": {module: counts for module, counts in made.modules.items() if module},
            "utilisation": placement.utilisation,
            "seconds": made.seconds,
            "sha256": hashlib.sha256(made.path.read_bytes()).hexdigest(),
        }
        made.path.rename(folder / BITSTREAM)
        shutil.rmtree(work)
        (folder / REPORT).write_text(json.dumps(report))

    folder = Cache(CACHE).get(digest, fill)
    return Built(folder / BITSTREAM, json.loads((folder / REPORT).read_text()), cached)


def _network(shape: SpnShape, folds: tuple[Fold, ...], clock_hz: int) -> dict[str, Any]:
    """What the network costs in cycles, and in time at the clock that the board runs it with."""
    length = min(REFERENCE_LENGTH, shape.max_length)
    interval, latency = cycles.interval(shape, folds, length), cycles.latency(shape, folds, length)
    return {
        "channels": shape.channels,
        "height": shape.height,
        "weight_bits": shape.weight_bits,
        "length": length,
        "folds": [[fold.pe, fold.simd] for fold in folds],
        "multipliers": cycles.multipliers(folds),
        "utilisation": cycles.utilisation(shape, folds, length),
        "cycles_per_map": interval,
        "latency_cycles": latency,
        "clock_hz": clock_hz,
        "maps_per_second": clock_hz / interval,
        "latency_us": 1e6 * latency / clock_hz,
    }


def program(path: Path, board: Board) -> None:
    """Load a bitstream into the board's FPGA, until it loses power.

    Raises BoardError for a file that is not for this board, ToolError if the loader finds none.
    """
    check_bitstream(path, board)
    loader = find_tool("openFPGALoader")
    result = subprocess.run(
        [loader, "-b", board.loader, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if result.returncode:
        if "libusb" in result.stdout and "shared librar" in result.stdout:
            raise ToolError(
                "needs the system's libusb-1.0", "openFPGALoader", "install it, e.g. apt install libusb-1.0-0"
            )
        lines = result.stdout.strip().splitlines() or [f"exit status {result.returncode}"]
        raise ToolError(lines[-1], board.name, "connect the board, and allow access to its USB port")


def check_bitstream(path: Path, board: Board) -> None:
    """BoardError unless ``path`` holds a bitstream for ``board``."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise AdakernError(
            f"cannot be read ({error.strerror})", str(path), "give a bitstream made by adakern build"
        ) from error
    mend = f"build one with adakern build --board {board.name}"
    if board.family.preamble not in content[:HEADER_SIZE]:
        raise BoardError(f"no bitstream for {board.about}", str(path), mend)
    report = report_path(path)
    if not report.exists():
        return
    try:
        described = json.loads(report.read_text())
        name, digest = described["board"], described["sha256"]
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise AdakernError("damaged report", str(report), "delete it or build again") from error
    if digest != hashlib.sha256(content).hexdigest():
        raise BoardError(f"not the bitstream that {report.name} describes", str(path), mend)
    if name != board.name:
        raise BoardError(f"built for {name}", str(path), mend)
