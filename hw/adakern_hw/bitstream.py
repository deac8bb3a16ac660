"""From a network's shape to a bitstream for a board: gateware, synthesis, place and route, packing."""

import json
import os
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from amaranth import ClockDomain, Module
from amaranth.lib import io, wiring

from adakern_spec.networks import Folds, Shape

from .blocks.hints import SYNTHESIS
from .boards import BOARDS
from .boards.board import Board, BoardError, Family
from .boards.clocks import ClockGenerator, sync_frequency
from .boards.pll import Ecp5Pll, Pll
from .engines.crossing import ENGINE, EngineCrossing
from .engines.networks import make_engine
from .floorplan import Floorplan, read_floorplan
from .footprint import Footprint, read_footprint
from .hierarchy import Hierarchy
from .prediction import best_folds, check_fit
from .resources import Counts, count_cells
from .rtlil_text import apart
from .timing import Clock, Timing, read_clocks, read_timing
from .toolchain import TOOLS, ToolError, Workshop, tool_version
from .top import UartTop

TOP = "top"
NETLIST = f"{TOP}.json"
SEED = 1
"""Placer seed of a build that does not search."""

Status = Callable[[str, float], None]
"""Told each stage of a build as it starts, and the seconds since the build's start."""


@dataclass(frozen=True)
class Order:
    """What to build. ``clock`` in Hz, within what the board's PLL can make."""

    board: Board
    shape: Shape
    folds: Folds
    clock: int

    @property
    def pll(self) -> Pll:
        return self.board.make_pll(self.clock)

    @property
    def clock_hz(self) -> int:
        """The clock that the PLL really makes."""
        return round(self.pll.output)

    @property
    def second_div(self) -> int | None:
        """Divider of the PLL's second output, the link's clock if the engine's is too fast for it."""
        pll, limit = self.pll, self.board.family.link_limit
        if limit is None or pll.output <= limit or not isinstance(pll, Ecp5Pll):
            return None
        return pll.second_div(limit)

    def clocks(self) -> ClockGenerator:
        """The PLL with its outputs."""
        return ClockGenerator(self.pll, self.second_div)

    def engine(self) -> wiring.Component:
        """The engine with the multipliers of the part."""
        rows = self.board.placed_rows(self.shape, self.folds)
        return make_engine(self.shape, self.folds, rows, self.board.link)

    def device(self) -> UartTop:
        """The accelerator: the engine with its link."""
        engine = self.engine()
        if self.second_div is not None:
            engine = EngineCrossing(engine)
        return UartTop(
            self.shape,
            self.folds,
            self.clock_hz,
            self.board.baud,
            link_clock_hz=round(sync_frequency(self.pll, self.second_div)),
            engine=engine,
            link=self.board.link,
        )


class BoardTop(wiring.Component):
    """A device with the pins ``rx`` and ``tx`` on its board: clock, reset, serial line."""

    def __init__(self, board: Board, clocks: ClockGenerator, device: wiring.Component) -> None:
        self.board = board
        self.clocks = clocks
        self.device = device
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.domains.sync = ClockDomain()
        if self.clocks.second_div is not None:
            m.domains += ClockDomain(ENGINE, reset_less=True)
        m.submodules.clock = self.clocks
        m.submodules.device = self.device
        lines = platform.lookup(*self.board.uart).ios
        pins = platform.request(*self.board.uart, dir={line.name: "-" for line in lines})
        m.submodules.rx = rx = io.Buffer("i", pins.rx)
        m.submodules.tx = tx = io.Buffer("o", pins.tx)
        m.d.comb += [self.device.rx.eq(rx.i), tx.o.eq(self.device.tx)]
        return m


@dataclass(frozen=True)
class Sources:
    """Everything that the tools read, as file names and contents; ``clock_hz`` is the constraint."""

    board: Board
    clock_hz: int
    files: dict[str, bytes]

    @property
    def tools(self) -> dict[str, str]:
        """Versions of the tools that the build uses."""
        family = self.board.family
        return {name: tool_version(name) for name in ("yosys", family.place_and_route, family.pack)}

    def digest(self, seeds: int = 1) -> str:
        """Identity of the build's result: sources, options, tools, placements tried."""
        family = self.board.family
        options = json.dumps([self.board.device, family.routing, family.pack_options, self.clock_hz, seeds])
        parts = [options.encode(), json.dumps(self.tools, sort_keys=True).encode()]
        for name, content in sorted(self.files.items()):
            parts += [name.encode(), content]
        state = sha256()
        for part in parts:
            state.update(len(part).to_bytes(8, "little") + part)
        return state.hexdigest()


