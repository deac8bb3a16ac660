"""Scale prediction network: maps in, scales and kernel sizes out."""

from amaranth import Module
from amaranth.lib import data, wiring

from adakern_spec import cycles
from adakern_spec.errors import ShapeError
from adakern_spec.network import Fold, SpnShape, in_turns
from adakern_spec.numbers import KERNEL, SCALE
from adakern_spec.parameters import DIRECTION_FIELDS, DIRECTIONS, HEAD_FIELDS, record_size, stage_size
from adakern_spec.protocol import LINK, Link

from ..blocks.conv import ConvStage
from ..blocks.meter import make_meter
from ..blocks.multiplier import MultiplierRow
from ..blocks.pixels import input_layout
from ..blocks.scale import GlobalAverage, KernelSize, ScaleHead
from ..blocks.sequencer import Schedule, Sequencer
from ..blocks.turns import StagesInTurn
from ..fixed import shape_of
from .engine import Engine, measured

RESULT_LAYOUT = measured(
    {
        "scales": data.ArrayLayout(shape_of(SCALE), len(DIRECTIONS)),
        "kernels": data.ArrayLayout(shape_of(KERNEL), len(DIRECTIONS)),
    }
)
"""Answer for a map, height first."""


def spn_schedule(shape: SpnShape, folds: tuple[Fold, ...], link: Link = LINK) -> Schedule:
    """When pixels come."""
    return Schedule(
        stage=shape.stages[0],
        height=shape.height,
        reach=shape.stages[0].radius,
        pace=cycles.pace(shape, folds),
        drain=cycles.padding(shape, folds),
        overlap=cycles.overlaps(shape, folds, link),
        separation=cycles.separation(shape, folds),
        single=in_turns(shape, folds),
    )


class SpnEngine(Engine):
    """Conv stages in lock-step, global average, scale head, kernel sizes.

    Maps of any length up to ``max_length`` follow each other without a bubble; timing:
    `adakern_spec.cycles`. With a shared fold the stages take turns at its multipliers, and maps come one at
    a time.

    Parameters
    ----------
    shape : SpnShape
    folds : tuple of Fold
        One per stage, or a shared one (`in_turns`).
    multipliers : subclasses of MultiplierRow
        Those of each fold; plain ones if not given.
    link : Link
    """

    def __init__(
        self,
        shape: SpnShape,
        folds: tuple[Fold, ...],
        multipliers: tuple[type[MultiplierRow], ...] | None = None,
        link: Link = LINK,
    ) -> None:
        self.link = link
        self.multipliers = (MultiplierRow,) * len(folds) if multipliers is None else multipliers
        self.in_turns = in_turns(shape, folds)
        if len(self.multipliers) != len(folds):
            raise ShapeError(
                f"{len(self.multipliers)} multipliers", "engine", f"give {len(folds)}, one per fold"
            )
        self.shape = shape
        self.folds = folds
        super().__init__(input_layout(shape.stages[0]), RESULT_LAYOUT, cycles.flights(shape, folds, link))

    def latency(self, length: int) -> int:
        """Cycles from a map's first pixel to its answer, stalls aside."""
        return cycles.latency(self.shape, self.folds, length)

    def interval(self, length: int) -> int:
        """Cycles per map of ``length`` back to back."""
        return cycles.interval(self.shape, self.folds, length, self.link)

    def elaborate(self, platform):
        m = Module()
        shape = self.shape
        stages: list[ConvStage | StagesInTurn]
        if self.in_turns:
            stages = [StagesInTurn(shape, self.folds[0], self.multipliers[0])]
            sizes = [sum(map(stage_size, shape.stages))]
        else:
            stages = [
                ConvStage(stage, fold, shape.height, multiplier)
                for stage, fold, multiplier in zip(shape.stages, self.folds, self.multipliers, strict=True)
            ]
            sizes = [*map(stage_size, shape.stages)]
        average = GlobalAverage(
            shape.outputs, shape.stages[-1].radius, shape.pixels(shape.max_length), self.in_turns
        )
        head = ScaleHead(shape.outputs)
        kernel = KernelSize(shape.outputs)
        blocks: dict[str, wiring.Component] = {f"stage_{index}": stage for index, stage in enumerate(stages)}
        self.assemble(
            m,
            Sequencer(spn_schedule(shape, self.folds, self.link)),
            blocks | {"average": average, "head": head, "kernel": kernel},
            path=[
                *((stage.pixels, stage.outputs) for stage in stages),
                (average.pixels, average.means),
                (head.means, head.scales),
                (kernel.scales, kernel.sizes),
            ],
            loaded=[
                *zip(stages, sizes, strict=True),
                (head, shape.outputs * record_size(HEAD_FIELDS)),
                (kernel, len(DIRECTIONS) * record_size(DIRECTION_FIELDS)),
            ],
            meter=make_meter(cycles.pipeline_latency(shape, self.folds), self.flights),
            answers=lambda size: {"scales": size.scale, "kernels": size.kernel},
        )
        return m
