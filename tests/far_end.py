"""A far end of the link written in Python, for tests of the host's side."""

from collections import deque

from adakern.device.packets import Deframer, Packet, encode
from adakern.device.transport import Transport
from adakern_spec import protocol
from adakern_spec.protocol import Status


def reply_to(packet, status=Status.OK, payload=b"", **changes):
    fields = {
        "type": packet.type | protocol.REPLY,
        "status": status,
        "epoch": packet.epoch,
        "sequence": packet.sequence,
        "payload": payload,
    }
    return Packet(**(fields | changes))


class Line(Transport):
    """Line with simulated time to a far end written in Python."""

    name = "line"
    byte_time = 1e-6
    latency = 1e-3

    def __init__(self, respond):
        self.respond = respond
        self.time = 0.0
        self.arriving = deque()
        self.written = []
        self.closed = 0
        self._deframer = Deframer()

    def write(self, data):
        for packet in self._deframer.feed(data):
            self.written.append(packet)
            self.arriving.extend(encode(answer) for answer in self.respond(packet))

    def read(self, timeout):
        if not self.arriving:
            self.time += timeout
            return b""
        self.time += self.byte_time
        return self.arriving.popleft()

    def now(self):
        return self.time

    def close(self):
        self.closed += 1
