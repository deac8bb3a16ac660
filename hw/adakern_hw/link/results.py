"""Results of the engine on their way into replies."""

from amaranth import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from adakern_spec import protocol
from adakern_spec.protocol import LINK, Link

from ..blocks.ram import Queue
from .countdown import Countdown
from .layouts import Layouts
from .writer import CODE, ENTRY, RECORD, Record


class ResultCollector(wiring.Component):
    """Has the requests answered whose map is complete, in the order of the jobs.

    At most every second request of a window completes a map, so the queue of jobs never refuses one.
    If the engine gives no result for ``timeout`` cycles though one is due, ``expired`` pulses; cycles in
    which the engine is ``stalled`` do not count, as then the host keeps it waiting. ``abort`` answers every
    job in the queue with TIMEOUT, also that whose answer is being written.

    Latency: a result is offered in the cycle in which it comes, and taken with its reply.

    Parameters
    ----------
    timeout : int
        Cycles.
    link : Link

    Members
    -------
    jobs : In(stream of the slot)
        The n-th has its number in the n-th entry of the ledger's ring.
    due : In(1)
        The engine offers a result.
    taken : Out(1)
        It goes into its reply with this cycle.
    finished : Out(1)
        One has.
    replies : Out(stream of {"record", "code", "slot", "entry"})
        To `ReplyWriter`.
    stalled : In(1)
    abort : In(1)
    expired : Out(1)
    idle : Out(1)
        No job waits for its result.
    """

    def __init__(self, timeout: int, link: Link = LINK) -> None:
        self.timeout = timeout
        self.link = link
        slot = Layouts(link).slot
        reply = data.StructLayout({"record": RECORD, "code": CODE, "slot": slot, "entry": ENTRY})
        super().__init__(
            {
                "jobs": In(stream.Signature(slot)),
                "due": In(1),
                "taken": Out(1),
                "finished": Out(1),
                "replies": Out(stream.Signature(reply)),
                "stalled": In(1),
                "abort": In(1),
                "expired": Out(1),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = Queue(Layouts(self.link).slot, (self.link.window + 1) // 2)
        wiring.connect(m, wiring.flipped(self.jobs), queue.input)
        reply = self.replies
        timer, waits = Countdown(self.timeout), Signal()
        flushing, done = Signal(), Signal()
        entry = Signal(ENTRY)
        m.d.comb += [
            reply.payload.record.eq(Record.RESULT),
            reply.payload.code.eq(protocol.ErrorCode.TIMEOUT),
            reply.payload.slot.eq(queue.output.payload),
            reply.payload.entry.eq(entry),
            reply.valid.eq(queue.output.valid & (self.due | flushing) & ~self.abort),
            done.eq(reply.valid & reply.ready),
            queue.output.ready.eq(done),
            self.taken.eq(done & ~flushing),
            self.idle.eq(queue.empty),
        ]
        with m.If(flushing):
            m.d.comb += reply.payload.record.eq(Record.ERROR)
        with m.If(done):
            m.d.sync += entry.eq(entry + 1)
        m.d.comb += waits.eq(queue.output.valid & ~reply.valid)
        m.d.sync += [self.finished.eq(self.taken), self.expired.eq(waits & timer.over)]
        timer.run(m, waits & ~timer.over, ~self.stalled)
        with m.If(queue.empty):
            m.d.sync += flushing.eq(0)
        with m.If(self.abort):
            m.d.sync += flushing.eq(1)
        return m
