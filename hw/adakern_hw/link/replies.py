"""Replies: one per slot, kept until the slot is used again (docs/protocol.md, "Replies")."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from adakern_spec import protocol
from adakern_spec.protocol import LINK, Link

from ..blocks.ram import Ram
from .layouts import EPOCH, HEADER, PACKET_BYTE, REPLY_LENGTH, SEQUENCE, STATUS, Layouts


class ReplyStore(wiring.Component):
    """Collects the replies, sends each once it is complete and again whenever its request comes again.

    A repeated request that has no reply yet is answered BUSY. If a slot is taken by a new request
    while its old reply is being read out, that reply is discarded: its bytes may change under way.

    Latency: a packet's first byte 4 cycles after its reply is complete, header bytes every cycle,
    payload bytes every third: a block RAM is slow enough to need a register behind it.

    Parameters
    ----------
    link : Link

    Members
    -------
    accepted, repeated, synchronised, restart, epoch
        From `RequestWindow`.
    parts : In(stream of REPLY_PART, always ready)
    finished : Out(WINDOW)
        Slots whose reply is complete.
    packet : Out(stream of PACKET_BYTE)
    discard : Out(1)
        To `FrameSender`; withdraws the packet, also the byte on offer.
    """

    def __init__(self, link: Link = LINK) -> None:
        self.link = link
        self.layouts = Layouts(link)
        super().__init__(
            {
                "accepted": In(stream.Signature(self.layouts.accepted, always_ready=True)),
                "repeated": In(stream.Signature(self.layouts.slot, always_ready=True)),
                "synchronised": In(1),
                "restart": In(1),
                "epoch": In(EPOCH),
                "parts": In(stream.Signature(self.layouts.reply_part, always_ready=True)),
                "finished": Out(link.window),
                "packet": Out(stream.Signature(PACKET_BYTE)),
                "discard": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        slots = self.link.window
        m.submodules.payloads = payloads = Ram(8, slots * protocol.REPLY_PAYLOAD_MAX)
        m.submodules.requests = requests = Ram(data.StructLayout({"type": 8, "sequence": SEQUENCE}), slots)
        m.submodules.outcomes = outcomes = Ram(
            data.StructLayout({"status": STATUS, "length": REPLY_LENGTH}), slots
        )
        name, name_read = requests.write, requests.read
        outcome, outcome_read = outcomes.write, outcomes.read
        write, read = payloads.write, payloads.read
        index_bits = (protocol.REPLY_PAYLOAD_MAX - 1).bit_length()

        # Collect.
        part, arrives = self.parts.payload, self.parts.valid
        completes = arrives & part.final
        m.d.comb += [
            write.en.eq(arrives & ~part.final),
            write.addr.eq(Cat(part.index[:index_bits], part.slot)),
            write.data.eq(part.data),
            outcome.en.eq(completes),
            outcome.addr.eq(part.slot),
            outcome.data.status.eq(part.data),
            outcome.data.length.eq(part.index),
            name.en.eq(self.accepted.valid),
            name.addr.eq(self.accepted.payload.slot),
            name.data.type.eq(self.accepted.payload.type),
            name.data.sequence.eq(self.accepted.payload.sequence),
        ]

        # Send.
        pending = Signal(slots)
        greet = Signal()
        slot = Signal(self.layouts.slot)
        greeting = Signal()
        complete = Signal()
        reply = Signal(HEADER)
        count = Signal(range(protocol.HEADER_SIZE))
        index = Signal(REPLY_LENGTH)
        byte = Signal(8, reset_less=True)
        length = Signal(REPLY_LENGTH)
        overtaken = self.restart | (self.accepted.valid & (self.accepted.payload.slot == slot) & ~greeting)
        m.d.comb += [
            name_read.addr.eq(slot),
            outcome_read.addr.eq(slot),
            read.addr.eq(Cat(index[:index_bits], slot)),
        ]
        # What is read of the slot stays the same until a new request takes it, which discards the packet.
        m.d.comb += [
            reply.type.eq(Mux(greeting, protocol.Request.SYNC, name_read.data.type) | protocol.REPLY),
            reply.epoch.eq(self.epoch),
        ]
        with m.If(~greeting):
            m.d.comb += [
                reply.sequence.eq(name_read.data.sequence),
                reply.status.eq(Mux(complete, outcome_read.data.status, protocol.Status.BUSY)),
                reply.length.eq(Mux(complete, outcome_read.data.length, 0)),
            ]
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [count.eq(0), index.eq(0), greeting.eq(greet)]
                with m.If(self.restart | self.accepted.valid):
                    # `pending` is about to change.
                    m.next = "IDLE"
                with m.Elif(greet):
                    m.d.sync += greet.eq(0)
                    m.next = "NAME"
                with m.Elif(pending != 0):
                    for candidate in reversed(range(slots)):
                        with m.If(pending[candidate]):
                            m.d.sync += slot.eq(candidate)
                    m.next = "NAME"
            with m.State("NAME"):
                # The outcome that is read now counts only if it is complete now.
                m.d.sync += complete.eq(self.finished.bit_select(slot, 1))
                with m.If(~greeting):
                    m.d.sync += pending.bit_select(slot, 1).eq(0)
                m.next = "HEADER"
                with m.If(overtaken):
                    m.next = "IDLE"
            with m.State("HEADER"):
                m.d.sync += length.eq(reply.length)
                m.next = "SEND_HEADER"
                with m.If(overtaken):
                    m.next = "IDLE"
            with m.State("SEND_HEADER"):
                last = count == protocol.HEADER_SIZE - 1
                m.d.comb += [
                    self.packet.valid.eq(1),
                    self.packet.payload.data.eq(reply.as_value().word_select(count, 8)),
                    self.packet.payload.last.eq(last & (length == 0)),
                ]
                with m.If(self.packet.ready):
                    m.d.sync += count.eq(count + 1)
                    with m.If(last):
                        m.next = "FETCH"
                        with m.If(length == 0):
                            m.next = "IDLE"
                with m.If(overtaken):
                    m.d.comb += self.discard.eq(1)
                    m.next = "IDLE"
            with m.State("FETCH"):
                m.next = "HOLD"
                with m.If(overtaken):
                    m.d.comb += self.discard.eq(1)
                    m.next = "IDLE"
            with m.State("HOLD"):
                m.d.sync += byte.eq(read.data)
                m.next = "SEND_PAYLOAD"
                with m.If(overtaken):
                    m.d.comb += self.discard.eq(1)
                    m.next = "IDLE"
            with m.State("SEND_PAYLOAD"):
                m.d.comb += [
                    self.packet.valid.eq(1),
                    self.packet.payload.data.eq(byte),
                    self.packet.payload.last.eq(index + 1 == length),
                ]
                with m.If(self.packet.ready):
                    m.d.sync += index.eq(index + 1)
                    m.next = "FETCH"
                    with m.If(self.packet.payload.last):
                        m.next = "IDLE"
                with m.If(overtaken):
                    m.d.comb += self.discard.eq(1)
                    m.next = "IDLE"

        # Events come last, so that none is lost to the sender.
        with m.If(completes):
            m.d.sync += [self.finished.bit_select(part.slot, 1).eq(1), pending.bit_select(part.slot, 1).eq(1)]
        with m.If(self.repeated.valid):
            m.d.sync += pending.bit_select(self.repeated.payload, 1).eq(1)
        with m.If(self.accepted.valid):
            accepted = self.accepted.payload.slot
            m.d.sync += [self.finished.bit_select(accepted, 1).eq(0), pending.bit_select(accepted, 1).eq(0)]
        with m.If(self.restart):
            m.d.sync += [self.finished.eq(0), pending.eq(0)]
        with m.If(self.synchronised):
            m.d.sync += greet.eq(1)
        return m
