"""``adakern quantize``."""

from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from adakern_spec.errors import InputError
from adakern_spec.numbers import LENGTH_BITS

from .console import Json, Threads, emit, progress, say, show
from .images import ClipSigma, read_pixels
from .meta import LEARNER
from .records import IdColumn, MaxLength, SequenceColumn, StructureColumn, Truncate, Unknown, read

if TYPE_CHECKING:
    from torch import nn

    from ..data.images import ImageSet
    from ..models import AkmNetwork
    from ..quantize import Calibration

CALIBRATION_RECORDS = 256

CALIBRATION_TASKS = 8
"""Tasks that a meta-learned network adapts to, so that the formats hold what adaptation makes of it."""

ENCODER = "encoder.safetensors"
"""What training leaves in its folder, and what a folder stands for when it is quantised."""

NETWORK = "network"


class Method(StrEnum):
    """Quantisation after training, or with training that is aware of it."""

    PTQ = "ptq"
    QAT = "qat"


def quantize(
    model: Annotated[
        Path,
        typer.Argument(
            help="Made by adakern train, meta-train or adapt; or the run's folder.",
            show_default=False,
        ),
    ],
    data: Annotated[
        Path,
        typer.Option(
            help="What to calibrate on: sequences; images (for a learner in a folder per class).",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Artifact to write (.safetensors).", show_default=False)],
    method: Annotated[
        Method, typer.Option(help="After training, or with training aware of it.")
    ] = Method.PTQ,
    bits: Annotated[int, typer.Option(help="Of the weights: 8 or 4.")] = 8,
    epochs: Annotated[int, typer.Option(min=1, help="Of qat.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Of qat, and of a learner's tasks.")] = 0,
    records: Annotated[
        int, typer.Option(min=1, help="Sequences or images to calibrate on at most.")
    ] = CALIBRATION_RECORDS,
    longest: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=(1 << LENGTH_BITS) - 1,
            help="Longest map of the hardware; part of the digest. Default: any; an image network's own.",
            show_default=False,
        ),
    ] = None,
    threads: Threads = None,
    clip_sigma: ClipSigma = False,
    unknown: Unknown = False,
    truncate: Truncate = False,
    max_length: MaxLength = None,
    sequence_column: SequenceColumn = "sequence",
    structure_column: StructureColumn = None,
    id_column: IdColumn = None,
    json: Json = False,
) -> None:
    """Turn a trained network into integers, and report what each layer costs.

    An encoder's scale prediction network, or a whole kernel modulation network.
    """
    source = _source(model)
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    options: dict[str, Any] = {"clip_sigma": clip_sigma}
    if source.name == ENCODER:
        columns = (sequence_column, structure_column, id_column)
        network, calibration = _encoder(
            source.path,
            data,
            columns,
            records,
            {"unknown": unknown, "truncate": truncate, "max_length": max_length},
        )
    elif source.name == LEARNER:
        network, calibration, options["adapted"] = _learner(source.path, data, records, seed)
    else:
        network, calibration = _images(source.path, data, records)

    from .. import artifact
    from ..quantize import quantise
    from ..report.quantisation import QuantisationReport

    steps, unit = (epochs, "epochs") if method is Method.QAT else (None, "steps")
    with progress("quantising", steps, unit) as counter:
        quantised = quantise(
            network,
            calibration,
            method=method.value,
            weight_bits=bits,
            epochs=epochs,
            seed=seed,
            max_length=longest,
            progress=lambda done, _: counter(done),
            **options,
        )
    artifact.save(out, quantised)
    if json:
        emit({"artifact": str(out), "digest": quantised.digest.hex(), **quantised.report})
    else:
        show(QuantisationReport.from_json(quantised.report).table())
        say(f"artifact in {out}")


class _Source(NamedTuple):
    """A model's file; ``name``: ENCODER, LEARNER or NETWORK, whatever the file is called."""

    name: str
    path: Path


def _source(path: Path) -> _Source:
    """What ``path`` holds, or the folder there; an encoder unless it says otherwise."""
    from ..models import akm_network
    from ..models.weights_file import file_format
    from ..training import maml

    if path.is_dir():
        found = [_Source(file, path / file) for file in (LEARNER, ENCODER) if (path / file).exists()]
        if not found:
            raise InputError(
                f"neither {ENCODER} nor {LEARNER} in this folder",
                str(path),
                "give what adakern train or meta-train finished, or a network's file",
            )
        return found[0]
    names = {maml.FORMAT: LEARNER, akm_network.FORMAT: NETWORK}
    return _Source(names.get(file_format(path) or "", ENCODER), path)


def _encoder(
    path: Path, data: Path, names: tuple[str, str | None, str | None], count: int, options: dict[str, Any]
) -> "tuple[nn.Module, Calibration]":
    """An encoder, and sequences as it takes them."""
    from ..data import Columns, alphabet_named, collate
    from ..models import load_encoder

    encoder = load_encoder(path)
    alphabet = encoder.config.alphabet
    found = read(data, alphabet, Columns(*names), **options)
    maps, lengths = collate(list(islice(found, count)), alphabet_named(alphabet))

    import torch

    from ..quantize import Calibration

    return encoder, Calibration(torch.from_numpy(maps), torch.from_numpy(lengths))


def _images(path: Path, data: Path, count: int) -> "tuple[nn.Module, Calibration]":
    """An AKM network, and images."""
    from ..models import load_network

    network = load_network(path)
    return network, _calibration(read_pixels(data, network.config.to_json(), labelled=False), count)


def _learner(
    path: Path, data: Path, count: int, seed: int
) -> "tuple[nn.Module, Calibration, list[AkmNetwork]]":
    """A learner's network, images, and networks that it adapts to tasks of them."""
    from ..training.episodes import EpisodeSampler, EpisodeShape
    from ..training.maml import MetaLearner

    learner = MetaLearner.load(path)
    config = learner.network.config
    if learner.loop.scope == "all" or not config.modulated:
        say(
            "warning: no update of a device carries what this learner adapts, so its classifier stays zero; "
            "quantise what adakern adapt --network writes"
        )
    images = read_pixels(data, config.to_json(), labelled=True)
    # Their queries answer nothing here.
    shape = EpisodeShape(config.classes, queries=1)
    tasks = EpisodeSampler(images, shape, what="calibration images").sample(CALIBRATION_TASKS, (seed,))
    adapted = []
    with progress("adapting", len(tasks.support), "tasks") as counter:
        for support in tasks.support:
            adapted.append(learner.adapt(support, tasks.support_labels)[0])
            counter(len(adapted))
    return learner.network, _calibration(images, count), adapted


def _calibration(images: "ImageSet", count: int) -> "Calibration":
    """``count`` images, evenly spread over the set: those of one class may lie side by side."""
    import numpy as np
    import torch

    from ..quantize import Calibration
    from ..training.episodes import as_inputs

    total = len(images.images)
    chosen = np.unique(np.linspace(0, total - 1, min(count, total)).astype(np.int64))
    maps = as_inputs(images)[torch.from_numpy(chosen)]
    return Calibration(maps, torch.full((len(maps),), maps.shape[3]))
