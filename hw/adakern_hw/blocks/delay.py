"""Delay line: the lines of a window generator, and anything else that must arrive later."""

from amaranth import Module, Mux, Signal
from amaranth.hdl import ShapeLike
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .ram import Ram

REGISTERS = 3
"""Up to this depth a line is a chain of registers: a memory needs one word beside its two registers."""


class DelayLine(wiring.Component):
    """``output`` is what ``input`` was ``depth`` advances ago.

    A longer line is a circular memory, a read register and an output register; in each advance it
    reads the word that the next one overwrites, so that its addresses never meet.

    Parameters
    ----------
    shape : ShapeLike
    depth : int
        In advances; 0 connects output to input.
    blank : bool
        After a reset the line reads as zeros until it has filled, else as whatever it held.

    Members
    -------
    advance : In(1)
    input : In(shape)
        Taken with ``advance``.
    output : Out(shape)
        Valid until the next ``advance``.
    """

    def __init__(self, shape: ShapeLike, depth: int, *, blank: bool = False) -> None:
        self.shape = shape
        self.depth = depth
        self.blank = blank
        super().__init__({"advance": In(1), "input": In(shape), "output": Out(shape)})

    def elaborate(self, platform):
        m = Module()
        if self.depth > REGISTERS:
            self._memory(m)
        else:
            value = self.input
            for index in range(self.depth):
                register = Signal(self.shape, name=f"word_{index}", reset_less=not self.blank)
                with m.If(self.advance):
                    m.d.sync += register.eq(value)
                value = register
            m.d.comb += self.output.eq(value)
        return m

    def _memory(self, m: Module) -> None:
        words = self.depth - 1
        m.submodules.memory = memory = Ram(self.shape, words)
        write, read = memory.write, memory.read
        here = Signal(range(words))
        following = Signal(range(words), init=1)
        output = Signal(self.shape, reset_less=not self.blank)
        m.d.comb += [
            write.addr.eq(here),
            write.data.eq(self.input),
            write.en.eq(self.advance),
            read.addr.eq(following),
            read.en.eq(self.advance),
            self.output.eq(output),
        ]
        filled = self._filled(m) if self.blank else None
        with m.If(self.advance):
            m.d.sync += [
                here.eq(following),
                following.eq(Mux(following == words - 1, 0, following + 1)),
            ]
            with m.If(filled if self.blank else 1):
                m.d.sync += output.eq(read.data)

    def _filled(self, m: Module) -> Signal:
        """Whether the word in the read register was written since the reset."""
        advances = Signal(range(self.depth))
        filled = Signal()
        m.d.comb += filled.eq(advances == self.depth - 1)
        with m.If(self.advance & ~filled):
            m.d.sync += advances.eq(advances + 1)
        return filled
