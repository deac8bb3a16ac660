"""The whole link in simulation, its engine a stub: maps, parameters, errors, time-outs."""

import crc32c
import pytest
from link_session import (
    BLOCK,
    CLOCK,
    CRC,
    FOLDS,
    IDENTITY,
    JOB,
    LINKS,
    RESULT,
    SESSIONS,
    SHAPE,
    SIZE,
    STUCK,
    TIMEOUT,
    Session,
    values_of,
    word,
)

from adakern.device.packets import Deframer, Packet, encode
from adakern_hw.top import ByteTop
from adakern_sim.benches.byte_bench import ByteBench
from adakern_sim.benches.stub_engine import StubEngine
from adakern_spec import protocol
from adakern_spec.digest import GATEWARE_VERSION, spec_digest
from adakern_spec.network import SpnShape, folds_for_interval
from adakern_spec.parameters import block_size
from adakern_spec.protocol import ErrorCode, Request, Status

pytestmark = pytest.mark.usefixtures("pessimistic_memories")


@pytest.mark.parametrize("link", LINKS, ids=str)
def test_identity(link):
    session = Session(loaded=False, link=link)
    expected = {
        "digest": spec_digest(SHAPE),
        "gateware_version": GATEWARE_VERSION,
        "clock_hz": CLOCK,
        "max_length": 20,
        "height": 3,
        "channels": 2,
        "outputs": 2,
        "window": link.window,
        "payload_max": link.payload,
        "multipliers": sum(fold.multipliers for fold in FOLDS),
        "interval": 9,
        "parameter_size": SIZE,
        "parameter_crc": 0,
        "parameters_valid": 0,
    }
    assert IDENTITY.unpack(session.ask(Request.IDENTITY).payload) == expected
    session.ask(Request.PARAMETER_WRITE, word(0) + BLOCK)
    session.ask(Request.PARAMETER_COMMIT, word(CRC))
    identity = IDENTITY.unpack(session.ask(Request.IDENTITY).payload)
    assert identity == expected | {"parameter_crc": CRC, "parameters_valid": 1}


def test_map_in_pieces(session):
    values = values_of(5)
    assert session.ask(Request.JOB, JOB.pack(0xDEADBEEF, 5)).payload == b""
    assert session.ask(Request.DATA, values[:7]).payload == b""
    assert session.ask(Request.DATA, values[7:8]).payload == b""
    # Its number goes nowhere.
    assert session.refused(Request.JOB, JOB.pack(0x12345678, 4)) == ErrorCode.JOB_OPEN
    reply = session.ask(Request.DATA, values[8:])
    result = RESULT.unpack(reply.payload)
    assert result["job"] == 0xDEADBEEF
    assert result["parameter_crc"] == CRC
    assert result["scale_height"] == sum(values) % 65536
    assert result["scale_length"] == 1
    assert result["kernel_height"] == sum(BLOCK) % 65536
    assert result["kernel_length"] == 5
    assert 0 < result["stalls"] < result["cycles"]


def test_requests_of_several_maps_at_once():
    """All frames of a window back to back: one reply each, results in the order of the jobs."""
    session = Session()
    maps = [values_of(length, seed) for seed, length in enumerate((1, 20, 2, 3))]
    frames = [frame for number, values in enumerate(maps) for frame in session.map(number, values)]
    assert len(frames) == protocol.WINDOW
    replies = {reply.sequence: reply for reply in session.run(b"".join(frames), quiet=600)}
    assert len(replies) == len(frames)
    first = min(replies)
    for number, values in enumerate(maps):
        assert replies[first + 2 * number].payload == b""
        result = RESULT.unpack(replies[first + 2 * number + 1].payload)
        assert (result["job"], result["scale_height"]) == (number, sum(values) % 65536)
        assert result["scale_length"] == number + 1


def test_short_maps_wait_for_their_turn():
    """Maps that fit into the feeder whole while the engine is at the first: no job is lost."""
    session = Session(delay=300)
    maps = [values_of(length, seed) for seed, length in enumerate((1, 1, 2, 1))]
    frames = [frame for number, values in enumerate(maps) for frame in session.map(number, values)]
    replies = sorted(session.collect(b"".join(frames), protocol.WINDOW), key=lambda reply: reply.sequence)
    results = [RESULT.unpack(reply.payload) for reply in replies[1::2]]
    assert [result["scale_height"] for result in results] == [sum(values) for values in maps]
    assert [result["kernel_length"] for result in results] == [1, 1, 2, 1]


