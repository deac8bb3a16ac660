"""A commit of parameters: all of them or none, whatever breaks into it, and in the time that it has."""

import crc32c
import pytest

from adakern.device.packets import Deframer, Packet, Record, encode
from adakern_hw import top as device
from adakern_hw.engines.crossing import ENGINE, EngineCrossing
from adakern_hw.top import Accelerator, ByteTop
from adakern_sim.benches.byte_bench import ByteBench
from adakern_sim.benches.stub_engine import StubEngine
from adakern_spec import protocol
from adakern_spec.network import SpnShape, folds_for_interval
from adakern_spec.parameters import block_size
from adakern_spec.protocol import ErrorCode, Request, Status

pytestmark = pytest.mark.usefixtures("pessimistic_memories")

SHAPE = SpnShape((2, 2, 2), height=3, max_length=20)
FOLDS = folds_for_interval(SHAPE, 9)
SIZE = block_size(SHAPE)
OLD, NEW = bytes((7 * n + 3) % 256 for n in range(SIZE)), bytes((11 * n + 1) % 256 for n in range(SIZE))
OLD_CRC, NEW_CRC = crc32c.crc32c(OLD), crc32c.crc32c(NEW)
MAP = bytes(range(SHAPE.map_bytes(1)))
IDENTITY, JOB, RESULT = map(Record, (protocol.IDENTITY_FIELDS, protocol.JOB_FIELDS, protocol.RESULT_FIELDS))


def word(value):
    return value.to_bytes(4, "little")


class Host:
    """Sends one request after another."""

    def __init__(self, top, clocks=None):
        self.bench = ByteBench(top, clocks or {})
        self.deframer = Deframer()
        self.epoch = 0
        self.sync()

    def frame(self, kind, payload=b""):
        self.sequence += 1
        return encode(Packet(kind, 0, self.epoch, self.sequence, payload))

    def replies(self, data, count=1):
        self.bench.send(data)
        found = []
        deadline = self.bench.cycles + 20_000
        while len(found) < count and self.bench.cycles < deadline:
            found += self.deframer.feed(self.bench.run(10))
        assert len(found) >= count
        return found

    def ask(self, kind, payload=b""):
        (reply,) = self.replies(self.frame(kind, payload))
        return reply

    def sync(self):
        self.epoch += 1
        self.sequence = 0
        data = encode(Packet(Request.SYNC, 0, self.epoch, 0, b""))
        # What was answered before the SYNC may be on its way.
        while (reply := self.replies(data)[0]).epoch != self.epoch:
            data = b""
        assert reply.status == Status.OK

    def load(self, block):
        assert self.ask(Request.PARAMETER_WRITE, word(0) + block).status == Status.OK
        assert self.ask(Request.PARAMETER_COMMIT, word(crc32c.crc32c(block))).status == Status.OK

    def cycles_of_commit(self):
        """From the first byte of the request to the last of the reply, whatever that is."""
        start = self.bench.cycles
        self.ask(Request.PARAMETER_COMMIT, word(OLD_CRC))
        return self.bench.cycles - start

    def parameters(self):
        """CRC and sum of the block that a map runs with; None if the device says that it has none."""
        identity = IDENTITY.unpack(self.ask(Request.IDENTITY).payload)
        reply = self.ask(Request.JOB, JOB.pack(7, 1))
        if not identity["parameters_valid"]:
            assert (reply.status, reply.payload[0]) == (Status.ERROR, ErrorCode.NO_PARAMETERS)
            return None
        result = RESULT.unpack(self.ask(Request.DATA, MAP).payload)
        assert result["parameter_crc"] == identity["parameter_crc"]
        return result["parameter_crc"], result["kernel_height"]


@pytest.mark.parametrize("ratio", [None, 2.7], ids=["together", "own-clock"])
def test_a_restart_amid_a_commit_leaves_the_old_block_the_new_one_or_none(ratio):
    """A SYNC that arrives in any phase of the commit: no map ever runs with a part of either block."""
    engine, clocks = StubEngine(SHAPE), {}
    if ratio is not None:
        engine, clocks = EngineCrossing(engine), {ENGINE: ratio}
    host = Host(ByteTop(SHAPE, FOLDS, 1, engine=engine), clocks)
    states = {OLD_CRC: (OLD_CRC, sum(OLD) % 65536), NEW_CRC: (NEW_CRC, sum(NEW) % 65536)}
    seen = set()
    for wait in (10, SIZE // 2, SIZE, 3 * SIZE // 2, 2 * SIZE, 4 * SIZE, 12 * SIZE):
        host.load(OLD)
        assert host.ask(Request.PARAMETER_WRITE, word(0) + NEW).status == Status.OK
        host.bench.send(host.frame(Request.PARAMETER_COMMIT, word(NEW_CRC)))
        host.deframer.feed(host.bench.run(wait))
        host.sync()
        found = host.parameters()
        assert found is None or found == states[found[0]]
        seen.add(found and found[0])
    assert seen == {None, OLD_CRC, NEW_CRC}


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_the_store_is_read_as_fast_as_a_commit_needs(monkeypatch, bits):
    """The device's commit of a block that just fits ``COMMIT_CYCLES`` with so many bits of CRC per cycle."""
    limit = 2 * SIZE * (8 // bits + 1)
    monkeypatch.setattr(device, "COMMIT_CYCLES", limit)
    top = ByteTop(SHAPE, FOLDS, 1, engine=StubEngine(SHAPE))
    top.accelerator = Accelerator(SHAPE, FOLDS, 1, engine=StubEngine(SHAPE), crc_bits=1)
    host = Host(top)
    host.load(OLD)
    done = host.cycles_of_commit()
    host.ask(Request.JOB, JOB.pack(7, 1))
    refused = host.cycles_of_commit()
    # Beside what is read: the CRC's own bytes, twice, and three more of the reply.
    assert 0 <= done - refused - limit < 150


def test_an_engine_at_its_own_clock_is_loaded_at_a_byte_every_five_cycles():
    """The store is read twice, once a byte per cycle for its CRC and once into the engine."""
    engine = EngineCrossing(StubEngine(SHAPE))
    host = Host(ByteTop(SHAPE, FOLDS, 1, engine=engine), {ENGINE: 2.03})
    host.load(OLD)
    done = host.cycles_of_commit()
    host.ask(Request.JOB, JOB.pack(7, 1))
    assert 0 <= done - host.cycles_of_commit() - (1 + 5) * SIZE < 60
