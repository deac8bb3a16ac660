"""Memories: the one block RAM that all blocks use, and a queue on top of it."""

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.hdl import Shape, ShapeLike
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory, ReadPort, WritePort
from amaranth.lib.wiring import In, Out
from amaranth.vendor import LatticeICE40Platform

from adakern_spec.cycles import FIFO_LATENCY

from .hints import UNINITIALISED

ICE40_BITS = 64
"""From here on block RAM of the iCE40, which has no smaller memory, is worth its place."""


class Ram(wiring.Component):
    """Memory with a write port and a read port of the same clock.

    Preconditions, for block RAMs promise neither and logic that would costs more than the memory: a word
    that is read while it is written is not used, nor the output before the first read.

    Latency: 1 cycle to read; a word can be read from the cycle after its write.

    Parameters
    ----------
    shape : ShapeLike
        Of a word.
    depth : int
    granularity : int
        Bits of an unsigned word that are written together, each group with its bit of ``write.en``; by
        default all.
    init : bytes
        The first words, where they are to begin with something; a word is a byte then.

    Members
    -------
    write : Out(WritePort)
    read : Out(ReadPort)
        Keeps its data while ``en`` is 0, which is 1 by default.
    """

    def __init__(
        self, shape: ShapeLike, depth: int, granularity: int | None = None, init: bytes = b""
    ) -> None:
        self.shape = shape
        self.depth = depth
        self.granularity = granularity
        self.init = init
        bits = (depth - 1).bit_length()
        super().__init__(
            {
                "write": Out(WritePort.Signature(addr_width=bits, shape=shape, granularity=granularity)),
                "read": Out(ReadPort.Signature(addr_width=bits, shape=shape)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        attributes: dict[str, int | str] = {"no_rw_check": 1}
        width = Shape.cast(self.shape).width
        if isinstance(platform, LatticeICE40Platform) and self.depth * width >= ICE40_BITS:
            attributes["ram_style"] = "block"
        m.submodules.words = words = Memory(
            shape=self.shape, depth=self.depth, init=self.init, attrs=attributes
        )
        write, read = words.write_port(granularity=self.granularity), words.read_port(domain="comb")
        # Yosys makes this register that of the block RAM.
        data = Signal(Shape.cast(self.shape), reset_less=True, attrs={UNINITIALISED: 1})
        m.d.comb += [
            write.addr.eq(self.write.addr),
            write.data.eq(self.write.data),
            write.en.eq(self.write.en),
            read.addr.eq(self.read.addr),
        ]
        with m.If(self.read.en):
            m.d.sync += data.eq(read.data)
        m.d.comb += self.read.data.eq(data)
        return m


FEW = 8
"""Most words of which each has a bit of its own in a `Queue`'s level."""

REGISTERS = 2
"""Deepest queue that is made of registers."""


class Queue(wiring.Component):
    """First in, first out.

    Latency: `cycles.FIFO_LATENCY` from the input of an empty queue to its output, one word per cycle.

    Parameters
    ----------
    shape : ShapeLike
    depth : int
        Words that it holds: that of the output and the memory's. A shallow queue is made of registers and its
        latency is at most that.

    Members
    -------
    input : In(stream of shape)
    output : Out(stream of shape)
    empty : Out(1)
    """

    latency = FIFO_LATENCY

    def __init__(self, shape: ShapeLike, depth: int) -> None:
        self.shape = shape
        self.depth = depth
        super().__init__(
            {
                "input": In(stream.Signature(shape)),
                "output": Out(stream.Signature(shape)),
                "empty": Out(1),
            }
        )

    def elaborate(self, platform):
        return self._memory() if self.depth > REGISTERS else self._registers()

    def _registers(self) -> Module:
        """Each word moves up as far as it can; the first is the output."""
        m = Module()
        words = [Signal(self.shape, name=f"word_{place}", reset_less=True) for place in range(self.depth)]
        valid = Signal(self.depth)
        moves = Signal(self.depth)
        m.d.comb += [
            self.output.payload.eq(words[0]),
            self.output.valid.eq(valid[0]),
            self.empty.eq(valid == 0),
            self.input.ready.eq(~valid[-1]),
        ]
        for place in range(self.depth):
            frees = self.output.ready if place == 0 else moves[place - 1]
            m.d.comb += moves[place].eq(~valid[place] | frees)
            last = place == self.depth - 1
            source, arrives = (
                (self.input.payload, self.input.valid & self.input.ready)
                if last
                else (words[place + 1], valid[place + 1])
            )
            with m.If(moves[place]):
                m.d.sync += [words[place].eq(source), valid[place].eq(arrives)]
        return m

    def _memory(self) -> Module:
        m = Module()
        words = self.depth - 1
        m.submodules.ram = ram = Ram(self.shape, words)
        tail, head = Signal(range(words)), Signal(range(words))
        stored, fetched = Signal(), Signal()
        some, full = self._level(m, words, stored, fetched)
        m.d.comb += [
            self.input.ready.eq(~full),
            stored.eq(self.input.valid & self.input.ready),
            fetched.eq(some & (~self.output.valid | self.output.ready)),
            self.empty.eq(~some & ~self.output.valid),
            ram.write.addr.eq(tail),
            ram.write.data.eq(self.input.payload),
            ram.write.en.eq(stored),
            ram.read.addr.eq(head),
            ram.read.en.eq(fetched),
            self.output.payload.eq(ram.read.data),
        ]
        with m.If(stored):
            m.d.sync += tail.eq(Mux(tail == words - 1, 0, tail + 1))
        with m.If(fetched):
            m.d.sync += [head.eq(Mux(head == words - 1, 0, head + 1)), self.output.valid.eq(1)]
        with m.Elif(self.output.ready):
            m.d.sync += self.output.valid.eq(0)
        return m

    def _level(self, m: Module, words: int, stored: Signal, fetched: Signal) -> tuple[Value, Value]:
        """Whether the memory holds a word, and whether it is full."""
        if words > FEW:
            level = Signal(range(words + 1))
            m.d.sync += level.eq(level + stored - fetched)
            return level != 0, level == words
        # A bit for each word held: quicker than a count, which takes a comparison behind an addition.
        filled = Signal(words)
        with m.If(stored & ~fetched):
            m.d.sync += filled.eq(Cat(Const(1, 1), filled))
        with m.Elif(fetched & ~stored):
            m.d.sync += filled.eq(filled >> 1)
        return filled[0], filled[-1]