def choose_folds(board: Board, shape: Shape, multipliers: int | None = None) -> Folds:
    """The fastest folds within a budget, or without one the fastest that are predicted to fit.

    Raises BoardError, naming what would fit, if these surely do not.
    """
    folds = (best_folds(board, shape) if multipliers is None else None) or board.folds(shape, multipliers)
    check_fit(board, shape, folds, board.clock, BOARDS.values())
    return folds


def prepare(order: Order) -> Sources:
    """Sources of what ``order`` says. BoardError if it surely does not fit."""
    check_fit(order.board, order.shape, order.folds, order.clock, BOARDS.values())
    return write_sources(order.board, order.clocks(), order.device())


def write_sources(board: Board, clocks: ClockGenerator, device: wiring.Component) -> Sources:
    """Gateware as RTLIL, pin and clock constraints, the synthesis script; no paths of this machine."""
    family = board.family
    plan = board.platform().prepare(
        BoardTop(board, clocks, device),
        TOP,
        emit_src=False,
        synth_opts=" ".join(family.synthesis),
        script_after_read=SYNTHESIS,
    )
    files = {
        name: content.encode() if isinstance(content, str) else content
        for name, content in plan.files.items()
        if name.endswith((".il", ".ys", family.constraints))
    }
    files[f"{TOP}.il"] = apart(files[f"{TOP}.il"].decode()).encode()
    return Sources(board, round(clocks.pll.output), files)


@dataclass(frozen=True)
class Placement:
    """One run of the placer and router; ``timing`` of the clock that comes off worst of ``clocks``."""

    seed: int
    timing: Timing
    utilisation: dict[str, dict[str, int]]
    clocks: tuple[Clock, ...] = ()


@dataclass(frozen=True)
class Bitstream:
    """What a build leaves in its folder, and how it came out.

    ``modules`` as from `count_cells`, ``seconds`` by stage.
    """

    path: Path
    placement: Placement
    modules: Counts
    seconds: dict[str, float]
    hierarchy: Hierarchy
    floorplan: Floorplan


def build(
    sources: Sources, folder: Path, status: Status | None = None, seeds: int = 1, jobs: int = 0
) -> Bitstream:
    """Run the tools in ``folder``, which should be empty.

    Placements with the seeds 1 … ``seeds`` run ``jobs`` at a time (0: one per processor); the lowest
    seed that meets the clock makes the bitstream, whichever finishes first, so that the result does not
    depend on the machine's speed.

    Raises ToolError, and TimingError for the best placement if none meets the clock.
    """
    progress = _Progress(status)
    with Workshop(folder) as workshop:
        progress("synthesis")
        netlist = _synthesise(workshop, sources)
        modules, hierarchy = count_cells(netlist, TOP), Hierarchy.of(netlist, TOP)
        del netlist  # hundreds of megabytes that the tools can use
        _check_fit(sources.board, modules[""])
        progress("place and route")
        placement = _search(folder, sources, range(SEED, SEED + seeds), jobs or os.cpu_count() or 1)
        placement.timing.check(f"{sources.board.name}, seed {placement.seed}")
        progress("packing")
        product = _pack(workshop, sources.board.family, placement.seed)
    placed = _read(folder / _placed(placement.seed), sources.board.family.place_and_route)
    floorplan = read_floorplan(placed, TOP, hierarchy)
    progress("done")
    return Bitstream(product, placement, modules, progress.seconds, hierarchy, floorplan)


def measure(sources: Sources, folder: Path) -> Footprint:
    """Footprint after synthesis and packing, without placing: of designs too large for the part as well.

    ``folder`` should be empty. Raises ToolError and DiskError.
    """
    family = sources.board.family
    report = f"{TOP}.packed.json"
    with Workshop(folder) as workshop:
        cells = count_cells(_synthesise(workshop, sources), TOP)[""]
        arguments = [*_inputs(sources), "--pack-only", "--report", report]
        workshop.run(family.place_and_route, arguments, "pack.log")
    packed = _read(folder / report, family.place_and_route)
    return read_footprint(family, packed["utilization"], cells)


