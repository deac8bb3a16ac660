"""Packets and frames on the host's side (docs/protocol.md; the numbers are in `adakern_spec.protocol`)."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import crc32c
from cobs import cobs

from adakern_spec import protocol
from adakern_spec.errors import DeviceError
from adakern_spec.protocol import Field

_INTEGERS = {1: "B", 2: "H", 4: "I", 8: "Q"}


def _format(fields: tuple[Field, ...]) -> struct.Struct:
    return struct.Struct("<" + "".join(f"{f.size}s" if f.raw else _INTEGERS[f.size] for f in fields))


class Record:
    """Packer of a tuple of protocol fields: little-endian, in order."""

    def __init__(self, fields: tuple[Field, ...]) -> None:
        self.names = tuple(field.name for field in fields)
        self._struct = _format(fields)
        self.size = self._struct.size

    def pack(self, *values: int | bytes) -> bytes:
        return self._struct.pack(*values)

    def unpack(self, payload: bytes, where: str = "packet") -> dict[str, Any]:
        """Values by name. Raises `DeviceError`, from ``where``, if the payload has another size."""
        if len(payload) != self.size:
            raise DeviceError(
                f"{len(payload)} bytes where {self.size} are due",
                where,
                "use the bitstream of this version of adakern",
            )
        return dict(zip(self.names, self._struct.unpack(payload), strict=True))


HEADER = Record(protocol.HEADER)
_DELIMITER = bytes([protocol.DELIMITER])


@dataclass(frozen=True)
class Packet:
    """Header fields and payload of one packet, request or reply."""

    type: int
    status: int
    epoch: int
    sequence: int
    payload: bytes


def encode(packet: Packet) -> bytes:
    """The frame of a packet, delimiters included."""
    header = HEADER.pack(packet.type, packet.status, packet.epoch, packet.sequence, len(packet.payload))
    body = header + packet.payload
    body += crc32c.crc32c(body).to_bytes(protocol.CRC_SIZE, "little")
    return _DELIMITER + cobs.encode(body) + _DELIMITER


def decode(encoded: bytes) -> Packet | None:
    """The packet between two delimiters, or None if it is damaged."""
    try:
        body = cobs.decode(encoded)
    except cobs.DecodeError:
        return None
    if not protocol.PACKET_MIN <= len(body) <= protocol.PACKET_MAX:
        return None
    content, check = body[: -protocol.CRC_SIZE], body[-protocol.CRC_SIZE :]
    if crc32c.crc32c(content) != int.from_bytes(check, "little"):
        return None
    kind, status, epoch, sequence, length = HEADER._struct.unpack_from(content)
    payload = content[protocol.HEADER_SIZE :]
    return Packet(kind, status, epoch, sequence, payload) if length == len(payload) else None


class Deframer:
    """Packets out of a stream of bytes that may hold anything.

    Memory is bounded: a run of bytes longer than any frame is dropped up to the next delimiter.

    Attributes
    ----------
    bad : int
        Damaged frames so far.
    """

    _LONGEST = protocol.PACKET_MAX + protocol.PACKET_MAX // 254 + 1

    def __init__(self) -> None:
        self.bad = 0
        self._partial = b""
        self._overlong = False

    def feed(self, received: bytes) -> Iterator[Packet]:
        """Packets completed by these bytes."""
        *complete, partial = received.split(_DELIMITER)
        for piece in complete:
            piece, self._partial = self._partial + piece, b""
            overlong, self._overlong = self._overlong, False
            if not piece and not overlong:
                continue
            packet = None if overlong or len(piece) > self._LONGEST else decode(piece)
            if packet is None:
                self.bad += 1
            else:
                yield packet
        self._partial += partial
        if len(self._partial) > self._LONGEST:
            self._partial = b""
            self._overlong = True
