"""A pipe of bytes to a device; the only thing in which simulated and real devices differ."""

from abc import ABC, abstractmethod


class Transport(ABC):
    """Bytes both ways, in order, with a clock.

    Either direction may lose or damage bytes: the link above notices. A device that is gone for good
    raises `DeviceError` from any method.

    Attributes
    ----------
    name : str
        For messages, e.g. the port.
    byte_time : float
        Seconds that a byte takes on the line.
    latency : float
        Seconds that a request and its reply may take besides: drivers, adapters, schedulers.
    """

    name: str
    byte_time: float
    latency: float

    @abstractmethod
    def write(self, data: bytes) -> None:
        """Send the bytes, or queue them all; takes no longer than the line needs."""

    @abstractmethod
    def read(self, timeout: float) -> bytes:
        """Whatever has arrived; waits up to ``timeout`` seconds of `now` for the first byte, then b""."""

    @abstractmethod
    def now(self) -> float:
        """Seconds since any fixed moment: simulated time if the device is simulated."""

    @abstractmethod
    def close(self) -> None:
        """Release the line. Closing twice is harmless."""
