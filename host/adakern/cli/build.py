"""``adakern build``, ``adakern program`` and ``adakern boards``."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from .console import Json, Model, emit, progress, say, show

MHZ = 1e6

BoardName = Annotated[str, typer.Option("--board", "-b", help="One of adakern boards.", show_default=False)]


def build(
    model: Model,
    board: BoardName,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="File to write; default: MODEL-BOARD.bit", show_default=False),
    ] = None,
    clock: Annotated[
        float | None, typer.Option(help="Clock in MHz; default: the board's.", show_default=False)
    ] = None,
    multipliers: Annotated[
        int | None,
        typer.Option(
            min=1, help="Products per cycle at most; default: all that the part makes.", show_default=False
        ),
    ] = None,
    search: Annotated[
        int, typer.Option(min=1, help="Placements to try until one meets the clock, in parallel.")
    ] = 1,
    check: Annotated[
        bool, typer.Option("--check", help="Compare the simulated netlist with the reference, too.")
    ] = False,
    json: Json = False,
) -> None:
    """Build a bitstream for a board with open tools; its clock is met or the build fails.

    The network's parameters are not in it: the host sends them when it connects. A report lies beside
    the bitstream: FILE.html for a browser, and the same facts as FILE.json.
    """
    from adakern_hw.boards import find_board

    from .. import artifact
    from ..bitstreams import build_bitstream, page_path
    from ..files import check_writable
    from ..gate_level import check_gate_level
    from ..report.build_facts import model_facts

    target = find_board(board)
    loaded = artifact.load(model)
    hertz = None if clock is None else round(clock * MHZ)
    path = out or Path(f"{model.stem}-{target.name}{target.family.product}")
    check_writable(path)
    with _stages() as status:
        built = build_bitstream(loaded.shape, target, multipliers, hertz, search, status)
    options = {
        "board": target.name,
        "clock": None if clock is None else f"{clock:g}",
        "multipliers": multipliers,
        "search": None if search == 1 else search,
        "out": path.name,
    }
    about = model_facts(model, loaded, options)
    if check:
        folds = target.folds(loaded.shape, multipliers)
        clock_hz = built.report["network"]["clock_hz"]
        about |= {"gate_level": check_gate_level(target, folds, clock_hz, loaded.parameters, say)}
    built.write(path, about)
    if json:
        emit({"bitstream": str(path), "cached": built.cached} | built.report | about, indent=None)
        return
    _show(built.report)
    print(f"report             {page_path(path)}")
    print(f"{path}{', built before' if built.cached else ''}")


@contextmanager
def _stages() -> Iterator[Any]:
    """Each stage of a build on standard error as it starts, and the time that it has taken so far."""
    start = time.monotonic()
    with progress("building", unit="stages") as counter:
        count = 0

        def status(stage: str, elapsed: float) -> None:
            nonlocal count
            say(f"[{time.monotonic() - start:6.1f} s] {stage}")
            counter(count)
            count += 1

        yield status


def _show(report: dict[str, Any]) -> None:
    from rich.table import Table

    from ..report.subsystems import by_subsystem

    clock, network, total = report["clock"], report["network"], report["resources"]["total"]
    table = Table(title=f"{report['part']}")
    table.add_column("subsystem")
    for kind in total:
        table.add_column(kind.replace("_", " "), justify="right")
    for part, counts in by_subsystem(report["modules"]).items():
        table.add_row(part.label, *(f"{counts[kind]:,}" for kind in total))
    table.add_section()
    table.add_row("in all", *(f"{count:,}" for count in total.values()))
    show(table)
    print(
        f"clock              {clock['reached_mhz']:.2f} MHz reached, {clock['wanted_mhz']:.2f} MHz wanted, "
        f"slack {clock['slack_ns']:.2f} ns, seed {clock['seed']}"
    )
    print(f"worst path         {clock['worst_path']}")
    print(
        f"map of {network['length']:<12}{network['cycles_per_map']:,} cycles, "
        f"{network['maps_per_second']:,.0f} maps/s, {network['latency_us']:.1f} µs for a single one"
    )
    print(f"multipliers        {network['multipliers']}, {network['utilisation']:.2%} of their cycles useful")
    print(f"digest             {report['digest']}")


def program(
    bitstream: Annotated[Path, typer.Argument(help="File made by adakern build.", show_default=False)],
    board: BoardName,
) -> None:
    """Load a bitstream into the FPGA of a board, until it loses power."""
    from adakern_hw.boards import find_board

    from ..bitstreams import program as load

    load(bitstream, find_board(board))
    print(f"{bitstream} runs on {board}")


def boards(
    model: Annotated[
        Path | None,
        typer.Option(help="Artifact to fold; default: the reference shape.", show_default=False),
    ] = None,
    json: Json = False,
) -> None:
    """List the boards with what fits: multipliers of a network and their throughput, the widest network.

    All before synthesis, by the prediction of adakern estimate, at the board's default clock.
    """
    from adakern_hw.boards import BOARDS
    from adakern_spec.network import REFERENCE

    from .. import artifact
    from ..board_estimate import what_fits

    shape = REFERENCE if model is None else artifact.load(model).shape
    found = [what_fits(board, shape) for board in BOARDS.values()]
    if json:
        emit({"boards": found})
        return
    from rich.table import Table

    channels = [shape.in_channels, *(stage.out_channels for stage in shape.stages)]
    title = f"{'→'.join(map(str, channels))} on {shape.height} rows, by prediction"
    table = Table(title=title)
    for heading in ("board", "clock", "multipliers", "maps/s", "look-up tables", "widest c→c→c→2"):
        table.add_column(heading, justify="left" if heading == "board" else "right")
    for row in found:
        cells = (row["multipliers"], row["maps_per_second"], row["predicted_luts"])
        multipliers, speed, luts = ("–" if cell is None else f"{cell:,.0f}" for cell in cells)
        fits = {True: multipliers, False: "do not fit", None: f"{multipliers}, may fit"}[row["fits"]]
        table.add_row(
            f"{row['board']}\n{row['part']}",
            f"{row['clock_mhz']:g} MHz",
            fits,
            speed,
            f"{luts} of {row['luts']:,}",
            f"{row['widest_channels'] or '–'}",
        )
    show(table)
