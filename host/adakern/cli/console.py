"""What the commands share: output, progress, common options."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
Model = Annotated[Path, typer.Argument(help="Artifact made by adakern quantize.", show_default=False)]
DeviceUrl = Annotated[
    str | None,
    typer.Option(
        "--device",
        "-d",
        help="emulator:, verilator:, pty: or serial:PORT, with options as in verilator:?multipliers=36. "
        "Default: a serial board that answers, else verilator:, else emulator:.",
        show_default=False,
    ),
]
Threads = Annotated[
    int | None, typer.Option(min=1, help="The same number gives the same weights.", show_default=False)
]
Multipliers = Annotated[int, typer.Option(min=1, help="Multiplier budget of a simulated device.")]


class Interrupted(Exception):
    """Ctrl-C during a command that can be resumed; says how."""


def say(message: str) -> None:
    """One line on standard error, as it is."""
    print(message, file=sys.stderr, flush=True)


def emit(value: Any, indent: int | None = 2) -> None:
    """One JSON value on standard output."""
    print(json.dumps(value, indent=indent, allow_nan=False), flush=True)


def show(content: RenderableType) -> None:
    """A table or text on standard output."""
    Console().print(content)


@contextmanager
def progress(
    what: str, total: int | None = None, unit: str = "", visible: bool = True
) -> Iterator["Counter"]:
    """Progress on standard error, if that is a terminal."""
    console = Console(stderr=True)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        *((BarColumn(), MofNCompleteColumn()) if total is not None else (TextColumn("{task.completed}"),)),
        TextColumn(unit),
        TimeElapsedColumn(),
    )
    bar = Progress(
        *columns,
        console=console,
        transient=True,
        disable=not (visible and console.is_terminal),
        # Results on standard output stay there.
        redirect_stdout=False,
        redirect_stderr=False,
    )
    with bar:
        yield Counter(bar, what, total)


class Counter:
    """One task of a progress display."""

    def __init__(self, bar: Progress, what: str, total: int | None) -> None:
        self._bar = bar
        self._task = bar.add_task(what, total=total)

    def __call__(self, completed: int) -> None:
        """Show that ``completed`` are done."""
        self._bar.update(self._task, completed=completed)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Out of the way of what is printed meanwhile."""
        self._bar.stop()
        yield
        self._bar.start()
