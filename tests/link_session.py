"""A host in simulation that sends what a test says to a whole link, whose engine adds up what it gets."""

import crc32c

from adakern.device.packets import Deframer, Packet, Record, encode
from adakern_hw.engines.crossing import ENGINE, EngineCrossing
from adakern_hw.top import ByteTop
from adakern_sim.benches.byte_bench import ByteBench
from adakern_sim.benches.stub_engine import StubEngine
from adakern_spec import protocol
from adakern_spec.network import SpnShape, folds_for_interval
from adakern_spec.parameters import block_size
from adakern_spec.protocol import LINK, Link, Request, Status

SHAPE = SpnShape((2, 2, 2), height=3, max_length=20)
FOLDS = folds_for_interval(SHAPE, 9)
CLOCK = 12_345_678
STUCK = 9
"""Length of a map that the engine does not take; of the next length it gives no result."""

TIMEOUT = 400
LINKS = (LINK, Link(2, 128), Link(1, 128))
SEQUENCES = 1 << protocol.SEQUENCE_BITS
SIZE = block_size(SHAPE)
BLOCK = bytes((7 * n + 3) % 256 for n in range(SIZE))
CRC = crc32c.crc32c(BLOCK)

JOB = Record(protocol.JOB_FIELDS)
RESULT = Record(protocol.RESULT_FIELDS)
IDENTITY = Record(protocol.IDENTITY_FIELDS)
COUNTERS = Record(protocol.COUNTER_FIELDS)


def word(value):
    return value.to_bytes(4, "little")


class Session:
    """A host without any logic of its own: sends what it is told, remembers the sequence number."""

    def __init__(self, epoch=0x1234, loaded=True, ratio=None, link=LINK, **engine):
        engine = StubEngine(SHAPE, stuck_length=STUCK, **engine)
        self.link = link
        clocks = {}
        if ratio is not None:
            engine, clocks = EngineCrossing(engine), {ENGINE: ratio}
        top = ByteTop(SHAPE, FOLDS, CLOCK, engine=engine, timeout_cycles=TIMEOUT, link=link)
        self.bench = ByteBench(top, clocks)
        self.deframer = Deframer()
        self.sync(epoch)
        if loaded:
            assert self.ask(Request.PARAMETER_WRITE, word(0) + BLOCK).status == Status.OK
            assert self.ask(Request.PARAMETER_COMMIT, word(CRC)).payload == word(CRC)

    def frame(self, kind, payload=b"", sequence=None, epoch=None):
        if sequence is None:
            sequence, self.sequence = self.sequence, (self.sequence + 1) % SEQUENCES
        return encode(Packet(kind, 0, self.epoch if epoch is None else epoch, sequence, payload))

    def run(self, data=b"", cycles=0, quiet=250):
        """Replies until nothing has come for ``quiet`` cycles after the data and ``cycles``."""
        self.bench.send(data)
        replies = list(self.deframer.feed(self.bench.run(len(data) + cycles)))
        while came := self.bench.run(quiet):
            replies += self.deframer.feed(came)
        return replies

    def collect(self, data, count):
        """Replies until ``count`` have come."""
        self.bench.send(data)
        replies = []
        deadline = self.bench.cycles + 5000
        while len(replies) < count and self.bench.cycles < deadline:
            replies += self.deframer.feed(self.bench.run(40))
        return replies

    def sync(self, epoch):
        self.epoch, self.sequence = epoch, 1
        (reply,) = self.run(encode(Packet(Request.SYNC, 0, epoch, 0, b"")))
        assert reply == Packet(Request.SYNC | protocol.REPLY, Status.OK, epoch, 0, b"")

    def ask(self, kind, payload=b""):
        """The one reply to a request."""
        sequence = self.sequence
        (reply,) = self.collect(self.frame(kind, payload), 1)
        assert (reply.type, reply.epoch, reply.sequence) == (kind | protocol.REPLY, self.epoch, sequence)
        return reply

    def refused(self, kind, payload=b""):
        reply = self.ask(kind, payload)
        assert reply.status == Status.ERROR
        assert len(reply.payload) == 1
        return reply.payload[0]

    def run_in_windows(self, frames, quiet=250):
        """Replies to frames that are sent as many at once as the link takes."""
        size = self.link.window
        groups = [frames[first : first + size] for first in range(0, len(frames), size)]
        return [reply for group in groups for reply in self.run(b"".join(group), quiet=quiet)]

    def counters(self):
        return COUNTERS.unpack(self.ask(Request.COUNTERS).payload)

    def loaded(self):
        """CRC and sum of the parameters that a map runs with."""
        result = RESULT.unpack(self.run_in_windows(self.map(77, values_of(1)))[-1].payload)
        return result["parameter_crc"], result["kernel_height"]

    def map(self, number, values):
        """Frames of a whole map of SHAPE."""
        length = len(values) // SHAPE.map_bytes(1)
        return [self.frame(Request.JOB, JOB.pack(number, length)), self.frame(Request.DATA, values)]


def values_of(length, seed=1):
    return bytes((seed * 31 + 17 * n) % 256 for n in range(SHAPE.map_bytes(length)))


SESSIONS = {
    "together": {},
    "same-clock": {"ratio": 1.0},
    "engine-faster": {"ratio": 2.7},
    "window-2": {"link": LINKS[1]},
    "window-1": {"link": LINKS[2]},
}
