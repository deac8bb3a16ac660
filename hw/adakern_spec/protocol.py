"""Packet protocol between host and device (docs/protocol.md is the prose; the numbers live here).

A frame is ``00 | COBS(header, payload, CRC-32C) | 00``. Header and payload fields are
little-endian. The CRC covers header and payload, runs with all ones in and out, and is sent
least significant byte first.

Window: a request with sequence number ``s`` may be sent once ``s - window`` has been answered.
That is the flow control: the device has one buffer for each sequence number modulo its window, so a
lost packet leaks no credit and none need be counted. How large its window and its buffers are, a device
says in its identity; WINDOW and PAYLOAD_MAX are the most that there may be.
"""

import enum
from dataclasses import dataclass

from .errors import ShapeError

VERSION = 1
"""Protocol version, part of the spec digest."""

DELIMITER = 0x00

PAYLOAD_MAX = 512
"""Largest request payload in bytes that a device may take."""

REPLY_PAYLOAD_MAX = 64
"""Largest reply payload in bytes."""

WINDOW = 8
"""Most requests under way at once."""

PAYLOAD_MIN = 64
"""Largest request payload that every device takes."""


@dataclass(frozen=True)
class Link:
    """What a device's end of the link has room for.

    ``window``: requests under way at once. ``payload``: bytes of the largest request payload. Both are powers
    of two.
    """

    window: int = WINDOW
    payload: int = PAYLOAD_MAX

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("window", self.window, 1, WINDOW),
            ("payload", self.payload, PAYLOAD_MIN, PAYLOAD_MAX),
        ):
            if not low <= value <= high or value & (value - 1):
                raise ShapeError(f"{name} of {value}", "link", f"use a power of two from {low} to {high}")

    @property
    def packet_max(self) -> int:
        """Bytes of the longest request."""
        return PACKET_MIN + self.payload


LINK = Link()
"""Of a device with room for all that there may be."""

SEQUENCE_BITS = 16
EPOCH_BITS = 16
NO_EPOCH = 0
"""Epoch of a device that has not seen a SYNC since its reset; a host never chooses it."""

REPLY = 0x80
"""Set in the type of a reply."""


@dataclass(frozen=True)
class Crc:
    """CRC parameters in Rocksoft notation, as `amaranth.lib.crc` and the host's libraries take them."""

    width: int
    polynomial: int
    initial: int
    reflect: bool
    xor_output: int
    check: int
    """CRC of the ASCII digits 1 to 9."""
    residue: int
    """Register after a message and its own CRC, before the final inversion (not reflected)."""


CRC = Crc(
    width=32,
    polynomial=0x1EDC6F41,
    initial=0xFFFFFFFF,
    reflect=True,
    xor_output=0xFFFFFFFF,
    check=0xE3069283,
    residue=0xB798B438,
)


@dataclass(frozen=True)
class Field:
    """An unsigned little-endian integer of ``size`` bytes, or raw bytes."""

    name: str
    size: int
    raw: bool = False


def fields_size(fields: tuple[Field, ...]) -> int:
    return sum(field.size for field in fields)


