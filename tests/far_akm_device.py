"""A far device with a small kernel modulation network, written in Python: its store, and the reference."""

import crc32c
import numpy as np
from far_end import Line, reply_to

from adakern.akm_parameters import AkmParameters
from adakern.device.packet_device import JOB, PacketDevice, Record
from adakern.reference.akm import AkmReference
from adakern_spec import protocol
from adakern_spec.akm import AkmLayer, AkmShape, Downsample, akm_result_fields
from adakern_spec.digest import spec_digest
from adakern_spec.networks import block_size
from adakern_spec.protocol import ErrorCode, Request, Status

SHAPE = AkmShape(
    1,
    10,
    (AkmLayer(8, downsample=Downsample.STRIDE2), AkmLayer(6, downsample=Downsample.MAX2), AkmLayer(5)),
    4,
    radius=3,
    max_length=40,
)


def maps_of(count: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(SHAPE.min_length, SHAPE.max_length, count)
    return [rng.integers(0, 256, (1, SHAPE.height, length), dtype=np.uint8) for length in lengths]


def logits(parameters: AkmParameters, maps: list[np.ndarray]) -> list[tuple[int, ...]]:
    return [tuple(row) for row in AkmReference(parameters).run(maps).logits.tolist()]


class FarDevice:
    """A device in Python: a store, and the reference of what was committed from it."""

    def __init__(self) -> None:
        self.store = bytearray(block_size(SHAPE))
        self.epoch = None
        self.loaded: AkmParameters | None = None
        self.writes: list[int] = []
        self.dies_after: int | None = None
        self.job = (0, 0)
        self.map = b""

    def __call__(self, packet):
        if packet.type == Request.SYNC:
            self.epoch, self.dies_after = packet.epoch, None
            return [reply_to(packet)]
        if packet.epoch != self.epoch or self.dies_after == 0:
            return []
        if self.dies_after is not None:
            self.dies_after -= 1
        answer = getattr(self, f"on_{Request(packet.type).name.lower()}")(packet.payload)
        if isinstance(answer, ErrorCode):
            return [reply_to(packet, Status.ERROR, bytes([answer]))]
        return [reply_to(packet, payload=answer)]

    def on_identity(self, payload):
        loaded = self.loaded
        crc, valid = (0, 0) if loaded is None else (loaded.crc, 1)
        values = [spec_digest(SHAPE), 1, 10**6, SHAPE.max_length, SHAPE.height, 1, 4, 8, 512, 1, 9]
        return Record(protocol.IDENTITY_FIELDS).pack(*values, len(self.store), crc, valid)

    def on_parameter_write(self, payload):
        first = int.from_bytes(payload[:4], "little")
        self.store[first : first + len(payload) - 4] = payload[4:]
        self.writes += range(first, first + len(payload) - 4)
        return b""

    def on_parameter_read(self, payload):
        first = int.from_bytes(payload[:4], "little")
        return bytes(self.store[first : first + payload[4]])

    def on_parameter_commit(self, payload):
        if crc32c.crc32c(bytes(self.store)) != int.from_bytes(payload, "little"):
            return ErrorCode.BAD_DIGEST
        self.loaded = AkmParameters.from_block(SHAPE, bytes(self.store))
        return payload

    def on_job(self, payload):
        values = JOB.unpack(payload)
        self.job, self.map = (values["job"], values["length"]), b""
        return b""

    def on_data(self, payload):
        self.map += payload
        number, length = self.job
        if len(self.map) < SHAPE.map_bytes(length):
            return b""
        values = np.frombuffer(self.map, np.uint8).reshape(length, SHAPE.height, 1).transpose(2, 1, 0)
        assert self.loaded is not None
        (row,) = logits(self.loaded, [values])
        unsigned = [logit % (1 << 32) for logit in row]
        return Record(akm_result_fields(SHAPE)).pack(number, self.loaded.crc, 100, 10, *unsigned)


def opened(parameters: AkmParameters) -> tuple[PacketDevice, FarDevice]:
    far = FarDevice()
    device = PacketDevice(Line(far), SHAPE)
    device.load(parameters, verify=True)
    far.writes.clear()
    return device, far
