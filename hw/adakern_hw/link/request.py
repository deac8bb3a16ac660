"""The request in hand: its header and the arguments at the start of its payload."""

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import data

from adakern_spec import protocol
from adakern_spec.networks import Shape, block_size
from adakern_spec.numbers import LENGTH_BITS
from adakern_spec.protocol import Field, Link, Request

from ..fixed import times
from .layouts import Layouts
from .store import address_shape

ARGUMENTS: dict[Request, tuple[tuple[Field, ...], bool]] = {
    Request.IDENTITY: ((), False),
    Request.PARAMETER_WRITE: (protocol.PARAMETER_ADDRESS_FIELDS, True),
    Request.PARAMETER_READ: (protocol.PARAMETER_READ_FIELDS, False),
    Request.PARAMETER_COMMIT: (protocol.PARAMETER_COMMIT_FIELDS, False),
    Request.JOB: (protocol.JOB_FIELDS, False),
    Request.DATA: ((), True),
    Request.COUNTERS: ((), False),
}
"""Fields at the start of each payload, and whether more bytes follow."""

ARGUMENT_BYTES = max(protocol.fields_size(fields) for fields, _ in ARGUMENTS.values())
KEPT_BYTES = protocol.fields_size(protocol.PARAMETER_ADDRESS_FIELDS)
"""Of the longest arguments that stay; a job's number, ahead of its length, goes to the ledger."""


class RequestInHand:
    """Registers of the request that the `Dispatcher` executes, and what is derived from them.

    The methods add statements where they are called: `take` where the header is there, `shift` where a byte
    of the arguments is, `judge` in the cycle after the last of them.

    Attributes
    ----------
    kind, slot : Signal
        From the header.
    remaining : Signal
        Bytes of the payload that have not been taken.
    known, fits : Signal
        The type exists; the payload, of which nothing has been taken, is of a size that it may have.
    expected : Signal
        Bytes of the type's arguments.
    needed : Signal
        Bytes of the arguments that have not been taken.
    address, size : Value
        Of a parameter access; its size is that of a read.
    length, map_bytes : Value
        Of a job, and the bytes of such a map.
    digit : Value
        The least significant byte of a commit's CRC; `shift` it in again for the next.
    beyond : Signal
        Of a parameter access: it ends behind the block of parameters.
    bad_job : Signal
        Of a job: no map has this length.
    """

    def __init__(self, shape: Shape, link: Link) -> None:
        self.shape = shape
        layouts = Layouts(link)
        self.kind = Signal(8, reset_less=True)
        self.slot = Signal(layouts.slot, reset_less=True)
        self.remaining = Signal(layouts.length)
        self.needed = Signal(range(ARGUMENT_BYTES + 1))
        self.expected = Signal.like(self.needed)
        self.known = Signal()
        self.fits = Signal()
        # Arguments shift in from the top.
        self.arguments = Signal(8 * KEPT_BYTES, reset_less=True)
        self.size = Signal(8, reset_less=True)
        self.address = self.arguments[: address_shape(block_size(shape)).width]
        self.length = self.arguments
        self.map_bytes = times(self.length[:LENGTH_BITS], shape.map_bytes(1))
        self.digit = self.arguments[:8]
        self.beyond = Signal(reset_less=True)
        self.bad_job = Signal(reset_less=True)

    def take(self, m: Module, header: data.View) -> None:
        """Begin with the request of this header."""
        m.d.sync += [
            self.kind.eq(header.type),
            self.slot.eq(header.slot),
            self.remaining.eq(header.length),
        ]

    def classify(self, m: Module) -> None:
        """Derive what the type says."""
        more = Signal()
        with m.Switch(self.kind):
            for number, (fields, follows) in ARGUMENTS.items():
                with m.Case(number):
                    m.d.comb += [
                        self.known.eq(1),
                        self.expected.eq(protocol.fields_size(fields)),
                        more.eq(follows),
                    ]
        m.d.comb += self.fits.eq(
            Mux(
                more,
                (self.remaining >= self.expected) & (self.remaining != 0),
                self.remaining == self.expected,
            )
        )

    def shift(self, m: Module, byte: Value) -> None:
        """Take the next byte of the arguments."""
        m.d.sync += [self.needed.eq(self.needed - 1), self.size.eq(byte)]
        with m.If((self.kind != Request.PARAMETER_READ) | (self.needed != 1)):
            m.d.sync += self.arguments.eq(Cat(self.arguments[8:], byte))

    def judge(self, m: Module) -> None:
        """Hold the arguments against the shape."""
        block = block_size(self.shape)
        bits = block.bit_length()
        count = Mux(self.kind == Request.PARAMETER_READ, self.size, self.remaining)
        m.d.sync += [
            self.beyond.eq((self.arguments[bits:] != 0) | (self.arguments[:bits] + count > block)),
            self.bad_job.eq((self.length < self.shape.min_length) | (self.length > self.shape.max_length)),
        ]
