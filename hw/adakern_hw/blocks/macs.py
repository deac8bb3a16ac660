"""Folded multiply-accumulate array of a conv stage."""

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.hdl import Shape
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from adakern_spec.cycles import broadcast_latency, mac_latency
from adakern_spec.network import ConvShape, Fold
from adakern_spec.numbers import ACTIVATION_BITS

from ..fixed import shape_for, shape_of
from .broadcast import broadcast
from .hints import COPY
from .multiplier import AdderTree, MultiplierRow, add
from .parameters import BYTES, WeightStore


def sum_shape(shape: ConvShape) -> Shape:
    """Exact sum of a window's products: every element and weight at its extreme."""
    inputs, weights = shape.input_format, shape.weight_format
    products = [x * w for x in (inputs.min, inputs.max) for w in (weights.min, weights.max)]
    return shape_for(shape.elements * min(0, *products), shape.elements * max(products))


class MacArray(wiring.Component):
    """``simd`` elements of the window meet ``pe`` output channels in each cycle.

    A window takes ``steps`` cycles for each group of ``pe`` channels, ``Fold.interval`` in all; the
    first sums are there ``latency`` cycles after ``load``, those of the next group ``steps`` later.

    Parameters
    ----------
    shape : ConvShape
    fold : Fold
    multiplier : subclass of MultiplierRow
        The device's multipliers.

    Members
    -------
    load : In(1)
        The window is a new one from the next cycle on; at least ``Fold.interval`` cycles apart.
    step : Out(0 … steps - 1)
        To a `Window`.
    lanes : In(simd elements)
        Those of the step, `Window.LATENCY` cycles later.
    weights : In(byte stream)
    sums : Out(sum).array(pe)
        Of one group, channel by channel, while ``done`` is 1.
    done : Out(1).array(pe)
        One for each channel, all the same.
    """

    def __init__(self, shape: ConvShape, fold: Fold, multiplier: type[MultiplierRow] = MultiplierRow) -> None:
        fold.check(shape)
        self.shape = shape
        self.fold = fold
        self.multiplier = multiplier
        super().__init__(
            {
                "load": In(1),
                "step": Out(range(fold.steps(shape))),
                "lanes": In(fold.simd * ACTIVATION_BITS),
                "weights": In(BYTES),
                "sums": Out(sum_shape(shape)).array(fold.pe),
                "done": Out(1).array(fold.pe),
            }
        )

    @property
    def latency(self) -> int:
        return mac_latency(self.shape, self.fold)

    @property
    def copies(self) -> int:
        """Copies of what goes to all channels."""
        return self.multiplier.copies(self.fold.pe, *self._operands)

    @property
    def _operands(self) -> tuple[Shape, Shape]:
        return shape_of(self.shape.input_format), shape_of(self.shape.weight_format)

    def elaborate(self, platform):
        m = Module()
        fold, steps = self.fold, self.fold.steps(self.shape)

        active = Signal()
        step = self.step
        address = Signal(range(fold.interval(self.shape)))
        last_step = Signal()
        m.d.comb += last_step.eq(step == steps - 1)
        with m.If(self.load):
            m.d.sync += [active.eq(1), step.eq(0), address.eq(0)]
        with m.Elif(active):
            m.d.sync += step.eq(Mux(last_step, 0, step + 1))
            with m.If(address == fold.interval(self.shape) - 1):
                m.d.sync += active.eq(0)
            with m.Else():
                m.d.sync += address.eq(address + 1)

        sums, latency = self._sums(m, address)
        ranks = broadcast_latency(fold.pe)
        copies = self.copies
        start = self._delayed(m, "first", active & (step == 0), latency - ranks)
        firsts = broadcast(m, "first", start, fold.pe, copies)
        last = self._delayed(m, "last", active & last_step, latency)
        for index, (total, carry) in enumerate(sums):
            accumulator = Signal(sum_shape(self.shape), name=f"accumulator_{index}", reset_less=True)
            first = firsts[index * copies // fold.pe]
            m.d.sync += accumulator.eq(add(Mux(first, 0, accumulator), total, carry))
            done = Signal(name=f"done_{index}", attrs={COPY: 1})
            m.d.sync += done.eq(last)
            m.d.comb += [self.sums[index].eq(accumulator), self.done[index].eq(done)]
        return m

    def _delayed(self, m: Module, name: str, flag, cycles: int) -> Signal:
        chain = Signal(cycles, name=name)
        m.d.sync += chain.eq(Cat(flag, chain))
        return chain[-1]

    def _sums(self, m: Module, address: Signal) -> tuple[list[tuple[Value, Value | None]], int]:
        """Sums over the lanes per channel, with the carry that remains, and their latency after the step."""
        fold = self.fold
        copies = self.copies
        m.submodules.row = row = self.multiplier(fold.simd, fold.pe, *self._operands)
        m.submodules.store = store = WeightStore(self.shape, fold, copies)
        wiring.connect(m, wiring.flipped(self.weights), store.bytes)
        start = Signal.like(address, reset_less=True)
        m.d.sync += start.eq(address)
        for ports, name, value in ((store.addresses, "address", start), (row.a, "lanes", self.lanes)):
            registers = broadcast(m, name, value, fold.pe, copies)
            m.d.comb += [Value.cast(port).eq(copy) for port, copy in zip(ports, registers, strict=True)]
        m.d.comb += row.b.as_value().eq(Cat(store.words))
        sums = []
        for index in range(fold.pe):
            m.submodules[f"tree_{index}"] = tree = AdderTree(fold.simd, row.product, row.carried)
            for sinks, sources in ((tree.terms, row.products), (tree.carries, row.carries)):
                m.d.comb += [sink.eq(source) for sink, source in zip(sinks, sources[index], strict=True)]
            sums.append((tree.sum, tree.carry if row.carried else None))
        return sums, 2 + broadcast_latency(fold.pe) + row.latency + tree.latency