def test_parameters_are_read_back_and_written_in_pieces(session):
    assert session.ask(Request.PARAMETER_READ, word(0) + b"\x40").payload == BLOCK[:64]
    assert session.ask(Request.PARAMETER_READ, word(SIZE - 3) + b"\x03").payload == BLOCK[-3:]
    assert session.ask(Request.PARAMETER_READ, word(5) + b"\x00").payload == b""
    session.ask(Request.PARAMETER_WRITE, word(10) + b"new")
    changed = BLOCK[:10] + b"new" + BLOCK[13:]
    assert session.ask(Request.PARAMETER_READ, word(8) + b"\x10").payload == changed[8:24]
    assert session.refused(Request.PARAMETER_COMMIT, word(CRC)) == ErrorCode.BAD_DIGEST
    assert session.loaded() == (CRC, sum(BLOCK) % 65536)
    changed_crc = crc32c.crc32c(changed)
    assert session.ask(Request.PARAMETER_COMMIT, word(changed_crc)).status == Status.OK
    assert session.loaded() == (changed_crc, sum(changed) % 65536)


def test_parameters_written_amid_a_map_wait_for_the_commit_behind_it(session):
    """A map around the write, one between write and commit, one behind the commit, a window at a time."""
    changed = BLOCK[:10] + b"new" + BLOCK[13:]
    changed_crc = crc32c.crc32c(changed)
    frames = [
        session.frame(Request.JOB, JOB.pack(1, 4)),
        session.frame(Request.PARAMETER_WRITE, word(10) + b"new"),
        session.frame(Request.DATA, values_of(4)),
        *session.map(2, values_of(2)),
        session.frame(Request.PARAMETER_COMMIT, word(changed_crc)),
        *session.map(3, values_of(1)),
    ]
    replies = session.run_in_windows(frames, quiet=600)
    results = [RESULT.unpack(reply.payload) for reply in replies if len(reply.payload) == RESULT.size]
    results.sort(key=lambda result: result["job"])
    old, new = (CRC, sum(BLOCK) % 65536), (changed_crc, sum(changed) % 65536)
    assert [(result["parameter_crc"], result["kernel_height"]) for result in results] == [old, old, new]


def test_sync_amid_a_write_leaves_the_old_parameters(session):
    session.ask(Request.PARAMETER_WRITE, word(10) + b"new")
    session.sync(0x4321)
    identity = IDENTITY.unpack(session.ask(Request.IDENTITY).payload)
    assert (identity["parameters_valid"], identity["parameter_crc"]) == (1, CRC)
    assert session.loaded() == (CRC, sum(BLOCK) % 65536)


def test_every_error_but_time_out():
    session = Session(loaded=False)
    assert session.refused(0x55) == ErrorCode.UNKNOWN_TYPE
    assert session.refused(0x55, bytes(300)) == ErrorCode.UNKNOWN_TYPE
    assert session.refused(Request.JOB, JOB.pack(1, 1)) == ErrorCode.NO_PARAMETERS
    session.ask(Request.PARAMETER_WRITE, word(0) + BLOCK)
    session.ask(Request.PARAMETER_COMMIT, word(CRC))

    for kind, payload in [
        (Request.IDENTITY, b"x"),
        (Request.COUNTERS, b"x"),
        (Request.PARAMETER_WRITE, b"abc"),
        (Request.PARAMETER_READ, word(0)),
        (Request.PARAMETER_READ, word(0) + b"\x01\x01"),
        (Request.PARAMETER_READ, word(0) + bytes([protocol.REPLY_PAYLOAD_MAX + 1])),
        (Request.PARAMETER_COMMIT, b"abc"),
        (Request.JOB, bytes(7)),
        (Request.JOB, bytes(9)),
        (Request.DATA, b""),
    ]:
        assert session.refused(kind, payload) == ErrorCode.BAD_LENGTH, (kind, payload)

    for payload in (
        word(SIZE) + b"x",
        word(SIZE - 2) + b"abc",
        word(1 << 31) + b"x",
        word(0) + bytes(SIZE + 1),
    ):
        assert session.refused(Request.PARAMETER_WRITE, payload) == ErrorCode.BAD_ADDRESS
    for address, size in ((SIZE, 1), (SIZE - 1, 2), (0xFFFFFFFF, 1), (1 << 16, 4)):
        assert session.refused(Request.PARAMETER_READ, word(address) + bytes([size])) == ErrorCode.BAD_ADDRESS
    assert session.refused(Request.PARAMETER_COMMIT, word(CRC ^ 1)) == ErrorCode.BAD_DIGEST

    assert session.refused(Request.DATA, b"x") == ErrorCode.NO_JOB
    for length in (0, 21, 1 << 16, (1 << 16) + 1, 1 << 31):
        assert session.refused(Request.JOB, JOB.pack(1, length)) == ErrorCode.BAD_JOB
    session.ask(Request.JOB, JOB.pack(1, 2))
    assert session.refused(Request.JOB, JOB.pack(2, 2)) == ErrorCode.JOB_OPEN
    assert session.refused(Request.PARAMETER_COMMIT, word(CRC)) == ErrorCode.JOB_OPEN
    assert session.refused(Request.DATA, values_of(2) + b"x") == ErrorCode.OVERRUN

    # None of this did any harm.
    values = values_of(2)
    result = RESULT.unpack(session.ask(Request.DATA, values).payload)
    assert (result["job"], result["scale_height"], result["scale_length"]) == (1, sum(values) % 65536, 1)


