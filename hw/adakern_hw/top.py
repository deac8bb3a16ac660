"""The whole device behind its byte interface, and behind the pins of a UART."""

from amaranth import Module, ResetInserter, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from adakern_spec.digest import GATEWARE_VERSION, spec_digest
from adakern_spec.networks import Folds, Shape, block_size, latency, multipliers, pace
from adakern_spec.protocol import LINK, Link

from .engines.networks import make_engine
from .link.counters import Counters
from .link.crc import BYTE_BITS
from .link.dispatcher import Dispatcher
from .link.feeder import PixelFeeder
from .link.framing import FrameReceiver, FrameSender
from .link.layouts import LINE_BYTE
from .link.ledger import make_ledger
from .link.replies import ReplyStore
from .link.results import ResultCollector
from .link.store import ParameterStore
from .link.uart import UartReceiver, UartTransmitter
from .link.window import RequestWindow
from .link.writer import ReplyWriter

TIMEOUT_MIN = 1 << 20
"""Cycles: some 20 ms, which no host notices, so that the time-out of a small shape needs no exact bound."""

UART_CRC_BITS = 1
"""A byte from a UART takes at least 10 bits of 4 cycles: time enough to take its CRC bit by bit."""

COMMIT_CYCLES = 1 << 17
"""Most that a commit takes to read the store twice, where a byte per cycle allows: below 3 ms at 48 MHz, so
that a device with a large model adapts within 10 ms. An engine at a clock of its own takes a byte every 5
cycles at best (`StreamCrossing`), and then the second reading is no faster."""


