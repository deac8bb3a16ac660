"""The Verilated gateware as a device: at its byte interface, its netlist there, or at its UART pins."""

from pathlib import Path

from adakern_sim.compiler import Status
from adakern_sim.model import ByteModel, LineFaults, UartModel
from adakern_sim.netlists import netlist_model
from adakern_sim.serial_port import SerialPort
from adakern_sim.tops import byte_model, uart_model
from adakern_spec.networks import Folds, Shape

from .packet_device import PacketDevice
from .serial import SerialTransport
from .transport import Transport

CLOCK_HZ = 48_000_000
BAUD = 3_000_000

LATENCY_CYCLES = 1000
"""Generous for the way of a request through the gateware."""

SIMULATED_CYCLES_PER_SECOND = 400_000
"""A simulation slower than this, on a loaded machine, is taken for silence."""


class VerilatorTransport(Transport):
    """The byte interface of a Verilated model; time is the model's own, ``cycles / clock_hz``.

    Writes queue without limit; the model runs only while somebody reads.
    """

    def __init__(self, model: ByteModel, clock_hz: int = CLOCK_HZ, name: str = "verilator:") -> None:
        self.name = name
        self.byte_time = 1 / clock_hz
        self.latency = LATENCY_CYCLES / clock_hz
        self._model = model
        self._clock_hz = clock_hz
        self._queue = bytearray()

    def write(self, data: bytes) -> None:
        self._queue += data

    def read(self, timeout: float) -> bytes:
        cycles = max(1, round(timeout * self._clock_hz))
        used, arrived = self._model.run(bytes(self._queue), cycles, stop_on_frame=True)
        del self._queue[:used]
        return arrived

    def now(self) -> float:
        return self._model.cycles / self._clock_hz

    def close(self) -> None:
        self._model.close()


class PtyTransport(SerialTransport):
    """A serial line to a Verilated UART, with the time-outs that a simulation needs."""

    def __init__(self, model: UartModel, clock_hz: int, baud: int) -> None:
        self._simulated = SerialPort(model)
        slowdown = max(1.0, clock_hz / SIMULATED_CYCLES_PER_SECOND)
        try:
            super().__init__(self._simulated.path, baud, slowdown)
        except BaseException:
            self._simulated.close()
            raise

    def close(self) -> None:
        super().close()
        self._simulated.close()


def open_verilator(
    shape: Shape,
    folds: Folds,
    clock_hz: int = CLOCK_HZ,
    trace: Path | None = None,
    status: Status | None = None,
) -> PacketDevice:
    """The gateware built for ``shape`` and ``folds``, simulated at its byte interface.

    Parameters
    ----------
    clock_hz : int
        Clock that the simulated device claims; sets the scale of its time-outs.
    trace : Path, optional
        Waveform (VCD) to write; needs a model of its own, which is slower.
    status : callable, optional
        Told when the model has to be built first, which takes about a minute.
    """
    model = byte_model(shape, folds, clock_hz, trace, status)
    return PacketDevice(VerilatorTransport(model, clock_hz), shape, "verilator:")


def open_netlist(
    family: str,
    shape: Shape,
    folds: Folds,
    clock_hz: int = CLOCK_HZ,
    status: Status | None = None,
    board: str | None = None,
) -> PacketDevice:
    """The gateware synthesised for ``family``, ecp5 or ice40, its netlist simulated at the byte interface.

    ``board`` names one whose multipliers it gets, logic where the part lacks DSP blocks.
    """
    name = f"netlist:{family}"
    model = netlist_model(family, shape, folds, clock_hz, status, board)
    return PacketDevice(VerilatorTransport(model, clock_hz, name), shape, name)


def open_pty(
    shape: Shape,
    folds: Folds,
    clock_hz: int = CLOCK_HZ,
    baud: int = BAUD,
    faults: LineFaults | None = None,
    status: Status | None = None,
) -> PacketDevice:
    """The same behind its UART pins, as a serial port on a pseudo-terminal.

    Parameters
    ----------
    faults : LineFaults, optional
        What happens to the bytes on their way to the device.
    """
    model = uart_model(shape, folds, clock_hz, baud, status=status)
    if faults is not None:
        model.set_faults(faults)
    transport = PtyTransport(model, clock_hz, baud)
    return PacketDevice(transport, shape, f"pty:{transport.name}")
