"""A device that speaks the packet protocol, whatever the transport."""

import secrets
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from adakern_spec import protocol
from adakern_spec.digest import spec_digest
from adakern_spec.errors import DeviceError, ShapeError
from adakern_spec.networks import Shape, block_size, result_fields
from adakern_spec.protocol import ErrorCode, Request

from ..akm_parameters import AkmParameters
from ..parameter_block import Parameters
from .base import Device
from .link import Command, DeviceSilent, EpochOver, Link, RequestRefused
from .maps import checked_map
from .packets import Record
from .predictions import prediction_type
from .transport import Transport

RECOVERIES = 2
"""Times in a row that a device is picked up again after silence, without an answer in between."""

IDENTITY = Record(protocol.IDENTITY_FIELDS)
ADDRESS = Record(protocol.PARAMETER_ADDRESS_FIELDS)
READ = Record(protocol.PARAMETER_READ_FIELDS)
COMMIT = Record(protocol.PARAMETER_COMMIT_FIELDS)
JOB = Record(protocol.JOB_FIELDS)
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
    if isinstance(error, RequestRefused):
        return error.code in (ErrorCode.TIMEOUT, ErrorCode.BAD_DIGEST)
    return isinstance(error, DeviceSilent)


def _difference(held: bytes, wanted: bytes) -> tuple[int, int]:
    """First byte that differs, and the end of the last."""
    places = np.flatnonzero(np.frombuffer(held, np.uint8) != np.frombuffer(wanted, np.uint8))
    return (int(places[0]), int(places[-1]) + 1) if len(places) else (0, 0)


def map_payload(values: np.ndarray) -> bytes:
    """Bytes of a map [C, H, length] on the link: length-major, pixel by pixel (design part 2)."""
    return np.ascontiguousarray(values.transpose(2, 1, 0)).tobytes()


