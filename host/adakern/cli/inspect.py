"""``adakern trace``, ``adakern estimate`` and ``adakern devices``."""

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adakern_spec.akm import AkmShape
from adakern_spec.errors import AdakernError
from adakern_spec.network import REFERENCE
from adakern_spec.networks import Shape, usual_length

from .console import Json, Model, emit, say, show
from .images import Adaptation, ClipSigma, adapted_model, images_for, require_kernels
from .records import (
    IdColumn,
    MaxLength,
    SequenceColumn,
    StructureColumn,
    Truncate,
    Unknown,
    alphabet_of,
    read,
)

TRACED_RECORDS = 64

MULTIPLIERS = 144
"""Budget of an estimate without a board."""

if TYPE_CHECKING:
    from ..estimate import Estimate
    from ..registry import Scheme


def trace(
    model: Model,
    input: Annotated[Path, typer.Argument(help="As for adakern predict.", show_default=False)],
    picture: Annotated[
        Path | None, typer.Option(help="Draw the layers of the first map.", show_default=False)
    ] = None,
    records: Annotated[
        int, typer.Option(min=1, help="Sequences or images to trace at most.")
    ] = TRACED_RECORDS,
    adapt: Adaptation = None,
    clip_sigma: ClipSigma = False,
    unknown: Unknown = False,
    truncate: Truncate = False,
    max_length: MaxLength = None,
    sequence_column: SequenceColumn = "sequence",
    structure_column: StructureColumn = None,
    id_column: IdColumn = None,
    json: Json = False,
) -> None:
    """Compare the integers with the float model, layer by layer, on sequences or images of your own."""
    import numpy as np

    from .. import artifact
    from ..data import Columns, alphabet_named, collate
    from ..report.trace import trace as run

    if picture is not None:
        from ..report.pictures import picture_format

        picture_format(picture)
    loaded = artifact.load(model)
    if isinstance(loaded.shape, AkmShape):
        loaded, _ = adapted_model(loaded, adapt, clip_sigma)
        _, values = images_for(loaded, input)
        values = values[:records]
        report = run(loaded, values, np.full(len(values), values.shape[3]))
    else:
        require_kernels(loaded, adapt)
        alphabet = alphabet_of(loaded)
        columns = Columns(sequence_column, structure_column, id_column)
        longest = min(max_length or loaded.shape.max_length, loaded.shape.max_length)
        found = read(input, alphabet, columns, unknown=unknown, truncate=truncate, max_length=longest)
        report = run(loaded, *collate(list(islice(found, records)), alphabet_named(alphabet)))
    if json:
        emit(report.to_json())
    else:
        show(report.table())
    if picture is not None:
        report.draw(picture)
        say(f"picture in {picture}")


def estimate(
    model: Model,
    board: Annotated[
        str | None,
        typer.Option("--board", "-b", help="Predict what a build for this board takes.", show_default=False),
    ] = None,
    multipliers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help=f"Multiplier budget; default: {MULTIPLIERS}, with --board the most that fit.",
            show_default=False,
        ),
    ] = None,
    length: Annotated[
        int | None,
        typer.Option(min=1, help="Positions of a map; default: 128, or the longest if that is less."),
    ] = None,
    json: Json = False,
) -> None:
    """Cycles, utilisation, multipliers and memory of a model, before any synthesis.

    With a board also what of its part a build takes; a model that cannot fit is refused with what would.
    """
    from .. import artifact
    from ..board_estimate import estimate_for_board
    from ..estimate import estimate as run

    shape = artifact.load(model).shape
    positions = length or usual_length(shape)
    if board is None:
        result = run(shape, multipliers or MULTIPLIERS, positions)
        if json:
            emit(result.to_json())
        else:
            _show_estimate(result)
        return
    from adakern_hw.boards import find_board

    built = estimate_for_board(shape, find_board(board), multipliers, positions)
    if json:
        emit(built.to_json())
        return
    _show_estimate(built.network)
    speed = f"{built.maps_per_second:,.0f} maps/s, {built.latency_us:.1f} µs for a single one"
    print(f"{f'at {built.clock / 1e6:.6g} MHz':<19}{speed}")
    print(f"{built.part} (predicted, DSP blocks counted)")
    for kind, available in built.capacity.items():
        needed = built.footprint.get(kind)
        predicted = "not known" if needed is None else f"{needed:>7,}"
        share = "" if needed is None else f", {needed / available:.0%}"
        print(f"{kind.replace('_', ' '):<19}{predicted} of {available:,}{share}")


def _show_estimate(result: "Estimate") -> None:
    from rich.table import Table

    table = Table(title=f"maps of {result.length} positions, {result.macs:,} MAC")
    for heading in ("stage", "channels", "fold", "multipliers", "cycles per pixel", "memory bits"):
        table.add_column(heading, justify="right")
    for index, stage in enumerate(result.stages):
        table.add_row(
            str(index),
            f"{stage.in_channels} → {stage.out_channels}",
            f"{stage.pe} × {stage.simd}" + (f", {stage.lanes}" if stage.lanes else ""),
            str(stage.multipliers),
            str(stage.interval),
            f"{stage.memory_bits:,}",
        )
    show(table)
    print(f"multipliers        {result.multipliers}")
    print(
        f"cycles per map     {result.interval:,} back to back, {result.latency:,} from first pixel to result"
    )
    print(f"utilisation        {result.utilisation:.2%}")
    print(f"memory bits        {result.memory_bits:,} with the link's copy of the parameters")


def devices(
    model: Annotated[
        Path | None,
        typer.Option(
            help="Artifact whose device is looked for; default: the reference shape.", show_default=False
        ),
    ] = None,
    json: Json = False,
) -> None:
    """List what can run a model on this machine: simulated devices and serial ports."""
    from .. import artifact, registry

    shape = REFERENCE if model is None else artifact.load(model).shape
    found = [
        _simulated(scheme, path, shape)
        for scheme in registry.SCHEMES.values()
        for path in scheme.choices or ("",)
        if path or not scheme.path
    ]
    found += [_port(port, shape) for port in registry.ports()]
    if json:
        emit({"devices": found})
        return
    from rich.table import Table

    table = Table()
    for heading in ("device", "ready", "what"):
        table.add_column(heading)
    for device in found:
        table.add_row(device["url"], "yes" if device["ready"] else "no", device["what"])
    show(table)


def _simulated(scheme: "Scheme", path: str, shape: Shape) -> dict[str, Any]:
    """A device that this machine makes itself."""
    from .. import registry

    about = scheme.about
    lacking = registry.missing_tools(scheme.name) if scheme.name in registry.VERILATED else []
    if lacking:
        about += f"; this machine lacks {', '.join(lacking)}"
    elif scheme.name == "verilator":
        about += f"; {registry.simulator(shape)}"
    return {"url": f"{scheme.name}:{path}", "ready": not lacking, "what": about}


def _port(port: str, shape: Shape) -> dict[str, Any]:
    """A serial port, and who answers there. Only USB ports are asked: others may be a console."""
    from .. import registry

    url = f"serial:{port}"
    if port not in registry.usb_ports():
        return {"url": url, "ready": False, "what": "not asked: no USB device"}
    try:
        with registry.open_url(url, shape) as device:
            return {"url": url, "ready": True, "what": f"answers with the right digest as {device.url}"}
    except AdakernError as error:
        return {"url": url, "ready": False, "what": error.what}
