"""The two tops of the gateware as Verilated models."""

from pathlib import Path

from adakern_spec.networks import Folds, Shape

from .cache import Cache
from .compiler import Status
from .model import ByteModel, UartModel
from .verilate import VERILATED_CACHE, VERILOG, VERILOG_CACHE, Build, Design

BYTE_TOP = "adakern_hw.top:ByteTop"
UART_TOP = "adakern_hw.top:UartTop"


def byte_model(
    shape: Shape,
    folds: Folds,
    clock_hz: int,
    trace: Path | None = None,
    status: Status | None = None,
) -> ByteModel:
    """The whole device behind its byte interface.

    ``clock_hz`` only goes into the device's identity. ``trace`` names a waveform file (VCD) to write.
    """
    verilog = _byte_design(shape, folds, clock_hz).verilog(status)
    return ByteModel(_byte_build(verilog, trace is not None).library(status), trace)


def byte_model_is_built(shape: Shape, folds: Folds, clock_hz: int) -> bool:
    """Whether `byte_model` finds everything in the caches and starts at once."""
    found = Cache(VERILOG_CACHE).find(_byte_design(shape, folds, clock_hz).key())
    if found is None:
        return False
    build = _byte_build((found / VERILOG).read_text(), trace=False)
    return Cache(VERILATED_CACHE).find(build.key()) is not None


def _byte_design(shape: Shape, folds: Folds, clock_hz: int) -> Design:
    return Design(BYTE_TOP, {"shape": shape, "folds": folds, "clock_hz": clock_hz})


def _byte_build(verilog: str, trace: bool) -> Build:
    return Build(verilog, "harness_byte.cpp", trace=trace)


def uart_model(
    shape: Shape,
    folds: Folds,
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
