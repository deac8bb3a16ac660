"""Serial arithmetic for what happens once per map: a divider and a multiplier without DSP blocks."""

from amaranth import Cat, Module, Mux, Shape, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out


class Divider(wiring.Component):
    """Restoring division of unsigned integers, one quotient bit per cycle.

    A quotient is there ``latency`` cycles after its operands were accepted; the next operands are
    accepted once it has been taken.

    Parameters
    ----------
    denominator_bits, quotient_bits : int
        Precondition: ``numerator < denominator * 2**quotient_bits``, so that the quotient fits.

    Members
    -------
    operands : In(stream of numerator, denominator)
    quotients : Out(stream)
        ``floor(numerator / denominator)``.
    """

    def __init__(self, denominator_bits: int, quotient_bits: int) -> None:
        self.denominator_bits = denominator_bits
        self.quotient_bits = quotient_bits
        self.operand_layout = data.StructLayout(
            {"numerator": denominator_bits + quotient_bits, "denominator": denominator_bits}
        )
        super().__init__(
            {
                "operands": In(stream.Signature(self.operand_layout)),
                "quotients": Out(stream.Signature(unsigned(quotient_bits))),
            }
        )

    @property
    def latency(self) -> int:
        return self.quotient_bits + 1

    def elaborate(self, platform):
        m = Module()
        busy = Signal()
        steps = Signal(range(self.quotient_bits + 1))
        denominator = Signal(self.denominator_bits, reset_less=True)
        remainder = Signal(self.denominator_bits, reset_less=True)
        # The numerator's low bits leave at the top while the quotient's bits enter at the bottom.
        low = Signal(self.quotient_bits, reset_less=True)
        shifted = Cat(low[-1], remainder)
        difference = shifted - denominator
        fits = ~difference[-1]
        m.d.comb += [
            self.operands.ready.eq(~busy),
            self.quotients.payload.eq(low),
        ]
        with m.If(~busy):
            m.d.sync += [
                busy.eq(self.operands.valid),
                steps.eq(self.quotient_bits),
                denominator.eq(self.operands.p.denominator),
                Cat(low, remainder).eq(self.operands.p.numerator),
            ]
        with m.Elif(~self.quotients.valid):
            m.d.sync += [
                steps.eq(steps - 1),
                self.quotients.valid.eq(steps == 1),
                remainder.eq(Mux(fits, difference, shifted)),
                low.eq(Cat(fits, low)),
            ]
        with m.Elif(self.quotients.ready):
            m.d.sync += [busy.eq(0), self.quotients.valid.eq(0)]
        return m


class SerialMultiplier(wiring.Component):
    """Product by shifting and adding, one bit of ``b`` per cycle.

    Latency and handshake as `Divider`: ``latency`` cycles, one pair at a time.

    Members
    -------
    operands : In(stream of a, b)
        ``a`` signed or unsigned, ``b`` unsigned.
    products : Out(stream)
        Exact.
    """

    def __init__(self, a: Shape, b_bits: int) -> None:
        self.a = a
        self.b_bits = b_bits
        self.product = Shape(a.width + b_bits, a.signed)
        self.operand_layout = data.StructLayout({"a": a, "b": b_bits})
        super().__init__(
            {
                "operands": In(stream.Signature(self.operand_layout)),
                "products": Out(stream.Signature(self.product)),
            }
        )

    @property
    def latency(self) -> int:
        return self.b_bits + 1

    def elaborate(self, platform):
        m = Module()
        busy = Signal()
        steps = Signal(range(self.b_bits + 1))
        a = Signal(self.a, reset_less=True)
        # high:low = a * (the bits of b seen so far) + what is left of b in the low bits.
        high = Signal(self.a, reset_less=True)
        low = Signal(self.b_bits, reset_less=True)
        total = high + Mux(low[0], a, 0)
        m.d.comb += [
            self.operands.ready.eq(~busy),
            self.products.payload.eq(Cat(low, high)),
        ]
        with m.If(~busy):
            m.d.sync += [
                busy.eq(self.operands.valid),
                steps.eq(self.b_bits),
                a.eq(self.operands.p.a),
                low.eq(self.operands.p.b),
                high.eq(0),
            ]
        with m.Elif(~self.products.valid):
            m.d.sync += [
                steps.eq(steps - 1),
                self.products.valid.eq(steps == 1),
                low.eq(Cat(low[1:], total[0])),
                high.eq(total >> 1),
            ]
        with m.Elif(self.products.ready):
            m.d.sync += [busy.eq(0), self.products.valid.eq(0)]
        return m
