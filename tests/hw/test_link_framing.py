import random

import crc32c
import pytest
from cobs import cobs

from adakern.device.packets import Deframer, Packet, decode, encode
from adakern_hw.link.framing import FrameReceiver, FrameSender
from adakern_sim.streams import Bench, plain
from adakern_spec import protocol

pytestmark = pytest.mark.usefixtures("pessimistic_memories")

CRC_BITS = [8, 1]

LENGTHS = [0, 1, 2, 3, 241, 242, 243, 253, 254, 255, 508, 511, 512]


def random_packet(rng, length):
    alphabet = rng.choice([[0], [1], [0, 1], [255], range(256), range(1, 256)])
    payload = bytes(rng.choice(alphabet) for _ in range(length))
    return Packet(rng.randrange(256), rng.randrange(256), rng.randrange(1 << 16), rng.randrange(256), payload)


class Received:
    """What the receiver makes of a line: the packets, and how many frames it dropped.

    ``line`` holds bytes, (byte, error) pairs, or "restart".
    """

    def __init__(self, line, seed=0, stall=0.0, crc_bits=8):
        rng = random.Random(seed)
        dut = FrameReceiver(crc_bits=crc_bits)
        bench = Bench(dut, seed)
        payload = bytearray(protocol.PAYLOAD_MAX)
        self.packets, self.times, self.bad = [], [], 0
        self.line_times = bench.times(dut.bytes)
        ended = []

        async def feed(ctx):
            for item in line:
                if item == "restart":
                    ctx.set(dut.restart, 1)
                    await ctx.tick()
                    ctx.set(dut.restart, 0)
                else:
                    data, error = item if isinstance(item, tuple) else (item, 0)
                    await bench.send(ctx, dut.bytes, [{"data": data, "error": error}], stall)
            await ctx.tick().repeat(20)
            ended.append(True)

        async def collect(ctx):
            ports = (dut.frames.valid, dut.frames.payload, dut.payload.valid, dut.payload.payload, dut.bad)
            while not ended:
                ready = rng.random() >= stall
                ctx.set(dut.frames.ready, ready)
                _, _, valid, header, writes, byte, bad = await ctx.tick().sample(*ports)
                self.bad += bad
                if writes:
                    payload[byte["index"]] = byte["data"]
                if valid and ready:
                    fields = plain(header)
                    self.packets.append(Packet(**fields_without_length(fields, payload)))
                    self.times.append(bench.cycle)

        bench.add(feed)
        bench.add(collect)
        bench.run()


def fields_without_length(fields, payload):
    length = fields.pop("length")
    return fields | {"payload": bytes(payload[:length])}


@pytest.mark.parametrize("crc_bits", CRC_BITS)
@pytest.mark.parametrize("stall", [0.0, 0.3])
def test_frames_of_every_kind_are_received(stall, crc_bits):
    rng = random.Random(1)
    sent = [random_packet(rng, length) for length in LENGTHS]
    received = Received(b"".join(map(encode, sent)), stall=stall, crc_bits=crc_bits)
    assert received.packets == sent
    assert received.bad == 0


def test_a_byte_per_cycle_and_the_header_2_cycles_after_the_delimiter():
    sent = [random_packet(random.Random(2), 512), random_packet(random.Random(3), 0)]
    line = b"".join(map(encode, sent))
    received = Received(line)
    first = len(encode(sent[0])) - 1
    assert received.times[0] - received.line_times[first] == 2
    # One byte waits while the header is on offer for its one cycle.
    assert received.line_times[-1] - received.line_times[0] == len(line) - 1 + 1


def test_a_byte_whenever_the_crc_has_taken_the_one_before():
    sent = [random_packet(random.Random(2), 20), random_packet(random.Random(3), 0)]
    line = b"".join(map(encode, sent))
    received = Received(line, crc_bits=2)
    assert received.packets == sent
    # A COBS code that stands for no zero, and a delimiter, are no bytes of the packet.
    decoded = [len(framed_body(packet)) + protocol.CRC_SIZE for packet in sent]
    assert received.line_times[-1] - received.line_times[0] == len(line) - 1 + 1 + 5 * sum(decoded)


@pytest.mark.parametrize("crc_bits", CRC_BITS)
def test_damage_anywhere_drops_the_frame_and_nothing_else(crc_bits):
    rng = random.Random(4)
    frame = encode(Packet(7, 0, 0x1234, 5, bytes([0, 9, 0, 0, 200])))
    after = Packet(1, 2, 3, 4, b"after")
    line, damaged = b"", 0
    for place in range(len(frame)):
        changed = bytearray(frame)
        changed[place] ^= rng.randrange(1, 256)
        line += bytes(changed) + encode(after)
        damaged += 1
    received = Received(line, crc_bits=crc_bits)
    assert received.packets.count(after) == damaged
    # A changed leading delimiter is garbage ahead of the frame, or joins it: it may be lost, never wrong.
    assert {packet for packet in received.packets if packet != after} <= {decode(frame[1:-1])}
    assert received.bad >= damaged - 2


