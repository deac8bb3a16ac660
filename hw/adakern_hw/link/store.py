"""Parameter store: the committed block's bytes, written, read back and checked over the link."""

from amaranth import Module, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..blocks.ram import Ram
from .crc import BYTE_BITS, Crc


def write_layout(size: int) -> data.StructLayout:
    """A byte for a store of ``size`` bytes."""
    return data.StructLayout({"address": unsigned(max(1, (size - 1).bit_length())), "data": unsigned(8)})


def read_layout(size: int) -> data.StructLayout:
    """A read command for a store of ``size`` bytes."""
    return data.StructLayout(
        {"address": unsigned(max(1, (size - 1).bit_length())), "count": unsigned(size.bit_length())}
    )


class ParameterStore(wiring.Component):
    """Memory of the parameter block with a CRC over whatever is read from it.

    The content survives resets. One read command streams ``count`` bytes from ``address``; ``crc``
    covers those taken since the command.

    Latency: first byte 3 cycles after the command, then one per cycle, with a `Crc` of fewer than 8 bits per
    cycle one whenever that has taken the one before; ``crc`` as soon as it is ``settled``: with 8 bits in the
    cycle after the byte.

    Parameters
    ----------
    size : int
        Bytes of the block.
    crc_bits : int
        Of `Crc`.

    Members
    -------
    write : In(stream of {"address", "data"}, always ready)
    read : In(stream of {"address", "count"})
    bytes : Out(stream of 8 bits)
    crc : Out(8)
        Its first byte; with every ``drain`` the next.
    settled : Out(1)
        ``crc`` covers all bytes taken.
    drain : In(1)
        Only while ``settled``, and not during a read.
    """

    def __init__(self, size: int, crc_bits: int = BYTE_BITS) -> None:
        self.size = size
        self.crc_bits = crc_bits
        super().__init__(
            {
                "write": In(stream.Signature(write_layout(size), always_ready=True)),
                "read": In(stream.Signature(read_layout(size))),
                "bytes": Out(stream.Signature(8)),
                "crc": Out(8),
                "drain": In(1),
                "settled": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.block = block = Ram(8, self.size)
        write, read = block.write, block.read
        m.submodules.crc = crc = Crc(self.crc_bits)
        m.d.comb += [
            write.en.eq(self.write.valid),
            write.addr.eq(self.write.payload.address),
            write.data.eq(self.write.payload.data),
        ]

        address = Signal.like(self.read.payload.address)
        remaining = Signal.like(self.read.payload.count)
        fetched, offered = Signal(), Signal()
        taken = self.bytes.valid & self.bytes.ready
        advance = taken | ~offered
        m.d.comb += [
            self.bytes.valid.eq(offered & crc.ready),
            self.read.ready.eq((remaining == 0) & ~fetched & ~offered),
            read.addr.eq(address),
            read.en.eq(advance),
            crc.start.eq(self.read.valid & self.read.ready),
            crc.data.eq(self.bytes.payload),
            crc.valid.eq(taken | self.drain),
            crc.drain.eq(self.drain),
            self.crc.eq(crc.value[:8]),
            self.settled.eq(crc.ready),
        ]
        with m.If(advance):
            m.d.sync += [
                self.bytes.payload.eq(read.data),
                offered.eq(fetched),
                fetched.eq(remaining != 0),
                address.eq(address + 1),
            ]
            with m.If(remaining != 0):
                m.d.sync += remaining.eq(remaining - 1)
        with m.If(self.read.valid & self.read.ready):
            m.d.sync += [address.eq(self.read.payload.address), remaining.eq(self.read.payload.count)]
        return m
