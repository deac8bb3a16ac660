"""The answer to the request in hand: which record goes into its reply, with which status."""

from amaranth import Module, Signal

from adakern_spec import protocol
from adakern_spec.protocol import ErrorCode, Field, Link, Status

from .fields import RecordWriter

RECORDS: dict[str, tuple[Field, ...]] = {
    "empty": (),
    "error": (Field("code", 1),),
    "identity": protocol.IDENTITY_FIELDS,
    "commit": protocol.PARAMETER_COMMIT_REPLY_FIELDS,
}
"""Payloads of replies that are a record."""


class Answer:
    """Registers of what the `Dispatcher` answers, and the `RecordWriter` that they go to.

    The methods belong into a state of the dispatcher; they choose its next one.

    Attributes
    ----------
    writer : RecordWriter of `RECORDS`
    record, status : Signal
        As in the writer's ``start``.
    code : Signal
        Of the record "error".
    """

    def __init__(self, link: Link) -> None:
        self.writer = RecordWriter(RECORDS, link)
        self.code = Signal(8, reset_less=True)
        self.record = Signal(range(len(RECORDS)), reset_less=True)
        self.status = Signal(Status, reset_less=True)

    def respond(self, m: Module, name: str, outcome: Status = Status.OK) -> None:
        """Answer with the record of this name."""
        m.d.sync += [self.record.eq(self.writer.index(name)), self.status.eq(outcome)]
        m.next = "RESPOND"

    def refuse(self, m: Module, reason: ErrorCode) -> None:
        """Discard the rest of the payload and answer with the error."""
        m.d.sync += self.code.eq(reason)
        m.next = "DRAIN"
