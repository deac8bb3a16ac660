"""Multipliers and the adder tree behind them."""

from amaranth import Module, Signal
from amaranth.hdl import Shape
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from adakern_spec.cycles import MULTIPLIER_LATENCY, adder_tree_latency


class MultiplierRow(wiring.Component):
    """``lanes`` independent products, each in ``latency`` cycles.

    This is where device primitives go: a variant for a device overrides `multiply` and keeps the
    latency, which is that of a DSP block with its input, pipeline and output registers in use.

    Members
    -------
    a, b : In(array of lanes)
    products : Out(a × b).array(lanes)
        Exact.
    """

    def __init__(self, lanes: int, a: Shape, b: Shape) -> None:
        self.lanes = lanes
        self.product = (Signal(a) * Signal(b)).shape()
        super().__init__(
            {
                "a": In(data.ArrayLayout(a, lanes)),
                "b": In(data.ArrayLayout(b, lanes)),
                "products": Out(self.product).array(lanes),
            }
        )

    @property
    def latency(self) -> int:
        return MULTIPLIER_LATENCY

    def elaborate(self, platform):
        m = Module()
        self.multiply(m)
        return m

    def multiply(self, m: Module) -> None:
        """Drive ``products``. The plain form: two ranks of registers, the product, one rank."""
        a, b = self.a, self.b
        for rank in range(self.latency - 1):
            a_register = Signal.like(self.a, name=f"a_{rank}", reset_less=True)
            b_register = Signal.like(self.b, name=f"b_{rank}", reset_less=True)
            m.d.sync += [a_register.eq(a), b_register.eq(b)]
            a, b = a_register, b_register
        for lane in range(self.lanes):
            # Yosys 0.70 loses a product if it packs the registers of both terms of an addition into one
            # SB_MAC16; a register to keep stays apart.
            product = Signal(self.product, name=f"product_{lane}", reset_less=True, attrs={"keep": 1})
            m.d.sync += product.eq(a[lane] * b[lane])
            m.d.comb += self.products[lane].eq(product)


class AdderTree(wiring.Component):
    """Sum of ``count`` terms, two at a time, registered after each addition.

    Members
    -------
    terms : In(term).array(count)
    sum : Out(wide enough to be exact)
    """

    def __init__(self, count: int, term: Shape) -> None:
        self.count = count
        self.term = term
        super().__init__(
            {"terms": In(term).array(count), "sum": Out(Shape(term.width + self.latency, term.signed))}
        )

    @property
    def latency(self) -> int:
        return adder_tree_latency(self.count)

    def elaborate(self, platform):
        m = Module()
        level = list(self.terms)
        for depth in range(self.latency):
            sums = []
            for index in range(0, len(level), 2):
                pair = level[index : index + 2]
                total = Signal(
                    Shape(self.term.width + depth + 1, self.term.signed),
                    name=f"sum_{depth}_{index // 2}",
                    reset_less=True,
                )
                m.d.sync += total.eq(sum(pair[1:], pair[0]))
                sums.append(total)
            level = sums
        m.d.comb += self.sum.eq(level[0])
        return m
