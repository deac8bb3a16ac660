"""Requests and replies over a transport that may lose, damage, repeat or reorder them."""

import secrets
from collections import deque
from collections.abc import Generator, Iterable
from dataclasses import dataclass

from adakern_spec import protocol
from adakern_spec.errors import DeviceError
from adakern_spec.protocol import ErrorCode, Request, Status

from .packets import Deframer, Packet, encode
from .transport import Transport

Command = tuple[Request, bytes]
"""Type and payload of a request."""

SYNC_ATTEMPTS = 8
RETRIES = 10
"""Times that one request is sent again before the device counts as silent."""

BUSY_MAX = 64
"""Times in a row that one request may be answered BUSY."""

BACKOFF_MAX = 8
"""Largest factor on the time-out of a request that was sent again."""

QUEUE_MARGIN = 1.5
"""Time-out over the time that the bytes ahead, the request and its reply take on the line."""

FULL_WINDOW = protocol.WINDOW * (protocol.PACKET_MAX + protocol.REPLY_MAX)
"""Bytes of the largest window of requests and replies."""

FLUSH_ATTEMPTS = (1, 2)
"""Those of the attempts to SYNC that wait for what an earlier session may have left in the queues."""

SEQUENCES = 1 << protocol.SEQUENCE_BITS

_MENDS = {
    ErrorCode.NO_PARAMETERS: "load a model first",
    ErrorCode.BAD_DIGEST: "load the model again",
    ErrorCode.BAD_JOB: "use a length that the device is built for",
    ErrorCode.TIMEOUT: "open the device again; if it happens again, the bitstream is broken",
}


class DeviceSilent(DeviceError):
    """The device does not answer: off, restarted, or the line is cut."""


class EpochOver(DeviceError):
    """Another exchange has begun an epoch of its own while this one was suspended: its answers are lost."""


class RequestRefused(DeviceError):
    """The device answered a request with an error.

    Attributes
    ----------
    code : int
        An `ErrorCode`, or what the device sent in its place.
    """

    def __init__(self, kind: int, code: int, where: str) -> None:
        self.code = code
        known = code in set(ErrorCode)
        reason = ErrorCode(code).name.lower().replace("_", " ") if known else f"error {code}"
        mend = _MENDS.get(ErrorCode(code), "") if known else ""
        super().__init__(f"{Request(kind).name} refused: {reason}", where, mend)


@dataclass(slots=True)
class _Flight:
    """A request under way."""

    kind: int
    sequence: int
    frame: bytes
    due: float
    sends: int = 1
    busy: int = 0
    held: bool = False
    """The device has it: it answered BUSY since the last time-out."""
    reply: Packet | None = None


