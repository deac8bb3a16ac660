"""Multipliers and the adder tree behind them."""

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.hdl import Shape
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from adakern_spec.cycles import MULTIPLIER_LATENCY, adder_tree_latency


class MultiplierRow(wiring.Component):
    """A row of values, each times a value of every channel, in ``latency`` cycles.

    This is where device primitives go: a variant for a device overrides `multiply` and `blocks` and keeps
    the latency, which is that of a DSP block with its input, pipeline and output registers in use. A
    variant whose products leave a carry to be added overrides `carried`.

    Parameters
    ----------
    lanes : int
        Values in the row.
    channels : int
        Products of each value.
    a, b : Shape
        Of the row's values, and of what they are multiplied by.

    Members
    -------
    a : In(array of lanes).array(copies)
        All the same; each goes to as many channels, neighbours.
    b : In(array of channels, each an array of lanes)
    products : Out(a × b).array(channels, lanes)
    carries : Out(1).array(channels, lanes)
        What to add to the product for it to be exact; 0 unless ``carried``.
    """

    def __init__(self, lanes: int, channels: int, a: Shape, b: Shape) -> None:
        self.lanes = lanes
        self.channels = channels
        self.product = Shape(a.width + b.width, a.signed or b.signed)
        super().__init__(
            {
                "a": In(data.ArrayLayout(a, lanes)).array(self.copies(channels, a, b)),
                "b": In(data.ArrayLayout(data.ArrayLayout(b, lanes), channels)),
                "products": Out(self.product).array(channels, lanes),
                "carries": Out(1).array(channels, lanes),
            }
        )

    @property
    def latency(self) -> int:
        return MULTIPLIER_LATENCY

    @property
    def carried(self) -> bool:
        """Whether ``carries`` may be 1."""
        return False

    @classmethod
    def blocks(cls, lanes: int, channels: int, a: Shape, b: Shape) -> int:
        """DSP blocks that a row of these parameters takes."""
        return lanes * channels

    @classmethod
    def copies(cls, channels: int, a: Shape, b: Shape) -> int:
        """Copies of ``a`` that a row of these parameters takes."""
        return 1

    def elaborate(self, platform):
        m = Module()
        self.multiply(m)
        return m

    def multiply(self, m: Module) -> None:
        """Drive ``products``. The plain form: two ranks of registers, the product, one rank."""
        a, b = self.a[0], self.b
        for rank in range(self.latency - 1):
            a_register = Signal.like(self.a[0], name=f"a_{rank}", reset_less=True)
            b_register = Signal.like(self.b, name=f"b_{rank}", reset_less=True)
            m.d.sync += [a_register.eq(a), b_register.eq(b)]
            a, b = a_register, b_register
        for channel in range(self.channels):
            for lane in range(self.lanes):
                # Yosys 0.70 loses a product if it packs the registers of both terms of an addition into one
                # SB_MAC16; a register to keep stays apart.
                product = Signal(
                    self.product, name=f"product_{channel}_{lane}", reset_less=True, attrs={"keep": 1}
                )
                m.d.sync += product.eq(a[lane] * b[channel][lane])
                m.d.comb += self.products[channel][lane].eq(product)


class LogicMultiplierRow(MultiplierRow):
    """Products with 4-bit weights from look-up tables and carry chains, at the latency of a DSP block.

    a·w = (a·w0 + 2·a·w1) + 4·(a·w2 - 2·a·w3) with the bits of the weight.
    """

    BITS = 4
    """Bits of the weights that it is for."""

    LUTS = 66
    """Look-up tables of four inputs for a product with 8 bits, those of the carry chains included (ECP5)."""

    @classmethod
    def blocks(cls, lanes: int, channels: int, a: Shape, b: Shape) -> int:
        return 0

    def multiply(self, m: Module) -> None:
        a, b = (Signal.like(port, reset_less=True) for port in (self.a[0], self.b))
        m.d.sync += [a.eq(self.a[0]), b.eq(self.b)]
        for channel in range(self.channels):
            for lane in range(self.lanes):
                weight, name = b[channel][lane], f"{channel}_{lane}"
                part = [Mux(weight[bit], a[lane], 0) for bit in range(self.BITS)]
                sums = [part[0] + (part[1] << 1), part[2] - (part[3] << 1)]
                low, high = (Signal.like(total, name=f"sum_{name}", reset_less=True) for total in sums)
                product = Signal(self.product, name=f"product_{name}", reset_less=True)
                m.d.sync += [low.eq(sums[0]), high.eq(sums[1]), product.eq(low + (high << 2))]
                m.d.comb += self.products[channel][lane].eq(product)


def add(left: Value, right: Value, carry: Value | None) -> Value:
    """``left + right + carry``, exact and on one carry chain; both terms signed, or neither.

    A bit below the terms' lowest makes the carry: 1 + carry.
    """
    if carry is None:
        return left + right
    terms = [Cat(low, term) for low, term in ((Const(1, 1), left), (carry, right))]
    if left.shape().signed:
        terms = [term.as_signed() for term in terms]
    return (terms[0] + terms[1]) >> 1


class AdderTree(wiring.Component):
    """Sum of ``count`` terms, two at a time, registered after each addition.

    A term may have a carry of its own. Every addition takes the carry of one of its terms and hands on
    the other's, so that the carries cost no addition; one remains beside the sum.

    Members
    -------
    terms : In(term).array(count)
    carries : In(1).array(count)
        Counted if ``carried``.
    sum : Out(wide enough to be exact)
    carry : Out(1)
        To be added to the sum; 0 unless ``carried``.
    """

    def __init__(self, count: int, term: Shape, carried: bool = False) -> None:
        self.count = count
        self.term = term
        self.carried = carried
        super().__init__(
            {
                "terms": In(term).array(count),
                "carries": In(1).array(count),
                "sum": Out(Shape(term.width + self.latency, term.signed)),
                "carry": Out(1),
            }
        )

    @property
    def latency(self) -> int:
        return adder_tree_latency(self.count)

    def elaborate(self, platform):
        m = Module()
        terms = list(self.terms)
        carries = list(self.carries) if self.carried else [None] * self.count
        for depth in range(self.latency):
            sums, left = [], []
            for index in range(0, len(terms), 2):
                pair, beside = terms[index : index + 2], carries[index : index + 2]
                name = f"{depth}_{index // 2}"
                shape = Shape(self.term.width + depth + 1, self.term.signed)
                total = Signal(shape, name=f"sum_{name}", reset_less=True)
                m.d.sync += total.eq(add(pair[0], pair[1], beside[0]) if len(pair) == 2 else pair[0])
                carry = Signal(name=f"carry_{name}", reset_less=True) if self.carried else None
                if carry is not None:
                    m.d.sync += carry.eq(beside[-1])
                sums.append(total)
                left.append(carry)
            terms, carries = sums, left
        m.d.comb += self.sum.eq(terms[0])
        if self.carried:
            m.d.comb += self.carry.eq(carries[0])
        return m
