"""What the device says of itself and of its maps, as the bytes of replies."""

from collections.abc import Mapping

from adakern_spec import protocol
from adakern_spec.protocol import fields_size

from ..blocks.ram import Ram


def _place(name: str) -> int:
    """Where a field of the identity begins."""
    names = [field.name for field in protocol.IDENTITY_FIELDS]
    return fields_size(protocol.IDENTITY_FIELDS[: names.index(name)])


CRC_PLACE = _place("parameter_crc")
VALID_PLACE = _place("parameters_valid")
JOB_SIZE = protocol.JOB_FIELDS[0].size
JOB_PLACE = 64
"""Behind the identity, at a multiple of the ring's size."""

RING = 8
"""Job numbers that the ledger holds: of the maps that wait for their results and of the job to come."""

SIZE = JOB_PLACE + RING * JOB_SIZE
assert fields_size(protocol.IDENTITY_FIELDS) <= JOB_PLACE
assert JOB_PLACE % (RING * JOB_SIZE) == 0
assert (protocol.WINDOW + 1) // 2 < RING


def make_ledger(identity: Mapping[str, int | bytes]) -> Ram:
    """Memory of bytes: the record of IDENTITY_FIELDS, whose last two values are 0 at first, and the ring."""
    content = b""
    for field in protocol.IDENTITY_FIELDS:
        value = identity.get(field.name, 0)
        content += value if isinstance(value, bytes) else value.to_bytes(field.size, "little")
    return Ram(8, SIZE, init=content)