class Link:
    """One host's end of the protocol.

    Every wait is bounded: a request is sent at most ``1 + RETRIES`` times without a sign of it, and may
    be BUSY at most `BUSY_MAX` times.

    Parameters
    ----------
    transport : Transport
    execution_time : float
        Seconds that the device may need to execute a full window of requests.

    Attributes
    ----------
    window : int
        Requests under way at once; 1 until the device has said how many it takes.
    repeated : int
        Requests sent again so far.
    stale : int
        Replies dropped so far: of another epoch, or nobody waits for them.
    """

    def __init__(self, transport: Transport, execution_time: float = 0.0) -> None:
        self.transport = transport
        self.execution_time = execution_time
        self.window = 1
        self.repeated = 0
        self.stale = 0
        self._deframer = Deframer()
        self._epoch = protocol.NO_EPOCH
        self._sequence = 0
        self._flights: deque[_Flight] = deque()
        self._whole = True

    @property
    def synchronised(self) -> bool:
        """Whether the next request may go out; not before `sync`, nor after an exchange that broke off."""
        return self._epoch != protocol.NO_EPOCH and self._whole

    @property
    def bad_frames(self) -> int:
        """Damaged frames received so far."""
        return self._deframer.bad

    def timeout(self, ahead: int) -> float:
        """Seconds until a request without a reply is sent again, ``ahead`` bytes being on their way."""
        return (
            QUEUE_MARGIN * (ahead * self.transport.byte_time + self.execution_time) + self.transport.latency
        )

    def sync(self) -> None:
        """Begin a new epoch: the device drops all requests and jobs, but keeps its parameters.

        Two SYNC of different epochs have to be answered: one alone might meet a device that is in
        that very epoch, and would reset nothing.
        """
        self._flights.clear()
        self._whole = True
        answered = 0
        for attempt in range(SYNC_ATTEMPTS):
            epoch = self._epoch
            while epoch in (self._epoch, protocol.NO_EPOCH):
                epoch = secrets.randbelow(1 << protocol.EPOCH_BITS)
            self._epoch = epoch
            frame = encode(Packet(Request.SYNC, 0, epoch, 0, b""))
            self.transport.write(frame)
            ahead = len(frame) + (FULL_WINDOW if attempt in FLUSH_ATTEMPTS else protocol.REPLY_MAX)
            if self._greeted(self.transport.now() + self.timeout(ahead)):
                answered += 1
                if answered == 2:
                    self._sequence = 1
                    return
        self._epoch = protocol.NO_EPOCH
        raise self._silent(f"no answer to {SYNC_ATTEMPTS} SYNC")

    def _greeted(self, deadline: float) -> bool:
        while (left := deadline - self.transport.now()) > 0:
            # The whole of it, so that no byte behind the answer is lost to the deframer.
            for packet in list(self._deframer.feed(self.transport.read(left))):
                if packet == Packet(Request.SYNC | protocol.REPLY, Status.OK, self._epoch, 0, b""):
                    return True
                self.stale += 1
        return False

    def request(self, kind: Request, payload: bytes = b"") -> bytes:
        """Send one request and wait for its reply's payload."""
        (reply,) = self.exchange([(kind, payload)])
        return reply

    def exchange(self, commands: Iterable[Command]) -> Generator[bytes, None, None]:
        """Send requests, as many at once as the window allows, and yield their replies' payloads in order.

        Commands are drawn as the window opens. Raises `RequestRefused` in place of a reply that is an
        error and `DeviceSilent`; either way, or if the generator is closed early, `sync` has to come
        before anything else. If it does while the generator is suspended, that one ends with `EpochOver`.
        """
        if not self.synchronised:
            raise DeviceError("link without an epoch", self.transport.name, "open the device again")
        self._whole = False
        flights, epoch = self._flights, self._epoch
        source = iter(commands)
        more = True
        while True:
            # Before more commands are drawn: their source may take its time.
            while flights and (reply := flights[0].reply) is not None:
                kind = flights.popleft().kind
                if reply.status != Status.OK:
                    raise RequestRefused(kind, reply.payload[0] if reply.payload else 0, self.transport.name)
                yield reply.payload
                self._check_epoch(epoch)
            while more and len(flights) < self.window:
                command = next(source, None)
                self._check_epoch(epoch)
                if command is None:
                    more = False
                else:
                    self._launch(*command)
            if flights:
                self._advance()
            elif not more:
                self._whole = True
                return

    def _check_epoch(self, epoch: int) -> None:
        if self._epoch != epoch:
            raise EpochOver(
                "the device was used for something else amid a batch",
                self.transport.name,
                "take a batch's answers first",
            )

    def _launch(self, kind: Request, payload: bytes) -> None:
        frame = encode(Packet(kind, 0, self._epoch, self._sequence, payload))
        self.transport.write(frame)
        flight = _Flight(kind, self._sequence, frame, 0.0)
        self._flights.append(flight)
        flight.due = self.transport.now() + self.timeout(self._ahead(self._flights))
        self._sequence = (self._sequence + 1) % SEQUENCES

    def _ahead(self, flights: Iterable[_Flight]) -> int:
        """Bytes of the requests without a reply and of their replies."""
        return sum(len(flight.frame) + protocol.REPLY_MAX for flight in flights if flight.reply is None)

    def _advance(self) -> None:
        """Take in what arrives until the next time-out, then send again what is due."""
        due = min(flight.due for flight in self._flights if flight.reply is None)
        received = self.transport.read(max(0.0, due - self.transport.now()))
        for packet in self._deframer.feed(received):
            self._take(packet)
        self._repeat()

    def _take(self, packet: Packet) -> None:
        offset = (packet.sequence - self._flights[0].sequence) % SEQUENCES
        flight = self._flights[offset] if offset < len(self._flights) else None
        if (
            flight is None
            or packet.epoch != self._epoch
            or packet.type != flight.kind | protocol.REPLY
            or flight.reply is not None
        ):
            self.stale += 1
        elif packet.status == Status.BUSY:
            flight.held = True
            flight.busy += 1
            flight.sends = 1
        else:
            flight.reply = packet

    def _repeat(self) -> None:
        """Send again the first request that is overdue; those behind it may only wait for it.

        Requests execute in order, so while one is missing the later ones cannot be answered. One that
        the device holds (BUSY) stands in nobody's way: it only waits for its result.
        """
        now = self.transport.now()
        waiting = [flight for flight in self._flights if flight.reply is None]
        overdue = next((flight for flight in waiting if flight.due <= now), None)
        if overdue is None:
            return
        if overdue.sends > RETRIES:
            raise self._silent(f"{Request(overdue.kind).name} sent {overdue.sends} times")
        if overdue.busy > BUSY_MAX:
            raise self._silent(f"{Request(overdue.kind).name} unfinished")
        self.transport.write(overdue.frame)
        self.repeated += 1
        # Those behind it have arrived: only their replies are still to come.
        timeout = self.timeout(len(overdue.frame) + len(waiting) * protocol.REPLY_MAX)
        tries = overdue.sends + overdue.busy
        overdue.sends += 1
        now = self.transport.now()
        overdue.due = now + timeout * min(1 << min(tries, 8), BACKOFF_MAX)
        if not overdue.held:
            for flight in waiting[waiting.index(overdue) + 1 :]:
                flight.due = max(flight.due, now + timeout)
        overdue.held = False

    def _silent(self, what: str) -> DeviceSilent:
        return DeviceSilent(
            f"device silent: {what}",
            self.transport.name,
            "check power, cable, port and baud rate",
        )
