"""``adakern predict``."""

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adakern_spec.akm import AkmShape
from adakern_spec.errors import InputError

from .console import Counter, DeviceUrl, Json, Model, Multipliers, emit, progress, say, show
from .images import Adaptation, ClipSigma, predict_images, require_kernels
from .records import (
    IdColumn,
    MaxLength,
    ResultsFile,
    SequenceColumn,
    StructureColumn,
    Truncate,
    Unknown,
    alphabet_of,
    read,
    resumable,
)

if TYPE_CHECKING:
    from ..accelerator import Answer

PAGE = 200
"""Rows of one table: many records become several tables, none held in memory."""


def predict(
    model: Model,
    input: Annotated[
        Path,
        typer.Argument(
            help="Sequences: FASTA (also with dot-bracket), .csv, .npz. Images: PNG, JPEG, a folder, .npz.",
            show_default=False,
        ),
    ],
    device: DeviceUrl = None,
    output: Annotated[
        Path | None, typer.Option(help="Append the results to this file, as JSON lines.", show_default=False)
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on behind the results in --output.")] = False,
    picture: Annotated[
        Path | None,
        typer.Option(help="Draw scales and maps, or images by class (.png, .svg, .pdf).", show_default=False),
    ] = None,
    outputs: Annotated[
        bool, typer.Option("--outputs", help="JSON: also the encoder's own answer, per sequence or position.")
    ] = False,
    adapt: Adaptation = None,
    clip_sigma: ClipSigma = False,
    unknown: Unknown = False,
    truncate: Truncate = False,
    max_length: MaxLength = None,
    sequence_column: SequenceColumn = "sequence",
    structure_column: StructureColumn = None,
    id_column: IdColumn = None,
    multipliers: Multipliers = 144,
    json: Json = False,
) -> None:
    """Predict the scales and kernel sizes of sequences, or the classes of images, on a device.

    One JSON object per line and record with --json or in --output. Stopped or unplugged in the middle, the
    same command with --resume goes on behind the last result.
    """
    if resume and output is None:
        raise InputError("nothing to resume", "--resume", "name the results with --output")
    from .. import artifact, registry
    from ..accelerator import Accelerator
    from ..data import Columns

    loaded = artifact.load(model)
    if isinstance(loaded.shape, AkmShape):
        predict_images(
            loaded,
            input,
            device=device,
            output=output,
            resume=resume,
            adaptation=adapt,
            clip_sigma=clip_sigma,
            multipliers=multipliers,
            picture=picture,
            json=json,
        )
        return
    require_kernels(loaded, adapt)
    alphabet = alphabet_of(loaded)
    longest = min(max_length or loaded.shape.max_length, loaded.shape.max_length)
    columns = Columns(sequence_column, structure_column, id_column)
    drawn = _Drawing(picture, alphabet)
    parameter_crc = f"{loaded.parameters.crc:08x}"
    records = read(input, alphabet, columns, unknown=unknown, truncate=truncate, max_length=longest)
    with ExitStack() as stack:
        results = None
        if output is not None:
            results = stack.enter_context(ResultsFile(output, resume, parameter_crc))
            records = results.skip(records)
        stack.enter_context(resumable(results))
        opened = stack.enter_context(registry.open(device, loaded, multipliers=multipliers, status=say))
        streaming = results is None and json and sys.stdout.isatty()
        counter = stack.enter_context(progress("predicting", unit="records", visible=not streaming))
        pages = _Pages(counter)
        # Whatever ends the run early, what was answered is printed.
        stack.callback(pages.finish)
        for count, answer in enumerate(Accelerator(loaded, opened).predict(records), start=1):
            row = answer.to_json(outputs) | {"parameter_crc": parameter_crc}
            if results is not None:
                results.append(row)
            if json:
                emit(row, indent=None)
            elif results is None:
                pages.add(answer)
            drawn.add(answer)
            counter(count)
        drawn.finish()
    if results is not None:
        say(f"{results.count} results in {output}")


class _Pages:
    """Answers as tables of `PAGE` rows."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._answers: list[Answer] = []

    def add(self, answer: "Answer") -> None:
        self._answers.append(answer)
        if len(self._answers) == PAGE:
            self.finish()

    def finish(self) -> None:
        """Print what has gathered."""
        from rich.table import Table

        if not self._answers:
            return
        iterations = len(self._answers[0].iterations)
        table = Table(
            caption=f"height × length in the last of {iterations} iterations\ndifference: to the float model"
        )
        table.add_column("id")
        for heading in ("length", "scales", "kernel", "difference", "cycles"):
            table.add_column(heading, justify="right", no_wrap=True)
        for answer in self._answers:
            last = answer.last
            table.add_row(
                answer.id,
                str(answer.length),
                " × ".join(f"{scale:.4f}" for scale in last.scales),
                " × ".join(f"{size:.2f}" for size in last.kernels),
                f"{last.difference:.5f}",
                f"{last.cycles:,}",
            )
        with self._counter.paused():
            show(table)
        self._answers.clear()


class _Drawing:
    """The first answers, drawn at the end."""

    def __init__(self, path: Path | None, alphabet: str) -> None:
        self._path = path
        self._alphabet = alphabet
        self._answers: list[Answer] = []
        if path is not None:
            from ..report.pictures import picture_format

            picture_format(path)

    def add(self, answer: "Answer") -> None:
        if self._path is None:
            return
        from ..report.pictures import RECORDS_DRAWN

        # One more than is drawn, so that the picture says that there are more.
        if len(self._answers) <= RECORDS_DRAWN:
            self._answers.append(answer)

    def finish(self) -> None:
        if self._path is None or not self._answers:
            return
        import numpy as np

        from ..data import alphabet_named
        from ..report.pictures import DrawnRecord, draw_predictions

        rows = alphabet_named(self._alphabet).rows
        drawn = [
            DrawnRecord(
                answer.id,
                np.array([iteration.scales for iteration in answer.iterations]),
                np.array([iteration.kernels for iteration in answer.iterations]),
                answer.activation.mean(axis=0),
                rows,
            )
            for answer in self._answers
        ]
        draw_predictions(drawn, self._path)
        say(f"picture in {self._path}")
