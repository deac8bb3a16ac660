"""`Link` with a far end in Python: repeats, order, bounds."""

import pytest
from far_end import Line, reply_to

from adakern.device.link import BUSY_MAX, RETRIES, Link, RequestRefused
from adakern.device.packets import Packet
from adakern_spec import protocol
from adakern_spec.errors import DeviceError
from adakern_spec.protocol import ErrorCode, Request, Status


def synchronised(respond, window=protocol.WINDOW):
    link = Link(Line(lambda packet: [reply_to(packet)] if packet.type == Request.SYNC else respond(packet)))
    link.sync()
    link.window = window
    return link


def test_two_different_epochs_begin_a_session():
    link = synchronised(lambda packet: [reply_to(packet)])
    epochs = [packet.epoch for packet in link.transport.written]
    assert len(epochs) == len(set(epochs)) == 2
    assert protocol.NO_EPOCH not in epochs
    assert link.synchronised


@pytest.mark.parametrize("answers", [[], [Packet(1, 1, 1, 1, b"noise")]])
def test_sync_gives_up_on_silence_and_on_noise(answers):
    line = Line(lambda packet: answers)
    with pytest.raises(DeviceError, match="line: device silent") as caught:
        Link(line).sync()
    assert "cable" in caught.value.mend
    assert line.time < 1


def test_request_gives_up_after_its_retries():
    link = synchronised(lambda packet: [])
    with pytest.raises(DeviceError, match="IDENTITY sent 11 times"):
        link.request(Request.IDENTITY)
    sent = [packet for packet in link.transport.written if packet.type == Request.IDENTITY]
    assert len(sent) == 1 + RETRIES
    assert not link.synchronised


def test_endless_noise_ends():
    link = synchronised(lambda packet: [])
    link.transport.read = lambda timeout: (
        setattr(link.transport, "time", link.transport.time + 1e-4) or b"\x55\x00"
    )
    with pytest.raises(DeviceError, match="silent"):
        link.request(Request.IDENTITY)
    assert link.bad_frames > RETRIES


def test_busy_is_patient_but_bounded():
    left = [3 * RETRIES]

    def respond(packet):
        left[0] -= 1
        return [reply_to(packet, Status.BUSY if left[0] else Status.OK, b"" if left[0] else b"done")]

    assert synchronised(respond).request(Request.DATA) == b"done"
    forever = synchronised(lambda packet: [reply_to(packet, Status.BUSY)])
    with pytest.raises(DeviceError, match="DATA unfinished"):
        forever.request(Request.DATA)
    assert len(forever.transport.written) < 2 + BUSY_MAX + RETRIES


@pytest.mark.parametrize(
    "wrong",
    [
        {"epoch": 0},
        {"type": Request.DATA | protocol.REPLY},
        {"type": Request.IDENTITY},
        {"sequence": 200},
        {"sequence": 0},
    ],
)
def test_reply_of_another_time_is_dropped(wrong):
    def respond(packet):
        return [reply_to(packet, payload=b"wrong", **wrong), reply_to(packet, payload=b"right")]

    link = synchronised(respond)
    assert link.request(Request.IDENTITY) == b"right"
    assert link.stale == 1


def test_replies_come_in_order_whatever_their_order_on_the_line():
    held = []

    def respond(packet):
        held.append(reply_to(packet, payload=bytes([packet.sequence])))
        if len(held) < 5:
            return []
        out, held[:] = held[::-1] * 2, []
        return out

    link = synchronised(respond)
    replies = list(link.exchange((Request.DATA, b"") for _ in range(20)))
    assert replies == [bytes([n]) for n in range(1, 21)]


@pytest.mark.parametrize("window", [1, 2, 8])
def test_window_is_never_exceeded(window):
    answered = []
    outstanding = []

    def respond(packet):
        outstanding.append(packet)
        assert len(outstanding) <= window
        if len(outstanding) < window and packet.sequence not in (44, 300):
            return []
        out = [reply_to(each) for each in outstanding]
        answered.extend(outstanding)
        outstanding.clear()
        return out

    link = synchronised(respond, window)
    assert len(list(link.exchange((Request.DATA, b"") for _ in range(300)))) == 300
    assert [packet.sequence for packet in answered] == list(range(1, 301))


def test_only_the_missing_request_is_sent_again():
    lost = [3]

    class Device:
        def __init__(self):
            self.next, self.early = 1, {}

        def __call__(self, packet):
            if packet.sequence in lost:
                lost.clear()
                return []
            self.early[packet.sequence] = packet
            out = []
            while self.next in self.early:
                out.append(reply_to(self.early.pop(self.next)))
                self.next += 1
            return out

    link = synchronised(Device())
    assert len(list(link.exchange((Request.DATA, b"") for _ in range(30)))) == 30
    assert link.repeated == 1
    assert [p.sequence for p in link.transport.written].count(3) == 2


@pytest.mark.parametrize("code", [*ErrorCode, 99])
def test_errors_are_one_line_that_names_the_request(code):
    link = synchronised(lambda packet: [reply_to(packet, Status.ERROR, bytes([code]))])
    with pytest.raises(RequestRefused) as caught:
        link.request(Request.JOB)
    assert caught.value.code == code
    assert str(caught.value).startswith("line: JOB refused: ")
    assert "\n" not in str(caught.value)


def test_replies_ahead_of_an_error_are_given_and_a_broken_exchange_needs_a_sync():
    def respond(packet):
        status = Status.ERROR if packet.sequence == 3 else Status.OK
        return [reply_to(packet, status, bytes([packet.sequence]))]

    link = synchronised(respond)
    given = []
    with pytest.raises(RequestRefused):
        take_into(given, link.exchange((Request.DATA, b"") for _ in range(6)))
    assert given == [b"\x01", b"\x02"]
    with pytest.raises(DeviceError, match="without an epoch"):
        link.request(Request.IDENTITY)
    link.sync()
    assert link.request(Request.IDENTITY) == b"\x01"


def take_into(target, source):
    for item in source:
        target.append(item)


def test_silence_on_a_slow_line_is_noticed_soon():
    line = Line(lambda packet: [])
    line.byte_time = 10 / 9600
    with pytest.raises(DeviceError, match="silent"):
        Link(line).sync()
    assert line.time < 20
    link = synchronised(lambda packet: [])
    link.transport.byte_time = 10 / 9600
    with pytest.raises(DeviceError, match="silent"):
        link.request(Request.IDENTITY)
    assert link.transport.time < 20
