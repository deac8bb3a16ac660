"""Results of the engine on their way into replies."""

from amaranth import Module, Mux, ResetInserter, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from adakern_spec import protocol
from adakern_spec.protocol import LINK, Link

from ..blocks.ram import Queue
from ..engines.spn import RESULT_LAYOUT
from .fields import RecordWriter
from .layouts import Layouts


class ResultCollector(wiring.Component):
    """Answers the requests whose map is complete, in the order of the jobs.

    At most every second request of a window completes a map, so the queue of jobs never refuses one.
    If the engine gives no result for ``timeout`` cycles though one is due, ``expired`` pulses; cycles in
    which the engine is ``stalled`` do not count, as then the host keeps it waiting. ``abort`` answers every
    job in the queue with TIMEOUT, also that whose answer is being written.

    Latency: the final part of the reply comes `latency` cycles after the result, which is taken with it.

    Parameters
    ----------
    timeout : int
        Cycles.
    link : Link

    Members
    -------
    jobs : In(stream of PENDING)
    results : In(stream of RESULT_LAYOUT)
    parameter_crc : In(32)
    parts : Out(stream of REPLY_PART)
    stalled : In(1)
    abort : In(1)
    expired : Out(1)
    idle : Out(1)
        No job waits for its result.
    finished : Out(1)
        A result went into its reply.
    """

    def __init__(self, timeout: int, link: Link = LINK) -> None:
        self.timeout = timeout
        self.link = link
        layouts = Layouts(link)
        records = {"result": protocol.RESULT_FIELDS, "error": (protocol.Field("code", 1),)}
        self._writer = RecordWriter(records, link)
        super().__init__(
            {
                "jobs": In(stream.Signature(layouts.pending)),
                "results": In(stream.Signature(RESULT_LAYOUT)),
                "parameter_crc": In(32),
                "parts": Out(stream.Signature(layouts.reply_part)),
                "stalled": In(1),
                "abort": In(1),
                "expired": Out(1),
                "idle": Out(1),
                "finished": Out(1),
            }
        )

    def latency(self) -> int:
        """Cycles from a result to the final part of its reply."""
        return self._writer.latency("result")

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = Queue(Layouts(self.link).pending, (self.link.window + 1) // 2)
        writer = self._writer
        m.submodules.writer = ResetInserter(self.abort)(writer)
        wiring.connect(m, writer.parts, wiring.flipped(self.parts))
        wiring.connect(m, wiring.flipped(self.jobs), queue.input)
        head = queue.output.payload
        result = self.results.payload
        values = writer.values.result
        m.d.comb += [
            values.job.eq(head.job),
            values.parameter_crc.eq(self.parameter_crc),
            values.cycles.eq(result.cycles),
            values.stalls.eq(result.stalls),
            values.scale_height.eq(result.scales[0]),
            values.scale_length.eq(result.scales[1]),
            values.kernel_height.eq(result.kernels[0]),
            values.kernel_length.eq(result.kernels[1]),
            writer.values.error.code.eq(protocol.ErrorCode.TIMEOUT),
            writer.start.payload.slot.eq(head.slot),
        ]

        timer = Signal(range(self.timeout + 1))
        flushing = Signal()
        failed = Signal()
        written = Signal()
        m.d.comb += [
            written.eq(self.parts.valid & self.parts.ready & self.parts.payload.final),
            self.idle.eq(queue.empty),
        ]
        m.d.sync += [self.expired.eq(0), self.finished.eq(0), timer.eq(0)]
        with m.FSM():
            with m.State("WAIT"):
                with m.If(queue.output.valid):
                    m.d.comb += [
                        writer.start.valid.eq((self.results.valid | flushing) & ~self.abort),
                        writer.start.payload.record.eq(
                            Mux(flushing, writer.index("error"), writer.index("result"))
                        ),
                        writer.start.payload.status.eq(
                            Mux(flushing, protocol.Status.ERROR, protocol.Status.OK)
                        ),
                    ]
                    with m.If(writer.start.valid & writer.start.ready):
                        m.d.sync += failed.eq(flushing)
                        m.next = "WRITE"
                    with m.Elif(timer == self.timeout):
                        m.d.sync += self.expired.eq(1)
                    with m.Else():
                        m.d.sync += timer.eq(timer + ~self.stalled)
                with m.Elif(queue.empty):
                    m.d.sync += flushing.eq(0)
            with m.State("WRITE"):
                with m.If(self.abort):
                    m.next = "WAIT"
                with m.If(written):
                    m.d.comb += [queue.output.ready.eq(1), self.results.ready.eq(~failed)]
                    m.d.sync += self.finished.eq(~failed)
                    m.next = "WAIT"
        with m.If(self.abort):
            m.d.sync += flushing.eq(1)
        return m
