"""Parameter layout, digest, protocol constants and error lines."""

import dataclasses

import crc32c
import pytest
from amaranth.lib.crc import catalog
from hypothesis import given
from hypothesis import strategies as st

from adakern_spec import digest, numbers, parameters, protocol
from adakern_spec.errors import AdakernError, ArtifactError, DeviceError, InputError, ShapeError
from adakern_spec.network import REFERENCE, SpnShape


def test_block_of_the_reference_network():
    """Counted by hand from the layout: weights, 4 + 1 bytes per channel, 5 per output, 5 per direction."""
    stages = 8 * 72 + 8 * 5 + 8 * 72 + 8 * 5 + 2 * 72 + 2 * 5
    assert parameters.block_size(REFERENCE) == stages + 2 * 5 + 2 * 5 == 1406


def test_block_of_a_shared_scale_has_two_directions():
    assert parameters.head_size(SpnShape((8, 1))) == 1 * 5 + 2 * 5


@pytest.mark.parametrize("weight_bits", [4, 8])
def test_a_weight_takes_one_byte_at_every_width(weight_bits):
    shape = SpnShape((3, 5, 2), kernel=5, weight_bits=weight_bits)
    assert parameters.block_size(shape) == (3 * 25 * 5 + 5 * 5) + (5 * 25 * 2 + 2 * 5) + 10 + 10


def test_a_field_of_the_block_holds_its_format():
    assert {field.name: field.size for field in parameters.CHANNEL_FIELDS} == {"bias": 4, "shift": 1}
    assert {field.name: field.size for field in parameters.HEAD_FIELDS} == {
        "gain": 2,
        "gain_shift": 1,
        "offset": 2,
    }
    assert 2**parameters.SHIFT_BITS > numbers.SHIFT_MAX


CHANGES = [
    {"channels": (8, 8, 2)},
    {"channels": (8, 8, 8, 1)},
    {"height": 15},
    {"kernel": 5},
    {"weight_bits": 4},
    {"input_signed": True},
    {"max_length": 128},
]


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_digest_changes_with_every_field_of_the_shape(change):
    assert digest.spec_digest(dataclasses.replace(REFERENCE, **change)) != digest.spec_digest(REFERENCE)


def test_every_field_of_the_shape_has_such_a_change():
    assert {name for change in CHANGES for name in change} == {f.name for f in dataclasses.fields(SpnShape)}


@pytest.mark.parametrize(
    ("module", "name", "value"),
    [
        (protocol, "VERSION", protocol.VERSION + 1),
        (numbers, "ACTIVATION_BITS", 7),
        (numbers, "ACCUMULATOR_BITS", 24),
        (numbers, "MEAN_EXTRA_BITS", 7),
        (numbers, "GAIN", dataclasses.replace(numbers.GAIN, bits=18)),
        (numbers, "SCALE", dataclasses.replace(numbers.SCALE, frac=13)),
        (numbers, "KERNEL", dataclasses.replace(numbers.KERNEL, frac=7)),
        (numbers, "BASE", dataclasses.replace(numbers.BASE, signed=True)),
    ],
    ids=lambda value: str(value) if isinstance(value, str) else "",
)
def test_digest_changes_with_formats_and_protocol(monkeypatch, module, name, value):
    before = digest.spec_digest(REFERENCE)
    monkeypatch.setattr(module, name, value)
    assert digest.spec_digest(REFERENCE) != before


def test_digest_is_a_function_of_the_contract():
    assert digest.spec_digest(SpnShape()) == digest.spec_digest(REFERENCE)
    assert len(digest.spec_digest(REFERENCE)) == digest.DIGEST_SIZE
    (field,) = (field for field in protocol.IDENTITY_FIELDS if field.name == "digest")
    assert field.size == digest.DIGEST_SIZE


def crc_register(message: bytes) -> int:
    """Bit by bit, least significant first, without the final inversion."""
    crc = protocol.CRC
    polynomial = int(f"{crc.polynomial:0{crc.width}b}"[::-1], 2)
    register = crc.initial
    for byte in message:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (polynomial if register & 1 else 0)
    return register


