"""Frames on the byte stream: COBS, header, CRC-32C (docs/protocol.md, "Frame")."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from adakern_spec import protocol
from adakern_spec.protocol import LINK, Link

from ..blocks.ram import Ram
from .crc import BYTE_BITS, Crc
from .layouts import HEADER, LINE_BYTE, PACKET_BYTE, Layouts

COBS_FULL = 0xFF
"""Code of a COBS group of 254 bytes that no zero follows."""


class FrameReceiver(wiring.Component):
    """Bytes from the line in, checked packets out.

    Decodes COBS, gives the payload bytes as they come and the header once
    the delimiter has come and CRC and length are right. Anything else is dropped: ``bad`` pulses.
    A delimiter always starts afresh, so garbage costs at most the frame that it touches. A byte
    marked ``error`` is never a delimiter and voids its frame.

    Latency: a payload byte appears 2 cycles after its byte on the line, the header 2 cycles
    after the delimiter. The header stays until it is taken; meanwhile no byte is. A byte is taken per cycle
    with a `Crc` of 8 bits per cycle, otherwise one whenever that has taken the one before.

    Parameters
    ----------
    link : Link
    crc_bits : int
        Of `Crc`.

    Members
    -------
    bytes : In(stream of LINE_BYTE)
    restart : In(1)
        Forget the frame under way (BREAK on the line).
    payload : Out(stream of Layouts(link).payload_byte, always ready)
        Void unless the frame's header follows.
    frames : Out(stream of HEADER)
    bad : Out(1)
        A frame was dropped.
    """

    def __init__(self, link: Link = LINK, crc_bits: int = BYTE_BITS) -> None:
        self.link = link
        self.crc = Crc(crc_bits)
        super().__init__(
            {
                "bytes": In(stream.Signature(LINE_BYTE)),
                "restart": In(1),
                "payload": Out(stream.Signature(Layouts(link).payload_byte, always_ready=True)),
                "frames": Out(stream.Signature(HEADER)),
                "bad": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.crc = crc = self.crc

        # COBS: `left` data bytes until the next code; a code stands for a zero before its group,
        # except the first of a frame and one after a full group.
        outside = Signal(init=1)
        full = Signal()
        left = Signal(8)
        poisoned = Signal()
        decoded = Signal(8, reset_less=True)
        decoded_valid = Signal()
        ended = Signal()
        broken = Signal(reset_less=True)

        byte = self.bytes.payload
        settled = 1 if crc.latency == 1 else crc.ready & ~decoded_valid
        m.d.comb += self.bytes.ready.eq(~self.frames.valid & settled)
        m.d.sync += [decoded_valid.eq(0), ended.eq(0)]
        with m.If(self.bytes.valid & self.bytes.ready):
            with m.If(byte.error):
                m.d.sync += poisoned.eq(1)
            with m.Elif(byte.data == protocol.DELIMITER):
                m.d.sync += [
                    ended.eq(~outside | poisoned),
                    broken.eq(poisoned | (left != 0)),
                    outside.eq(1),
                    full.eq(0),
                    left.eq(0),
                    poisoned.eq(0),
                ]
            with m.Elif(left == 0):
                m.d.sync += [
                    decoded.eq(0),
                    decoded_valid.eq(~outside & ~full),
                    left.eq(byte.data - 1),
                    full.eq(byte.data == COBS_FULL),
                    outside.eq(0),
                ]
            with m.Else():
                m.d.sync += [decoded.eq(byte.data), decoded_valid.eq(1), left.eq(left - 1)]

        # `position` counts decoded bytes and stops one beyond the longest packet.
        position = Signal(range(self.link.packet_max + 2))
        header = Signal(HEADER, reset_less=True)
        expected = Signal(8 * 2 + 1, reset_less=True)
        index = Signal.like(self.payload.payload.index)
        in_header = position < protocol.HEADER_SIZE
        m.d.comb += [
            crc.start.eq(ended | self.restart),
            crc.data.eq(decoded),
            crc.valid.eq(decoded_valid),
            self.frames.payload.eq(header),
        ]
        m.d.sync += [
            self.payload.valid.eq(0),
            self.payload.payload.data.eq(decoded),
            self.payload.payload.index.eq(index),
            expected.eq(header.length + protocol.PACKET_MIN),
            self.bad.eq(0),
        ]
        with m.If(decoded_valid & (position <= self.link.packet_max)):
            m.d.sync += position.eq(position + 1)
            with m.If(in_header):
                m.d.sync += header.as_value().eq(Cat(header.as_value()[8:], decoded))
            with m.Elif(position < protocol.HEADER_SIZE + self.link.payload):
                m.d.sync += [self.payload.valid.eq(1), index.eq(index + 1)]
        with m.If(ended):
            good = crc.match & ~broken & (position == expected) & (position <= self.link.packet_max)
            m.d.sync += [position.eq(0), index.eq(0), self.frames.valid.eq(good), self.bad.eq(~good)]
        with m.If(self.frames.valid & self.frames.ready):
            m.d.sync += self.frames.valid.eq(0)

        with m.If(self.restart):
            m.d.sync += [
                outside.eq(1),
                full.eq(0),
                left.eq(0),
                poisoned.eq(0),
                decoded_valid.eq(0),
                ended.eq(0),
                position.eq(0),
                index.eq(0),
            ]
        return m


class FrameSender(wiring.Component):
    """Packets without CRC in, frames out: adds the CRC, encodes, delimits.

    Takes a packet of up to ``HEADER_SIZE + REPLY_PAYLOAD_MAX`` bytes whole, then sends it. A COBS
    code is known only once the next zero has come, so it is patched into the frame buffer; the
    packet is shorter than 254 bytes, so a full group never occurs.

    Latency: a byte per cycle in; the first delimiter 6 cycles after the last of them; a byte per cycle out,
    but for one pause behind that delimiter. With a `Crc` of fewer bits per cycle each byte in, and each of
    the CRC, takes its latency longer.

    Parameters
    ----------
    crc_bits : int
        Of `Crc`.

    Members
    -------
    packet : In(stream of PACKET_BYTE)
    discard : In(1)
        Forget the bytes taken so far; only before the last one was taken.
    bytes : Out(stream of 8 bits)
    """

    packet: In(stream.Signature(PACKET_BYTE))
    discard: In(1)
    bytes: Out(stream.Signature(8))

    LONGEST = protocol.REPLY_MAX + 1
    """Bytes of a frame between its delimiters."""

    def __init__(self, crc_bits: int = BYTE_BITS) -> None:
        self.crc = Crc(crc_bits)
        super().__init__()

    def elaborate(self, platform):
        assert self.LONGEST < COBS_FULL
        m = Module()
        m.submodules.crc = crc = self.crc
        m.submodules.buffer = buffer = Ram(8, self.LONGEST)
        write, read = buffer.write, buffer.read

        # Encoder: one byte per cycle into the buffer. `code` is where the open group's code goes.
        value = Signal(8)
        push = Signal()
        close = Signal()
        end = Signal(range(self.LONGEST + 1), init=1)
        code = Signal(range(self.LONGEST + 1))
        distance = Signal(8)
        m.d.comb += [
            distance.eq(end - code),
            write.en.eq(push | close),
            write.addr.eq(Mux(close | (value == 0), code, end)),
            write.data.eq(Mux(close | (value == 0), distance, value)),
        ]
        with m.If(push):
            m.d.sync += end.eq(end + 1)
            with m.If(value == 0):
                m.d.sync += code.eq(end)

        count = Signal(range(protocol.CRC_SIZE))
        advance = Signal()
        address = Signal.like(end)
        fetched = Signal()
        with m.FSM():
            with m.State("FILL"):
                m.d.comb += [
                    self.packet.ready.eq(crc.ready),
                    value.eq(self.packet.payload.data),
                    push.eq(self.packet.valid & crc.ready & ~self.discard),
                    crc.start.eq(self.discard),
                ]
                with m.If(self.discard):
                    m.d.sync += [end.eq(1), code.eq(0)]
                with m.Elif(push & self.packet.payload.last):
                    m.next = "CRC"
            with m.State("CRC"):
                m.d.comb += [value.eq(crc.value[:BYTE_BITS]), push.eq(crc.ready), crc.drain.eq(1)]
                with m.If(push):
                    m.d.sync += count.eq(count + 1)
                    with m.If(count == protocol.CRC_SIZE - 1):
                        m.next = "CLOSE"
            with m.State("CLOSE"):
                m.d.comb += [close.eq(1), crc.start.eq(1)]
                m.d.sync += [
                    count.eq(0),
                    address.eq(0),
                    fetched.eq(0),
                    self.bytes.valid.eq(1),
                    self.bytes.payload.eq(protocol.DELIMITER),
                ]
                m.next = "SEND"
            with m.State("SEND"):
                m.d.comb += advance.eq(self.bytes.ready | ~self.bytes.valid)
                with m.If(advance):
                    m.d.sync += [
                        self.bytes.valid.eq(fetched),
                        self.bytes.payload.eq(read.data),
                        fetched.eq(address != end),
                        address.eq(address + 1),
                    ]
                    with m.If(address == end):
                        m.next = "DELIMIT"
            with m.State("DELIMIT"):
                with m.If(self.bytes.ready):
                    m.d.sync += self.bytes.payload.eq(protocol.DELIMITER)
                    m.next = "FINISH"
            with m.State("FINISH"):
                with m.If(self.bytes.ready):
                    m.d.sync += [self.bytes.valid.eq(0), end.eq(1), code.eq(0)]
                    m.next = "FILL"
        m.d.comb += [crc.data.eq(value), crc.valid.eq(push), read.addr.eq(address), read.en.eq(advance)]
        return m
