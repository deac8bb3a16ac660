"""Parameter store: the committed block's bytes, written, read back and checked over the link."""

from amaranth import Module, Shape, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..blocks.ram import Ram
from .crc import BYTE_BITS, Crc


def address_shape(size: int) -> Shape:
    """Of a place in a store of ``size`` bytes."""
    return unsigned(max(1, (size - 1).bit_length()))


class ParameterStore(wiring.Component):
    """Memory of the parameter block with a CRC over whatever is read from it.

    The content survives resets. ``seek`` and ``rewind`` choose the place; each byte written, and each read,
    moves on to the next. ``crc`` covers the bytes read since.

    Latency: first byte 2 cycles after ``reads`` rose, then one per cycle, with a `Crc` of fewer than 8 bits
    per cycle one whenever that has taken the one before; ``crc`` as soon as it is ``settled``: with 8 bits
    in the cycle after the byte.

    Parameters
    ----------
    size : int
        Bytes of the block.
    crc_bits : int
        Of `Crc`.

    Members
    -------
    seek : In(stream of the address, always ready)
        While neither reads nor writes. So is ``rewind``.
    rewind : In(1)
        To the block's first byte.
    write : In(stream of 8 bits, always ready)
        Not while ``reads``.
    reads : In(1)
        Offer bytes from the place on. Behind it the place is anywhere.
    bytes : Out(stream of 8 bits)
        Withdrawn where ``reads`` falls.
    last : Out(1)
        The byte on offer is the block's last.
    crc : Out(8)
        Its first byte; with every ``drain`` the next.
    settled : Out(1)
        ``crc`` covers all bytes taken.
    drain : In(1)
        Only while ``settled``, and not while ``reads``.
    """

    def __init__(self, size: int, crc_bits: int = BYTE_BITS) -> None:
        self.size = size
        self.crc_bits = crc_bits
        super().__init__(
            {
                "seek": In(stream.Signature(address_shape(size), always_ready=True)),
                "rewind": In(1),
                "write": In(stream.Signature(8, always_ready=True)),
                "reads": In(1),
                "bytes": Out(stream.Signature(8)),
                "last": Out(1),
                "crc": Out(8),
                "settled": Out(1),
                "drain": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.block = block = Ram(8, self.size)
        m.submodules.checksum = crc = Crc(self.crc_bits)
        address = Signal(address_shape(self.size))
        fetched, offered, fetched_last = Signal(), Signal(), Signal()
        taken, advance = Signal(), Signal()
        m.d.comb += [
            block.write.en.eq(self.write.valid),
            block.write.addr.eq(address),
            block.write.data.eq(self.write.payload),
            block.read.addr.eq(address),
            block.read.en.eq(advance),
            self.bytes.valid.eq(offered & crc.ready),
            taken.eq(self.bytes.valid & self.bytes.ready),
            advance.eq(self.reads & (taken | ~offered)),
            crc.start.eq(self.seek.valid | self.rewind),
            crc.data.eq(self.bytes.payload),
            crc.valid.eq(taken | self.drain),
            crc.drain.eq(self.drain),
            self.crc.eq(crc.value[:8]),
            self.settled.eq(crc.ready),
        ]
        with m.If(advance):
            m.d.sync += [
                fetched.eq(1),
                fetched_last.eq(address == self.size - 1),
                offered.eq(fetched),
                self.bytes.payload.eq(block.read.data),
                self.last.eq(fetched_last),
            ]
        with m.If(~self.reads):
            m.d.sync += [fetched.eq(0), offered.eq(0)]
        with m.If(advance | self.write.valid):
            m.d.sync += address.eq(address + 1)
        with m.If(self.seek.valid):
            m.d.sync += address.eq(self.seek.payload)
        with m.If(self.rewind):
            m.d.sync += address.eq(0)
        return m
