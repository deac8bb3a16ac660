"""Bounded waits."""

from amaranth import Module, Signal
from amaranth.hdl import ValueLike


class Countdown:
    """Register that is over once it has run for a number of cycles in a row.

    It counts up to a power of two, so that a single bit tells.

    Attributes
    ----------
    over : Signal
    """

    def __init__(self, cycles: int) -> None:
        bits = cycles.bit_length()
        self._count = Signal(bits + 1, init=(1 << bits) - cycles, name="countdown")
        self.over = self._count[-1]

    def run(self, m: Module, runs: ValueLike, step: ValueLike = 1) -> None:
        """Count while ``runs``, not beyond `over`, else begin again. Without ``step`` a cycle is left out."""
        with m.If(runs):
            m.d.sync += self._count.eq(self._count + step)
        with m.Else():
            m.d.sync += self._count.eq(self._count.init)
