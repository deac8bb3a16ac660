import binascii

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adakern.device.packets import HEADER, Deframer, Packet, Record, decode, encode
from adakern_spec import protocol

packets = st.builds(
    Packet,
    type=st.integers(0, 255),
    status=st.integers(0, 255),
    epoch=st.integers(0, 0xFFFF),
    sequence=st.integers(0, 0xFFFF),
    # Zeros and long runs without one are what COBS has to work on.
    payload=st.one_of(
        st.binary(max_size=protocol.PAYLOAD_MAX),
        st.builds(
            lambda n, b: bytes([b]) * n, st.integers(0, protocol.PAYLOAD_MAX), st.sampled_from([0, 1, 255])
        ),
    ),
)


def crc32c_bitwise(content):
    """CRC-32C by its definition: reflected, all ones in and out."""
    register = 0xFFFFFFFF
    for byte in content:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


@given(packets)
def test_frame_round_trip(packet):
    frame = encode(packet)
    assert frame[0] == frame[-1] == 0
    assert 0 not in frame[1:-1]
    assert decode(frame[1:-1]) == packet


def test_frame_of_a_known_packet():
    packet = Packet(type=0x07, status=0, epoch=0x1234, sequence=5, payload=b"\x00\xff")
    content = bytes([0x07, 0, 0x34, 0x12, 5, 0, 2, 0]) + b"\x00\xff"
    body = content + crc32c_bitwise(content).to_bytes(4, "little")
    # COBS by its definition: each code counts to the next zero, the last to the end.
    encoded = b"".join(bytes([len(group) + 1]) + group for group in body.split(b"\x00"))
    assert encode(packet) == b"\x00" + encoded + b"\x00"


def test_crc_is_that_of_the_contract():
    assert crc32c_bitwise(b"123456789") == protocol.CRC.check
    assert crc32c_bitwise(b"123456789") != binascii.crc32(b"123456789")


@given(packets)
def test_every_single_byte_corruption_is_detected(packet):
    frame = encode(Packet(packet.type, packet.status, packet.epoch, packet.sequence, packet.payload[:40]))
    for place in range(1, len(frame) - 1):
        for flip in (0x01, 0x80, 0xFF, frame[place]):
            damaged = bytearray(frame)
            damaged[place] ^= flip
            assert list(Deframer().feed(bytes(damaged))) == []


@given(packets, st.integers(0, 600))
def test_truncated_frame_is_detected(packet, cut):
    inside = encode(packet)[1:-1]
    assert decode(inside[: min(cut, len(inside) - 1)]) is None


@given(st.lists(packets, max_size=4), st.data())
def test_packets_survive_any_split_and_garbage_between_frames(sent, data):
    stream = b"".join(data.draw(st.binary(max_size=20)) + b"\x00" + encode(packet) for packet in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    deframer = Deframer()
    received = []
    for first, last in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        received += deframer.feed(stream[first:last])
    assert received == sent


@given(st.binary(max_size=2000))
def test_garbage_alone_makes_no_packet(garbage):
    assert list(Deframer().feed(garbage + b"\x00")) == []


def test_endless_garbage_takes_no_memory_and_the_next_frame_is_read():
    deframer = Deframer()
    for _ in range(1000):
        assert list(deframer.feed(b"\x55" * 1000)) == []
    assert len(deframer._partial) <= protocol.PACKET_MAX + 3
    packet = Packet(1, 0, 2, 3, b"four")
    assert list(deframer.feed(encode(packet))) == [packet]
    assert deframer.bad == 1


def test_length_field_must_count_the_payload():
    header = HEADER.pack(7, 0, 1, 0, 3)
    content = header + b"four"
    body = content + crc32c_bitwise(content).to_bytes(4, "little")
    encoded = b"".join(bytes([len(group) + 1]) + group for group in body.split(b"\x00"))
    assert decode(encoded) is None


@pytest.mark.parametrize(
    "fields",
    [
        protocol.HEADER,
        protocol.IDENTITY_FIELDS,
        protocol.JOB_FIELDS,
        protocol.RESULT_FIELDS,
        protocol.COUNTER_FIELDS,
        protocol.PARAMETER_READ_FIELDS,
    ],
)
def test_records_lie_as_the_contract_says(fields):
    record = Record(fields)
    values = [
        bytes(range(f.size)) if f.raw else int.from_bytes(bytes(range(1, f.size + 1)), "big") for f in fields
    ]
    expected = b"".join(
        value if isinstance(value, bytes) else value.to_bytes(field.size, "little")
        for field, value in zip(fields, values, strict=True)
    )
    assert record.size == protocol.fields_size(fields)
    assert record.pack(*values) == expected
    assert record.unpack(expected) == {field.name: value for field, value in zip(fields, values, strict=True)}
