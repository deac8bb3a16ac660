"""The CRC of frames and of the parameter store (docs/protocol.md, "Frame")."""

from amaranth import Cat, Const, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from adakern_spec import protocol

BYTE_BITS = 8


class Crc(wiring.Component):
    """CRC of a sequence of bytes, ``bits`` bits of a byte per cycle.

    Latency: with all 8 bits a byte is in ``value`` in the cycle after it was taken; with fewer in the cycle
    after ``latency`` more. Then the next can be taken.

    Parameters
    ----------
    bits : int
        A divisor of 8: fewer take less logic.

    Members
    -------
    start : In(1)
        Forget all bytes, also one that is taken in this cycle.
    data : In(8)
    valid : In(1)
        Take ``data``, or give a byte with ``drain``; only while ``ready`` is 1.
    drain : In(1)
        Instead of taking a byte, move ``value`` on to its next byte; only `start` ends this.
    ready : Out(1)
        ``value`` covers all bytes taken.
    value : Out(32)
        Least significant byte first, as sent.
    match : Out(1)
        The last bytes taken were the CRC of those before.
    """

    start: In(1)
    data: In(BYTE_BITS)
    valid: In(1)
    drain: In(1)
    ready: Out(1)
    value: Out(protocol.CRC.width)
    match: Out(1)

    def __init__(self, bits: int = BYTE_BITS) -> None:
        if BYTE_BITS % bits:
            raise ValueError(f"{bits} bits per cycle do not divide a byte")
        self.bits = bits
        super().__init__()

    @property
    def latency(self) -> int:
        """Steps per byte."""
        return BYTE_BITS // self.bits

    def elaborate(self, platform):
        m = Module()
        crc = protocol.CRC
        polynomial = reflected(crc.polynomial, crc.width)
        state = Signal(crc.width, init=crc.initial, reset_less=True)
        byte, drain, steps = self._serialised(m) if self.latency > 1 else self._whole(m)
        m.d.comb += [
            self.value.eq(state ^ crc.xor_output),
            self.match.eq(state == crc.residue),
        ]
        # One bit: s' = s >> 1, and the polynomial on top if the bit that falls out differs from the byte's.
        following = [state[place] for place in range(crc.width)]
        for bit in range(self.bits):
            feedback = (following[0] ^ byte[bit]) & ~drain
            shifted = [*following[1:], Const(0, 1)]
            following = [
                value ^ feedback if polynomial >> place & 1 else value for place, value in enumerate(shifted)
            ]
        with m.If(self.start):
            m.d.sync += state.eq(crc.initial)
        with m.Elif(steps):
            m.d.sync += state.eq(Cat(following))
        return m

    def _whole(self, m: Module) -> tuple[Value, Value, Value]:
        """The byte, whether it is given, and whether a step is due."""
        m.d.comb += self.ready.eq(1)
        return self.data, self.drain, self.valid

    def _serialised(self, m: Module) -> tuple[Value, Value, Value]:
        """The same for the byte in hand, whose next bits are its lowest."""
        byte = Signal(BYTE_BITS, reset_less=True)
        drain = Signal(reset_less=True)
        left = Signal(range(self.latency + 1))
        due = Signal()
        m.d.comb += [due.eq(left != 0), self.ready.eq(~due)]
        with m.If(due):
            m.d.sync += [byte.eq(byte >> self.bits), left.eq(left - 1)]
        with m.Elif(self.valid):
            m.d.sync += [byte.eq(self.data), drain.eq(self.drain), left.eq(self.latency)]
        with m.If(self.start):
            m.d.sync += left.eq(0)
        return byte, drain, due


def reflected(value: int, bits: int) -> int:
    """The value with its bits in reverse order."""
    return int(f"{value:0{bits}b}"[::-1], 2)
