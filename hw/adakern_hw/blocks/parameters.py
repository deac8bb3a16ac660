"""Parameter loading: from the bytes of a parameter block to the memories of the blocks.

Every sink takes exactly its bytes, one in each cycle at most, and then starts over. Contents survive a
reset; a reset in the middle of a load starts the sink over.
"""

from collections.abc import Sequence

from amaranth import Cat, Module, Mux, Shape, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from adakern_spec.network import ConvShape, Fold
from adakern_spec.parameters import Field, record_size

from .hints import COPY
from .ram import Ram

BYTES = stream.Signature(unsigned(8))
"""Parameter bytes."""


def record_layout(fields: Sequence[Field]) -> data.StructLayout:
    """The integers of one record."""
    shapes = {field.name: Shape(field.bits, field.signed) for field in fields}
    return data.StructLayout(shapes)


class ParameterRouter(wiring.Component):
    """Deals a stream of bytes to sinks that each take a fixed number.

    Latency: 2 cycles. The sinks must always be ready.

    Parameters
    ----------
    sizes : list of int
        Bytes for each sink, in order.

    Members
    -------
    bytes : In(byte stream)
        Always ready.
    sinks : Out(byte stream).array(len(sizes))
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self.sizes = tuple(sizes)
        super().__init__({"bytes": In(BYTES), "sinks": Out(BYTES).array(len(self.sizes))})

    def elaborate(self, platform):
        m = Module()
        arrived, byte = Signal(8, reset_less=True), Signal(8, reset_less=True)
        arrives = Signal()
        valid = Signal(len(self.sizes))
        index = Signal(range(max(self.sizes)))
        target = Signal(len(self.sizes), init=1)
        lasts = [target[t] & (index == size - 1) for t, size in enumerate(self.sizes)]

        m.d.comb += self.bytes.ready.eq(1)
        m.d.sync += [
            arrived.eq(self.bytes.payload),
            arrives.eq(self.bytes.valid),
            byte.eq(arrived),
            valid.eq(Mux(arrives, target, 0)),
        ]
        for position, sink in enumerate(self.sinks):
            m.d.comb += [sink.payload.eq(byte), sink.valid.eq(valid[position])]
        with m.If(arrives):
            with m.If(Cat(lasts).any()):
                m.d.sync += [index.eq(0), target.eq(target.rotate_left(1))]
            with m.Else():
                m.d.sync += index.eq(index + 1)
        return m


class _Packer(wiring.Component):
    """Joins ``size`` bytes to a word, the first one in the low bits; ``valid`` for one cycle."""

    def __init__(self, size: int, bits: int = 8) -> None:
        self.size = size
        self.bits = bits
        super().__init__({"bytes": In(BYTES), "word": Out(size * bits), "valid": Out(1)})

    def elaborate(self, platform):
        m = Module()
        word = Signal.like(self.word, reset_less=True)
        valid = Signal()
        count = Signal(range(self.size))
        last = Signal()
        m.d.comb += [
            self.bytes.ready.eq(1),
            last.eq(self.bytes.valid & (count == self.size - 1)),
            self.word.eq(word),
            self.valid.eq(valid),
        ]
        m.d.sync += valid.eq(last)
        with m.If(self.bytes.valid):
            m.d.sync += [
                word.eq(Cat(word[self.bits :], self.bytes.payload[: self.bits])),
                count.eq(Mux(last, 0, count + 1)),
            ]
        return m


class WordStore(wiring.Component):
    """Memory of words that come piece by piece and go straight to their places, read ``lanes`` at a time.

    Parameters
    ----------
    pieces : int
        Of a word, one byte in the stream each.
    words : int
        A multiple of ``lanes``.
    lanes : int
    bits : int
        Of a byte that are kept.

    Members
    -------
    bytes : In(byte stream)
        Always ready.
    address : In
    words : Out(pieces * bits).array(lanes)
        Words ``address * lanes`` and following, one cycle later; the first piece in the low bits.
    """

    def __init__(self, pieces: int, words: int, lanes: int = 1, bits: int = 8) -> None:
        self.pieces = pieces
        self.depth = words // lanes
        self.lanes = lanes
        self.bits = bits
        super().__init__(
            {
                "bytes": In(BYTES),
                "address": In(range(self.depth)),
                "words": Out(pieces * bits).array(lanes),
            }
        )

    def elaborate(self, platform):
        m = Module()
        place = Signal(range(self.depth))
        lane, piece = Signal(self.lanes, init=1), Signal(self.pieces, init=1)
        m.d.comb += self.bytes.ready.eq(1)
        with m.If(self.bytes.valid):
            m.d.sync += piece.eq(piece.rotate_left(1))
            with m.If(piece[-1]):
                m.d.sync += lane.eq(lane.rotate_left(1))
                with m.If(lane[-1]):
                    m.d.sync += place.eq(Mux(place == self.depth - 1, 0, place + 1))
        for index, word in enumerate(self.words):
            memory = Ram(unsigned(len(word)), self.depth, granularity=self.bits)
            m.submodules[f"memory_{index}"] = memory
            m.d.comb += [
                memory.write.addr.eq(place),
                memory.write.data.eq(self.bytes.payload[: self.bits].replicate(self.pieces)),
                memory.write.en.eq(Mux(self.bytes.valid & lane[index], piece, 0)),
                memory.read.addr.eq(self.address),
                word.eq(memory.read.data),
            ]
        return m


class RecordStore(wiring.Component):
    """Memory of equal records, read ``lanes`` at a time.

    Parameters
    ----------
    fields : of a record, as in the parameter block
    records : int
        A multiple of ``lanes``.

    Members
    -------
    bytes : In(byte stream)
        Always ready.
    address : In
    records : Out(record).array(lanes)
        Records ``address * lanes`` and following, one cycle later.
    """

    def __init__(self, fields: Sequence[Field], records: int, lanes: int = 1) -> None:
        self.fields = tuple(fields)
        self.lanes = lanes
        self.store = WordStore(record_size(self.fields), records, lanes)
        self.depth = self.store.depth
        super().__init__(
            {
                "bytes": In(BYTES),
                "address": In(range(self.depth)),
                "records": Out(record_layout(self.fields)).array(lanes),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.store = self.store
        wiring.connect(m, wiring.flipped(self.bytes), self.store.bytes)
        m.d.comb += self.store.address.eq(self.address)
        for record, word in zip(self.records, self.store.words, strict=True):
            offset = 0
            for field in self.fields:
                m.d.comb += record[field.name].eq(word[offset : offset + field.bits])
                offset += 8 * field.size
        return m


class WeightStore(wiring.Component):
    """Weights of a conv stage, one word of ``simd`` weights per output channel of the group and step.

    The bytes come channel by channel in the window's order. Channel ``g * pe + j`` lies in memory
    ``j``, step ``s`` of it at address ``g * steps + s``.

    Members
    -------
    bytes : In(byte stream)
        Always ready.
    addresses : In(address).array(copies)
        All the same; each goes to as many memories, those of neighbouring channels.
    words : Out(simd weights).array(pe)
        One cycle later.
    """

    def __init__(self, shape: ConvShape, fold: Fold, copies: int = 1) -> None:
        self.shape = shape
        self.fold = fold
        self.copies = copies
        self.depth = fold.interval(shape)
        self.word = unsigned(fold.simd * shape.weight_bits)
        super().__init__(
            {
                "bytes": In(BYTES),
                "addresses": In(range(self.depth)).array(copies),
                "words": Out(self.word).array(fold.pe),
            }
        )

    def elaborate(self, platform):
        m = Module()
        fold, steps = self.fold, self.fold.steps(self.shape)
        m.submodules.packer = packer = _Packer(fold.simd, self.shape.weight_bits)
        wiring.connect(m, wiring.flipped(self.bytes), packer.bytes)

        base = Signal(range(self.depth))
        step = Signal(range(steps))
        lane = Signal(fold.pe, init=1)
        word = Signal(self.word, reset_less=True)
        enable = Signal(fold.pe)
        m.d.sync += [
            word.eq(packer.word),
            enable.eq(Mux(packer.valid, lane, 0)),
        ]
        with m.If(packer.valid):
            m.d.sync += step.eq(step + 1)
            with m.If(step == steps - 1):
                m.d.sync += [step.eq(0), lane.eq(lane.rotate_left(1))]
                with m.If(lane[-1]):
                    m.d.sync += base.eq(Mux(base == self.depth - steps, 0, base + steps))
        for index in range(fold.pe):
            m.submodules[f"memory_{index}"] = memory = Ram(self.word, self.depth)
            write, read = memory.write, memory.read
            address = Signal(range(self.depth), name=f"address_{index}", reset_less=True, attrs={COPY: 1})
            m.d.sync += address.eq(base + step)
            m.d.comb += [
                write.addr.eq(address),
                write.data.eq(word),
                write.en.eq(enable[index]),
                read.addr.eq(self.addresses[index * self.copies // fold.pe]),
                self.words[index].eq(read.data),
            ]
        return m