HEADER = (
    Field("type", 1),
    Field("status", 1),
    Field("epoch", EPOCH_BITS // 8),
    Field("sequence", SEQUENCE_BITS // 8),
    Field("length", 2),
)
"""Status is 0 in a request. Length counts payload bytes."""

HEADER_SIZE = fields_size(HEADER)
CRC_SIZE = CRC.width // 8
PACKET_MIN = HEADER_SIZE + CRC_SIZE
PACKET_MAX = PACKET_MIN + PAYLOAD_MAX
REPLY_MAX = PACKET_MIN + REPLY_PAYLOAD_MAX


class Request(enum.IntEnum):
    """Type of a request. All but SYNC carry the current epoch and execute once, in sequence order."""

    SYNC = 0x01
    """Starts an epoch: the link state and the engine reset, sequence numbers restart, SYNC itself
    being 0. Repeated with the current epoch it is answered again and resets nothing."""
    IDENTITY = 0x02
    """Who the device is: IDENTITY_FIELDS."""
    PARAMETER_WRITE = 0x03
    """PARAMETER_ADDRESS_FIELDS, then bytes for the parameter store. What the engine is loaded with stays."""
    PARAMETER_READ = 0x04
    """PARAMETER_READ_FIELDS; the reply is the bytes of the store."""
    PARAMETER_COMMIT = 0x05
    """PARAMETER_COMMIT_FIELDS: the device waits for the maps under way, checks the CRC-32C of the
    store and loads the engine from it. Replies with the CRC that it computed."""
    JOB = 0x06
    """JOB_FIELDS: opens a job, that is one map; DATA of exactly its size follows."""
    DATA = 0x07
    """The next bytes of the open job's map. The packet that completes the map is answered when its
    result is there, with RESULT_FIELDS; later requests execute meanwhile."""
    COUNTERS = 0x08
    """COUNTER_FIELDS."""


class Status(enum.IntEnum):
    """Outcome of a request, in the reply's header."""

    OK = 0
    BUSY = 1
    """Accepted, not finished: the answer to a repeated request whose result is not there yet."""
    ERROR = 2
    """Not executed; the payload is one byte, an ErrorCode."""


class ErrorCode(enum.IntEnum):
    """Why a request was not executed."""

    UNKNOWN_TYPE = 1
    BAD_LENGTH = 2
    """The payload is not of the size that the type demands."""
    BAD_ADDRESS = 3
    """Beyond the parameter store."""
    BAD_DIGEST = 4
    """The store's CRC is not the one that was announced."""
    NO_PARAMETERS = 5
    """Nothing was ever committed, or a load broke off: commit first."""
    NO_JOB = 6
    """DATA without an open job."""
    JOB_OPEN = 7
    """A job or a commit while another job's map is incomplete."""
    BAD_JOB = 8
    """Length zero or above the limit."""
    OVERRUN = 9
    """More DATA than the job's map holds."""
    TIMEOUT = 10
    """The engine did not take the data or give the result in time; it was reset."""


IDENTITY_FIELDS = (
    Field("digest", 16, raw=True),
    Field("gateware_version", 4),
    Field("clock_hz", 4),
    Field("max_length", 4),
    Field("height", 2),
    Field("channels", 2),
    Field("outputs", 1),
    Field("window", 1),
    Field("payload_max", 2),
    Field("multipliers", 2),
    Field("interval", 4),
    Field("parameter_size", 4),
    Field("parameter_crc", 4),
    Field("parameters_valid", 1),
)
"""``interval`` is the slowest stage's cycles per pixel. ``parameter_crc`` is that of the committed
block and counts only if ``parameters_valid`` is 1."""

PARAMETER_ADDRESS_FIELDS = (Field("address", 4),)
PARAMETER_READ_FIELDS = (Field("address", 4), Field("size", 1))
PARAMETER_COMMIT_FIELDS = (Field("crc", 4),)
PARAMETER_COMMIT_REPLY_FIELDS = (Field("crc", 4),)
JOB_FIELDS = (Field("job", 4), Field("length", 4))

RESULT_FIELDS = (
    Field("job", 4),
    Field("parameter_crc", 4),
    Field("cycles", 4),
    Field("stalls", 4),
    Field("scale_height", 2),
    Field("scale_length", 2),
    Field("kernel_height", 2),
    Field("kernel_length", 2),
)
"""``cycles`` run from the map's first pixel to its result; ``stalls`` are those of them in which the
engine waited for a pixel from the link."""

COUNTER_FIELDS = (
    Field("cycles", 8),
    Field("busy", 8),
    Field("stalls", 8),
    Field("maps", 4),
    Field("frames_good", 4),
    Field("frames_bad", 4),
    Field("frames_repeated", 4),
    Field("frames_stale", 4),
)
"""Since the device's reset. ``busy``: a map in the engine; ``stalls``: the engine waited for a pixel;
``frames_bad``: wrong CRC, length or line error; ``frames_repeated``: seen before, answered again;
``frames_stale``: another epoch or outside the window, dropped."""