def _synthesise(workshop: Workshop, sources: Sources) -> Any:
    """Netlist of ``sources``, in files and as it is."""
    for name, content in sources.files.items():
        (workshop.folder / name).write_bytes(content)
    workshop.run("yosys", ["-q", "-l", f"{TOP}.rpt", f"{TOP}.ys"], "yosys.log")
    return _read(workshop.folder / NETLIST, "yosys")


class _Progress:
    """Time of each stage."""

    def __init__(self, status: Status | None) -> None:
        self.seconds: dict[str, float] = {}
        self._status = status
        self._start = self._last = time.monotonic()
        self._stage = ""

    def __call__(self, stage: str) -> None:
        now = time.monotonic()
        if self._stage:
            self.seconds[self._stage] = now - self._last
        self._stage, self._last = stage, now
        if self._status is not None:
            self._status(stage, now - self._start)


def _check_fit(board: Board, total: dict[str, int]) -> None:
    """Refuse what cannot be placed, before the placer tries for minutes."""
    capacity = board.capacity
    for kind, available, unit in (
        ("luts", capacity.luts, "look-up tables"),
        ("registers", capacity.luts, "registers"),
        ("dsps", capacity.dsps, "DSP blocks"),
        ("block_rams", capacity.block_rams, "block RAMs"),
    ):
        if total[kind] > available:
            raise BoardError(
                f"the network needs {total[kind]} {unit}, the part has {available}",
                board.name,
                "use fewer multipliers, a smaller network or a larger board",
            )


def _search(folder: Path, sources: Sources, seeds: range, jobs: int) -> Placement:
    """The placement of the lowest seed that meets the clock, else the fastest one."""
    results: dict[int, Placement] = {}
    # Leaving ends the placements that are no longer wanted before it waits for their threads.
    with ThreadPoolExecutor(min(jobs, len(seeds))) as pool, Workshop(folder) as workshop:
        pending = {pool.submit(_place, workshop, sources, seed) for seed in seeds}
        while pending:
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            results |= {placement.seed: placement for placement in (task.result() for task in done)}
            first = next((seed for seed in seeds if seed not in results or results[seed].timing.met), None)
            if first in results:
                return results[first]
    return max(results.values(), key=lambda placement: (placement.timing.reached, -placement.seed))


def _place(workshop: Workshop, sources: Sources, seed: int) -> Placement:
    family = sources.board.family
    report = f"{TOP}.{seed}.report.json"
    arguments = [
        *_inputs(sources),
        *family.routing,
        *("--freq", f"{sources.clock_hz / 1e6:.6f}", "--seed", str(seed)),
        *("--report", report, family.routed, _routed(seed), "--write", _placed(seed)),
        # The report names the path that misses the clock; `Timing.check` refuses it.
        "--timing-allow-fail",
    ]
    workshop.run(family.place_and_route, arguments, f"nextpnr.{seed}.log")
    content = _read(workshop.folder / report, family.place_and_route)
    return Placement(seed, read_timing(content), content["utilization"], read_clocks(content))


def _inputs(sources: Sources) -> tuple[str, ...]:
    """nextpnr's options for the part and what it reads."""
    suffix = sources.board.family.constraints
    return (*sources.board.device, "--json", NETLIST, f"--{suffix[1:]}", f"{TOP}{suffix}")


def _routed(seed: int) -> str:
    return f"{TOP}.{seed}.routed"


def _placed(seed: int) -> str:
    return f"{TOP}.{seed}.placed.json"


def _pack(workshop: Workshop, family: Family, seed: int) -> Path:
    product = f"{TOP}{family.product}"
    workshop.run(family.pack, [*family.pack_options, _routed(seed), product], "pack.log")
    path = workshop.folder / product
    if not path.exists():
        raise _nothing_left(path, family.pack)
    return path


def _read(path: Path, tool: str) -> Any:
    """JSON that a tool wrote, whole."""
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError) as error:
        raise _nothing_left(path, tool) from error


def _nothing_left(path: Path, tool: str) -> ToolError:
    return ToolError(f"left no complete {path.name}", tool, f"reinstall {TOOLS[tool].package}")
