"""The UART pins of a Verilated device behind a pseudo-terminal: a serial port without a board.

    python -m adakern_sim.serial_port --multipliers 16 --clock 12000000 --baud 3000000

prints the port's path and serves it until interrupted. A pseudo-terminal ignores the baud rate
that its user sets; the line runs at the one given here.
"""

import argparse
import os
import pty
import select
import sys
import threading
import tty
from types import TracebackType
from typing import Self

from adakern_spec.errors import AdakernError
from adakern_spec.network import REFERENCE, SpnShape, folds_for_budget

from .model import UartModel
from .tops import uart_model

CHUNK_CYCLES = 4000
"""Cycles between two looks at the terminal, a few milliseconds."""

IDLE_CYCLES = 2_000_000
"""Cycles without a byte in either direction after which the device has nothing more to say."""

BACKLOG_SIZE = 4096
"""Bytes held in either direction before the other side waits."""


class SerialPort:
    """A pseudo-terminal whose far end is the UART of ``model``; a context manager.

    Parameters
    ----------
    model : UartModel
        Belongs to the port from here on: a thread runs it, `close` closes it.

    Attributes
    ----------
    path : str
        The terminal, e.g. ``/dev/pts/3``.
    """

    def __init__(self, model: UartModel) -> None:
        self._model = model
        # The slave stays open here too: a user that closes the port must not hang up the line.
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.path = os.ttyname(self._slave)
        self._wake_read, self._wake_write = os.pipe()
        # Not Thread.join: interrupted, it takes the thread for finished, and the model is freed under it.
        self._finished = threading.Event()
        threading.Thread(target=self._serve, name=f"serial port {self.path}", daemon=True).start()

    def close(self) -> None:
        """Unplug: whoever has the port open sees it vanish. Closing twice is harmless."""
        if self._wake_write < 0:
            return
        os.close(self._wake_write)
        self._wake_write = -1
        self._finished.wait()
        for descriptor in (self._master, self._slave, self._wake_read):
            os.close(descriptor)
        self._model.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def wait(self) -> None:
        """Block until the port is closed."""
        self._finished.wait()

    def _serve(self) -> None:
        try:
            self._simulate()
        finally:
            self._finished.set()

    def _simulate(self) -> None:
        """Move bytes and simulate while there is something to do; sleep in ``poll`` otherwise."""
        to_device, to_user = bytearray(), bytearray()
        idle_cycles = IDLE_CYCLES
        poll = select.poll()
        poll.register(self._wake_read, select.POLLHUP)
        while True:
            may_run = len(to_user) < BACKLOG_SIZE and (to_device or idle_cycles < IDLE_CYCLES)
            wanted = select.POLLIN if len(to_device) < BACKLOG_SIZE else 0
            wanted |= select.POLLOUT if to_user else 0
            poll.register(self._master, wanted)
            events = dict(poll.poll(0 if may_run else None))
            if self._wake_read in events:
                return
            event = events.get(self._master, 0)
            if event & select.POLLIN:
                to_device += os.read(self._master, BACKLOG_SIZE)
                idle_cycles = 0
            if event & select.POLLOUT:
                del to_user[: os.write(self._master, to_user)]
            if may_run:
                used, arrived = self._model.run(bytes(to_device), CHUNK_CYCLES, stop_on_frame=True)
                del to_device[:used]
                to_user += arrived
                idle_cycles = 0 if used or arrived else idle_cycles + CHUNK_CYCLES


def main() -> int:
    """Serve one port until interrupted; its path is the first line on standard output."""
    parser = argparse.ArgumentParser(
        "adakern_sim.serial_port", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument(
        "--channels", default=",".join(map(str, REFERENCE.channels)), help="between the stages"
    )
    parser.add_argument("--height", type=int, default=REFERENCE.height, help="rows of the map")
    parser.add_argument("--max-length", type=int, default=REFERENCE.max_length, help="longest map")
    parser.add_argument("--multipliers", type=int, default=16, help="multiplier budget")
    parser.add_argument("--clock", type=int, default=12_000_000, help="clock in Hz")
    parser.add_argument("--baud", type=int, default=3_000_000, help="bits per second")
    options = parser.parse_args()
    try:
        channels = tuple(int(count) for count in options.channels.split(","))
        shape = SpnShape(channels, options.height, max_length=options.max_length)
        folds = folds_for_budget(shape, options.multipliers)

        def status(message: str) -> None:
            print(message, file=sys.stderr)

        with SerialPort(uart_model(shape, folds, options.clock, options.baud, status=status)) as port:
            print(port.path, flush=True)
            port.wait()
    except KeyboardInterrupt:
        return 0
    except (AdakernError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
