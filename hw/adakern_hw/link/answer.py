"""The answer to the request in hand: what goes into its reply."""

from amaranth import Module, Signal

from adakern_spec.protocol import ErrorCode

from .writer import CODE, RECORD, Record


class Answer:
    """Registers of what the `Dispatcher` has the `ReplyWriter` write.

    The methods belong into a state of the dispatcher; they choose its next one.

    Attributes
    ----------
    record : Signal
        A Record.
    code : Signal
        Of an error.
    """

    def __init__(self) -> None:
        self.record = Signal(RECORD, reset_less=True)
        self.code = Signal(CODE, reset_less=True)

    def respond(self, m: Module, record: Record) -> None:
        """Answer with this."""
        m.d.sync += self.record.eq(record)
        m.next = "RESPOND"

    def refuse(self, m: Module, reason: ErrorCode) -> None:
        """Discard the rest of the payload and answer with the error."""
        m.d.sync += self.code.eq(reason)
        m.next = "DRAIN"