@pytest.mark.parametrize("length", [STUCK, STUCK + 1])
def test_time_out_resets_the_engine_and_the_next_map_runs(session, length):
    """An engine that takes no pixel, and one that gives no result."""
    session.ask(Request.JOB, JOB.pack(1, length))
    assert session.refused(Request.DATA, values_of(length)) == ErrorCode.TIMEOUT
    assert session.refused(Request.DATA, b"x") == ErrorCode.NO_JOB
    values = values_of(3)
    replies = session.run(b"".join(session.map(2, values)))
    result = RESULT.unpack(replies[-1].payload)
    assert (result["job"], result["scale_height"], result["scale_length"]) == (2, sum(values) % 65536, 1)
    assert result["kernel_height"] == sum(BLOCK) % 65536


@pytest.mark.parametrize("session", list(SESSIONS)[:3], indirect=True)
def test_time_out_fails_every_job_without_a_result(session):
    frames = [
        *session.map(1, values_of(STUCK + 1)),
        *session.map(2, values_of(1)),
        *session.map(3, values_of(2)),
    ]
    replies = {reply.sequence: reply for reply in session.run(b"".join(frames), 3 * TIMEOUT)}
    first = min(replies)
    assert len(replies) == 6
    assert [replies[first + n].status for n in (1, 3)] == [Status.ERROR] * 2
    assert {replies[first + n].payload for n in (1, 3)} == {bytes([ErrorCode.TIMEOUT])}
    # The third job waits for the engine to begin the second: it fails with them, or runs after the reset.
    if replies[first + 4].status == Status.OK:
        assert replies[first + 5].status in (Status.OK, Status.ERROR)
    values = values_of(4)
    result = RESULT.unpack(session.run(b"".join(session.map(4, values)))[-1].payload)
    assert (result["job"], result["scale_height"]) == (4, sum(values) % 65536)


@pytest.mark.parametrize("session", list(SESSIONS)[:4], indirect=True)
def test_commit_times_out_behind_a_stuck_map(session):
    frames = session.map(1, values_of(STUCK + 1))
    frames.append(session.frame(Request.PARAMETER_COMMIT, word(CRC)))
    replies = session.run(b"".join(frames), 4 * TIMEOUT)
    assert replies[1].payload == bytes([ErrorCode.TIMEOUT])
    assert len(replies) == 3
    assert session.ask(Request.PARAMETER_COMMIT, word(CRC)).status == Status.OK


@pytest.mark.parametrize("session", list(SESSIONS)[:3], indirect=True)
def test_time_out_does_not_disturb_a_read_of_the_parameters(session):
    frames = session.map(1, values_of(STUCK + 1))
    frames += [session.frame(Request.PARAMETER_READ, word(n) + b"\x40") for n in range(6)]
    replies = {reply.sequence: reply for reply in session.run(b"".join(frames), 2 * TIMEOUT)}
    first = min(replies)
    assert replies[first + 1].payload == bytes([ErrorCode.TIMEOUT])
    assert [replies[first + 2 + n].payload for n in range(6)] == [BLOCK[n : n + 64] for n in range(6)]


def test_maps_stream_without_a_stall():
    """An engine at the pace of the reference, 8 bytes in 9 cycles, never waits for the link."""
    shape = SpnShape((8, 2), height=8, max_length=40)
    engine = StubEngine(shape, interval=9, delay=2000)
    size = block_size(shape)
    bench = ByteBench(ByteTop(shape, folds_for_interval(shape, 9), CLOCK, engine=engine))
    deframer = Deframer()
    values = bytes(n * 37 % 251 for n in range(shape.map_bytes(40)))
    requests = [
        (Request.PARAMETER_WRITE, word(0) + bytes(size)),
        (Request.PARAMETER_COMMIT, word(crc32c.crc32c(bytes(size)))),
    ]
    for number in range(3):
        requests.append((Request.JOB, JOB.pack(number, 40)))
        requests += [(Request.DATA, values[n : n + 512]) for n in range(0, len(values), 512)]
    bench.send(encode(Packet(Request.SYNC, 0, 7, 0, b"")))
    sent, open_ = 0, set()
    results = []
    while len(results) < 3:
        while sent < len(requests) and (not open_ or sent + 1 - min(open_) < protocol.WINDOW):
            kind, payload = requests[sent]
            sent += 1
            open_.add(sent)
            bench.send(encode(Packet(kind, 0, 7, sent, payload)))
        for reply in deframer.feed(bench.run(50)):
            open_.discard(reply.sequence)
            assert reply.status == Status.OK
            if reply.type == Request.DATA | protocol.REPLY and reply.payload:
                results.append(RESULT.unpack(reply.payload))
        assert bench.cycles < 30_000
    assert [result["scale_height"] for result in results] == [sum(values) % 65536] * 3
    assert [result["stalls"] for result in results] == [0, 0, 0]
    pixels = shape.pixels(40)
    assert [result["cycles"] for result in results] == [9 * (pixels - 1) + 1 + 2000] * 3
