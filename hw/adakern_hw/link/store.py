"""Parameter store: the committed block's bytes, written, read back and checked over the link."""

from amaranth import Module, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..blocks.ram import Ram
from .framing import crc_parameters


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

    Latency: first byte 3 cycles after the command, then one per cycle; ``crc`` 1 cycle after the byte.

    Parameters
    ----------
    size : int
        Bytes of the block.

    Members
    -------
    write : In(stream of {"address", "data"}, always ready)
    read : In(stream of {"address", "count"})
    bytes : Out(stream of 8 bits)
    crc : Out(32)
    """

    def __init__(self, size: int) -> None:
        self.size = size
        super().__init__(
            {
                "write": In(stream.Signature(write_layout(size), always_ready=True)),
                "read": In(stream.Signature(read_layout(size))),
                "bytes": Out(stream.Signature(8)),
                "crc": Out(32),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.block = block = Ram(8, self.size)
        write, read = block.write, block.read
        m.submodules.crc = crc = crc_parameters().create()
        m.d.comb += [
            write.en.eq(self.write.valid),
            write.addr.eq(self.write.payload.address),
            write.data.eq(self.write.payload.data),
        ]

        address = Signal.like(self.read.payload.address)
        remaining = Signal.like(self.read.payload.count)
        fetched = Signal()
        advance = self.bytes.ready | ~self.bytes.valid
        m.d.comb += [
            self.read.ready.eq((remaining == 0) & ~fetched & ~self.bytes.valid),
            read.addr.eq(address),
            read.en.eq(advance),
            crc.start.eq(self.read.valid & self.read.ready),
            crc.data.eq(self.bytes.payload),
            crc.valid.eq(self.bytes.valid & self.bytes.ready),
            self.crc.eq(crc.crc),
        ]
        with m.If(advance):
            m.d.sync += [
                self.bytes.payload.eq(read.data),
                self.bytes.valid.eq(fetched),
                fetched.eq(remaining != 0),
                address.eq(address + 1),
            ]
            with m.If(remaining != 0):
                m.d.sync += remaining.eq(remaining - 1)
        with m.If(self.read.valid & self.read.ready):
            m.d.sync += [address.eq(self.read.payload.address), remaining.eq(self.read.payload.count)]
        return m
