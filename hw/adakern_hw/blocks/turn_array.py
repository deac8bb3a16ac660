"""Datapath of conv stages that take turns: products, their sum, requantisation, one channel at a time."""

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from adakern_spec.network import Fold, SpnShape
from adakern_spec.numbers import ACCUMULATOR, ACTIVATION_BITS
from adakern_spec.parameters import CHANNEL_FIELDS

from ..fixed import shape_of
from .multiplier import AdderTree, MultiplierRow
from .parameters import BYTES, RecordStore, WordStore
from .rounding import ShiftRequantise

STEP = data.StructLayout({"valid": 1, "first": 1, "last": 1})
"""A step: one is made in this cycle, the first or the last one of its channel."""


class TurnArray(wiring.Component):
    """Multipliers, accumulator and requantisation: ``simd`` elements per step, one channel after the other.

    The parameters are read backwards, as `TurnOrder` goes.

    Parameters
    ----------
    shape : SpnShape
    fold : Fold
    multiplier : subclass of MultiplierRow

    Members
    -------
    step : In(STEP)
    lanes : In(simd elements)
        One cycle after ``step``, the first one in the low bits.
    inside : In(1)
        With ``lanes``: they count, else they are taken for 0.
    weights, channels : In(byte stream)
        Those of all stages.
    value : Out(activation)
        Of a channel while ``done`` is 1, `turn_latency` cycles after its last step.
    done : Out(1)
    """

    def __init__(self, shape: SpnShape, fold: Fold, multiplier: type[MultiplierRow]) -> None:
        self.shape = shape
        self.fold = fold
        self.multiplier = multiplier
        self.format = shape.stages[-1].output_format
        super().__init__(
            {
                "step": In(STEP),
                "lanes": In(fold.simd * ACTIVATION_BITS),
                "inside": In(1),
                "weights": In(BYTES),
                "channels": In(BYTES),
                "value": Out(shape_of(self.format)),
                "done": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        stages, simd = self.shape.stages, self.fold.simd
        first = stages[0]
        steps = sum(stage.out_channels * self.fold.steps(stage) for stage in stages)
        count = sum(stage.out_channels for stage in stages)
        m.submodules.weights = weights = WordStore(simd, steps, bits=first.weight_bits)
        m.submodules.channels = channels = RecordStore(CHANNEL_FIELDS, count)
        wiring.connect(m, wiring.flipped(self.weights), weights.bytes)
        wiring.connect(m, wiring.flipped(self.channels), channels.bytes)
        record = channels.records[0]

        m.submodules.row = row = self.multiplier(
            simd, 1, shape_of(first.input_format), shape_of(first.weight_format)
        )
        m.submodules.tree = tree = AdderTree(simd, row.product)
        m.submodules.requantise = requantise = ShiftRequantise(self.format)
        m.d.comb += [Value.cast(row.a[0]).eq(self.lanes), row.b.as_value().eq(weights.words[0])]
        m.d.comb += [term.eq(product) for term, product in zip(tree.terms, row.products[0], strict=True)]

        # How far behind its step a sum is: memory, product, adder tree.
        behind = 1 + row.latency + tree.latency
        inside, starts, ends = Signal(behind - 1), Signal(behind), Signal(behind + 1)
        m.d.sync += [
            inside.eq(Cat(self.inside, inside)),
            starts.eq(Cat(self.step.valid & self.step.first, starts)),
            ends.eq(Cat(self.step.valid & self.step.last, ends)),
        ]
        accumulator = Signal(shape_of(ACCUMULATOR), reset_less=True)
        shift = Signal.like(record.shift, reset_less=True)
        m.d.sync += accumulator.eq(Mux(starts[-1], record.bias, accumulator) + Mux(inside[-1], tree.sum, 0))
        with m.If(starts[-1]):
            m.d.sync += shift.eq(record.shift)
        self._count_down(m, weights.address, self.step.valid, steps)
        self._count_down(m, channels.address, starts[-1], count)
        m.d.comb += [
            requantise.start.eq(ends[-1]),
            requantise.sum.eq(accumulator),
            requantise.shift.eq(shift),
            self.value.eq(requantise.result),
            self.done.eq(requantise.done),
        ]
        return m

    def _count_down(self, m: Module, address: Signal, used: Value, depth: int) -> None:
        """The word before the one that was ``used``, over and over."""
        place = Signal(range(depth), init=depth - 1)
        m.d.comb += address.eq(place)
        with m.If(used):
            m.d.sync += place.eq(Mux(place == 0, depth - 1, place - 1))
