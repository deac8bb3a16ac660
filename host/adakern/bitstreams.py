"""Bitstreams of artifacts: built once, kept by digest, described by a report beside them."""

import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adakern_hw.bitstream import Order, build, choose_folds, prepare
from adakern_hw.boards import BoardError
from adakern_hw.boards.board import Board
from adakern_hw.toolchain import ToolError, find_tool
from adakern_sim import cache
from adakern_spec.errors import AdakernError
from adakern_spec.network import SpnShape

from .files import write_atomically
from .report.build_facts import build_facts, facts_text
from .report.build_page import build_page

CACHE = "bitstreams"
BITSTREAM, REPORT = "bitstream", "report.json"
REPORT_SUFFIX, PAGE_SUFFIX = ".json", ".html"
REPORT_LAYOUT = "4"
"""Counts what the cached reports say: one of another layout is not read."""

HEADER_SIZE = 256
"""Bytes in which a bitstream's preamble is found."""

MISSING_LIBRARY = re.compile(r"error while loading shared libraries: ([^:\s]+)")
"""What the dynamic linker says on Linux."""

Status = Callable[[str, float], None]


@dataclass(frozen=True)
class Built:
    """A bitstream in the cache with its report; ``cached`` if it was there already."""

    bitstream: Path
    report: dict[str, Any]
    cached: bool

    def write(self, path: Path, about: Mapping[str, Any] | None = None) -> None:
        """Copy the bitstream to ``path``, its report with the facts ``about`` the model beside it.

        The report is written twice: as JSON (`report_path`) and as a page (`page_path`).
        """
        facts = self.report | dict(about or {})
        page = build_page(facts)
        write_atomically(path, lambda temporary: shutil.copyfile(self.bitstream, temporary))
        write_atomically(report_path(path), lambda temporary: temporary.write_text(facts_text(facts)))
        write_atomically(page_path(path), lambda temporary: temporary.write_text(page, encoding="utf-8"))


def report_path(bitstream: Path) -> Path:
    """Where the report of a bitstream lies: beside it."""
    return bitstream.with_name(bitstream.name + REPORT_SUFFIX)


def page_path(bitstream: Path) -> Path:
    """Where the report of a bitstream lies as a page."""
    return bitstream.with_name(bitstream.name + PAGE_SUFFIX)


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
    folds = choose_folds(board, shape, multipliers)
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
        report = {
            "digest": digest,
            "sha256": hashlib.sha256(made.path.read_bytes()).hexdigest(),
        } | build_facts(order, sources, made)
        made.path.rename(folder / BITSTREAM)
        shutil.rmtree(work)
        (folder / REPORT).write_text(json.dumps(report))

    def waiting() -> None:
        if status is not None:
            status("waiting for another process that builds the same", 0.0)

    folder = cache.Cache(CACHE).get(cache.digest(REPORT_LAYOUT, digest), fill, waiting)
    return Built(folder / BITSTREAM, json.loads((folder / REPORT).read_text()), cached)


def program(path: Path, board: Board) -> None:
    """Load a bitstream into the board's FPGA, until it loses power.

    Raises BoardError for a file that is not for this board, ToolError if the loader finds none.
    """
    check_bitstream(path, board)
    loader = find_tool("openFPGALoader")
    result = subprocess.run(
        [loader, "-b", board.loader, str(path)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        check=False,
    )
    if result.returncode == 0:
        return
    lines = result.stderr.strip().splitlines() or [f"exit status {result.returncode}"]
    library = MISSING_LIBRARY.search(result.stderr)
    if library is not None:
        raise ToolError(
            f"needs the system's {library[1]}",
            "openFPGALoader",
            "install it, e.g. apt install libftdi1-2 libusb-1.0-0",
        )
    raise ToolError(lines[0], board.name, "connect the board, and allow access to its USB port")


def check_bitstream(path: Path, board: Board) -> None:
    """BoardError unless ``path`` holds a bitstream for ``board``."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise AdakernError(
            f"cannot be read ({error.strerror})", str(path), "give a bitstream made by adakern build"
        ) from error
    mend = f"build one with adakern build --board {board.name}"
    head = content[:HEADER_SIZE]
    if board.family.preamble not in head or board.identity not in head:
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