@given(st.binary(max_size=64))
def test_crc_is_the_one_of_the_crc32c_package(message):
    assert crc_register(message) ^ protocol.CRC.xor_output == crc32c.crc32c(message)


def test_crc_check_value():
    assert crc32c.crc32c(b"123456789") == protocol.CRC.check


@given(st.binary(max_size=64))
def test_crc_residue_is_left_by_any_message_with_its_crc(message):
    framed = message + crc32c.crc32c(message).to_bytes(protocol.CRC_SIZE, "little")
    assert crc_register(framed) == protocol.CRC.residue


def test_crc_is_amaranths_iscsi():
    algorithm = catalog.CRC32_ISCSI
    assert (algorithm.crc_width, algorithm.polynomial, algorithm.initial_crc) == (
        protocol.CRC.width,
        protocol.CRC.polynomial,
        protocol.CRC.initial,
    )
    assert algorithm.reflect_input is algorithm.reflect_output is protocol.CRC.reflect is True
    assert algorithm.xor_output == protocol.CRC.xor_output
    assert algorithm(data_width=8).residue() == protocol.CRC.residue


def test_packet_sizes():
    sizes = {field.name: field.size for field in protocol.HEADER}
    assert protocol.HEADER_SIZE == 8
    assert 256 ** sizes["length"] > protocol.PAYLOAD_MAX
    assert protocol.PACKET_MAX == 8 + 512 + 4
    assert protocol.REPLY_MAX <= protocol.PACKET_MAX


@pytest.mark.parametrize(
    "fields", [protocol.IDENTITY_FIELDS, protocol.RESULT_FIELDS, protocol.COUNTER_FIELDS]
)
def test_replies_fit(fields):
    assert protocol.fields_size(fields) <= protocol.REPLY_PAYLOAD_MAX


def test_fields_hold_what_they_carry():
    results = {field.name: field.size * 8 for field in protocol.RESULT_FIELDS}
    assert results["scale_height"] == results["scale_length"] == numbers.SCALE.bits
    assert results["kernel_height"] == results["kernel_length"] == numbers.KERNEL.bits
    assert results["parameter_crc"] == protocol.CRC.width
    job = {field.name: field.size * 8 for field in protocol.JOB_FIELDS}
    assert job["length"] >= numbers.LENGTH_BITS


def test_sequence_numbers_outnumber_the_window():
    """Selective retransmission tells old from new only if the window is at most half the numbers."""
    assert protocol.WINDOW & protocol.WINDOW - 1 == 0
    assert 2 * protocol.WINDOW <= 1 << protocol.SEQUENCE_BITS


@pytest.mark.parametrize(("window", "payload"), [(0, 512), (3, 512), (16, 512), (8, 32), (8, 100), (8, 1024)])
def test_room_that_no_link_has_is_refused(window, payload):
    with pytest.raises(ShapeError, match="use a power of two from"):
        protocol.Link(window, payload)


def test_request_types_leave_the_reply_bit_free():
    types = [int(request) for request in protocol.Request]
    assert all(0 < value < protocol.REPLY for value in types)
    assert protocol.REPLY < 256


def test_error_is_one_line_of_what_where_and_mend():
    assert str(AdakernError("value 3", "stage 1", "use 2")) == "stage 1: value 3; use 2"
    assert str(AdakernError("value 3", mend="use 2")) == "value 3; use 2"
    assert str(AdakernError("value 3", "stage 1")) == "stage 1: value 3"
    assert str(AdakernError("value 3")) == "value 3"
    assert str(AdakernError("two\nlines", "a  place")) == "a place: two lines"


@pytest.mark.parametrize("kind", [ShapeError, ArtifactError, DeviceError, InputError])
def test_every_error_is_an_adakern_error(kind):
    error = kind("what", "where", "mend")
    assert isinstance(error, AdakernError)
    assert (error.what, error.where, error.mend) == ("what", "where", "mend")
