"""A board on a serial port."""

import contextlib
import errno
import time
from collections.abc import Iterator
from pathlib import Path

import serial
from serial.tools.list_ports import comports

from adakern_spec.errors import DeviceError
from adakern_spec.networks import Shape

from .packet_device import PacketDevice
from .transport import Transport

BAUD = 3_000_000

BITS_PER_BYTE = 10
"""8N1: start, eight data bits, stop."""

LATENCY = 0.05
"""Seconds: USB adapters hold bytes back up to 16 ms, and the operating system schedules."""

WRITE_TIMEOUT = 1.0
"""Seconds beyond the line's own time in which a write has to be through."""


class SerialTransport(Transport):
    """A serial line, 8N1, opened for this process alone.

    Parameters
    ----------
    port : str
        Name of the port, e.g. ``/dev/ttyUSB0``.
    baud : int
        Bits per second.
    slowdown : float
        Factor on the times that the line takes by its baud rate; 1 for a real line.

    Raises
    ------
    DeviceError
        Port absent, in use, not permitted or not a serial port; from any method: port gone.
    """

    def __init__(self, port: str, baud: int = BAUD, slowdown: float = 1.0) -> None:
        self.name = port
        self.byte_time = slowdown * BITS_PER_BYTE / baud
        self.latency = LATENCY
        try:
            self._port = serial.Serial(port, baud, exclusive=True)
        except (OSError, ValueError) as error:
            raise open_error(port, baud, error) from error
        # A pseudo-terminal and some drivers have no such mode: they are as fast as they are.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            self._port.set_low_latency_mode(True)

    def write(self, data: bytes) -> None:
        with self._line_errors():
            self._port.write_timeout = WRITE_TIMEOUT + 2 * len(data) * self.byte_time
            self._port.write(data)

    def read(self, timeout: float) -> bytes:
        with self._line_errors():
            self._port.timeout = timeout
            first = self._port.read(1)
            return first + self._port.read(self._port.in_waiting) if first else b""

    def now(self) -> float:
        return time.monotonic()

    def close(self) -> None:
        self._port.close()

    @contextlib.contextmanager
    def _line_errors(self) -> Iterator[None]:
        try:
            yield
        except serial.SerialTimeoutException as error:
            raise DeviceError(
                "takes no data", self.name, "check the cable and the board's flow control"
            ) from error
        except (OSError, serial.PortNotOpenError) as error:
            raise DeviceError("port is gone", self.name, "plug the board in and open it again") from error


def open_error(port: str, baud: int, error: Exception) -> DeviceError:
    """Why a port does not open, in one line."""
    reason = error.errno if isinstance(error, OSError) else None
    if reason == errno.ENOENT:
        found = ", ".join(candidate.device for candidate in comports()) or "none"
        return DeviceError("no such port", port, f"ports of this machine: {found}")
    if reason in (errno.EACCES, errno.EPERM):
        return DeviceError(
            "no permission", port, f"add your user to the group {_group(port)}, then log in again"
        )
    if reason in (errno.EBUSY, errno.EAGAIN):
        return DeviceError("port is busy", port, "close the program that has it open")
    if isinstance(error, ValueError):
        return DeviceError(
            f"baud rate {baud} is not possible", port, "use the rate that the board is built for"
        )
    return DeviceError("not a usable serial port", port, f"the system says: {error}")


def _group(port: str) -> str:
    """Group that the port belongs to."""
    try:
        return Path(port).group()
    except (OSError, KeyError, NotImplementedError):
        return "dialout"


def open_serial(port: str, baud: int, shape: Shape) -> PacketDevice:
    """The board on ``port``, built for ``shape``."""
    return PacketDevice(SerialTransport(port, baud), shape, f"serial:{port}?baud={baud}")
