"""The two tops of the gateware as Verilated models."""

from pathlib import Path

from adakern_spec.network import Fold, SpnShape

from .compiler import Status
from .model import ByteModel, UartModel
from .verilate import Build, Design

BYTE_TOP = "adakern_hw.top:ByteTop"
UART_TOP = "adakern_hw.top:UartTop"


def byte_model(
    shape: SpnShape,
    folds: tuple[Fold, ...],
    clock_hz: int,
    trace: Path | None = None,
    status: Status | None = None,
) -> ByteModel:
    """The whole device behind its byte interface.

    ``clock_hz`` only goes into the device's identity. ``trace`` names a waveform file (VCD) to write.
    """
    design = Design(BYTE_TOP, {"shape": shape, "folds": folds, "clock_hz": clock_hz})
    build = Build(design.verilog(status), "harness_byte.cpp", trace=trace is not None)
    return ByteModel(build.library(status), trace)


def uart_model(
    shape: SpnShape,
    folds: tuple[Fold, ...],
    clock_hz: int,
    baud: int,
    trace: Path | None = None,
    status: Status | None = None,
) -> UartModel:
    """The whole device behind its UART pins, with the far end of the line at exactly ``baud``."""
    design = Design(UART_TOP, {"shape": shape, "folds": folds, "clock_hz": clock_hz, "baud": baud})
    defines = (f"CYCLES_PER_BIT={clock_hz / baud!r}",)
    build = Build(design.verilog(status), "harness_uart.cpp", trace=trace is not None, defines=defines)
    return UartModel(build.library(status), trace)
