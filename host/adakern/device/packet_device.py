"""A device that speaks the packet protocol, whatever the transport."""

import secrets
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from adakern_spec import protocol
from adakern_spec.digest import spec_digest
from adakern_spec.errors import DeviceError, ShapeError
from adakern_spec.network import SpnShape
from adakern_spec.parameters import block_size
from adakern_spec.protocol import ErrorCode, Request

from ..parameters import SpnParameters
from .base import Device, Prediction
from .link import Command, DeviceSilent, EpochOver, Link, RequestRefused
from .maps import checked_map
from .packets import Record
from .transport import Transport

RECOVERIES = 2
"""Times in a row that a device is picked up again after silence, without an answer in between."""

IDENTITY = Record(protocol.IDENTITY_FIELDS)
ADDRESS = Record(protocol.PARAMETER_ADDRESS_FIELDS)
READ = Record(protocol.PARAMETER_READ_FIELDS)
COMMIT = Record(protocol.PARAMETER_COMMIT_FIELDS)
JOB = Record(protocol.JOB_FIELDS)
RESULT = Record(protocol.RESULT_FIELDS)
COUNTERS = Record(protocol.COUNTER_FIELDS)


class BatchInterrupted(DeviceError):
    """The device was lost in the middle of a batch.

    Attributes
    ----------
    done : int
        Maps whose answers were given before; the batch can go on with the one of this index.
    """

    def __init__(self, cause: DeviceError, done: int) -> None:
        self.done = done
        super().__init__(f"{cause.what} (after {done} maps of the batch)", cause.where, cause.mend)


def _passes(error: DeviceError) -> bool:
    """Whether a new epoch may mend it."""
    timed_out = isinstance(error, RequestRefused) and error.code == ErrorCode.TIMEOUT
    return timed_out or isinstance(error, DeviceSilent)


def map_payload(values: np.ndarray) -> bytes:
    """Bytes of a map [C, H, length] on the link: length-major, pixel by pixel (design part 2)."""
    return np.ascontiguousarray(values.transpose(2, 1, 0)).tobytes()


