"""Trace: an artifact's float network against its integers, layer by layer, on a user's own data."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from adakern_spec.errors import InputError

from ..artifact import Artifact
from .comparison import LayerComparison
from .quantisation import layer_table


@dataclass(frozen=True, eq=False)
class LayerSample:
    """One layer of one map, as real numbers: ``floats`` and ``integers`` (q · 2^-frac).

    [C, H, length] each, or [n] for the scales of all maps.
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
    then traced, else activation maps of the scale prediction network. Needs torch.
    Raises InputError for maps that do not fit the model.
    """
    import torch

    from ..models.encoder import AdaptiveEncoder
    from ..models.restore import float_model, spn_of
    from ..quantize.calibration import Calibration
    from ..quantize.measure import LayerValues, compare, layer_formats, layer_values

    model = float_model(artifact)
    data = Calibration(torch.as_tensor(maps, dtype=torch.float32), torch.as_tensor(lengths))
    if isinstance(model, AdaptiveEncoder):
        data = data.activation_maps(model)
    if data.maps.shape[1:3] != (artifact.shape.in_channels, artifact.shape.height):
        raise InputError(
            f"maps of shape {tuple(data.maps.shape)}",
            "trace",
            f"give [B, {artifact.shape.in_channels}, {artifact.shape.height}, L]",
        )
    formats = layer_formats(artifact.parameters, artifact.fractions)
    steps = [2.0**-fmt.frac for fmt in formats.values()]
    first: list[LayerSample] = []
    scales: list[LayerSample] = []

    def sampled() -> Iterator[tuple[LayerValues, ...]]:
        for layers in layer_values(artifact.parameters, artifact.fractions, spn_of(model), data):
            *stages, scale = layers
            if not first:
                length = int(data.lengths[0])
                first.extend(
                    LayerSample(
                        layer.floats[0, :, :, :length].numpy(),
                        layer.integers[0, :, :, :length].numpy() * step,
                    )
                    for layer, step in zip(stages, steps, strict=False)
                )
            scales.append(
                LayerSample(scale.floats.flatten().numpy(), scale.integers.flatten().numpy() * steps[-1])
            )
            yield layers

    comparison = compare(formats, sampled())
    every_scale = LayerSample(
        np.concatenate([sample.floats for sample in scales]),
        np.concatenate([sample.integers for sample in scales]),
    )
    return TraceReport(len(data.lengths), comparison, (*first, every_scale))
