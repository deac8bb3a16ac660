"""Kernel modulation network: maps in, logits out."""

from typing import NamedTuple

from amaranth import Module
from amaranth.lib import data, stream, wiring

from adakern_spec import akm_cycles as cycles
from adakern_spec.akm import LOGIT, AkmShape, LayerFold, classifier_size, kernel_sizes
from adakern_spec.errors import ShapeError
from adakern_spec.parameters import stage_size

from ..blocks.classifier import Classifier
from ..blocks.conv import ConvStage
from ..blocks.downsample import Downsample, Drain
from ..blocks.meter import DrainedMapMeter
from ..blocks.multiplier import MultiplierRow
from ..blocks.pixels import input_layout
from ..blocks.scale import GlobalAverage
from ..blocks.sequencer import Schedule, Sequencer
from ..blocks.smoother import GaussianSmoother
from ..fixed import shape_of
from .engine import Engine, measured


def akm_result_layout(classes: int) -> data.StructLayout:
    """Answer for a map."""
    return measured({"logits": data.ArrayLayout(shape_of(LOGIT), classes)})


class LayerMultipliers(NamedTuple):
    """Kinds of multipliers in a layer."""

    conv: type[MultiplierRow] = MultiplierRow
    smoother: type[MultiplierRow] = MultiplierRow


def akm_schedule(shape: AkmShape, folds: tuple[LayerFold, ...]) -> Schedule:
    """When pixels come."""
    return Schedule(
        stage=shape.stages[0],
        height=shape.height,
        reach=shape.reaches[0],
        pace=cycles.pace(shape, folds),
        drain=cycles.separation(shape, folds),
    )


class AkmEngine(Engine):
    """Layers of conv, smoother with gate and ReLU, and downsampling; global average, linear classifier.

    Different layers work on different maps, a layer on one at a time; timing: `adakern_spec.akm_cycles`.

    Parameters
    ----------
    shape : AkmShape
    folds : tuple of LayerFold
        One per layer.
    multipliers : tuple of LayerMultipliers
        Those of each layer; plain ones if not given.
    """

    def __init__(
        self,
        shape: AkmShape,
        folds: tuple[LayerFold, ...],
        multipliers: tuple[LayerMultipliers, ...] | None = None,
    ) -> None:
        self.multipliers = (LayerMultipliers(),) * len(folds) if multipliers is None else multipliers
        for name, given in (("folds", folds), ("multipliers", self.multipliers)):
            if len(given) != len(shape.layers):
                raise ShapeError(
                    f"{len(given)} {name}", "engine", f"give one for each of {len(shape.layers)} layers"
                )
        self.shape = shape
        self.folds = folds
        super().__init__(
            input_layout(shape.stages[0]), akm_result_layout(shape.classes), cycles.flights(shape, folds)
        )

    def latency(self, length: int) -> int:
        """Cycles from a map's first pixel to its answer, stalls aside."""
        return cycles.latency(self.shape, self.folds, length)

    def interval(self, length: int) -> int:
        """Cycles per map of ``length`` back to back."""
        return cycles.interval(self.shape, self.folds, length)

    def elaborate(self, platform):
        m = Module()
        shape = self.shape
        blocks: dict[str, wiring.Component] = {}
        path: list[tuple[stream.Interface, stream.Interface]] = []
        for index in range(len(shape.layers)):
            for name, block in self._layer(index).items():
                blocks[f"{name}_{index}"] = block
                path.append((block.pixels, block.outputs))
        average = GlobalAverage(
            shape.features, shape.reaches[-1], shape.heights[-1] * shape.lengths(shape.max_length)[-1]
        )
        classifier = Classifier(shape.features, shape.classes)
        parts = [blocks[f"stage_{index}"] for index in range(len(shape.layers))]
        kernels = [blocks[f"smoother_{index}"] for index in range(len(shape.layers))]
        self.assemble(
            m,
            Sequencer(akm_schedule(shape, self.folds)),
            blocks | {"average": average, "classifier": classifier},
            path=[*path, (average.pixels, average.means), (classifier.means, classifier.logits)],
            loaded=[
                *zip(parts, map(stage_size, shape.stages), strict=True),
                (classifier, classifier_size(shape)),
                *zip(kernels, kernel_sizes(shape), strict=True),
            ],
            meter=DrainedMapMeter(self.flights),
            answers=lambda logit: {"logits": logit},
        )
        return m

    def _layer(self, index: int) -> dict[str, wiring.Component]:
        """Blocks of a layer, in order. The sequencer drains the first one."""
        shape, fold, rows = self.shape, self.folds[index], self.multipliers[index]
        stage, layer = shape.stages[index], shape.layers[index]
        height, reach = shape.heights[index], shape.reaches[index]
        conv = ConvStage(stage, fold.conv, height, rows.conv, reach)
        blocks: dict[str, wiring.Component] = {}
        if index:
            blanks, pace = cycles.blanks(shape)[index], cycles.paces(shape, self.folds)[index]
            blocks["drain"] = Drain(conv.input_layout, blanks, pace)
        blocks["stage"] = conv
        blocks["smoother"] = GaussianSmoother(
            stage.out_channels,
            height,
            shape.radius,
            fold.lanes,
            per_channel=shape.per_channel,
            reach=reach,
            multiplier=rows.smoother,
        )
        blocks["downsample"] = Downsample(
            layer.downsample, stage.out_channels, height, reach, shape.reaches[index + 1]
        )
        return blocks
