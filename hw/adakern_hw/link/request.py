"""The request in hand: its header and the arguments at the start of its payload."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data

from adakern_spec import protocol
from adakern_spec.network import SpnShape
from adakern_spec.numbers import LENGTH_BITS
from adakern_spec.parameters import block_size
from adakern_spec.protocol import Field, Link, Request

from ..fixed import times
from .layouts import Layouts, record_layout

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
KEPT_BYTES = protocol.fields_size(protocol.PARAMETER_READ_FIELDS)
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
        The type exists; the payload's length is one that it may have.
    needed : Signal
        Bytes of the arguments that have not been taken.
    write, read : View of the arguments as those of one type
    length : Value
        Of a job.
    digit : Value
        The least significant byte of a commit's CRC; `shift` it in again for the next.
    beyond : Signal
        Of a parameter access: it ends behind the block of parameters.
    bad_job : Signal
        Of a job: no map has this length.
    map_bytes : Signal
        Of a job: bytes of the map.
    """

    def __init__(self, shape: SpnShape, link: Link) -> None:
        self.shape = shape
        layouts = Layouts(link)
        self.kind = Signal(8, reset_less=True)
        self.slot = Signal(layouts.slot, reset_less=True)
        self.remaining = Signal(layouts.length)
        self.needed = Signal(range(ARGUMENT_BYTES + 1))
        self.known = Signal()
        self.fits = Signal()
        # Arguments shift in from the top, so those of n bytes end up in the top n bytes.
        self.arguments = Signal(8 * KEPT_BYTES, reset_less=True)
        self.write = self._view(Request.PARAMETER_WRITE)
        self.read = self._view(Request.PARAMETER_READ)
        self.length = self.arguments[-8 * protocol.JOB_FIELDS[1].size :]
        self.digit = self.arguments[-8 * protocol.CRC_SIZE :][:8]
        self.beyond = Signal(reset_less=True)
        self.bad_job = Signal(reset_less=True)
        self.map_bytes = Signal(range(shape.map_bytes(shape.max_length) + 1), reset_less=True)

    def _view(self, request: Request) -> data.View:
        layout = record_layout(ARGUMENTS[request][0])
        return layout(self.arguments[len(self.arguments) - layout.size :])

    def take(self, m: Module, header: data.View) -> None:
        """Begin with the request of this header."""
        m.d.sync += [
            self.kind.eq(header.type),
            self.slot.eq(header.slot),
            self.remaining.eq(header.length),
            self.known.eq(0),
        ]
        with m.Switch(header.type):
            for number, (fields, more) in ARGUMENTS.items():
                size = protocol.fields_size(fields)
                with m.Case(number):
                    fit = (header.length >= max(size, 1)) if more else (header.length == size)
                    m.d.sync += [self.known.eq(1), self.needed.eq(size), self.fits.eq(fit)]

    def shift(self, m: Module, byte: Signal) -> None:
        """Take the next byte of the arguments."""
        m.d.sync += [self.arguments.eq(Cat(self.arguments[8:], byte)), self.needed.eq(self.needed - 1)]

    def judge(self, m: Module) -> None:
        """Hold the arguments against the shape."""
        m.d.sync += [
            self.beyond.eq(
                Mux(
                    self.kind == Request.PARAMETER_READ,
                    self._reaches_beyond(self.read.address, self.read.size),
                    self._reaches_beyond(self.write.address, self.remaining),
                )
            ),
            self.bad_job.eq((self.length == 0) | (self.length > self.shape.max_length)),
            self.map_bytes.eq(times(self.length[:LENGTH_BITS], self.shape.map_bytes(1))),
        ]

    def _reaches_beyond(self, first, size):
        block = block_size(self.shape)
        bits = block.bit_length()
        return (first[bits:] != 0) | (first[:bits] + size > block)