class PacketDevice(Device):
    """A device behind a transport; opened at once.

    Parameters
    ----------
    transport : Transport
        Closed with the device.
    shape : SpnShape
        What the device has to be built for.
    url : str
        For messages.

    Raises
    ------
    DeviceError
        If nothing answers, or something built for another shape, other formats or another protocol.
    """

    def __init__(self, transport: Transport, shape: SpnShape, url: str = "") -> None:
        super().__init__(shape)
        self.url = url or transport.name
        self._transport = transport
        self._link = Link(transport)
        self._payload = protocol.PAYLOAD_MIN
        self._parameters: SpnParameters | None = None
        self._loaded = False
        self._job = secrets.randbits(32)
        try:
            self._open()
        except BaseException:
            transport.close()
            raise

    @property
    def link(self) -> Link:
        """The link, for its statistics."""
        return self._link

    def identity(self) -> dict[str, Any]:
        """IDENTITY_FIELDS of the device."""
        return IDENTITY.unpack(self._request(Request.IDENTITY), self.url)

    def counters(self) -> dict[str, int]:
        """COUNTER_FIELDS of the device, since its reset."""
        return COUNTERS.unpack(self._request(Request.COUNTERS), self.url)

    def read_parameters(self) -> bytes:
        """The parameter block as the device holds it."""
        size, step = block_size(self.shape), protocol.REPLY_PAYLOAD_MAX
        reads = [(first, min(step, size - first)) for first in range(0, size, step)]
        self._ready()
        replies = self._link.exchange((Request.PARAMETER_READ, READ.pack(*read)) for read in reads)
        return b"".join(replies)

    def load(self, parameters: SpnParameters, verify: bool = False) -> None:
        """Load a model's parameters; ``verify`` reads them back and compares.

        The device itself checks the CRC of the whole block in either case.
        """
        if parameters.shape != self.shape:
            raise DeviceError(
                f"a model of shape {parameters.shape} for a device of shape {self.shape}",
                self.url,
                "open a device of the model's shape",
            )
        self._parameters = parameters
        self._loaded = False
        self._ready()
        if verify and self.read_parameters() != parameters.to_block():
            raise DeviceError("the parameters read back differ", self.url, "load the model again")

    def stream(self, maps: Iterable[np.ndarray]) -> Iterator[Prediction]:
        """Answers in order. The requests of several maps are under way at once, so the device never idles.

        If the device falls silent or its engine times out, it is picked up again (`RECOVERIES` times at most
        without an answer in between), its parameters loaded again if it lost them, and the maps without an
        answer run again.
        Raises `BatchInterrupted` if that fails. The device may be used for other things between two answers,
        at the cost of running the maps under way again; not to load another model.
        """
        if self._parameters is None:
            raise DeviceError("no parameters", self.url, "load a model first")
        parameters, source = self._parameters, _Source(self.shape, maps)
        done = lost = 0
        while True:
            if self._parameters.crc != parameters.crc:
                raise DeviceError(
                    f"another model was loaded after {done} maps of a batch",
                    self.url,
                    "take a batch's answers before you load another model",
                )
            try:
                self._ready()
                for prediction in self._run(source.resume()):
                    source.unanswered.popleft()
                    done, lost = done + 1, 0
                    yield prediction
                break
            except EpochOver:
                continue
            except DeviceError as error:
                lost += 1
                if lost > RECOVERIES or not _passes(error):
                    raise BatchInterrupted(error, done) from error
        if source.error is not None:
            raise source.error

    def close(self) -> None:
        self._transport.close()

    def _open(self) -> None:
        self._link.sync()
        reply = self._link.request(Request.IDENTITY)
        ours = spec_digest(self.shape)
        # First of all fields: those behind it may be others in another version of the protocol.
        theirs = reply[: len(ours)]
        if theirs != ours:
            raise DeviceError(
                f"spec digest {theirs.hex()}, expected {ours.hex()} for {self.shape}",
                self.url,
                "use the bitstream and the model of one shape and one version of adakern",
            )
        identity = IDENTITY.unpack(reply, self.url)
        self._obey(identity)
        pixels = self._link.window * self._payload / self.shape.in_channels
        self._link.execution_time = pixels * identity["interval"] / max(1, identity["clock_hz"])

    def _obey(self, identity: dict[str, Any]) -> None:
        """Keep to the window and the payloads that the device has room for."""
        try:
            room = protocol.Link(identity["window"], identity["payload_max"])
        except ShapeError as error:
            raise DeviceError(
                f"the device claims a {error.what}", self.url, "use the bitstream of this version of adakern"
            ) from error
        self._link.window, self._payload = room.window, room.payload

    def _ready(self) -> None:
        """Begin a new epoch if the last exchange broke off; make sure that the parameters are there."""
        if not self._link.synchronised:
            self._loaded = False
            self._link.sync()
        if self._parameters is None or self._loaded:
            return
        identity = IDENTITY.unpack(self._link.request(Request.IDENTITY), self.url)
        if not (identity["parameters_valid"] and identity["parameter_crc"] == self._parameters.crc):
            self._obey(identity)
            block, step = self._parameters.to_block(), self._payload - ADDRESS.size
            commands: list[Command] = [
                (Request.PARAMETER_WRITE, ADDRESS.pack(first) + block[first : first + step])
                for first in range(0, len(block), step)
            ]
            commands.append((Request.PARAMETER_COMMIT, COMMIT.pack(self._parameters.crc)))
            for _ in self._link.exchange(commands):
                pass
        self._loaded = True

    def _request(self, kind: Request) -> bytes:
        self._ready()
        return self._link.request(kind)

    def _run(self, maps: Iterable[np.ndarray]) -> Iterator[Prediction]:
        # Per request under way the job that its reply is the result of.
        results: deque[int | None] = deque()

        def commands() -> Iterator[Command]:
            for values in maps:
                payload, step = map_payload(values), self._payload
                self._job = (self._job + 1) % (1 << 32)
                results.append(None)
                yield Request.JOB, JOB.pack(self._job, values.shape[2])
                for first in range(0, len(payload), step):
                    results.append(self._job if first + step >= len(payload) else None)
                    yield Request.DATA, payload[first : first + step]

        for reply in self._link.exchange(commands()):
            job = results.popleft()
            if job is not None:
                yield self._prediction(job, reply)

    def _prediction(self, job: int, reply: bytes) -> Prediction:
        assert self._parameters is not None
        row = RESULT.unpack(reply) if len(reply) == RESULT.size else {}
        if row.get("job") != job or row.get("parameter_crc") != self._parameters.crc:
            raise DeviceError(
                f"answer {reply.hex()} is not that of job {job} with parameters {self._parameters.crc:08x}",
                self.url,
                "see that nobody else uses the device, then try again",
            )
        return Prediction(
            (row["scale_height"], row["scale_length"]),
            (row["kernel_height"], row["kernel_length"]),
            # The counters wrap.
            (row["cycles"] - row["stalls"]) % (1 << 32),
        )


class _Source:
    """Maps of a stream, checked as they are drawn and kept until they are answered.

    The first error of a map or of the iterable ends the maps and is kept: the answers to those before
    it come first.
    """

    def __init__(self, shape: SpnShape, maps: Iterable[np.ndarray]) -> None:
        self.unanswered: deque[np.ndarray] = deque()
        self.error: Exception | None = None
        self._shape = shape
        self._maps = enumerate(maps)

    def resume(self) -> Iterator[np.ndarray]:
        """Those without an answer again, then new ones."""
        yield from list(self.unanswered)
        while self.error is None:
            try:
                index, values = next(self._maps)
                checked_map(self._shape, values, f"map {index}")
            except StopIteration:
                return
            except Exception as error:
                self.error = error
                return
            self.unanswered.append(values)
            yield values
