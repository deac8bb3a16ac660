"""Payloads of the streams and signals between the blocks of the link."""

from amaranth import unsigned
from amaranth.lib import data

from adakern_spec import protocol
from adakern_spec.protocol import Field


def record_layout(fields: tuple[Field, ...]) -> data.StructLayout:
    """Layout of a record of the protocol, first field in the least significant bits."""
    return data.StructLayout({field.name: unsigned(8 * field.size) for field in fields})


SLOT = unsigned((protocol.WINDOW - 1).bit_length())
"""Sequence number modulo the window."""

SEQUENCE = unsigned(protocol.SEQUENCE_BITS)
EPOCH = unsigned(protocol.EPOCH_BITS)
LENGTH = unsigned(protocol.PAYLOAD_MAX.bit_length())
"""Payload bytes of a request."""

REPLY_LENGTH = unsigned(protocol.REPLY_PAYLOAD_MAX.bit_length())
"""Payload bytes of a reply."""

STATUS = unsigned(max(protocol.Status).bit_length())

HEADER = record_layout(protocol.HEADER)

LINE_BYTE = data.StructLayout({"data": unsigned(8), "error": unsigned(1)})
"""A byte from the line; ``error``: it was damaged there, so the frame around it is void."""

INDEX = unsigned((protocol.PAYLOAD_MAX - 1).bit_length())
"""Place of a byte in a request's payload."""

PAYLOAD_BYTE = data.StructLayout({"index": INDEX, "data": unsigned(8)})
"""A byte of the payload of the frame that is being received."""

PACKET_BYTE = data.StructLayout({"data": unsigned(8), "last": unsigned(1)})
"""A byte of a packet without its CRC."""

REQUEST = data.StructLayout({"type": unsigned(8), "length": LENGTH, "slot": SLOT})
"""A request whose turn has come."""

ACCEPTED = data.StructLayout({"type": unsigned(8), "sequence": SEQUENCE, "slot": SLOT})
"""A request that has just been accepted into a slot."""

REPLY_PART = data.StructLayout(
    {"slot": SLOT, "index": REPLY_LENGTH, "data": unsigned(8), "final": unsigned(1)}
)
"""A byte of a reply's payload at ``index``; ``final`` instead: the reply is complete, ``index`` is
its payload's length and ``data`` its status."""

PENDING = data.StructLayout({"slot": SLOT, "job": unsigned(32)})
"""A job whose map is complete: the request to answer with its result."""