class PacketDevice(Device):
    """A device behind a transport; opened at once.

    Parameters
    ----------
    transport : Transport
        Closed with the device.
    shape : SpnShape or AkmShape
        What the device has to be built for.
    url : str
        For messages.

    Raises
    ------
    DeviceError
        If nothing answers, or something built for another shape, other formats or another protocol.
    """

    def __init__(self, transport: Transport, shape: Shape, url: str = "") -> None:
        super().__init__(shape)
        self.url = url or transport.name
        self._transport = transport
        self._link = Link(transport)
        self._payload = protocol.PAYLOAD_MIN
        self._result = Record(result_fields(shape))
        self._prediction_type = prediction_type(shape)
        # The model as it was loaded; `_parameters` is that with the kernels of now.
        self._model: Parameters | None = None
        # What the device surely has in force.
        self._loaded: Parameters | None = None
        self._streams = 0
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

    def load(self, parameters: Parameters, verify: bool = False) -> None:
        """Load a model's parameters; ``verify`` reads them back and compares.

        The device itself checks the CRC of the whole block in either case.
        """
        self._check_shape(parameters)
        self._parameters = self._model = parameters
        self._loaded = None
        self._ready()
        if verify and self.read_parameters() != parameters.to_block():
            raise DeviceError("the parameters read back differ", self.url, "load the model again")

    def stream(self, maps: Iterable[np.ndarray]) -> Iterator[Any]:
        """Answers in order. The requests of several maps are under way at once, so the device never idles.

        If the device falls silent or its engine times out, it is picked up again (`RECOVERIES` times at most
        without an answer in between), its parameters loaded again if it lost them, and the maps without an
        answer run again.
        Raises `BatchInterrupted` if that fails. The device may be used for other things between two answers,
        at the cost of running the maps under way again, and adapted at no cost; not to load another model.
        """
        model = self._model
        if model is None:
            raise DeviceError("no parameters", self.url, "load a model first")
        source = _Source(self, maps)
        done = lost = 0
        self._streams += 1
        try:
            while True:
                if self._model is None or self._model.crc != model.crc:
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
        finally:
            self._streams -= 1
        if source.error is not None:
            raise source.error

    def _put_in_force(self, parameters: AkmParameters) -> None:
        """Send what differs alone, where the device holds the rest; in a stream, ahead of the next map.

        A device whose store holds something else refuses the commit, and gets the whole block.
        """
        before, self._parameters = self._parameters, parameters
        if self._streams:
            return
        try:
            try:
                if self._link.synchronised and self._loaded is not None:
                    self._send(self._loaded, parameters)
            except RequestRefused as error:
                if not _passes(error):
                    raise
            self._ready()
        except BaseException:
            self._parameters = before
            raise

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
        """Begin a new epoch if the last exchange broke off; make sure that the parameters are in force."""
        wanted = self._parameters
        if not self._link.synchronised:
            self._loaded = None
            self._link.sync()
        if wanted is None or (self._loaded is not None and self._loaded.crc == wanted.crc):
            return
        identity = IDENTITY.unpack(self._link.request(Request.IDENTITY), self.url)
        if identity["parameters_valid"] and identity["parameter_crc"] == wanted.crc:
            self._loaded = wanted
        else:
            self._obey(identity)
            self._send(None, wanted)

    def _send(self, held: Parameters | None, wanted: Parameters) -> None:
        """Put ``wanted`` in force, where the device surely holds ``held``."""
        self._loaded = None
        for _ in self._link.exchange(self._writes(held, wanted)):
            pass
        self._loaded = wanted

    def _writes(self, held: Parameters | None, wanted: Parameters) -> Iterator[Command]:
        """Requests that put ``wanted`` in force: one run of bytes, the first that differs to the last."""
        block, step = wanted.to_block(), self._payload - ADDRESS.size
        start, end = (0, len(block)) if held is None else _difference(held.to_block(), block)
        for first in range(start, end, step):
            yield Request.PARAMETER_WRITE, ADDRESS.pack(first) + block[first : min(first + step, end)]
        yield Request.PARAMETER_COMMIT, COMMIT.pack(wanted.crc)

    def _request(self, kind: Request) -> bytes:
        self._ready()
        return self._link.request(kind)

    def _run(self, maps: Iterable["_Map"]) -> Iterator[Any]:
        # Per request under way the job that its reply is the result of, and the parameters that it ran with.
        results: deque[tuple[int, Parameters] | None] = deque()
        held = self._loaded

        def commands() -> Iterator[Command]:
            nonlocal held
            for values, parameters in maps:
                if held is None or parameters.crc != held.crc:
                    for command in self._writes(held, parameters):
                        results.append(None)
                        yield command
                    held = parameters
                payload, step = map_payload(values), self._payload
                self._job = (self._job + 1) % (1 << 32)
                results.append(None)
                yield Request.JOB, JOB.pack(self._job, values.shape[2])
                for first in range(0, len(payload), step):
                    last = first + step >= len(payload)
                    results.append((self._job, parameters) if last else None)
                    yield Request.DATA, payload[first : first + step]

        for reply in self._link.exchange(commands()):
            result = results.popleft()
            if result is not None:
                yield self._prediction(*result, reply)
        self._loaded = held

    def _prediction(self, job: int, parameters: Parameters, reply: bytes) -> Any:
        row = self._result.unpack(reply) if len(reply) == self._result.size else {}
        if row.get("job") != job or row.get("parameter_crc") != parameters.crc:
            raise DeviceError(
                f"answer {reply.hex()} is not that of job {job} with parameters {parameters.crc:08x}",
                self.url,
                "see that nobody else uses the device, then try again",
            )
        # The counters wrap.
        return self._prediction_type.of(row, (row["cycles"] - row["stalls"]) % (1 << 32))


_Map = tuple[np.ndarray, Parameters]
"""A map, and the parameters that it is to run with: those in force when it was drawn."""


class _Source:
    """Maps of a stream, checked as they are drawn and kept until they are answered.

    The first error of a map or of the iterable ends the maps and is kept: the answers to those before
    it come first.
    """

    def __init__(self, device: PacketDevice, maps: Iterable[np.ndarray]) -> None:
        self.unanswered: deque[_Map] = deque()
        self.error: Exception | None = None
        self._device = device
        self._maps = enumerate(maps)

    def resume(self) -> Iterator[_Map]:
        """Those without an answer again, then new ones."""
        yield from list(self.unanswered)
        while self.error is None:
            try:
                index, values = next(self._maps)
                checked_map(self._device.shape, values, f"map {index}")
            except StopIteration:
                return
            except Exception as error:
                self.error = error
                return
            parameters = self._device._parameters
            assert parameters is not None
            self.unanswered.append((values, parameters))
            yield values, parameters
