"""Counters of the device since its reset."""

from amaranth import Array, Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from adakern_spec import protocol
from adakern_spec.protocol import fields_size

from ..blocks.ram import Ram

SIZE = fields_size(protocol.COUNTER_FIELDS)
ROUND_BITS = 8
"""A round may take as many cycles."""

RARE = {"maps", "frames_good", "frames_repeated", "frames_stale"}
"""Events at least `APART` cycles apart: each takes the bytes of a packet, on the line or in a reply."""

APART = protocol.PACKET_MIN


class Counters(wiring.Component):
    """One counter per COUNTER_FIELDS, incremented for every cycle in which its event is 1; they wrap.

    Those of `RARE` events are right only if these are as rare as that.

    Their bytes lie in a memory. Round after round each counter gets what has happened since the round
    before, byte by byte with the carry, two cycles each. In a round that begins while ``read`` is 1 each
    byte is offered as it is written, so a counter never tears. Those of one round must not wait for more
    than 2^ROUND_BITS - 2 SIZE - 1 cycles in all, or events are lost.

    Members
    -------
    events : In(struct of one bit per counter)
        ``cycles`` is counted always.
    read : In(1)
        Until the last byte is taken.
    bytes : Out(stream of 8 bits)
        The record of COUNTER_FIELDS.
    """

    events: In(
        wiring.Signature({field.name: Out(1) for field in protocol.COUNTER_FIELDS if field.name != "cycles"})
    )
    read: In(1)
    bytes: Out(stream.Signature(8))

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = Ram(8, SIZE)
        address = Signal(range(SIZE))
        number = Signal(range(len(protocol.COUNTER_FIELDS)))
        fetched, offers, carry = Signal(), Signal(), Signal()
        addend = Signal(ROUND_BITS, reset_less=True)
        first, last, total = Signal(), Signal(), Signal(9)
        firsts = [fields_size(protocol.COUNTER_FIELDS[:n]) for n in range(len(protocol.COUNTER_FIELDS))]
        names = [field.name for field in protocol.COUNTER_FIELDS]
        most = {name: (1 << ROUND_BITS) // (APART if name in RARE else 1) for name in names}
        pending = Array(Signal(range(most[name]), name=f"pending_{name}") for name in names)
        done = fetched & (~offers | ~self.read | self.bytes.ready)
        m.d.comb += [
            first.eq(Cat(address == place for place in firsts).any()),
            last.eq(address == SIZE - 1),
            total.eq(memory.read.data + addend),
            memory.read.addr.eq(address),
            memory.write.addr.eq(address),
            memory.write.data.eq(total),
            memory.write.en.eq(done),
            self.bytes.payload.eq(total),
            self.bytes.valid.eq(fetched & offers & self.read),
        ]
        m.d.sync += fetched.eq(~done)
        for index, name in enumerate(names):
            event = 1 if name == "cycles" else getattr(self.events, name)
            taken = ~fetched & first & (number == index)
            m.d.sync += pending[index].eq(pending[index] + event)
            with m.If(taken):
                m.d.sync += pending[index].eq(event)
        with m.If(~fetched):
            m.d.sync += addend.eq(Mux(first, pending[number], carry))
        with m.If(done):
            m.d.sync += [
                carry.eq(total[8]),
                address.eq(Mux(last, 0, address + 1)),
                number.eq(number + first),
            ]
            with m.If(last):
                m.d.sync += [number.eq(0), offers.eq(~offers)]
        with m.If(~self.read):
            m.d.sync += offers.eq(0)
        return m