def store_crc_bits(size: int, crc_bits: int) -> int:
    """Bits per cycle of the CRC over a store of ``size`` bytes: ``crc_bits``, or more for `COMMIT_CYCLES`."""
    for bits in range(crc_bits, BYTE_BITS):
        # A byte's bits, and a cycle to take the byte.
        if BYTE_BITS % bits == 0 and 2 * size * (BYTE_BITS // bits + 1) <= COMMIT_CYCLES:
            return bits
    return BYTE_BITS


def timeout(shape: Shape, folds: Folds) -> int:
    """Cycles that the engine has for whatever the link waits for: far more than it takes.

    The longest wait is that for a result once the map's last pixel is in: about the latency of the
    shortest map, which is mostly padding. Cycles in which the engine waits for a pixel do not count.
    """
    return max(TIMEOUT_MIN, 4 * latency(shape, folds, shape.min_length))


def identity(shape: Shape, folds: Folds, clock_hz: int, link: Link = LINK) -> dict[str, int | bytes]:
    """What the device says of itself: IDENTITY_FIELDS but the parameters' state."""
    return {
        "digest": spec_digest(shape),
        "gateware_version": GATEWARE_VERSION,
        "clock_hz": clock_hz,
        "max_length": shape.max_length,
        "height": shape.height,
        "channels": shape.in_channels,
        "outputs": shape.outputs,
        "window": link.window,
        "payload_max": link.payload,
        "multipliers": multipliers(shape, folds),
        "interval": pace(shape, folds),
        "parameter_size": block_size(shape),
    }


class Accelerator(wiring.Component):
    """Link and engine: bytes from the line in, bytes to the line out.

    SYNC resets everything but the parameters, the counters and the receiver; a time-out resets the
    engine.

    Parameters
    ----------
    shape : SpnShape or AkmShape
    folds : tuple of Fold or LayerFold
        As in the engine of the shape.
    clock_hz : int
        Of the engine; told to the host, nothing else.
    engine : Component
        With the ports of `Engine`; that of ``shape`` and ``folds`` by default.
    timeout_cycles : int
        `timeout` of ``shape`` and ``folds`` by default.
    link : Link
    crc_bits : int
        Of `Crc`: 8 keep up with a byte per cycle. That over a large store takes more than these.

    Members
    -------
    rx : In(stream of LINE_BYTE)
    line_break : In(1)
        Forget the frame that is being received.
    tx : Out(stream of 8 bits)
    """

    rx: In(stream.Signature(LINE_BYTE))
    line_break: In(1)
    tx: Out(stream.Signature(8))

    def __init__(
        self,
        shape: Shape,
        folds: Folds,
        clock_hz: int,
        engine: wiring.Component | None = None,
        timeout_cycles: int | None = None,
        link: Link = LINK,
        crc_bits: int = BYTE_BITS,
    ) -> None:
        self.shape = shape
        self.folds = folds
        self.clock_hz = clock_hz
        self.timeout_cycles = timeout(shape, folds) if timeout_cycles is None else timeout_cycles
        self.link = link
        self.crc_bits = crc_bits
        self.engine = make_engine(shape, folds, link=link) if engine is None else engine
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        restart = Signal()
        engine_reset = Signal()
        engine = self.engine
        receiver = FrameReceiver(self.link, self.crc_bits)
        window = RequestWindow(self.link)
        replies = ReplyStore(self.link)
        sender = FrameSender(self.crc_bits)
        told = identity(self.shape, self.folds, self.clock_hz, self.link)
        dispatcher = Dispatcher(self.shape, self.timeout_cycles, self.link)
        collector = ResultCollector(self.timeout_cycles, self.link)
        size = block_size(self.shape)
        store = ParameterStore(size, store_crc_bits(size, self.crc_bits))
        ledger = make_ledger(told)
        writer = ReplyWriter(self.shape, self.link)
        counters = Counters()
        feeder = PixelFeeder(self.shape.stages[0])

        m.submodules.receiver = receiver
        m.submodules.window = window
        m.submodules.replies = replies
        m.submodules.sender = sender
        m.submodules.counters = counters
        m.submodules.ledger = ledger
        m.submodules.dispatcher = ResetInserter(restart)(dispatcher)
        m.submodules.collector = ResetInserter(restart)(collector)
        m.submodules.writer = ResetInserter(restart)(writer)
        m.submodules.store = ResetInserter(restart)(store)
        m.submodules.feeder = ResetInserter(engine_reset)(feeder)
        m.submodules.engine = engine
        m.d.comb += [restart.eq(window.restart), engine_reset.eq(window.restart | dispatcher.abort)]

        wiring.connect(m, wiring.flipped(self.rx), receiver.bytes)
        wiring.connect(m, receiver.frames, window.frames)
        wiring.connect(m, receiver.payload, window.payload)
        wiring.connect(m, window.requests, dispatcher.requests)
        wiring.connect(m, window.data, dispatcher.data)
        wiring.connect(m, window.accepted, replies.accepted)
        wiring.connect(m, window.repeated, replies.repeated)
        wiring.connect(m, dispatcher.replies, writer.answers)
        wiring.connect(m, collector.replies, writer.results)
        wiring.connect(m, dispatcher.ledger, ledger.write)
        wiring.connect(m, writer.ledger, ledger.read)
        wiring.connect(m, writer.parts, replies.parts)
        wiring.connect(m, replies.packet, sender.packet)
        wiring.connect(m, sender.bytes, wiring.flipped(self.tx))
        wiring.connect(m, dispatcher.store_write, store.write)
        wiring.connect(m, dispatcher.store_seek, store.seek)
        wiring.connect(m, counters.bytes, writer.counters)
        wiring.connect(m, dispatcher.pending, collector.jobs)
        wiring.connect(m, dispatcher.bytes, feeder.bytes)
        wiring.connect(m, dispatcher.jobs, engine.jobs)
        wiring.connect(m, dispatcher.parameters, engine.parameters)
        wiring.connect(m, feeder.pixels, engine.pixels)
        m.d.comb += [
            receiver.restart.eq(self.line_break),
            window.finished.eq(replies.finished),
            replies.synchronised.eq(window.synchronised),
            replies.restart.eq(window.restart),
            replies.epoch.eq(window.epoch),
            sender.discard.eq(replies.discard),
            dispatcher.store_crc.eq(store.crc),
            dispatcher.store_settled.eq(store.settled),
            store.drain.eq(dispatcher.store_drain),
            store.rewind.eq(dispatcher.store_rewind),
            store.reads.eq(dispatcher.store_reads | writer.reading),
            dispatcher.store_last.eq(store.last),
            dispatcher.store_bytes.payload.eq(store.bytes.payload),
            dispatcher.store_bytes.valid.eq(store.bytes.valid),
            writer.store.payload.eq(store.bytes.payload),
            writer.store.valid.eq(store.bytes.valid),
            # Whoever of them does not read is not ready.
            store.bytes.ready.eq(dispatcher.store_bytes.ready | writer.store.ready),
            writer.result.eq(engine.results.payload),
            writer.abort.eq(dispatcher.abort),
            collector.due.eq(engine.results.valid),
            engine.results.ready.eq(collector.taken),
            dispatcher.busy.eq(engine.busy),
            engine.restart.eq(engine_reset),
            dispatcher.results_idle.eq(collector.idle),
            dispatcher.expired.eq(collector.expired),
            counters.read.eq(writer.counting),
            collector.abort.eq(dispatcher.abort),
            collector.stalled.eq(engine.stalled),
            counters.events.busy.eq(engine.busy),
            counters.events.stalls.eq(engine.stalled),
            counters.events.maps.eq(collector.finished),
            counters.events.frames_good.eq(receiver.frames.valid & receiver.frames.ready),
            counters.events.frames_bad.eq(receiver.bad),
            counters.events.frames_repeated.eq(window.repeated.valid),
            counters.events.frames_stale.eq(window.stale),
        ]
        return m


class ByteTop(wiring.Component):
    """The accelerator at its byte interface: what the `verilator:` device simulates.

    Parameters as in `Accelerator`.

    Members
    -------
    rx : In(stream of 8 bits)
    tx : Out(stream of 8 bits)
    """

    rx: In(stream.Signature(8))
    tx: Out(stream.Signature(8))

    def __init__(
        self,
        shape: Shape,
        folds: Folds,
        clock_hz: int,
        engine: wiring.Component | None = None,
        timeout_cycles: int | None = None,
        link: Link = LINK,
    ) -> None:
        self.accelerator = Accelerator(shape, folds, clock_hz, engine, timeout_cycles, link)
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.accelerator = accelerator = self.accelerator
        m.d.comb += [
            accelerator.rx.payload.data.eq(self.rx.payload),
            accelerator.rx.valid.eq(self.rx.valid),
            self.rx.ready.eq(accelerator.rx.ready),
        ]
        wiring.connect(m, accelerator.tx, wiring.flipped(self.tx))
        return m


class UartTop(wiring.Component):
    """The accelerator behind the pins of a UART (8N1).

    Parameters
    ----------
    shape, folds, clock_hz, engine, timeout_cycles, link
        As in `Accelerator`.
    baud : int
        At most a quarter of the link's clock.
    flow_control : bool
        Add RTS and CTS, active low as on the wire.
    link_clock_hz : int
        Clock of the link if the engine has its own (`EngineCrossing`), else ``clock_hz``.

    Members
    -------
    rx : In(1)
    tx : Out(1)
    rts : Out(1)
        Low: the host may send.
    cts : In(1)
        Low: the host can receive.
    """

    def __init__(
        self,
        shape: Shape,
        folds: Folds,
        clock_hz: int,
        baud: int,
        flow_control: bool = False,
        link_clock_hz: int | None = None,
        engine: wiring.Component | None = None,
        timeout_cycles: int | None = None,
        link: Link = LINK,
    ) -> None:
        self.link_clock_hz = clock_hz if link_clock_hz is None else link_clock_hz
        self.baud = baud
        self.flow_control = flow_control
        self.accelerator = Accelerator(shape, folds, clock_hz, engine, timeout_cycles, link, UART_CRC_BITS)
        handshake = {"rts": Out(1), "cts": In(1)} if flow_control else {}
        super().__init__({"rx": In(1, init=1), "tx": Out(1, init=1), **handshake})

    def elaborate(self, platform):
        m = Module()
        m.submodules.receiver = receiver = UartReceiver(self.link_clock_hz, self.baud)
        m.submodules.transmitter = transmitter = UartTransmitter(self.link_clock_hz, self.baud)
        m.submodules.accelerator = accelerator = self.accelerator
        wiring.connect(m, receiver.bytes, accelerator.rx)
        wiring.connect(m, accelerator.tx, transmitter.bytes)
        m.d.comb += [
            receiver.pin.eq(self.rx),
            accelerator.line_break.eq(receiver.line_break),
            self.tx.eq(transmitter.pin),
        ]
        if self.flow_control:
            m.d.comb += [self.rts.eq(receiver.bytes.valid), transmitter.clear.eq(~self.cts)]
        else:
            m.d.comb += transmitter.clear.eq(1)
        return m
