"""Sequence numbers, epochs and repeated requests, on the whole link in simulation."""

import pytest
from link_session import BLOCK, CLOCK, CRC, FOLDS, JOB, RESULT, SEQUENCES, SESSIONS, SHAPE, Session, values_of

from adakern.device.packets import Packet, encode
from adakern_hw.top import ByteTop
from adakern_sim.benches.byte_bench import ByteBench
from adakern_sim.benches.stub_engine import StubEngine
from adakern_spec import protocol
from adakern_spec.protocol import ErrorCode, Request, Status

pytestmark = pytest.mark.usefixtures("pessimistic_memories")


@pytest.mark.parametrize("session", list(SESSIONS)[:4], indirect=True)
def test_repeated_request_is_answered_again_and_not_executed_again(session):
    values = values_of(2)
    job, data = session.map(5, values)
    first = session.run(job + data)
    again = session.run(data + job + data)
    assert again.count(first[1]) == 2
    assert again.count(first[0]) == 1
    counters = session.counters()
    assert counters["maps"] == 1
    assert counters["frames_repeated"] == 3
    result = RESULT.unpack(first[1].payload)
    assert result["scale_length"] == 1


def test_repeated_request_without_an_answer_yet_is_busy():
    session = Session(delay=350)
    job, data = session.map(5, values_of(2))
    replies = session.run(job + data + data, 300)
    assert [reply.status for reply in replies] == [Status.OK, Status.BUSY, Status.OK]
    assert replies[1].payload == b""
    assert replies[1].sequence == replies[2].sequence
    assert RESULT.unpack(replies[2].payload)["job"] == 5


@pytest.mark.parametrize("session", list(SESSIONS)[:3], indirect=True)
def test_requests_out_of_order_execute_in_order(session):
    values = values_of(4)
    frames = [session.frame(Request.JOB, JOB.pack(6, 4))]
    frames += [session.frame(Request.DATA, values[n : n + 4]) for n in range(0, 24, 4)]
    order = [3, 6, 1, 0, 5, 2, 4]
    assert session.run(b"".join(frames[n] for n in order[:3])) == []
    replies = session.run(b"".join(frames[n] for n in order[3:]))
    assert len(replies) == len(frames)
    (result,) = (RESULT.unpack(reply.payload) for reply in replies if reply.payload)
    assert result["scale_height"] == sum(values) % 65536


def test_outside_the_window_is_dropped(session):
    start = session.sequence
    for offset in (session.link.window, 256, SEQUENCES - session.link.window - 1):
        sequence = (start + offset) % SEQUENCES
        assert session.run(session.frame(Request.IDENTITY, sequence=sequence)) == []
    assert session.counters()["frames_stale"] == 3


def test_slot_with_an_open_result_is_not_given_away():
    """A host that breaks the window's rule while a result is due must not destroy it."""
    session = Session(delay=380)
    job, data = session.map(5, values_of(2))
    later = [session.frame(Request.COUNTERS) for _ in range(protocol.WINDOW)]
    replies = session.run(job + data + b"".join(later), 400)
    result = next(reply for reply in replies if reply.type == Request.DATA | protocol.REPLY)
    assert RESULT.unpack(result.payload)["job"] == 5
    assert len(replies) == 2 + protocol.WINDOW - 1


def test_other_epochs_are_dropped(session):
    stale = session.frame(Request.IDENTITY, sequence=session.sequence, epoch=0x1235)
    none = session.frame(Request.IDENTITY, sequence=session.sequence, epoch=protocol.NO_EPOCH)
    reply = session.frame(Request.IDENTITY | protocol.REPLY, sequence=session.sequence)
    assert session.run(stale + none + reply) == []
    assert session.counters()["frames_stale"] == 3


def test_before_any_sync_nothing_is_answered():
    bench = ByteBench(ByteTop(SHAPE, FOLDS, CLOCK, engine=StubEngine(SHAPE)))
    for epoch in (protocol.NO_EPOCH, 1):
        bench.send(encode(Packet(Request.IDENTITY, 0, epoch, 0, b"")))
    bench.send(encode(Packet(Request.SYNC, 0, protocol.NO_EPOCH, 0, b"")))
    bench.send(encode(Packet(Request.SYNC, 0, 5, 1, b"")))
    bench.send(encode(Packet(Request.SYNC, 0, 5, 0, b"x")))
    assert bench.run(400) == b""


def test_sync_in_mid_job_starts_afresh_and_keeps_the_parameters(session):
    session.ask(Request.JOB, JOB.pack(1, 4))
    session.ask(Request.DATA, values_of(4)[:5])
    session.sync(0x4321)
    assert session.refused(Request.DATA, b"x") == ErrorCode.NO_JOB
    values = values_of(3)
    result = RESULT.unpack(session.run(b"".join(session.map(2, values)))[-1].payload)
    assert (result["job"], result["scale_height"], result["scale_length"]) == (2, sum(values) % 65536, 1)
    assert (result["parameter_crc"], result["kernel_height"]) == (CRC, sum(BLOCK) % 65536)


def test_repeated_sync_resets_nothing(session):
    session.ask(Request.JOB, JOB.pack(1, 1))
    (reply,) = session.run(encode(Packet(Request.SYNC, 0, session.epoch, 0, b"")))
    assert reply == Packet(Request.SYNC | protocol.REPLY, Status.OK, session.epoch, 0, b"")
    assert RESULT.unpack(session.ask(Request.DATA, values_of(1)).payload)["job"] == 1


def test_delayed_copy_of_the_last_sync_is_dropped(session):
    session.sync(0x4321)
    assert session.run(encode(Packet(Request.SYNC, 0, 0x1234, 0, b""))) == []
    assert session.counters()["frames_stale"] == 1


def test_counters_count_bad_frames(session):
    before = session.counters()
    session.run(b"\x00garbage\x00" + session.frame(Request.IDENTITY)[:-3] + b"\x00")
    session.sequence -= 1
    after = session.counters()
    assert after["frames_bad"] - before["frames_bad"] == 2
    assert after["frames_good"] - before["frames_good"] == 1
    assert before["cycles"] < after["cycles"] <= session.bench.cycles
