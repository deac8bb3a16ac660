"""Payloads of the streams and signals between the blocks of the link."""

from amaranth import unsigned
from amaranth.lib import data

from adakern_spec import protocol
from adakern_spec.protocol import Field, Link


def record_layout(fields: tuple[Field, ...]) -> data.StructLayout:
    """Layout of a record of the protocol, first field in the least significant bits."""
    return data.StructLayout({field.name: unsigned(8 * field.size) for field in fields})


SEQUENCE = unsigned(protocol.SEQUENCE_BITS)
EPOCH = unsigned(protocol.EPOCH_BITS)

REPLY_LENGTH = unsigned(protocol.REPLY_PAYLOAD_MAX.bit_length())
"""Payload bytes of a reply."""

STATUS = unsigned(max(protocol.Status).bit_length())

HEADER = record_layout(protocol.HEADER)

LINE_BYTE = data.StructLayout({"data": unsigned(8), "error": unsigned(1)})
"""A byte from the line; ``error``: it was damaged there, so the frame around it is void."""

PACKET_BYTE = data.StructLayout({"data": unsigned(8), "last": unsigned(1)})
"""A byte of a packet without its CRC."""


class Layouts:
    """Payloads that depend on the link's window and buffers.

    Attributes
    ----------
    slot
        Sequence number modulo the window.
    length
        Payload bytes of a request.
    index
        Place of a byte in a request's payload.
    payload_byte
        A byte of the payload of the frame that is being received.
    request
        A request whose turn has come.
    accepted
        A request that has just been accepted into a slot.
    reply_part
        A byte of a reply's payload at ``index``; ``final`` instead: the reply is complete, ``index`` is
        its payload's length and ``data`` its status.
    """

    def __init__(self, link: Link) -> None:
        self.slot = unsigned((link.window - 1).bit_length())
        self.length = unsigned(link.payload.bit_length())
        self.index = unsigned((link.payload - 1).bit_length())
        self.payload_byte = data.StructLayout({"index": self.index, "data": unsigned(8)})
        self.request = data.StructLayout({"type": unsigned(8), "length": self.length, "slot": self.slot})
        self.accepted = data.StructLayout({"type": unsigned(8), "sequence": SEQUENCE, "slot": self.slot})
        self.reply_part = data.StructLayout(
            {"slot": self.slot, "index": REPLY_LENGTH, "data": unsigned(8), "final": unsigned(1)}
        )
