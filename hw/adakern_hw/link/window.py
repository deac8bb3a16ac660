"""Window of requests: acceptance, payload buffers, execution order (docs/protocol.md, "Sequence")."""

from amaranth import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from adakern_spec import protocol
from adakern_spec.protocol import LINK, Link

from ..blocks.ram import Ram
from .layouts import EPOCH, HEADER, SEQUENCE, Layouts


class RequestWindow(wiring.Component):
    """Decides on each checked packet and hands the accepted ones out in sequence order, once each.

    With ``offset = sequence - next`` and the slot ``sequence mod WINDOW``, WINDOW being the link's, a
    packet of the current epoch is

    =================  =========================================  ================================
    offset             slot                                       verdict
    =================  =========================================  ================================
    < WINDOW           free or answered                           accepted
    < WINDOW           holds this request, not executed           repeated
    < WINDOW           answer of the request before still open    stale
    >= -WINDOW         holds this request, executed               repeated
    anything else                                                 stale
    =================  =========================================  ================================

    An accepted packet exchanges its payload buffer with the slot's old one, so there is always one
    to receive into: WINDOW + 1 buffers in one memory, and no byte is ever copied.

    Latency: a header is taken in the cycle after it is offered; its request is offered 2 cycles later, the
    first payload byte 3 cycles after the request was taken, then one per cycle. The next request is
    offered in the cycle after the last byte was taken.

    Parameters
    ----------
    link : Link

    Members
    -------
    frames : In(stream of HEADER)
    payload : In(stream of self.layouts.payload_byte, always ready)
        Payload of the frame whose header comes next.
    finished : In(WINDOW)
        Slots whose request has its final answer.
    requests : Out(stream of REQUEST)
    data : Out(stream of 8 bits)
        The payload of the last request taken; to be taken whole before the next is offered.
    accepted : Out(stream of self.layouts.accepted, always ready)
    repeated : Out(stream of SLOT, always ready)
        This slot's request came again.
    synchronised : Out(1)
        A SYNC is to be answered.
    restart : Out(1)
        It began a new epoch: every state of the link but this component's is void.
    epoch : Out(EPOCH)
    stale : Out(1)
        A packet was dropped.
    """

    def __init__(self, link: Link = LINK) -> None:
        self.link = link
        self.layouts = Layouts(link)
        super().__init__(
            {
                "frames": In(stream.Signature(HEADER)),
                "payload": In(stream.Signature(self.layouts.payload_byte, always_ready=True)),
                "finished": In(link.window),
                "requests": Out(stream.Signature(self.layouts.request)),
                "data": Out(stream.Signature(8)),
                "accepted": Out(stream.Signature(self.layouts.accepted, always_ready=True)),
                "repeated": Out(stream.Signature(self.layouts.slot, always_ready=True)),
                "synchronised": Out(1),
                "restart": Out(1),
                "epoch": Out(EPOCH),
                "stale": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        layouts, window = self.layouts, self.link.window
        size, buffers = self.link.payload, window + 1
        m.submodules.payloads = payloads = Ram(8, size * buffers)
        m.submodules.records = records = Ram(data.StructLayout({"type": 8, "length": layouts.length}), window)
        write, read = payloads.write, payloads.read
        store, fetch = records.write, records.read

        # Buffer that is received into, and those of the slots: always a permutation.
        scratch = Signal(range(buffers), init=window)
        owned = Array(Signal(range(buffers), init=slot, name=f"buffer_{slot}") for slot in range(window))
        m.d.comb += [
            write.en.eq(self.payload.valid),
            write.addr.eq(Cat(self.payload.payload.index, scratch)),
            write.data.eq(self.payload.payload.data),
        ]

        # Verdict. It compares with `next`, so it waits while that moves.
        following = Signal(SEQUENCE)
        used = Signal(window)
        waiting = Signal(window)
        previous_epoch = Signal(EPOCH)
        deciding = Signal()
        offset = Signal(SEQUENCE, reset_less=True)
        header = self.frames.payload
        slot = Signal(layouts.slot)
        moved = self.requests.valid & self.requests.ready
        m.d.comb += [slot.eq(header.sequence), self.frames.ready.eq(deciding)]
        m.d.sync += [
            deciding.eq(self.frames.valid & ~deciding & ~moved),
            offset.eq(header.sequence - following),
            self.accepted.valid.eq(0),
            self.accepted.payload.type.eq(header.type),
            self.accepted.payload.sequence.eq(header.sequence),
            self.accepted.payload.slot.eq(slot),
            self.repeated.valid.eq(0),
            self.repeated.payload.eq(slot),
            self.synchronised.eq(0),
            self.restart.eq(0),
            self.stale.eq(0),
        ]
        ahead = offset < window
        behind = offset >= (1 << protocol.SEQUENCE_BITS) - window
        slot_used = used.bit_select(slot, 1)
        slot_waits = waiting.bit_select(slot, 1)
        slot_open = slot_used & ~self.finished.bit_select(slot, 1)
        current = (header.epoch == self.epoch) & (self.epoch != protocol.NO_EPOCH)
        accept = Signal()
        synchronise = Signal()
        restart = Signal()
        with m.If(deciding):
            with m.If(header.type == protocol.Request.SYNC):
                sound = (header.sequence == 0) & (header.length == 0) & (header.epoch != protocol.NO_EPOCH)
                # The epoch before this one comes only from a delayed copy of its SYNC.
                m.d.comb += [
                    synchronise.eq(sound & (header.epoch != previous_epoch)),
                    restart.eq(synchronise & ~current),
                ]
                m.d.sync += [self.synchronised.eq(synchronise), self.stale.eq(~synchronise)]
            with m.Elif(current & ~header.type[7]):
                m.d.comb += accept.eq(ahead & ~slot_open)
                repeated = Mux(ahead, slot_waits, behind & slot_used & ~slot_waits)
                m.d.sync += [self.repeated.valid.eq(repeated), self.stale.eq(~accept & ~repeated)]
            with m.Else():
                m.d.sync += self.stale.eq(1)
        with m.If(accept):
            m.d.sync += [
                self.accepted.valid.eq(1),
                scratch.eq(owned[slot]),
                owned[slot].eq(scratch),
                used.bit_select(slot, 1).eq(1),
                waiting.bit_select(slot, 1).eq(1),
            ]
        m.d.comb += [
            store.en.eq(accept),
            store.addr.eq(slot),
            store.data.type.eq(header.type),
            store.data.length.eq(header.length),
        ]

        # Execution order: fetch the record of the next slot, offer it, stream its payload.
        turn = Signal(layouts.slot)
        remaining = Signal(layouts.length)
        address = Signal.like(read.addr)
        fetched = Signal()
        advance = self.data.ready | ~self.data.valid
        m.d.comb += [
            turn.eq(following),
            fetch.addr.eq(turn),
            self.requests.payload.type.eq(fetch.data.type),
            self.requests.payload.length.eq(fetch.data.length),
            self.requests.payload.slot.eq(turn),
            read.addr.eq(address),
            read.en.eq(advance),
        ]
        with m.If(advance):
            m.d.sync += [
                self.data.payload.eq(read.data),
                self.data.valid.eq(fetched),
                fetched.eq(remaining != 0),
                address.eq(address + 1),
            ]
            with m.If(remaining != 0):
                m.d.sync += remaining.eq(remaining - 1)
        drained = (remaining == 0) & ~fetched & advance
        with m.If(moved):
            m.d.sync += [
                self.requests.valid.eq(0),
                waiting.bit_select(turn, 1).eq(0),
                following.eq(following + 1),
                remaining.eq(fetch.data.length),
                address.eq(Cat(Const(0, layouts.index), owned[turn])),
            ]
        with m.Elif(drained & waiting.bit_select(turn, 1)):
            m.d.sync += self.requests.valid.eq(1)

        with m.If(restart):
            m.d.sync += [
                self.restart.eq(1),
                self.epoch.eq(header.epoch),
                previous_epoch.eq(self.epoch),
                # SYNC was sequence number 0.
                following.eq(1),
                used.eq(0),
                waiting.eq(0),
                self.requests.valid.eq(0),
                self.data.valid.eq(0),
                remaining.eq(0),
                fetched.eq(0),
            ]
        return m
