"""``adakern train``."""

import json as json_module
from collections.abc import Sequence
from dataclasses import fields
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adakern_spec.errors import InputError

from .console import Interrupted, Json, emit
from .records import IdColumn, MaxLength, SequenceColumn, StructureColumn, Truncate, Unknown, read

if TYPE_CHECKING:
    from ..data import SequenceRecord
    from ..models import EncoderConfig


class Task(StrEnum):
    """What an encoder is trained for."""

    CLASSIFICATION = "classification"
    REGRESSION = "regression"
    POSITION_REGRESSION = "position-regression"


class Penalty(StrEnum):
    """Regularisation of the scale prediction network."""

    L1 = "l1"
    L2 = "l2"


def train(
    data: Annotated[Path, typer.Argument(help=".csv or .npz with targets.", show_default=False)],
    task: Annotated[Task, typer.Option(help="What the targets are.", show_default=False)],
    out: Annotated[
        Path, typer.Option(help="Folder of the run; one that exists is resumed.", show_default=False)
    ],
    target: Annotated[
        list[str] | None,
        typer.Option(
            help="CSV: target column, once for each; for classification the label.", show_default=False
        ),
    ] = None,
    validation: Annotated[
        Path | None, typer.Option(help="Records that only measure.", show_default=False)
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="JSON file with fields of the encoder's configuration.", show_default=False),
    ] = None,
    alphabet: Annotated[str, typer.Option(help="rna, dna or peptide.")] = "rna",
    epochs: Annotated[int, typer.Option(min=1)] = 40,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    batch_size: Annotated[int, typer.Option(min=1)] = 32,
    learning_rate: Annotated[float, typer.Option()] = 5e-3,
    penalty: Annotated[Penalty, typer.Option(help="Of the SPN's weights.")] = Penalty.L2,
    penalty_weight: Annotated[float, typer.Option(min=0)] = 1e-4,
    threads: Annotated[
        int | None, typer.Option(min=1, help="The same number gives the same weights.", show_default=False)
    ] = None,
    unknown: Unknown = False,
    truncate: Truncate = False,
    max_length: MaxLength = None,
    sequence_column: SequenceColumn = "sequence",
    structure_column: StructureColumn = None,
    id_column: IdColumn = None,
    json: Json = False,
) -> None:
    """Train an encoder together with its scale prediction network.

    Checkpoint, learning curve and encoder lie in --out. The same command goes on where a stopped one was.
    """
    from ..data import Columns, class_names

    targets = tuple(target or ())
    labels: tuple[str, ...] = ()
    if task is Task.CLASSIFICATION and data.suffix.lower() == ".csv":
        if len(targets) != 1:
            raise InputError(f"{len(targets)} label columns", "--target", "name the one with the labels")
        labels = class_names(data, targets[0])
    columns = Columns(sequence_column, structure_column, id_column, targets, labels)
    options: dict[str, Any] = {"unknown": unknown, "truncate": truncate, "max_length": max_length}
    records = list(read(data, alphabet, columns, **options))
    measured = list(read(validation, alphabet, columns, **options)) if validation else []

    import torch

    from ..training import TrainingSettings, TrainingStopped
    from ..training import train as run

    if threads is not None:
        torch.set_num_threads(threads)
    encoder = _encoder_config(config, alphabet, task, records, labels or targets)
    settings = TrainingSettings(
        epochs=epochs,
        seed=seed,
        batch_size=batch_size,
        learning_rate=learning_rate,
        spn_penalty=penalty.value,
        spn_penalty_weight=penalty_weight,
    )
    try:
        result = run(encoder, records, out, settings, validation=measured, progress=not json)
    except TrainingStopped as stopped:
        raise Interrupted(str(stopped)) from None
    if json:
        parameters = result.encoder.parameter_count()
        emit({"encoder": str(result.path), "parameters": parameters, "curve": list(result.curve)})
    else:
        print(f"encoder of {result.encoder.parameter_count():,} parameters in {result.path}")


def _encoder_config(
    path: Path | None, alphabet: str, task: Task, records: "Sequence[SequenceRecord]", names: tuple[str, ...]
) -> "EncoderConfig":
    """What the data says about the encoder, and what the user's file says about the rest."""
    from ..data import alphabet_named
    from ..models import EncoderConfig

    targets = records[0].targets
    if targets is None:
        raise InputError("no targets", "training records", "name their columns with --target, or use .npz")
    outputs = int(targets.shape[-1])
    if task is Task.CLASSIFICATION:
        outputs = (
            len(names)
            or int(max(record.targets.max() for record in records if record.targets is not None)) + 1
        )
    known: dict[str, Any] = {
        "height": alphabet_named(alphabet).height,
        "alphabet": alphabet,
        "task": task.value,
        "outputs": outputs,
        "output_names": names,
    }
    return EncoderConfig.from_json(fields_of(path, EncoderConfig) | known)


def fields_of(path: Path | None, config: type[Any]) -> dict[str, Any]:
    """Fields of the user's configuration file, none without one; the dataclass ``config`` has them."""
    if path is None:
        return {}
    try:
        chosen = json_module.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"no readable JSON ({error})", str(path), "write an object of fields") from None
    if not isinstance(chosen, dict):
        raise InputError("no JSON object", str(path), 'write an object of fields, as {"iterations": 3}')
    known = [field.name for field in fields(config)]
    if unknown := [name for name in chosen if name not in known]:
        raise InputError(f"unknown field {unknown[0]!r}", str(path), f"the fields are {', '.join(known)}")
    return chosen
