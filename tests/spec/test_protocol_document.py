"""docs/protocol.md says what the spec says."""

import inspect
from pathlib import Path

import pytest

from adakern_spec import protocol

DOCUMENT = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()


def field_table(fields):
    lines = ["| offset | bytes | field |", "|---|---|---|"]
    offset = 0
    for field in fields:
        lines.append(f"| {offset} | {field.size} | {field.name} |")
        offset += field.size
    return "\n".join(lines)


@pytest.mark.parametrize(
    "name", [name for name in dir(protocol) if name.endswith("FIELDS") or name == "HEADER"]
)
def test_every_record_has_its_table(name):
    fields = getattr(protocol, name)
    assert not fields or field_table(fields) in DOCUMENT, f"{name}:\n{field_table(fields)}"


@pytest.mark.parametrize("codes", [protocol.Request, protocol.Status, protocol.ErrorCode])
def test_every_code_is_listed_with_its_number(codes):
    for code in codes:
        assert f"| {int(code)} | {code.name} |" in DOCUMENT


@pytest.mark.parametrize(
    "name",
    [
        "VERSION",
        "PAYLOAD_MIN",
        "PAYLOAD_MAX",
        "REPLY_PAYLOAD_MAX",
        "WINDOW",
        "HEADER_SIZE",
        "CRC_SIZE",
        "PACKET_MIN",
        "PACKET_MAX",
        "NO_EPOCH",
        "REPLY",
    ],
)
def test_every_constant_is_listed_with_its_value(name):
    assert f"| {name} | {getattr(protocol, name)} |" in DOCUMENT


def test_crc_parameters_are_listed():
    crc = protocol.CRC
    for value in (crc.polynomial, crc.initial, crc.xor_output, crc.check):
        assert f"0x{value:08X}" in DOCUMENT


def test_no_other_code_is_listed():
    """A code that left the spec must leave the document."""
    known = {
        name
        for _, enum in inspect.getmembers(protocol, inspect.isclass)
        if hasattr(enum, "__members__")
        for name in enum.__members__
    }
    rows = [line.split("|")[2].strip() for line in DOCUMENT.splitlines() if line.count("|") >= 3]
    listed = {row for row in rows if row.isupper() and "_" in row}
    assert listed <= known | set(dir(protocol))