def test_garbage_is_dropped_and_the_next_frame_is_received():
    rng = random.Random(5)
    packet = Packet(1, 2, 3, 4, b"good")
    line = b""
    for length in (1, 5, 30, 300, 700, 1200):
        line += bytes(rng.randrange(256) for _ in range(length)) + encode(packet)
    # The longest run without a delimiter: more than any packet.
    line += bytes([255] + [1] * 254) * 5 + encode(packet)
    received = Received(line)
    assert received.packets == [packet] * 7


@pytest.mark.parametrize("length", [3, 5, 513, 65535])
def test_length_field_that_lies_is_dropped(length):
    content = bytes([7, 0, 1, 0, 0, 0, *length.to_bytes(2, "little")]) + b"four"
    assert Received(framed(content)).packets == []
    assert Received(framed(content)).bad == 1


def test_packet_longer_than_the_longest_is_dropped():
    for excess in (1, 2, 3, 200):
        length = protocol.PAYLOAD_MAX + excess
        content = bytes([7, 0, 1, 0, 0, 0, *length.to_bytes(2, "little")]) + bytes([7] * length)
        received = Received(framed(content) + encode(Packet(1, 0, 0, 0, b"")))
        assert received.packets == [Packet(1, 0, 0, 0, b"")]
        assert received.bad == 1


def framed(content):
    """A frame with a right CRC around whatever content."""
    return b"\0" + cobs.encode(content + crc32c.crc32c(content).to_bytes(4, "little")) + b"\0"


def test_byte_marked_as_damaged_voids_its_frame_even_if_it_is_right():
    frame = encode(Packet(1, 0, 2, 3, b"abc"))
    for place in range(len(frame) - 1):
        line = [(byte, int(index == place)) for index, byte in enumerate(frame)]
        received = Received([*line, *encode(Packet(9, 0, 2, 3, b"next"))])
        assert received.packets == [Packet(9, 0, 2, 3, b"next")]


@pytest.mark.parametrize("crc_bits", CRC_BITS)
def test_restart_forgets_the_frame_under_way(crc_bits):
    frame = encode(Packet(1, 0, 2, 3, b"abc"))
    for place in range(2, len(frame) - 1):
        received = Received([*frame[:place], "restart", *frame], crc_bits=crc_bits)
        assert received.packets == [Packet(1, 0, 2, 3, b"abc")]
        assert received.bad == 0


def send(bodies, stall=0.0, discards=(), crc_bits=8):
    """Bytes that the sender makes of packets without CRC; those in ``discards`` are withdrawn half-way."""
    dut = FrameSender(crc_bits)
    bench = Bench(dut, seed=6)
    sent = [body for index, body in enumerate(bodies) if index not in discards]
    ended = []
    received = bytearray()

    async def feed(ctx):
        for index, body in enumerate(bodies):
            parts = [{"data": byte, "last": int(place == len(body) - 1)} for place, byte in enumerate(body)]
            if index in discards:
                await bench.send(ctx, dut.packet, parts[: len(parts) // 2], stall)
                ctx.set(dut.discard, 1)
                await ctx.tick()
                ctx.set(dut.discard, 0)
            else:
                await bench.send(ctx, dut.packet, parts, stall)

    async def collect(ctx):
        while received.count(0) < 2 * len(sent):
            received.extend(await bench.receive(ctx, dut.bytes, 1, stall))
        ended.append(True)

    bench.add(feed)
    bench.add(collect)
    bench.run()
    return bytes(received)


@pytest.mark.parametrize("crc_bits", CRC_BITS)
@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_sender_makes_the_frames_of_the_host(stall, crc_bits):
    rng = random.Random(7)
    packets = [random_packet(rng, length) for length in (0, 1, 2, 24, 44, 51, 63, 64)]
    bodies = [framed_body(packet) for packet in packets]
    line = send(bodies, stall, crc_bits=crc_bits)
    assert line == b"".join(map(encode, packets))
    assert list(Deframer().feed(line)) == packets


def framed_body(packet):
    """Header and payload of a packet."""
    return cobs.decode(encode(packet)[1:-1])[: -protocol.CRC_SIZE]


@pytest.mark.parametrize("crc_bits", CRC_BITS)
def test_discarded_packet_leaves_no_trace(crc_bits):
    rng = random.Random(8)
    packets = [random_packet(rng, length) for length in (10, 20, 30, 5)]
    line = send([framed_body(packet) for packet in packets], discards={0, 2}, crc_bits=crc_bits)
    assert line == encode(packets[1]) + encode(packets[3])


def test_sender_cycles():
    dut = FrameSender()
    bench = Bench(dut)
    count = 20
    bench.put(dut.packet, [{"data": n % 3, "last": int(n == count - 1)} for n in range(count)])
    size = count + protocol.CRC_SIZE + 1 + 2
    bench.get(dut.bytes, size)
    taken, given = bench.times(dut.packet), bench.times(dut.bytes)
    bench.run()
    assert taken[-1] - taken[0] == count - 1
    assert given[0] - taken[-1] == 6
    assert given[-1] - given[0] == size - 1 + 1
