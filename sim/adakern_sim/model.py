"""A Verilated model in this process, driven through its C++ harness."""

import ctypes
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from .compiler import BuildError

RECEIVE_SIZE = 1 << 16
"""Bytes that one call can bring."""


class _Exchange(ctypes.Structure):
    """`Exchange` of harness.h."""

    _fields_ = (
        ("send", ctypes.c_char_p),
        ("send_size", ctypes.c_size_t),
        ("send_used", ctypes.c_size_t),
        ("receive", ctypes.c_void_p),
        ("receive_size", ctypes.c_size_t),
        ("received", ctypes.c_size_t),
        ("cycles_max", ctypes.c_uint64),
        ("stop_on_frame", ctypes.c_uint32),
    )


class _Faults(ctypes.Structure):
    """`Faults` of uart_line.h."""

    _fields_ = (
        ("stop_error", ctypes.c_double),
        ("noise", ctypes.c_double),
        ("drop", ctypes.c_double),
        ("insert", ctypes.c_double),
        ("seed", ctypes.c_uint64),
    )


def load_library(path: Path) -> ctypes.CDLL:
    """The harness's C functions with their types."""
    library = ctypes.CDLL(str(path))
    library.create.argtypes, library.create.restype = (ctypes.c_char_p,), ctypes.c_void_p
    library.destroy.argtypes, library.destroy.restype = (ctypes.c_void_p,), None
    library.cycles.argtypes, library.cycles.restype = (ctypes.c_void_p,), ctypes.c_uint64
    library.run.argtypes, library.run.restype = (ctypes.c_void_p, ctypes.POINTER(_Exchange)), None
    if hasattr(library, "send_break"):
        library.faults.argtypes, library.faults.restype = (ctypes.c_void_p, ctypes.POINTER(_Faults)), None
        library.send_break.argtypes, library.send_break.restype = (ctypes.c_void_p, ctypes.c_uint), None
        library.framing_errors.argtypes = (ctypes.c_void_p,)
        library.framing_errors.restype = ctypes.c_uint64
    return library


class ByteModel:
    """A device behind a pipe of bytes, one simulated cycle at a time; a context manager.

    Parameters
    ----------
    library : Path
        Shared library from `verilate.Build.library`.
    trace : Path, optional
        File for the waveform (VCD); the library must have been built with ``trace``.
    """

    def __init__(self, library: Path, trace: Path | None = None) -> None:
        self._library = load_library(library)
        self._receive = ctypes.create_string_buffer(RECEIVE_SIZE)
        self._model = self._library.create(str(trace).encode() if trace else None)
        if not self._model:
            raise BuildError("the model could not be created", str(library), "remove it from the cache")

    @property
    def cycles(self) -> int:
        """Clock cycles simulated so far."""
        return self._library.cycles(self._model)

    def run(self, send: bytes, max_cycles: int, stop_on_frame: bool = False) -> tuple[int, bytes]:
        """Simulate up to ``max_cycles`` cycles, offering ``send`` and accepting what comes.

        Stops early after the delimiter that ends a frame if ``stop_on_frame``, or when
        `RECEIVE_SIZE` bytes have come. Returns how many bytes of ``send`` were taken and what arrived.
        """
        exchange = _Exchange(
            send=send,
            send_size=len(send),
            receive=ctypes.addressof(self._receive),
            receive_size=RECEIVE_SIZE,
            cycles_max=max_cycles,
            stop_on_frame=stop_on_frame,
        )
        self._library.run(self._model, exchange)
        return exchange.send_used, self._receive.raw[: exchange.received] if exchange.received else b""

    def close(self) -> None:
        """Free the model and finish the waveform. Closing twice is harmless."""
        if self._model:
            self._library.destroy(self._model)
            self._model = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True)
class LineFaults:
    """What happens to the bytes on the way to the device: probabilities per byte, from a seed.

    ``stop_error``: the stop bit is low; ``noise``: the line is inverted for up to a bit; ``drop``: the
    byte is lost; ``insert``: a random byte goes before it.
    """

    stop_error: float = 0.0
    noise: float = 0.0
    drop: float = 0.0
    insert: float = 0.0
    seed: int = 0


class UartModel(ByteModel):
    """A device behind UART pins (8N1); the library is built with ``harness_uart.cpp``."""

    def set_faults(self, faults: LineFaults) -> None:
        """Make these faults from now on."""
        self._library.faults(self._model, _Faults(**asdict(faults)))

    def send_break(self, bits: int) -> None:
        """Hold the device's input low for ``bits`` bit times (62 at most) before the next byte."""
        self._library.send_break(self._model, bits)

    @property
    def framing_errors(self) -> int:
        """Bytes from the device whose stop bit was low."""
        return self._library.framing_errors(self._model)
