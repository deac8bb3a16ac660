"""Trace: an artifact's float network against its integers, layer by layer, on a user's own data."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table

from adakern_spec.errors import InputError
from adakern_spec.numbers import Format

from ..artifact import Artifact
from .comparison import LayerComparison
from .quantisation import layer_table

if TYPE_CHECKING:
    from ..quantize.measure import LayerValues


@dataclass(frozen=True, eq=False)
class LayerSample:
    """One layer of one map, as real numbers: ``floats`` and ``integers`` (q · 2^-frac).

    [C, H, length] each, or [n] for the answers (scales, logits) of all maps.
    """

    floats: np.ndarray
    integers: np.ndarray


@dataclass(frozen=True, eq=False)
class TraceReport:
    """Comparison of every layer over all maps, and the first map's values for the picture."""

    maps: int
    layers: tuple[LayerComparison, ...]
    samples: tuple[LayerSample, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values: maps, and one object per layer (`LayerComparison`)."""
        return {"maps": self.maps, "layers": [layer.to_json() for layer in self.layers]}

    def table(self) -> Table:
        """For the terminal."""
        table = layer_table(self.layers)
        table.title = f"float against integers, {self.maps} maps"
        return table

    def draw(self, path: Path) -> None:
        """Write the picture, atomically: per layer the maps, their difference and a scatter."""
        from .pictures import draw_trace

        draw_trace(self, path)


def trace(artifact: Artifact, maps: np.ndarray, lengths: np.ndarray) -> TraceReport:
    """Run float model and integers on ``maps`` [B, C, H, L] float with valid lengths [B].

    The maps are the encoder's inputs (C = 1) if the artifact has an encoder, whose every iteration is
    then traced, else activation maps of the scale prediction network, or images of a kernel modulation
    network, all of its size. Needs torch. Raises InputError for maps that do not fit the model.
    """
    import torch

    from ..models import AdaptiveEncoder, AkmNetwork
    from ..models.restore import float_model, spn_of
    from ..quantize import akm_measure, measure
    from ..quantize.calibration import Calibration

    model = float_model(artifact)
    parameters, fractions = artifact.parameters, artifact.fractions
    data = Calibration(torch.as_tensor(maps, dtype=torch.float32), torch.as_tensor(lengths))
    if isinstance(model, AdaptiveEncoder):
        data = data.activation_maps(model)
    length = int(data.lengths[0])
    expected = [artifact.shape.in_channels, artifact.shape.height]
    if isinstance(model, AkmNetwork):
        expected.append(model.config.length)
    if list(data.maps.shape[1 : 1 + len(expected)]) != expected:
        raise InputError(
            f"maps of shape {tuple(data.maps.shape)}",
            "trace",
            f"give [B, {', '.join(map(str, expected))}{'' if len(expected) > 2 else ', L'}]",
        )
    if isinstance(model, AkmNetwork):
        formats = akm_measure.layer_formats(parameters, fractions)
        batches = [batch for batch, _ in data.batches()]
        values = akm_measure.layer_values(parameters, fractions, model.double(), batches)
    else:
        formats = measure.layer_formats(parameters, fractions)
        values = measure.layer_values(parameters, fractions, spn_of(model), data)
    return _compared(formats, values, length, len(data.lengths))


def _compared(
    formats: Mapping[str, Format], batches: "Iterable[tuple[LayerValues, ...]]", length: int, count: int
) -> TraceReport:
    """The comparison of all layers, and samples: ``length`` columns of the first map, every answer."""
    from ..quantize.measure import compare

    steps = [2.0**-fmt.frac for fmt in formats.values()]
    first: list[LayerSample] = []
    answers: list[LayerSample] = []

    def sampled() -> "Iterator[tuple[LayerValues, ...]]":
        for layers in batches:
            *stages, answer = layers
            if not first:
                first.extend(
                    LayerSample(
                        layer.floats[0, :, :, :length].numpy(),
                        layer.integers[0, :, :, :length].numpy() * step,
                    )
                    for layer, step in zip(stages, steps, strict=False)
                )
            answers.append(
                LayerSample(answer.floats.flatten().numpy(), answer.integers.flatten().numpy() * steps[-1])
            )
            yield layers

    comparison = compare(formats, sampled())
    every_answer = LayerSample(
        np.concatenate([sample.floats for sample in answers]),
        np.concatenate([sample.integers for sample in answers]),
    )
    return TraceReport(count, comparison, (*first, every_answer))
