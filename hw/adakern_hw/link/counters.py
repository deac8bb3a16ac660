"""Counters of the device since its reset."""

from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from adakern_spec import protocol

from .layouts import record_layout


class Counters(wiring.Component):
    """One counter per COUNTER_FIELDS, incremented in every cycle in which its event is 1; they wrap.

    Members
    -------
    events : In(struct of one bit per counter)
        ``cycles`` is counted always.
    values : Out(record of COUNTER_FIELDS)
    """

    events: In(
        wiring.Signature({field.name: Out(1) for field in protocol.COUNTER_FIELDS if field.name != "cycles"})
    )
    values: Out(record_layout(protocol.COUNTER_FIELDS))

    def elaborate(self, platform):
        m = Module()
        for field in protocol.COUNTER_FIELDS:
            counter = self.values[field.name]
            if field.name == "cycles":
                m.d.sync += counter.eq(counter + 1)
            else:
                with m.If(getattr(self.events, field.name)):
                    m.d.sync += counter.eq(counter + 1)
        return m
